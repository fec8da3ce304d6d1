package engine

import (
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/engine/loop"
)

// starvedPause is how often it is looked whether there is memory again. Nobody is told when a pool's pressure falls, for the
// sake of the pool's speed; a turn of the wheel is soon enough for somebody who has to wait anyway.
const starvedPause = 10 * time.Millisecond

// starved are a worker's connections that do not read their next request because its buffers are at their limit: what has
// begun can end, what has not must wait. As long as there are any, a timer looks whether they can go on. Loop-owned.
type starved struct {
	w     *Worker
	conns []*ServerConn
	timer loop.Timer

	// Published.
	count atomic.Uint64
}

func (s *starved) add(c *ServerConn) {
	if c.starvedAt > 0 {
		return
	}
	s.conns = append(s.conns, c)
	c.starvedAt = len(s.conns)
	s.count.Add(1)
	if len(s.conns) == 1 {
		s.w.Loop.Arm(&s.timer, s.w.Loop.Now().Add(starvedPause))
	}
}

// remove is called for every connection that ends.
func (s *starved) remove(c *ServerConn) {
	if c.starvedAt == 0 {
		return
	}
	n := len(s.conns) - 1
	last := s.conns[n]
	s.conns[c.starvedAt-1], last.starvedAt = last, c.starvedAt
	s.conns[n], s.conns, c.starvedAt = nil, s.conns[:n], 0
}

// Expire is called by the loop.
func (s *starved) Expire(*loop.Timer) {
	if len(s.conns) == 0 {
		return
	}
	if s.w.Bufs.Pressed() {
		s.w.Loop.Arm(&s.timer, s.w.Loop.Now().Add(starvedPause))
		return
	}
	for i, c := range s.conns {
		s.conns[i], c.starvedAt = nil, 0
		c.resume()
	}
	s.conns = s.conns[:0]
}
