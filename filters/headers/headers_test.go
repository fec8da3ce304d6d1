package headers

import (
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/message"
)

// head makes a head of lines such as "X-A: b".
func head(lines ...string) *message.Head {
	h := &message.Head{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.AddString(name, value)
	}
	return h
}

// lines shows the fields that are there.
func lines(h *message.Head) string {
	var list []string
	for _, f := range h.All() {
		if !f.Gone {
			list = append(list, string(h.Bytes(f.Name))+": "+string(h.Bytes(f.Value)))
		}
	}
	return strings.Join(list, ", ")
}

func TestFieldsAreRemovedThenSetThenAdded(t *testing.T) {
	f := func(c Changes, before, want string) {
		t.Helper()
		filter, problems := Compile(Spec{Request: c, Response: c})
		if filter == nil {
			t.Fatal(problems)
		}
		for _, do := range []func(*message.Head){filter.Request, filter.Response} {
			h := head(strings.Split(before, ", ")...)
			do(h)
			if got := lines(h); got != want {
				t.Errorf("%+v: %s -> %s, want %s", c, before, got, want)
			}
		}
	}
	f(Changes{Remove: []string{"x-a"}}, "X-A: 1, X-B: 2, x-a: 3", "X-B: 2")
	f(Changes{Remove: []string{"server"}}, "Server: s, X-B: 2", "X-B: 2")
	f(Changes{Set: []Field{{"x-a", "new"}}}, "X-A: 1, X-B: 2, x-a: 3", "X-B: 2, x-a: new")
	f(Changes{Set: []Field{{"user-agent", "u"}}}, "User-Agent: 1", "user-agent: u")
	f(Changes{Add: []Field{{"x-a", "new"}}}, "X-A: 1", "X-A: 1, x-a: new")
	f(Changes{Remove: []string{"x-a"}, Set: []Field{{"x-a", "s"}}, Add: []Field{{"x-a", "t"}}}, "x-a: 1", "x-a: s, x-a: t")
	f(Changes{Set: []Field{{"X-Served-By", "yumen"}}}, "x-served-by: origin", "X-Served-By: yumen") // in the author's case
	f(Changes{Remove: []string{"x-none"}}, "X-A: 1", "X-A: 1")
	f(Changes{Set: []Field{{"x-empty", ""}}}, "X-A: 1", "X-A: 1, x-empty: ")
}

func TestWhatIsSetIsFoundByItsKnownName(t *testing.T) {
	f, _ := Compile(Spec{Request: Changes{Set: []Field{{"x-request-id", "7"}}}})
	h := head("X-Request-ID: 1")
	f.Request(h)
	if v, _ := h.Get(message.XRequestID); string(v) != "7" {
		t.Errorf("x-request-id is %q", v)
	}
}

// RFC 9110 section 7.6.1, RFC 9112 section 6: what frames a message or belongs to one connection.
func TestFramingAndHopByHopFieldsAreRefused(t *testing.T) {
	for _, name := range []string{"Connection", "content-length", "Transfer-Encoding", "TE", "trailer", "Upgrade", "Keep-Alive", "Proxy-Connection",
		"HTTP2-Settings", "Expect", "Host"} {
		for _, c := range []Changes{{Remove: []string{name}}, {Set: []Field{{name, "1"}}}, {Add: []Field{{name, "1"}}}} {
			for _, s := range []Spec{{Request: c}, {Response: c}} {
				if f, problems := Compile(s); f != nil || len(problems) != 1 || problems[0].Cause == "" || problems[0].Fix == "" {
					t.Errorf("%+v: %v", s, problems)
				}
			}
		}
	}
}

func TestWhatCouldSplitAMessageIsRefused(t *testing.T) {
	for _, field := range []Field{{"x-a", "b\r\nx-c: d"}, {"x-a", "b\n"}, {"x-a", "\x00"}, {"x-a\r\nx-b", "c"}, {"x a", "b"}, {"x-a:", "b"}, {"", "b"}} {
		if f, _ := Compile(Spec{Request: Changes{Set: []Field{field}}}); f != nil {
			t.Errorf("%q: %q is accepted", field.Name, field.Value)
		}
	}
	if f, _ := Compile(Spec{}); f != nil {
		t.Error("a filter that changes nothing is accepted")
	}
}

func TestEveryProblemIsTold(t *testing.T) {
	_, problems := Compile(Spec{
		Request:  Changes{Remove: []string{"te"}, Set: []Field{{"host", "a"}}},
		Response: Changes{Add: []Field{{"a b", "c"}}},
	})
	var fields []string
	for _, p := range problems {
		fields = append(fields, p.Field)
	}
	if got := strings.Join(fields, " "); got != "request.remove request.set response.add" {
		t.Errorf("problems of %s", got)
	}
}

func testFilter(t testing.TB) *Filter {
	f, problems := Compile(Spec{Request: Changes{
		Remove: []string{"x-debug", "referer"}, Set: []Field{{"x-gateway", "yumen"}, {"user-agent", "y"}}, Add: []Field{{"x-more", "1"}},
	}})
	if f == nil {
		t.Fatal(problems)
	}
	return f
}

func TestChangingAHeadAllocatesNothing(t *testing.T) {
	f, h := testFilter(t), &message.Head{}
	change := func() {
		h.Reset()
		h.AddString("X-Debug", "1")
		h.AddString("User-Agent", "curl")
		f.Request(h)
	}
	change()
	if n := testing.AllocsPerRun(100, change); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestText(t *testing.T) {
	want := "request: remove x-debug, request: remove referer, request: set x-gateway, request: set user-agent, request: add x-more"
	if got := testFilter(t).String(); got != want {
		t.Error(got)
	}
}

func BenchmarkRequest(b *testing.B) {
	f, h := testFilter(b), &message.Head{}
	b.ReportAllocs()
	for b.Loop() {
		h.Reset()
		h.AddString("X-Debug", "1")
		h.AddString("User-Agent", "curl")
		f.Request(h)
	}
}
