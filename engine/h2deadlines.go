package engine

import (
	"time"

	"github.com/yumen-io/yumen/engine/h2"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/internal/mono"
)

// Times of connections with many streams.
const (
	// lookPause is how often a connection with open streams looks after them: one timer for all of them, so that a stream
	// costs none. Deadlines of streams are met within it.
	lookPause = time.Second
	// partingPause is between the two steps of a GOAWAY (RFC 9113 6.8): requests that were on their way when the first one
	// said that there will be an end are served; the second one names the last of them. A second is more than a round trip.
	partingPause = time.Second
)

// wind sets the timer to what comes next. One that is set to an earlier time is left alone: when it expires, it is wound
// again, and setting it for every request would cost more.
func (c *h2Server) wind() {
	if c.dead || c.ending {
		return
	}
	now := c.w.Loop.Now()
	next := c.quietAt.Add(c.config.IdleTimeout)
	switch {
	case !c.codec.Settled():
		next = c.began.Add(c.config.HeadTimeout)
	case c.busy():
		next = now.Add(lookPause)
	}
	if c.leaving == parted {
		next = min(next, c.partAt.Add(partingPause))
	}
	if c.timerAt == 0 || next < c.timerAt {
		c.timerAt = next
		c.w.Loop.Arm(&c.timer, next)
	}
}

// busy tells that there is something to look after.
func (c *h2Server) busy() bool { return len(c.streams) > 0 || c.unsent() > 0 || c.blockAt != 0 }

// Expire is called by the loop.
func (c *h2Server) Expire(*loop.Timer) {
	c.timerAt = 0
	now := c.w.Loop.Now()
	switch {
	case c.ending:
		c.end(c.why)
		return
	case !c.codec.Settled() && now.Sub(c.began) >= c.config.HeadTimeout,
		c.blockAt != 0 && now.Sub(c.blockAt) >= c.config.HeadTimeout:
		c.part(ClosedByHeadTimeout)
		c.failAll()
		c.finish()
		return
	case c.busy():
		c.look(now)
	case now.Sub(c.quietAt) >= c.config.IdleTimeout:
		c.part(ClosedByIdleTimeout)
		return
	}
	if c.leaving == parted && now.Sub(c.partAt) >= partingPause {
		why := ClosedByAge
		if c.draining() {
			why = ClosedByDrain
		}
		c.part(why)
	}
	if c.tooOld() {
		c.drain()
	}
	c.wind()
}

// look ends what takes too long: the connection, if the client takes none of what waits for it, or single streams.
func (c *h2Server) look(now mono.Time) {
	if stalled(c.unsent() > 0, c.took != c.seen, &c.stalledAt, now) >= c.config.SendTimeout {
		c.fail(errSendTimeout)
		return
	}
	c.seen = c.took
	filled := c.filled()
	for id, s := range c.streams {
		if c.dead || c.ending {
			return
		}
		l := s.lane
		queued := c.codec.Queued(id)
		moved := l.given - int64(queued)
		if stalled(c.codec.Shut(id), moved != l.moved, &l.stalledAt, now) >= c.config.SendTimeout {
			c.codec.Reset(&c.out, c.w.Bufs, id, h2.Cancel)
			c.flushLater()
			c.failStream(s, errClientGone)
			continue
		}
		l.moved = moved
		if filled {
			l.window, l.windowAt = 0, now
			continue
		}
		c.checkRate(s, now)
	}
}

// filled tells that bodies which we hold take so much of the connection's window that the client may be unable to send others.
func (c *h2Server) filled() bool {
	held := 0
	for _, s := range c.streams {
		held += s.lane.inbox.Len()
	}
	return held >= c.config.H2.ConnWindow/2
}

// checkRate refuses a request whose body comes too slowly, as HTTP/1's connection does.
func (c *h2Server) checkRate(s *Stream, now mono.Time) {
	l := s.lane
	if s.received || l.inEnd || s.paused || s.expects || s.complete || l.tunnel {
		l.window, l.windowAt = 0, now
		return
	}
	if now.Sub(l.windowAt) < c.config.BodyWindow {
		return
	}
	least := max(1, c.config.BodyRateMin*c.config.BodyWindow.Milliseconds()/1000)
	if l.window < least {
		s.receiver.Failed(s, refuseBodyRate)
		return
	}
	l.window, l.windowAt = 0, now
}

// stalled returns for how long something has waited without moving.
func stalled(waits, moved bool, since *mono.Time, now mono.Time) time.Duration {
	if !waits || moved || *since == 0 {
		*since = now
		return 0
	}
	return now.Sub(*since)
}
