package h2

import (
	"math/bits"

	"github.com/yumen-io/yumen/engine/buf"
)

// Urgencies of RFC 9218 4.1: 0 goes first.
const (
	urgencies       = 8
	urgencyStandard = 3
)

// schedule holds the streams that have DATA queued and a window to send it: a ring for each urgency, of which the front
// sends the next frame. A stream that is incremental goes to the back after each frame, so that those share; one that
// is not keeps the front until it has nothing to send. RFC 9218 4.2 takes a request without a priority for one that is not
// incremental, but most clients say nothing because they do not know the field, and a long answer to one of them would
// hold up all others: without a word from the client, streams share.
type schedule struct {
	rings [urgencies]*stream // the front; its prev is the back
	used  uint8              // bit u: ring u is not empty
}

func (q *schedule) front() *stream {
	if q.used == 0 {
		return nil
	}
	return q.rings[bits.TrailingZeros8(q.used)]
}

// add puts a stream into its ring: at the back, or, one that is not incremental, before those of its kind that were opened
// after it (RFC 9218 10).
func (q *schedule) add(s *stream) {
	s.ready = true
	front := q.rings[s.urgency]
	if front == nil {
		s.next, s.prev = s, s
		q.rings[s.urgency] = s
		q.used |= 1 << s.urgency
		return
	}
	at := front // s goes before it; before the front is the back
	if !s.incremental {
		for t := front; ; {
			if !t.incremental && t.id > s.id {
				at = t
				if t == front {
					q.rings[s.urgency] = s
				}
				break
			}
			if t = t.next; t == front {
				break
			}
		}
	}
	s.next, s.prev = at, at.prev
	s.prev.next, s.next.prev = s, s
}

func (q *schedule) remove(s *stream) {
	s.ready = false
	switch {
	case s.next == s:
		q.rings[s.urgency] = nil
		q.used &^= 1 << s.urgency
	case q.rings[s.urgency] == s:
		q.rings[s.urgency] = s.next
		fallthrough
	default:
		s.prev.next, s.next.prev = s.next, s.prev
	}
	s.next, s.prev = nil, nil
}

// sentFrame lets the next one of the ring have its turn.
func (q *schedule) sentFrame(s *stream) {
	if s.incremental {
		q.rings[s.urgency] = s.next
	}
}

// prioritise changes the priority of a stream.
func (c *conn) prioritise(s *stream, urgency uint8, incremental bool) {
	ready := s.ready
	if ready {
		c.schedule.remove(s)
	}
	s.urgency, s.incremental = urgency, incremental
	if ready {
		c.schedule.add(s)
	}
}

// wake puts a stream into the schedule if it has something to send and may.
func (c *conn) wake(s *stream) {
	if !s.ready && s.queue.Len() > 0 && s.sendWindow > 0 {
		c.schedule.add(s)
	}
}

// Flush moves queued DATA into out until that holds most bytes, or the windows are used up. It is called whenever out has
// been sent and Ready tells that there is something to move.
func (c *conn) Flush(out *buf.Chain, p *buf.Pool, most int) {
	for out.Len() < most && c.sendWindow > 0 && !c.broken() {
		s := c.schedule.front()
		if s == nil {
			return
		}
		n := c.frameLen(s, s.queue.Len())
		c.schedule.sentFrame(s)
		end := s.ending && n == s.queue.Len()
		c.queued -= n
		c.appendData(out, p, s, &s.queue, n, end && !s.trailed)
		if s.queue.Len() == 0 || s.sendWindow <= 0 {
			c.schedule.remove(s)
		}
		if s.high && s.queue.Len() <= queueLow {
			s.high = false
			if !s.listed {
				s.listed = true
				c.drained = append(c.drained, s.id)
			}
		}
		if end {
			if s.trailed {
				c.appendTrailers(out, p, s, &s.trailers)
			}
			c.sentEnd(out, p, s)
		}
	}
}

// Ready tells whether Flush would move something into an empty chain.
func (c *conn) Ready() bool { return c.schedule.used != 0 && c.sendWindow > 0 }

// Queued returns how many bytes of a stream's body wait for windows or for Flush.
func (c *conn) Queued(stream uint32) int {
	if s := c.streams.get(stream); s != nil {
		return s.queue.Len()
	}
	return 0
}

// Shut tells that bytes of a stream's body wait for a window, its own or that of the connection, and not for their turn.
func (c *conn) Shut(stream uint32) bool {
	s := c.streams.get(stream)
	return s != nil && s.queue.Len() > 0 && (s.sendWindow <= 0 || c.sendWindow <= 0)
}

// QueuedTotal is Queued of all streams together.
func (c *conn) QueuedTotal() int { return c.queued }

// NextDrained returns a stream whose queue fell to 32 kB or less after it had been above, each once. It is asked after Flush
// until there is none.
func (c *conn) NextDrained() (stream uint32, ok bool) {
	for c.drainedAt < len(c.drained) {
		id := c.drained[c.drainedAt]
		c.drainedAt++
		if s := c.streams.get(id); s != nil {
			s.listed = false
			return id, true
		}
	}
	c.drained, c.drainedAt = c.drained[:0], 0
	return 0, false
}
