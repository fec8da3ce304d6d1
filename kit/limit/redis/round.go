package redis

import (
	"slices"
	"strconv"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/policy/quota"
)

// batch is what one round trip is about. Owned by a store's goroutine, and used again for the next.
type batch struct {
	cells   []*cell // of the first calls
	sources []*source
	calls   []call
	replies []reply
}

// round makes one round trip, if there is a reason to, and tells whether there may be another.
func (s *Store) round() (more bool) {
	now := mono.Now()
	if s.unreachable.Load() && now < s.retryAt {
		return false
	}
	b := &s.batch
	more = s.gather(b, now)
	if len(b.calls) == 0 {
		return false
	}
	err := s.ask(b)
	now = mono.Now()
	if err != nil {
		s.lose(err, now)
		for _, c := range b.cells {
			if c.account != nil {
				c.account.Failed()
			}
			s.sendHome(c, c.asked, now)
			c.forgetAsked()
		}
		return false
	}
	s.reach()
	for i, c := range b.cells {
		s.settle(c, &b.replies[i], now)
	}
	for i, of := range b.sources {
		if r := b.replies[len(b.cells)+i]; r.err == nil && len(r.numbers) == 1 {
			of.nodes.Store(r.numbers[0])
		}
	}
	return more
}

// gather fills the batch from the queue.
func (s *Store) gather(b *batch, now mono.Time) (more bool) {
	s.mu.Lock()
	n := min(len(s.mu.queue), batchMax)
	b.cells = append(b.cells[:0], s.mu.queue[:n]...)
	s.mu.queue = slices.Delete(s.mu.queue, 0, n)
	more = len(s.mu.queue) > 0
	sources := slices.Clone(s.mu.sources)
	leaving := s.mu.leaving
	s.mu.leaving = nil
	s.mu.Unlock()

	b.calls, b.sources = b.calls[:0], b.sources[:0]
	for _, c := range b.cells {
		c.queued.Store(false)
		b.calls = append(b.calls, s.report(c, now))
	}
	for _, of := range sources {
		// The sign of life is also how a Redis that was gone is tried again.
		if now >= of.enrolAt || s.unreachable.Load() {
			of.enrolAt = now.Add(enrolPause)
			b.sources = append(b.sources, of)
			b.calls = append(b.calls, s.enrol(of, "0"))
		}
	}
	for _, of := range leaving {
		s.giveBack(b, of, now)
	}
	return more
}

// ask makes the round trip.
func (s *Store) ask(b *batch) error {
	begun := mono.Now()
	b.replies = append(b.replies[:0], make([]reply, len(b.calls))...)
	if s.client == nil {
		c, err := dial(&s.cfg)
		if err != nil {
			return err
		}
		s.client = c
	}
	ctx, cancel := s.context()
	defer cancel()
	s.trips.Add(1)
	err := s.client.do(ctx, b.calls, b.replies)
	s.took.Store(int64(mono.Now().Sub(begun)))
	return err
}

// report is the call for a cell. Who waits there now is asked for by it.
func (s *Store) report(c *cell, now mono.Time) call {
	at := c.source.terms.Load()
	if c.account == nil {
		c.asked = c.takeWaiting(c.asked[:0])
		return call{s.scripts.admit, c.key, []string{decimal(at.rule.Per.Microseconds()), decimal(at.rule.Count), decimal(costs(c.asked))}}
	}
	c.expire(now)
	c.account.SetRule(at.rule, at.credits)
	f := c.facts()
	c.asked = c.takeWaiting(c.asked[:0])
	f.Waiting = costs(c.asked)
	back := c.takeOut(c.account.Surplus(now, f))
	f.Held = c.held.Load()
	return s.settleCall(c, c.account.Report(now, s.serial.Add(1), f, back))
}

func (s *Store) settleCall(c *cell, r quota.Report) call {
	known := "0"
	if r.Known {
		known = "1"
	}
	return call{s.scripts.settle, c.key, []string{
		decimal(r.Terms.Fill), decimal(r.Terms.Token), decimal(r.Terms.Burst), decimal(r.Lease),
		s.name, decimal(r.Account), decimal(r.Serial),
		decimal(r.Granted), decimal(r.Spent), decimal(r.Owed), decimal(r.Settled), decimal(r.Want), known,
	}}
}

func (s *Store) enrol(of *source, leaving string) call {
	return call{s.scripts.enrol, "yumen:nodes:{" + of.name + "}", []string{s.name, decimal(enrolKept.Milliseconds()), leaving}}
}

// settle takes the answer for a cell.
func (s *Store) settle(c *cell, r *reply, now mono.Time) {
	defer c.forgetAsked()
	if c.account == nil {
		s.settleExact(c, r, now)
		return
	}
	if r.err != nil || len(r.numbers) != 6 {
		c.account.Failed()
		s.sendHome(c, c.asked, now)
		return
	}
	n := r.numbers
	add := c.account.Answered(now, quota.Answer{Stale: n[0] == 1, Granted: n[1], Nodes: n[2], Wait: n[3], Free: n[4], Lost: n[5] == 1})
	c.there.Store(n[4])
	c.few.Store(c.account.Low())
	c.free.Store(int64(c.account.FreeAt()))
	c.again.Store(int64(c.account.AgainAt()))
	c.good.Store(int64(c.account.Good()))
	if n[0] == 1 {
		s.sendHome(c, c.asked, now)
		return
	}
	// Who waited is served first, before others see what came.
	at := c.source.terms.Load()
	for i := range c.asked {
		w := &c.asked[i]
		if w.served = w.cost <= add; w.served {
			add -= w.cost
		}
	}
	c.held.Add(add)
	for _, w := range c.asked {
		s.waiting.Add(-1)
		if !w.served {
			_, w.served = c.spend(now, w.cost)
		}
		w.answer <- c.numbers(at, now, w.served)
	}
	if c.account.Due(now, c.facts()) {
		s.enqueue(c)
	}
}

// settleExact takes the answer for a cell of an exact limit: the first so many are admitted.
func (s *Store) settleExact(c *cell, r *reply, now mono.Time) {
	if r.err != nil || len(r.numbers) != 3 {
		s.sendHome(c, c.asked, now)
		return
	}
	at := c.source.terms.Load()
	admitted, used, wait := r.numbers[0], r.numbers[1], r.numbers[2]
	c.there.Store(max(at.rule.Count-used, 0))
	if wait > 0 {
		// Nothing frees a place before the oldest request leaves the window: until then nobody needs to be asked.
		until := int64(now.Add(time.Duration(wait) * time.Microsecond))
		c.free.Store(until)
		c.again.Store(until)
	}
	for _, w := range c.asked {
		s.waiting.Add(-1)
		ok := w.cost <= admitted
		if ok {
			admitted -= w.cost
		}
		w.answer <- c.numbers(at, now, ok)
	}
}

// giveBack adds to the batch what is to be said of a limit that nobody asks any more. Whether it arrives is not known: else the leases end
// by themselves.
func (s *Store) giveBack(b *batch, of *source, now mono.Time) {
	b.calls = append(b.calls, s.enrol(of, "1"))
	if of.exact {
		return
	}
	s.scratch = of.each(s.scratch, func(c *cell) {
		held := c.held.Swap(0)
		if held == 0 || len(b.calls) >= 4*batchMax {
			if held > 0 {
				c.account.Discard(held)
			}
			return
		}
		f := c.facts()
		f.Waiting = 0
		b.calls = append(b.calls, s.settleCall(c, c.account.Report(now, s.serial.Add(1), f, held)))
		c.account.Failed() // nobody looks at the answer
	})
}

func costs(list []waiter) (n int64) {
	for _, w := range list {
		n += w.cost
	}
	return n
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

var _ limit.Store = (*Store)(nil)
