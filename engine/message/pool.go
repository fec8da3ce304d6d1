package message

// Pool keeps heads for one loop. Not safe for concurrent use.
type Pool struct{ free []*Head }

// headsKept bounds the free heads of a loop: with at most 8 kB each, 8 MB.
const headsKept = 1024

// Get returns an empty head.
func (p *Pool) Get() *Head {
	if n := len(p.free); n > 0 {
		h := p.free[n-1]
		p.free = p.free[:n-1]
		return h
	}
	return new(Head)
}

// Put takes a head back from its last holder.
func (p *Pool) Put(h *Head) {
	h.Reset()
	if len(p.free) < headsKept {
		p.free = append(p.free, h)
	}
}
