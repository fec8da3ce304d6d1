package balance

// triedMax bounds what is remembered of one request's attempts. Past it the oldest is forgotten: somebody who allows more
// than nine attempts gets one of them to an endpoint that had its chance long ago.
const triedMax = 8

// Tried is the endpoints that one request was already sent to. It names them by identity, not by index, because the set
// may be succeeded between two attempts. The zero value is empty; it allocates nothing.
type Tried struct {
	identities [triedMax]string
	n          int // added so far
}

// Add notes an attempt.
func (t *Tried) Add(identity string) {
	t.identities[t.n%triedMax] = identity
	t.n++
}

// Reset forgets all.
func (t *Tried) Reset() { *t = Tried{} }

// has works on a nil Tried, which is empty.
func (t *Tried) has(identity string) bool {
	if t == nil {
		return false
	}
	for _, id := range t.identities[:min(t.n, triedMax)] {
		if id == identity {
			return true
		}
	}
	return false
}
