package colour

import (
	"fmt"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/route"
	"github.com/yumen-io/yumen/policy/split"
)

// head is a request's with fields "Name: value; Name: value".
func head(fields string) *message.Head {
	h := new(message.Head)
	for f := range strings.SplitSeq(fields, "; ") {
		if name, value, ok := strings.Cut(f, ": "); ok {
			h.Add([]byte(name), []byte(value))
			list := h.All()
			list[len(list)-1].ID = message.Identify([]byte(name))
		}
	}
	return h
}

// text is what is left of a head, in its order.
func text(h *message.Head) string {
	var list []string
	for _, f := range h.All() {
		if !f.Gone {
			list = append(list, string(h.Bytes(f.Name))+": "+string(h.Bytes(f.Value)))
		}
	}
	return strings.Join(list, "; ")
}

func compiled(tb testing.TB, s Spec) *Filter {
	tb.Helper()
	f, problems := Compile(s, nil, nil)
	if f == nil {
		tb.Fatal(problems)
	}
	return f
}

const (
	id     = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent = "00-" + id + "-00f067aa0ba902b7-01"
)

func TestWhatClientsSendIsDroppedOrJudged(t *testing.T) {
	all := func(accept bool) Spec {
		return Spec{TraceID: &Colour{Header: "x-trace-id", Accept: accept}, UserID: &Colour{Header: "x-user-id", Accept: accept},
			DeviceType: &Colour{Header: "x-device-type", Accept: accept},
			Group:      &Group{Colour: Colour{Header: "x-abtest-group", Accept: accept}, Groups: []split.Variant{{Name: "a", Weight: split.Unsaid}, {Name: "b", Weight: 0}}, Key: gateway.KeyParts{{By: gateway.ByHeader, Name: "x-key"}}}}
	}
	f := func(accept bool, fields, want, bad string) {
		t.Helper()
		h := head(fields)
		m := compiled(t, all(accept)).mark(new(side), h, &route.Params{}, nil)
		got := ""
		if m.bad != nil {
			got = string(m.bad.name)
		}
		if text(h) != want || got != bad {
			t.Errorf("%s:\n got %s, bad %q\nwant %s, bad %q", fields, text(h), got, want, bad)
		}
	}
	f(false, "X-Trace-Id: abcdefgh; X-User-Id: root; X-Device-Type: bot; X-Abtest-Group: b", "x-device-type: unknown", "")
	f(true, "X-Trace-Id: abcdefgh; X-User-Id: ann; X-Device-Type: bot; X-Abtest-Group: b", "X-Trace-Id: abcdefgh; X-User-Id: ann; X-Device-Type: bot; X-Abtest-Group: b", "")
	f(true, "X-Trace-Id: short", "x-device-type: unknown", "x-trace-id")
	f(true, "X-Trace-Id: abcdefgh; X-Trace-Id: abcdefgi", "x-device-type: unknown", "x-trace-id")
	f(true, "X-User-Id: two words", "x-device-type: unknown", "x-user-id")
	f(true, "X-User-Id: "+strings.Repeat("u", 128), "X-User-Id: "+strings.Repeat("u", 128)+"; x-device-type: unknown", "")
	f(true, "X-User-Id: "+strings.Repeat("u", 129), "x-device-type: unknown", "x-user-id")
	f(true, "X-User-Id: J\u00fcrgen", "x-device-type: unknown", "x-user-id")
	f(true, "X-Device-Type: toaster", "x-device-type: unknown", "x-device-type")
	f(true, "X-Abtest-Group: c; X-Key: k", "X-Key: k; x-device-type: unknown; x-abtest-group: a", "x-abtest-group")
	f(false, "User-Agent: curl/8.5", "User-Agent: curl/8.5; x-device-type: bot", "")
	f(false, "traceparent: "+parent+"; tracestate: a=b", "traceparent: "+parent+"; tracestate: a=b; x-trace-id: "+id+"; x-device-type: unknown", "")
	f(false, "traceparent: 00-x; tracestate: a=b", "x-device-type: unknown", "")
	f(false, "traceparent: "+parent+"; traceparent: "+parent, "x-device-type: unknown", "")
}

func TestTraceparents(t *testing.T) {
	f := func(s string, want bool) {
		t.Helper()
		got, ok := traceOf([]byte(s))
		if ok != want || ok && string(got) != id {
			t.Errorf("%q: %s, %v", s, got, ok)
		}
	}
	f(parent, true)
	for i := range parent {
		f(parent[:i], false)
	}
	f(parent+"-", false)
	f("01"+parent[2:], true)
	f("01"+parent[2:]+"-what-comes", true)
	f("01"+parent[2:]+"x", false)
	f("ff"+parent[2:], false)
	f(strings.ToUpper(parent), false)
	f("00-"+strings.Repeat("0", 32)+"-00f067aa0ba902b7-01", false)
	f("00-"+id+"-0000000000000000-01", false)
	f(strings.ReplaceAll(parent, "-", "_"), false)
}

func FuzzTraceparent(f *testing.F) {
	f.Add([]byte(parent))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, ok := traceOf(b); ok && (len(got) != 32 || !isHex(got) || isZero(got)) {
			t.Fatalf("%q of %q", got, b)
		}
	})
}

func TestDevices(t *testing.T) {
	seen := new(agents)
	f := func(agent string, want Device) {
		t.Helper()
		for range 2 { // found, and remembered
			if got := seen.deviceOf([]byte(agent), new(agentScratch)); got != want {
				t.Errorf("%s: %v, want %v", agent, got, want)
			}
		}
	}
	f("", Unknown)
	f("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", Desktop)
	f("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15", Desktop)
	f("Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0", Desktop)
	f("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36", Desktop)
	f("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1", Mobile)
	f("Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/126.0.0.0 Mobile Safari/537.36", Mobile)
	f("Mozilla/5.0 (Linux; Android 12; CUBOT NOTE) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36", Mobile)
	f("Mozilla/5.0 (Linux; Android 13; SM-X906C) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36", Tablet)
	f("Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 Version/16.6 Mobile/15E148 Safari/604.1", Tablet)
	f("Mozilla/5.0 (Linux; Android 9; AFTMM) AppleWebKit/537.36 Silk/120.1 like Chrome/120.0 Safari/537.36", Tablet)
	f("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", Bot)
	f("Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) Chrome/126.0 Mobile Safari/537.36 (compatible; bingbot/2.0)", Bot)
	f("curl/8.5.0", Bot)
	f("Mozilla/5.0 (Linux; Android 12; Android TV) AppleWebKit/537.36", Unknown)
	f("something of one's own", Unknown)
	f(strings.Repeat("x", agentBytesMax)+"curl/", Unknown) // device_agent_bytes: what comes later is not looked at
}

func FuzzDevice(f *testing.F) {
	f.Add([]byte("curl/8.5.0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d := deviceOf(b, new(agentScratch)); d >= devices {
			t.Fatal(d)
		}
	})
}

// A client keeps its group, and groups get their shares.
func TestGroups(t *testing.T) {
	f := compiled(t, Spec{Group: &Group{Colour: Colour{Header: "x-abtest-group"}, Salt: "autumn", Key: gateway.KeyParts{{By: gateway.ByHeader, Name: "x-key"}},
		Groups: []split.Variant{{Name: "a", Weight: split.Unsaid}, {Name: "b", Weight: 0.1}}}})
	seen := map[string]int{}
	for i := range 10_000 {
		h := head(fmt.Sprint("X-Key: ", i))
		f.Before(h, &route.Params{})
		v, _ := h.Field([]byte("x-abtest-group"))
		seen[string(v)]++
		again := head(fmt.Sprint("X-Key: ", i, "; X-Abtest-Group: b"))
		f.Before(again, &route.Params{})
		if w, _ := again.Field([]byte("x-abtest-group")); string(w) != string(v) {
			t.Fatalf("key %d: %s, then %s", i, v, w)
		}
	}
	if seen["b"] < 850 || seen["b"] > 1150 || seen["a"]+seen["b"] != 10_000 {
		t.Errorf("%v", seen)
	}
}

func TestSpecsThatCannotBe(t *testing.T) {
	f := func(s Spec, want string) {
		t.Helper()
		filter, problems := Compile(s, nil, nil)
		if filter != nil || len(problems) != 1 || strings.TrimPrefix(problems[0].Field+": "+problems[0].Cause, ": ") != want {
			t.Errorf("%v, want %s", problems, want)
		}
	}
	f(Spec{}, "the filter sets no colour")
	f(Spec{TraceID: &Colour{Header: "x-a"}, UserID: &Colour{Header: "X-A"}}, `user_id.header: the field "X-A" has another colour already`)
	f(Spec{TraceID: &Colour{Header: "x-a", Pattern: "("}}, "trace_id.pattern: \"(\" is not a regular expression: error parsing regexp: missing closing ): `^(?:()$`")
	group := func(list ...split.Variant) Spec {
		return Spec{Group: &Group{Colour: Colour{Header: "x-a"}, Groups: list}}
	}
	f(group(), "abtest_group.groups: the weights sum up to 0%, and every variant has one")
	f(group(split.Variant{Name: "a", Weight: 0.00001}), "abtest_group.groups[0].weight: a weight goes from 0% to 100% in steps of 0.01%")
	f(group(split.Variant{Weight: 1}), "abtest_group.groups[0].name: a group's name has 1 to 128 bytes")
	f(group(split.Variant{Name: "a", Weight: 0.5}, split.Variant{Name: "a", Weight: 0.5}), `abtest_group.groups: there are two variants "a"`)
}

func TestMarkingAllocatesNothing(t *testing.T) {
	f := compiled(t, Spec{TraceID: &Colour{Header: "x-trace-id", Accept: true}, DeviceType: &Colour{Header: "x-device-type"}, UserID: &Colour{Header: "x-user-id", Accept: true}})
	h, s, p := new(message.Head), new(side), new(route.Params)
	agent, trace, user := []byte("Mozilla/5.0 (Windows NT 10.0; Win64; x64)"), []byte(parent), []byte("ann")
	mark := func() {
		h.Reset()
		h.AddKnown(message.UserAgent, agent)
		h.Add([]byte("traceparent"), trace)
		h.Add([]byte("x-user-id"), user)
		f.mark(s, h, p, nil)
	}
	mark()
	if n := testing.AllocsPerRun(1000, mark); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDevice(b *testing.B) {
	agent, scratch, seen := []byte("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"), new(agentScratch), new(agents)
	b.ReportAllocs()
	for b.Loop() {
		seen.deviceOf(agent, scratch)
	}
}

func TestText(t *testing.T) {
	f := compiled(t, Spec{TraceID: &Colour{Header: "x-trace-id", Accept: true}, UserID: &Colour{Header: "x-user-id"}, Refuse: true})
	const want = "x-trace-id is the trace's id, unless the client sends one that is valid; x-user-id is the claim sub; what is not valid is answered 400"
	if f.String() != want {
		t.Error(f.String())
	}
}
