package split

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/policy/match"
	"github.com/yumen-io/yumen/policy/route"
	core "github.com/yumen-io/yumen/policy/split"
)

// ending is how an exchange ends.
type ending int

const (
	ok ending = iota
	bad
	unreached
	left
	own
	cached
)

type outcome struct {
	status int
	took   time.Duration
	ending ending
}

func (o outcome) of() gateway.Outcome {
	out := gateway.Outcome{Status: o.status, FirstByte: o.took, Took: 2 * o.took, Attempts: 1}
	switch o.ending {
	case bad:
		out.Health = health.GatewayError
	case unreached:
		out.Reason, out.Failure, out.FirstByte, out.Took = "first_byte_timeout", &gateway.Failure{Side: gateway.Upstream}, -1, o.took
	case left:
		out.Reason, out.ClientGone = "client_gone", true
	case own:
		out.Reason, out.Attempts = "rate_limited", 0
	case cached:
		out.Attempts, out.Health = 0, health.Aborted
	}
	return out
}

// two is stable and a canary of a share.
func two(canary float64) Spec {
	return Spec{Variants: []Variant{
		{"stable", gateway.ClusterRef{Name: "app"}, core.Unsaid}, {"canary", gateway.ClusterRef{Name: "next", Index: 1}, canary}}}
}

func compiled(tb testing.TB, s Spec, memory *gateway.Recollection) *Filter {
	tb.Helper()
	f, problems := Compile(s, "app", memory)
	if f == nil {
		tb.Fatal(problems)
	}
	return f
}

// head is a request's with fields "Name: value; Name: value".
func head(fields string) *message.Head {
	h := new(message.Head)
	for f := range strings.SplitSeq(fields, "; ") {
		if name, value, ok := strings.Cut(f, ": "); ok {
			h.AddString(name, value)
		}
	}
	return h
}

type claims map[string]string

func (c claims) Claim(name string) ([]byte, bool) {
	v, ok := c[name]
	return []byte(v), ok
}

func TestRules(t *testing.T) {
	s := two(0.05)
	s.Rules = []Rule{
		{Headers: []match.Condition{{Name: "x-beta", Op: match.Exact, Value: "0"}}, Variant: "stable"},
		{Headers: []match.Condition{{Name: "x-beta", Op: match.Present}}, Clients: prefixes("10.0.0.0/8", "2001:db8::/32"), Variant: "canary"},
		{Cookies: []match.Condition{{Name: "beta", Op: match.Exact, Value: "yes"}}, Variant: "canary"},
		{Claims: []match.Condition{{Name: "org.Tier", Op: match.Regex, Value: "gold|test-.*"}, {Name: "sub", Op: match.Present}}, Variant: "canary"},
	}
	filter := compiled(t, s, nil)
	f := func(fields, client string, c claims, want int) {
		t.Helper()
		if got := filter.byRules(new(asking), head(fields), netip.MustParseAddr(client), c); got != want {
			t.Errorf("%s from %s with %v: %d, want %d", fields, client, c, got, want)
		}
	}
	f("", "192.0.2.1", nil, -1)
	f("X-Beta: 1", "192.0.2.1", nil, -1)
	f("X-Beta: 1", "10.1.2.3", nil, 1)
	f("X-Beta: 1", "::ffff:10.1.2.3", nil, 1)
	f("X-Beta: 1", "2001:db8::7", nil, 1)
	f("X-Beta: 0", "10.1.2.3", nil, 0) // the first that fits
	f("Cookie: a=b; Cookie: beta=yes", "192.0.2.1", nil, 1)
	f("Cookie: beta=yesterday", "192.0.2.1", nil, -1)
	f("", "192.0.2.1", claims{"org.Tier": "gold", "sub": "u"}, 1)
	f("", "192.0.2.1", claims{"org.Tier": "test-7", "sub": "u"}, 1)
	f("", "192.0.2.1", claims{"org.Tier": "golden", "sub": "u"}, -1)
	f("", "192.0.2.1", claims{"org.Tier": "gold"}, -1)
	f("Claim: gold", "192.0.2.1", claims{"sub": "u"}, -1) // a field is no claim
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestSpecsThatCannotBe(t *testing.T) {
	f := func(change func(s *Spec), want ...string) {
		t.Helper()
		s := two(0.05)
		change(&s)
		filter, problems := Compile(s, "app", nil)
		var got []string
		for _, p := range problems {
			got = append(got, strings.TrimSuffix(p.Field+": "+p.Cause, ": "))
		}
		if filter != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(func(s *Spec) { s.Variants = s.Variants[:1] }, "variants: there are 1 variants, and 2 to 16 can be")
	f(func(s *Spec) { s.Variants = make([]Variant, 17) }, "variants: there are 17 variants, and 2 to 16 can be")
	f(func(s *Spec) { s.Variants[1].Name = "stable" }, `variants[1]: there are two variants "stable"`)
	f(func(s *Spec) { s.Variants[1].Weight = 0.00005 }, "variants[1].weight: a weight goes from 0% to 100% in steps of 0.01%")
	f(func(s *Spec) { s.Variants[0].Weight = 0.96 }, "variants: the weights sum up to 101%")
	f(func(s *Spec) { s.Variants[0].Weight = 0.5 }, "variants: the weights sum up to 55%, and every variant has one")
	f(func(s *Spec) { s.Rules = []Rule{{Variant: "canary"}} }, "rules[0]: the rule fits every request")
	f(func(s *Spec) { s.Rules = []Rule{{Clients: prefixes("10.0.0.0/8"), Variant: "c"}} }, `rules[0].variant: there is no variant "c"`)
	f(func(s *Spec) {
		s.Rules = []Rule{{Headers: []match.Condition{{Name: "a", Op: match.Regex, Value: "("}}, Claims: []match.Condition{{Name: "c", Op: match.Regex, Value: "("}}, Variant: "canary"}}
	}, "rules[0].when: header \"a\": error parsing regexp: missing closing ): `(`",
		"rules[0].when.claim: claim \"c\": error parsing regexp: missing closing ): `(`")
	f(func(s *Spec) {
		s.Rules = make([]Rule, RulesMax+1)
		for i := range s.Rules {
			s.Rules[i] = Rule{Clients: prefixes("10.0.0.0/8"), Variant: "canary"}
		}
	}, "rules: there are 33 rules, and at most 32 can be")
}

// weights is what is in force, as people write it, and who set it.
func weights(f *Filter) string {
	s := f.Weights()
	var list []string
	for i, name := range f.Variants() {
		list = append(list, name+"="+Percent(s.Weights[i]))
	}
	return strings.TrimSpace(strings.Join(list, " ") + " " + s.By)
}

func want(t *testing.T, f *Filter, text string) {
	t.Helper()
	if got := weights(f); got != text {
		t.Errorf("%s, want %s", got, text)
	}
}

func TestWeightsAreSetAndTakenBack(t *testing.T) {
	f := compiled(t, two(0.05), nil)
	set := func(name string, w float64) error {
		return f.SetWeights(map[string]float64{name: w}, "ann", time.Unix(1, 0))
	}
	want(t, f, "stable=95% canary=5%")
	if err := f.Back(time.Time{}); !errors.Is(err, ErrNothingBefore) {
		t.Error(err)
	}
	for _, step := range []float64{0.1, 0.5, 1} {
		if err := set("canary", step); err != nil {
			t.Fatal(err)
		}
	}
	want(t, f, "stable=0% canary=100% ann")
	for _, back := range []string{"stable=50% canary=50% ann", "stable=90% canary=10% ann", "stable=95% canary=5%"} {
		if err := f.Back(time.Time{}); err != nil {
			t.Fatal(err)
		}
		want(t, f, back)
	}
	if err := set("stable", 0); err != nil {
		t.Fatal(err)
	}
	want(t, f, "stable=0% canary=100% ann")
	f.Reset(time.Time{})
	want(t, f, "stable=95% canary=5%")
	for name, w := range map[string]float64{"green": 0.5, "canary": 1.5, "stable": 0.00001} {
		if err := set(name, w); err == nil {
			t.Errorf("%s=%v was taken", name, w)
		}
	}
	if err := f.SetWeights(nil, "ann", time.Time{}); err == nil {
		t.Error("nothing was taken")
	}
	if err := f.SetWeights(map[string]float64{"stable": 0.5, "canary": 0.6}, "ann", time.Time{}); err == nil || err.Error() != "the weights sum up to 110%" {
		t.Error(err)
	}
	want(t, f, "stable=95% canary=5%")
}

// split_back: changes can be undone one by one, but not for ever.
func TestBackIsBounded(t *testing.T) {
	f := compiled(t, two(0.05), nil)
	for i := range 3 * backMax {
		if err := f.SetWeights(map[string]float64{"canary": float64(i+1) / 1000}, "ann", time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for ; f.Back(time.Time{}) == nil; n++ {
		if w := f.Weights(); n < backMax-1 && (w.Before != backMax-1-n || Percent(w.Weights[1]) != Percent(float64(3*backMax-1-n)/1000)) {
			t.Fatalf("after %d: %+v", n, w)
		}
	}
	if n != backMax {
		t.Errorf("%d could be undone, want %d", n, backMax)
	}
	want(t, f, "stable=95% canary=5%")
}

// A new document comes: what was set stays if its weights are the same, and is forgotten if they are not, also when the old one comes back.
func TestWeightsOverDocuments(t *testing.T) {
	memory := gateway.NewMemory()
	var last *gateway.Recollection
	load := func(s Spec) *Filter {
		r := memory.Recollect()
		f := compiled(t, s, r)
		r.Hold()
		if last != nil {
			last.Drop()
		}
		last = r
		f.state.follow(f) // its first request
		return f
	}
	first := load(two(0.05))
	if err := first.SetWeights(map[string]float64{"canary": 0.5}, "ann", time.Time{}); err != nil {
		t.Fatal(err)
	}
	other := two(0.05)
	other.Salt, other.Header = "another", "x-variant"
	second := load(other)
	want(t, second, "stable=50% canary=50% ann")

	looked := compiled(t, two(0.2), memory.Recollect()) // somebody checks a document
	want(t, looked, "stable=80% canary=20%")
	want(t, second, "stable=50% canary=50% ann")

	third := load(two(0.1))
	want(t, third, "stable=90% canary=10%")
	second.state.follow(second) // a request that waited meanwhile
	want(t, third, "stable=90% canary=10%")
	if third.state.InForce() != third {
		t.Error("an old filter is in force")
	}
	if err := third.SetWeights(map[string]float64{"canary": 0.3}, "ann", time.Time{}); err != nil {
		t.Fatal(err)
	}
	want(t, second, "stable=95% canary=5%")
	want(t, load(two(0.05)), "stable=95% canary=5%")
	want(t, load(two(0.1)), "stable=90% canary=10%")
}

// Counts belong to the split's and the variant's name, and go on over documents.
func TestCountsOverDocuments(t *testing.T) {
	memory := gateway.NewMemory()
	r1 := memory.Recollect()
	f := compiled(t, two(0.05), r1)
	r1.Hold()
	o := outcome{200, time.Millisecond, ok}.of()
	f.variants[1].counts.add(0, &o)
	s := two(0.2)
	s.Variants = append([]Variant{{Name: "next", Weight: 0.1}}, s.Variants...)
	g := compiled(t, s, memory.Recollect())
	if n, there := g.Totals("canary"); !there || n.Requests != 1 {
		t.Errorf("%+v", n)
	}
	if n, _ := g.Totals("next"); n.Requests != 0 {
		t.Errorf("%+v", n)
	}
	if _, there := g.Totals("none"); there {
		t.Error("there is no such variant")
	}
	got := map[string]uint64{}
	g.Each(func(variant, status string, n uint64) {
		if n > 0 {
			got[variant+" "+status] = n
		}
	})
	if !maps.Equal(got, map[string]uint64{"canary 2xx": 1}) {
		t.Errorf("%v", got)
	}
}

// Loops go by one setting or the other while it changes, and by the new one in the end.
func TestSettingIsReadWhileItChanges(t *testing.T) {
	f := compiled(t, two(0.05), nil)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s := f.current()
					if i := s.table.Pick([]byte("key")); i < 0 || i > 1 || s.weights[1] == 0 {
						t.Error(i, s.weights)
						return
					}
				}
			}
		})
	}
	for i := range 1000 {
		if err := f.SetWeights(map[string]float64{"canary": float64(i%100+1) / 100}, "ann", time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	readers.Wait()
	want(t, f, "stable=0% canary=100% ann")
}

func TestCookieIDs(t *testing.T) {
	f := func(value string, want uint64) {
		t.Helper()
		id, ok := cookieID([]byte(value), true)
		if ok != (want != 0) || ok && id != want {
			t.Errorf("%q: %x, %v", value, id, ok)
		}
		if ok && string(appendID(nil, id)) != value {
			t.Errorf("%q is written as %s", value, appendID(nil, id))
		}
	}
	f("0000000000000001", 1)
	f("fedcba9876543210", 0xfedcba9876543210)
	f("0000000000000000", 0)
	f("000000000000001", 0)
	f("00000000000000001", 0)
	f("", 0)
	f("FEDCBA9876543210", 0)
	f("000000000000000g", 0)
	f("00000000000000/:", 0)
	if _, ok := cookieID([]byte("0000000000000001"), false); ok {
		t.Error("there is no cookie")
	}
}

func FuzzCookieID(f *testing.F) {
	f.Add([]byte("fedcba9876543210"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, ok := cookieID(b, true); ok && string(appendID(nil, id)) != string(b) {
			t.Fatalf("%q is %x", b, id)
		}
	})
}

func TestCookieField(t *testing.T) {
	for _, c := range []struct {
		cookie Cookie
		secure bool
		want   string
	}{
		{Cookie{"group", 0}, false, "group=0000000000000abc; Path=/; HttpOnly; SameSite=Lax"},
		{Cookie{"group", time.Hour}, true, "group=0000000000000abc; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"},
	} {
		if got := string(c.cookie.append(nil, 0xabc, c.secure)); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func TestChoiceBefore(t *testing.T) {
	s := two(0.5)
	s.Rules = []Rule{
		{Headers: []match.Condition{{Name: "x-beta", Op: match.Present}}, Variant: "canary"},
		{Claims: []match.Condition{{Name: "tier", Op: match.Present}}, Clients: prefixes("10.0.0.0/8"), Variant: "canary"},
	}
	s.Key, s.Cookie = gateway.KeyParts{{By: gateway.ByHeader, Name: "x-user-id"}}, &Cookie{Name: "group"}
	f := compiled(t, s, nil)
	ask := func(f *Filter, fields, client, want string) {
		t.Helper()
		c := f.Choose(head(fields), &route.Params{}, netip.MustParseAddr(client))
		if got := strings.TrimSpace(c.Variant + " " + c.Why); got != want {
			t.Errorf("%s: %s, want %s", fields, got, want)
		}
	}
	ask(f, "X-Beta: 1", "192.0.2.1", "canary by rule 1")
	ask(f, "", "10.0.0.1", "rule 2 asks for claims, which nobody has verified yet")
	ask(f, "X-User-Id: a", "192.0.2.1", f.Variants()[f.table.Pick([]byte("x-user-id=a"))]+" by x-user-id=a")
	ask(f, "Cookie: group=00000000000000aa", "192.0.2.1", f.Variants()[f.table.Pick([]byte("00000000000000aa"))]+" by the cookie group")
	ask(f, "", "192.0.2.1", "the client has no cookie group yet: chance decides, and the cookie it is given holds to that")
	if err := f.SetWeights(map[string]float64{"canary": 1}, "ann", time.Time{}); err != nil {
		t.Fatal(err)
	}
	ask(f, "", "192.0.2.1", "canary which has all")
	plain := compiled(t, two(0.5), nil)
	ask(plain, "", "2001:db8::1", plain.Variants()[plain.table.Pick([]byte("client=2001:db8::/64"))]+" by client=2001:db8::/64")
	s = two(0.5)
	s.Key = gateway.KeyParts{{By: gateway.ByClaim, Name: "sub"}}
	ask(compiled(t, s, nil), "", "192.0.2.1", "its key is not known before")
}

func TestText(t *testing.T) {
	s := two(0.05)
	s.Rules = []Rule{{Headers: []match.Condition{{Name: "x-beta", Op: match.Exact, Value: "1"}}, Variant: "canary"}}
	s.Key, s.Cookie = gateway.KeyParts{{By: gateway.ByClaim, Name: "sub"}}, &Cookie{Name: "group"}
	f := compiled(t, s, nil)
	const text = `95% to stable (app), 5% to canary (next) by claim sub, else by cookie group; header x-beta exact "1": canary`
	if got := f.String(); got != text {
		t.Errorf("got  %s\nwant %s", got, text)
	}
	if err := f.SetWeights(map[string]float64{"canary": 0.5}, "ann", time.Time{}); err != nil {
		t.Fatal(err)
	}
	if got := f.String(); !strings.HasPrefix(got, "50% to stable") || !strings.HasSuffix(got, ", as ann set it") {
		t.Error(got)
	}
}

func TestDecisionAllocatesNothing(t *testing.T) {
	s := two(0.05)
	s.Rules = []Rule{{Headers: []match.Condition{{Name: "x-beta", Op: match.Present}}, Claims: []match.Condition{{Name: "tier", Op: match.Present}}, Variant: "canary"}}
	f := compiled(t, s, nil)
	h, a, client := head("X-Beta: 1"), new(asking), netip.MustParseAddr("192.0.2.1")
	o := outcome{200, time.Millisecond, ok}.of()
	none := gateway.Claims(claims{})
	decide := func() {
		f.state.follow(f)
		if f.byRules(a, h, client, none) < 0 {
			f.variants[f.current().table.Pick([]byte("client=192.0.2.1"))].counts.add(0, &o)
		}
	}
	decide()
	if n := testing.AllocsPerRun(1000, decide); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func ExamplePercent() {
	fmt.Println(Percent(0.0001), Percent(0.333333), Percent(1))
	// Output: 0.01% 33.33% 100%
}
