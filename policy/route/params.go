package route

// Params holds what a pattern captured from a path. It belongs to its caller, who keeps it from request to request; Match
// fills it. The values are slices of the path and live as long as that.
type Params struct {
	path  []byte
	names []string
	spans [paramsMax]span
}

// span is a piece of the path.
type span struct{ from, to uint32 }

// Get returns the value captured under name, a bare wildcard's under "*".
func (p *Params) Get(name string) (value []byte, ok bool) {
	for i, n := range p.names {
		if n == name {
			return p.path[p.spans[i].from:p.spans[i].to], true
		}
	}
	return nil, false
}
