package jwt

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/policy/identity"
)

// personOf is the person of a token of the test's issuer, as a cache keeps it.
func personOf(t *testing.T, claims string) *person {
	t.Helper()
	p, d := pairs()[HS256], &desk{}
	r := testRules(HS256)
	text := []byte(p.sign(nil, claims))
	read, refused := d.read(text, now, &r)
	if refused != nil {
		t.Fatal(refused.reason)
	}
	i := newPerson(d, &read, nil, &r)
	i.token = text
	return i
}

func forwardOf(t *testing.T, fields ...identity.Field) *identity.Forward {
	t.Helper()
	f, err := identity.NewForward(fields)
	if err != nil {
		t.Fatal(err)
	}
	return &f
}

// toldMax, toldBytesMax: what upstreams are told is the same, kept or not.
func TestWhatUpstreamsAreToldOfAPersonWhoComesAgain(t *testing.T) {
	i := personOf(t, with(map[string]any{"tenant": "a", "groups": []string{"x", "y"}, "long": strings.Repeat("l", toldBytesMax), "bad": "ä"}))
	var rules []*identity.Forward
	for n, claim := range []string{"tenant", "long", "groups", "bad", "none", "iat", "sub"} {
		rules = append(rules, forwardOf(t, identity.Field{Name: "X-User", Claim: "sub"}, identity.Field{Name: fmt.Sprint("X-", n), Claim: claim}))
	}
	rules = append(rules, forwardOf(t))
	once := func() {
		for n, f := range rules {
			told, twin := request("", "X-User: root", "x_user: root", "X-1: root", "X_6: root", "A: b"), request("", "X-User: root", "x_user: root", "X-1: root", "X_6: root", "A: b")
			i.tell(told, f)
			f.Apply(twin, i.claims.Claim)
			if got, want := show(told), show(twin); got != want {
				t.Errorf("rules %d: told %q, want %q", n, got, want)
			}
		}
	}
	once()
	once()
	if len(i.told) != toldMax {
		t.Errorf("%d texts are kept, want %d", len(i.told), toldMax)
	}
	kept := 0
	for _, told := range i.told {
		if told.what != nil {
			if kept++; told.what.Len() > toldBytesMax {
				t.Errorf("a text of %d bytes is kept", told.what.Len())
			}
		}
	}
	if kept != toldMax-1 {
		t.Errorf("%d texts have words, want all but the one that is too long", kept)
	}
	// Equal rules of another configuration find what was put together before.
	again := forwardOf(t, identity.Field{Name: "X-User", Claim: "sub"}, identity.Field{Name: "X-0", Claim: "tenant"})
	h := request("")
	if n := testing.AllocsPerRun(100, func() {
		h.Reset()
		for _, f := range rules {
			i.tell(h, f)
		}
		i.tell(h, again)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNothingIsKeptOfAPersonWhomNoCacheKnows(t *testing.T) {
	i := personOf(t, goodClaims)
	i.token = nil
	h := request("")
	i.tell(h, forwardOf(t, identity.Field{Name: "X-User", Claim: "sub"}))
	if got := show(h); got != "X-User: alice" || i.told != nil {
		t.Errorf("told %q, kept %v", got, i.told)
	}
}

// A slow twin: paths that have one mark, and as many as there may be.
func TestClaimsAreFoundByTheirPaths(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 40 {
		claims := map[string]any{}
		for range r.IntN(200) {
			name := make([]byte, r.IntN(5))
			for i := range name {
				name[i] = "ab."[r.IntN(3)]
			}
			if r.IntN(4) == 0 {
				claims[string(name)] = map[string]any{"a": "in a", "b": 1, "": true}
			} else {
				claims[string(name)] = fmt.Sprint(r.IntN(100))
			}
		}
		c := personOf(t, with(claims)).claims
		for n := range 500 {
			name := make([]byte, r.IntN(7))
			for i := range name {
				name[i] = "ab."[r.IntN(3)]
			}
			if n < len(c.values) {
				name = c.bytes(c.values[n].path)
			}
			var want *value
			for i := range c.values {
				if string(c.bytes(c.values[i].path)) == string(name) {
					want = &c.values[i]
				}
			}
			if got := c.find(string(name)); got != want {
				t.Fatalf("%q: %v, want %v", name, got, want)
			}
		}
	}
}
