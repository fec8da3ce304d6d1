package upstream

import (
	"slices"
	"time"

	"github.com/yumen-io/yumen/engine"
)

// sharedConns is how many connections of one endpoint requests are pipelined over before any of them is full. One would
// give the largest batches and make every request wait for the slowest; with four the batches are nearly as large.
const sharedConns = 4

// A connection whose oldest answer takes longer than slowFactor times the usual and slowGrace on top is slow: nobody
// joins it until that answer came, so that a slow handler delays those behind it at the moment, and no more.
const (
	slowFactor = 2
	slowGrace  = 2 * time.Millisecond
)

// joinable returns the shared connection with the fewest requests outstanding that a further one may join.
func (e *Endpoint) joinable() *engine.ClientConn {
	if t := e.queue.first; t != nil && !t.piped && !e.mayDial() {
		return nil // it waits for a connection of its own: one has to run empty for it
	}
	var best *engine.ClientConn
	now := e.cluster.w.Loop.Now()
	for _, c := range e.shared {
		if !c.Multiplexed() && e.takes(c) && !c.Held() && (best == nil || c.Open() < best.Open()) &&
			(c.Open() == 0 || now.Sub(c.OldestSince()) <= slowFactor*e.pace+slowGrace) {
			best = c
		}
	}
	if best != nil && best.Open() > 0 && len(e.shared)+e.connecting < sharedConns && e.mayDial() {
		return nil // room for a further connection: spread before queueing up
	}
	return best
}

// emptyShared returns a shared connection without a request, to be used for one that shares with nobody.
func (e *Endpoint) emptyShared(once bool) *engine.ClientConn {
	for _, c := range e.shared {
		if c.Open() == 0 && c.Usable() && (!once || c.Fresh()) {
			e.leaveShared(c)
			return c
		}
	}
	return nil
}

// share makes a connection one that several requests use at once.
func (e *Endpoint) share(c *engine.ClientConn) {
	c.OwnerMark = markShared
	e.shared = append(e.shared, c)
}

func (e *Endpoint) leaveShared(c *engine.ClientConn) {
	if i := slices.Index(e.shared, c); i >= 0 {
		e.shared = slices.Delete(e.shared, i, i+1)
		c.OwnerMark = markBusy
	}
}

// offerShared lets as many join as wait and may. When it is the turn of one that shares with nobody, the others wait
// until the connection has run empty for it, or there is another.
func (e *Endpoint) offerShared(c *engine.ClientConn) {
	for t := e.queue.first; t != nil && (t.piped || c.Multiplexed()) && e.takes(c); t = e.queue.first {
		e.queue.remove(t)
		t.waiter.ConnReady(c)
	}
	switch t := e.queue.first; {
	case c.Open() > 0:
	case t != nil && !c.Multiplexed() && c.Usable():
		e.leaveShared(c)
		e.queue.remove(t)
		t.waiter.ConnReady(c)
	case t == nil && e.removed:
		c.CloseAfter()
	default:
		c.IdleUntil(e.idleDeadline())
	}
	e.dialForQueue()
}

// paced notes how long a pipelined answer took, for joinable. The average moves by an eighth. What a client made long says
// nothing.
func (e *Endpoint) paced(took time.Duration) {
	if took >= 0 {
		e.pace += (took - e.pace) / 8
	}
}
