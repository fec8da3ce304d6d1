package upstream

import "github.com/yumen-io/yumen/engine"

// roomy returns the multiplexed connection with the fewest requests that a further one may join, nil if there is none. One
// connection for each loop is what an endpoint usually has; another one is dialled when the first is full.
func (e *Endpoint) roomy(once bool) *engine.ClientConn {
	var best *engine.ClientConn
	for i := 0; i < len(e.shared); i++ {
		c := e.shared[i]
		if !c.Multiplexed() || !e.takes(c) || best != nil && c.Open() >= best.Open() {
			continue
		}
		if once && c.Open() == 0 && !c.Fresh() {
			c.Close() // which takes it off the list
			i--
			continue
		}
		best = c
	}
	if best != nil {
		e.cluster.counters.ConnReused()
	}
	return best
}

// shut returns how many multiplexed connections wait for their upstream to take requests again. Others would fare no better.
func (e *Endpoint) shut() (n int) {
	for _, c := range e.shared {
		if c.Multiplexed() && c.Open() == 0 && c.Room() == 0 {
			n++
		}
	}
	return n
}
