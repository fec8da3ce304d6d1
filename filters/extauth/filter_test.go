package extauth

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
)

func head(status int, fields ...string) *message.Head {
	h := &message.Head{Status: status}
	for _, f := range fields {
		name, text, _ := strings.Cut(f, ": ")
		h.AddString(name, text)
	}
	return h
}

func compiled(t testing.TB, s Spec) *Filter {
	t.Helper()
	f, problems := Compile(s, gateway.NewGuard("ext_auth", "test", gateway.Enforce, nil), nil)
	if f == nil {
		t.Fatal(problems)
	}
	return f
}

func TestAnswersOverHTTP(t *testing.T) {
	f := compiled(t, Spec{ToUpstream: []string{"X-User"}, Claims: []Claim{{"sub", "X-User"}, {"org", "X-Org"}}, ToClient: []string{"Set-Cookie"}})
	redirects := compiled(t, Spec{Redirects: true})
	for _, c := range []struct {
		f    *Filter
		h    *message.Head
		want string
	}{
		{f, head(200), "0 200"},
		{f, head(204, "X-User: a", "X-Other: b", "X-Org: c"), "0 204 x-org=c x-user=a sub=a org=c"},
		{f, head(200, "X-User: a", "x-user: b"), "0 200 x-user=a, b sub=a, b"},
		{f, head(200, "X-User: \xff"), "0 200"},
		{f, head(200, "Set-Cookie: a=b", "Set-Cookie: c=d"), "0 200 client:set-cookie=a=b client:set-cookie=c=d once"},
		{f, head(401, "WWW-Authenticate: Basic", "X-User: a", "Set-Cookie: a=b"), "1 401 client:www-authenticate=Basic"},
		{f, head(403), "1 403"},
		{f, head(302, "Location: /login"), "4 302"},
		{f, head(404), "4 404"},
		{f, head(500), "4 500"},
		{f, head(101), "4 101"},
		{redirects, head(302, "Location: /login", "Set-Cookie: a=b"), "2 302 client:location=/login client:set-cookie=a=b once"},
		{redirects, head(302), "4 302"},
		{redirects, head(304, "Location: /login"), "4 304"},
	} {
		v := c.f.readHead(c.h)
		got := fmt.Sprintf("%d %d", v.says, v.status)
		for _, one := range append(v.fields, v.claims...) {
			got += fmt.Sprintf(" %s=%s", one.name, one.value)
		}
		got += strings.TrimPrefix(show(v, true), fmt.Sprintf("%d %d", v.says, v.status))
		if got != c.want {
			t.Errorf("%d:\n got %s\nwant %s", c.h.Status, got, c.want)
		}
	}
}

func TestAnswersThatAreNoCall(t *testing.T) {
	f := compiled(t, Spec{GRPC: true})
	fine := []byte{0, 0, 0, 0, 2, 0x0a, 0}
	for _, c := range []struct {
		name     string
		h        *message.Head
		body     []byte
		trailers *message.Head
		want     says
	}{
		{"a yes", head(200), fine, head(0, "grpc-status: 0"), yes},
		{"no end", head(200), fine, nil, nonsense},
		{"another status", head(503), fine, head(0, "grpc-status: 0"), nonsense},
		{"compressed", head(200), append([]byte{1}, fine[1:]...), head(0, "grpc-status: 0"), nonsense},
		{"two messages", head(200), append(fine[:7:7], fine...), head(0, "grpc-status: 0"), nonsense},
		{"no message", head(200), nil, head(0, "grpc-status: 0"), nonsense},
		{"half a frame", head(200), fine[:4], head(0, "grpc-status: 0"), nonsense},
		{"unavailable", head(200, "grpc-status: 14"), nil, nil, nothing},
		{"unimplemented", head(200, "grpc-status: 12"), nil, nil, nonsense},
		{"fails after a message", head(200), fine, head(0, "grpc-status: 13"), nonsense},
	} {
		var said call
		said.head(c.h)
		var trailers *message.Fields
		if c.trailers != nil {
			trailers = &c.trailers.Fields
		}
		if v := f.readCall(&said, c.body, false, trailers); v.says != c.want {
			t.Errorf("%s: got %d, want %d", c.name, v.says, c.want)
		}
		if v := f.readCall(&said, c.body, true, trailers); v.says == yes {
			t.Errorf("%s: an answer that is too long lets pass", c.name)
		}
	}
}

func TestChangesOfARequest(t *testing.T) {
	for _, c := range []struct{ do doing }{{remove}, {set}, {add}, {addIfAbsent}, {setIfPresent}} {
		var got []string
		for _, h := range []*message.Head{head(0), head(0, "A: 1", "B: 2", "a: 3")} {
			v := &verdict{changes: []change{{[]byte("A"), []byte("new"), c.do}}}
			v.apply(h)
			text := ""
			for _, l := range h.All() {
				if !l.Gone {
					text += fmt.Sprintf("%s=%s ", h.Bytes(l.Name), h.Bytes(l.Value))
				}
			}
			got = append(got, text)
		}
		want := map[doing][]string{
			remove: {"", "B=2 "}, set: {"A=new ", "B=2 A=new "}, add: {"A=new ", "A=1 B=2 a=3 A=new "},
			addIfAbsent: {"A=new ", "A=1 B=2 a=3 "}, setIfPresent: {"", "B=2 A=new "},
		}[c.do]
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%d: got %q, want %q", c.do, got, want)
		}
	}
}

// entries_max: the oldest verdict makes room, and none is good for longer than it says.
func TestVerdictsThatAreKept(t *testing.T) {
	var c cache
	tagged := func(i int) *tag {
		var t tag
		binary.BigEndian.PutUint32(t[:], uint32(i))
		return &t
	}
	twin := map[int]*verdict{}
	for i := range 1000 {
		v := &verdict{until: mono.Time(1000)}
		c.put(tagged(i%300), v, 100)
		twin[i%300] = v
		if got := c.get(tagged(i%300), 999); got != v {
			t.Fatalf("%d: got %p, want %p", i, got, v)
		}
		if len(c.slots) > 100 || len(c.at) > 100 {
			t.Fatalf("%d verdicts, and %d in the map", len(c.slots), len(c.at))
		}
	}
	held := 0
	for i := range 300 {
		if v := c.get(tagged(i), 0); v != nil {
			held++
			if v != twin[i] {
				t.Errorf("%d has another's", i)
			}
		}
		if c.get(tagged(i), 1000) != nil {
			t.Errorf("%d is good for too long", i)
		}
	}
	if held != 100 {
		t.Errorf("%d are held, want 100", held)
	}
	c.put(tagged(1), &verdict{until: 2000}, 1) // a document with fewer
	if n := testing.AllocsPerRun(100, func() { c.get(tagged(299), 0) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSpecsThatMeanNothing(t *testing.T) {
	many := make([]string, fieldsMax+1)
	for i := range many {
		many[i] = fmt.Sprint("x-", i)
	}
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{Path: "auth"}, "path"},
		{Spec{Timeout: time.Microsecond}, "timeout"},
		{Spec{RefusalBodyMax: RefusalBodyMaxMax + 1}, "refusal_body_max"},
		{Spec{Headers: []string{"content-length"}}, "headers"},
		{Spec{Headers: many}, "headers"},
		{Spec{ToUpstream: []string{"x-forwarded-for"}}, "to_upstream"},
		{Spec{ToUpstream: []string{"a b"}}, "to_upstream"},
		{Spec{ToClient: []string{"transfer-encoding"}}, "to_client"},
		{Spec{Claims: []Claim{{"sub", "a"}, {"sub", "b"}}}, "claims"},
		{Spec{Cache: &Cache{}}, "cache"},
	} {
		_, problems := Compile(c.spec, gateway.NewGuard("ext_auth", "test", gateway.Enforce, nil), nil)
		if len(problems) == 0 || problems[0].Field != c.want {
			t.Errorf("%+v: %v, want one of %s", c.spec, problems, c.want)
		}
	}
}

// A field that is new in Spec must be thought of here: verdicts are kept over configurations whose fingerprints are alike.
func TestFingerprints(t *testing.T) {
	base := Spec{Cluster: gateway.ClusterRef{Name: "a"}, Cache: &Cache{For: time.Second}}
	fill(&base)
	same, other := base, base
	same.Timeout, same.Open, same.Cluster.Index = 7*time.Second, true, 9
	other.ToUpstream = []string{"x"}
	if fingerprint(&base) != fingerprint(&same) {
		t.Error("a longer timeout forgets verdicts")
	}
	if fingerprint(&base) == fingerprint(&other) {
		t.Error("verdicts without a field are kept for settings with it")
	}
	again := base
	again.Cache = &Cache{For: time.Second, EntriesMax: EntriesDefault}
	if fingerprint(&base) != fingerprint(&again) {
		t.Error("the fingerprint is of a pointer")
	}
}

// One try has nine tenths of the time, so that an endpoint that hangs is known for it.
func TestOneTryHasNineTenthsOfTheTime(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		0: 900 * time.Millisecond, time.Second: 900 * time.Millisecond, 350 * time.Millisecond: 315 * time.Millisecond, time.Millisecond: 900 * time.Microsecond,
	} {
		if got := compiled(t, Spec{Timeout: timeout}).retry.TryTimeout(time.Minute); got != want {
			t.Errorf("of %s: %s, want %s", timeout, got, want)
		}
	}
}
