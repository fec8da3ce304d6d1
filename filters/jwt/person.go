package jwt

import "github.com/yumen-io/yumen/policy/identity"

// Requirement is a claim that must have one of some values.
type Requirement struct {
	Claim string
	OneOf []string // a list must have one of them as an element; empty: it must be there
}

// shownBytesMax is how much of a subject is shown to people.
const shownBytesMax = 96

// person is what a verified token came to, by the settings. Frozen.
type person struct {
	claims  *Claims
	key     *Key
	refused *refusal // the token is good, and does not suffice
	shown   []byte   // sub=...
	// Unix seconds between which it holds.
	from, until int64
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
