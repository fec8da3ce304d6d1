package jwt

import (
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/identity"
)

// Requirement is a claim that must have one of some values.
type Requirement struct {
	Claim string
	OneOf []string // a list must have one of them as an element; empty: it must be there
}

// shownBytesMax is how much of a subject is shown to people.
const shownBytesMax = 96

const (
	// toldMax is how many texts that upstreams are told are kept of a person. Filters that differ in them alone share what is known,
	// on several routes or one after the other; what is beyond is put together anew for each request.
	toldMax = 4
	// toldBytesMax is how long each of them may be: a few names and numbers. It bounds what is kept beside tokens, to 16 MiB for the
	// 4096 of a loop.
	toldBytesMax = 1 << 10
)

// person is what a verified token came to, by the settings. Frozen but for told, which belongs to the loop of its cache.
type person struct {
	claims  *Claims
	key     *Key
	refused *refusal // the token is good, and does not suffice
	shown   []byte   // sub=...
	// Unix seconds between which it holds.
	from, until int64

	// Of those whom a cache knows.
	token []byte // nil: it does not
	told  []told
}

// told is what an upstream is told of a person by some rules; nil: that is too long to be kept.
type told struct {
	rules string
	what  *identity.Told
}

// newPerson concludes what a verified token, which lies on the desk, comes to.
func newPerson(d *desk, t *token, k *Key, r *rules) *person {
	c := newClaims(&d.claims)
	i := &person{claims: c, key: k, from: t.from, until: t.until}
	if sub, ok := c.Claim("sub"); ok && identity.FieldValue(sub) {
		i.shown = append(append(i.shown, "sub="...), sub[:min(len(sub), shownBytesMax)]...)
	}
	for _, need := range r.claims {
		if !c.satisfies(need) {
			i.refused = claim
		}
	}
	for _, s := range r.scopes {
		if !c.scope(s) {
			i.refused = scope
		}
	}
	return i
}

// tell tells the upstream who asks, by what was put together for it before if the person is one who comes again.
func (i *person) tell(h *message.Head, f *identity.Forward) {
	if i.token == nil || !f.Any() {
		f.Apply(h, i.claims.Claim)
		return
	}
	at := 0
	for at < len(i.told) && i.told[at].rules != f.Rules() {
		at++
	}
	if at == len(i.told) && at < toldMax {
		t := told{f.Rules(), f.Tell(i.claims.Claim)}
		if t.what.Len() > toldBytesMax {
			t.what = nil
		}
		i.told = append(i.told, t)
	}
	if at == len(i.told) || i.told[at].what == nil {
		f.Apply(h, i.claims.Claim)
		return
	}
	f.Repeat(h, i.told[at].what)
}

func (c *Claims) satisfies(need Requirement) bool {
	if len(need.OneOf) == 0 {
		return c.find(need.Claim) != nil
	}
	for _, want := range need.OneOf {
		if c.holds(need.Claim, want) {
			return true
		}
	}
	return false
}
