package quotas

import (
	"context"
	"slices"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/quota"
)

// batch is what one round trip is about. Owned by a link's goroutine, and used again for the next.
type batch struct {
	cells   []*cell // of the first calls
	tables  []*Table
	calls   []call
	replies []reply
	sent    mono.Time
}

// round makes one round trip, if there is a reason to, and tells whether there may be another.
func (l *Link) round() (more bool) {
	now := mono.Now()
	if l.unreachable.Load() && now < l.retryAt {
		return false
	}
	b := &l.batch
	more = l.gather(b, now)
	if len(b.calls) == 0 {
		return false
	}
	err := l.ask(b)
	now = mono.Now()
	if err != nil {
		l.lose(err, now)
		for _, c := range b.cells {
			if c.account != nil {
				c.account.Failed()
			}
			l.sendHome(c, c.asked, now)
			c.forgetAsked()
		}
		return false
	}
	l.reach(now)
	for i, c := range b.cells {
		l.settle(c, &b.replies[i], now)
	}
	for i, t := range b.tables {
		if r := b.replies[len(b.cells)+i]; r.err == nil && len(r.numbers) == 1 {
			t.nodes.Store(r.numbers[0])
		}
	}
	return more
}

// gather fills the batch from the queue.
func (l *Link) gather(b *batch, now mono.Time) (more bool) {
	l.mu.Lock()
	n := min(len(l.mu.queue), batchMax)
	b.cells = append(b.cells[:0], l.mu.queue[:n]...)
	l.mu.queue = slices.Delete(l.mu.queue, 0, n)
	more = len(l.mu.queue) > 0
	tables := slices.Clone(l.mu.tables)
	leaving := l.mu.leaving
	l.mu.leaving = nil
	l.mu.Unlock()

	b.calls, b.tables = b.calls[:0], b.tables[:0]
	for _, c := range b.cells {
		c.queued.Store(false)
		b.calls = append(b.calls, l.report(c, now))
	}
	for _, t := range tables {
		// The sign of life is also how a Redis that was gone is tried again.
		if now >= t.enrolAt || l.unreachable.Load() {
			t.enrolAt = now.Add(enrolPause)
			b.tables = append(b.tables, t)
			b.calls = append(b.calls, l.enrol(t, "0"))
		}
	}
	for _, t := range leaving {
		l.giveBack(b, t, now)
	}
	return more
}

// ask makes the round trip.
func (l *Link) ask(b *batch) error {
	b.sent = mono.Now()
	b.replies = append(b.replies[:0], make([]reply, len(b.calls))...)
	if l.client == nil {
		client, err := dial(&l.settings)
		if err != nil {
			return err
		}
		l.client = client
	}
	ctx, cancel := context.WithTimeout(context.Background(), l.settings.Timeout)
	defer cancel()
	l.trips.Add(1)
	err := l.client.do(ctx, b.calls, b.replies)
	l.took.Store(int64(mono.Now().Sub(b.sent)))
	return err
}

// report is the call for a cell. Who waits there now is asked for by it.
func (l *Link) report(c *cell, now mono.Time) call {
	t := c.table
	at := t.terms.Load()
	t.counts.reports.Add(1)
	if c.account == nil {
		c.asked = c.takeWaiting(c.asked[:0])
		n := int64(0)
		for _, w := range c.asked {
			n += w.cost
		}
		return call{l.scripts.admit, c.key, []string{decimal(at.rule.Per.Microseconds()), decimal(at.rule.Count), decimal(n)}}
	}
	c.expire(now)
	c.account.SetRule(at.rule, at.credits)
	f := c.facts()
	c.asked = c.takeWaiting(c.asked[:0])
	f.Waiting = 0
	for _, w := range c.asked {
		f.Waiting += w.cost
	}
	back := c.takeOut(c.account.Surplus(now, f))
	f.Held = c.held.Load()
	return l.settleCall(c, c.account.Report(now, l.serial.Add(1), f, back))
}

func (l *Link) settleCall(c *cell, r quota.Report) call {
	known := "0"
	if r.Known {
		known = "1"
	}
	return call{l.scripts.settle, c.key, []string{
		decimal(r.Terms.Fill), decimal(r.Terms.Token), decimal(r.Terms.Burst), decimal(r.Lease),
		l.name, decimal(r.Account), decimal(r.Serial),
		decimal(r.Granted), decimal(r.Spent), decimal(r.Owed), decimal(r.Settled), decimal(r.Want), known,
	}}
}

// takeOut takes up to n tokens out of the cell.
func (c *cell) takeOut(n int64) int64 {
	for n > 0 {
		held := c.held.Load()
		n = min(n, held)
		if n <= 0 || c.held.CompareAndSwap(held, held-n) {
			break
		}
	}
	return max(n, 0)
}

func (l *Link) enrol(t *Table, leaving string) call {
	return call{l.scripts.enrol, t.nodesKey(), []string{l.name, decimal(enrolKept.Milliseconds()), leaving}}
}

// settle takes the store's answer for a cell.
func (l *Link) settle(c *cell, r *reply, now mono.Time) {
	t := c.table
	defer c.forgetAsked()
	if c.account == nil {
		l.settleExact(c, r, now)
		return
	}
	if r.err != nil || len(r.numbers) != 6 {
		t.counts.errors.Add(1)
		c.account.Failed()
		l.sendHome(c, c.asked, now)
		return
	}
	n := r.numbers
	a := quota.Answer{Stale: n[0] == 1, Granted: n[1], Nodes: n[2], Wait: n[3], Free: n[4], Lost: n[5] == 1}
	if a.Lost {
		t.counts.lost.Add(1)
		l.forgot(now)
	}
	add := c.account.Answered(now, a)
	c.there.Store(a.Free)
	c.few.Store(c.account.Low())
	c.free.Store(int64(c.account.FreeAt()))
	c.again.Store(int64(c.account.AgainAt()))
	c.good.Store(int64(c.account.Good()))
	if a.Stale {
		l.sendHome(c, c.asked, now)
		return
	}
	// Who waited is served first, before others see what came.
	at := t.terms.Load()
	for i := range c.asked {
		w := &c.asked[i]
		if w.served = w.cost <= add; w.served {
			add -= w.cost
		}
	}
	c.held.Add(add)
	for _, w := range c.asked {
		l.waiting.Add(-1)
		if !w.served {
			_, w.served = c.spend(now, w.cost)
		}
		w.tell(quota.Verdict{Verdict: c.numbers(at, now, w.served), By: quota.Store})
	}
	if c.account.Due(now, c.facts()) {
		l.enqueue(c)
	}
}

// settleExact takes the store's answer for a cell of an exact rule: the first so many are admitted.
func (l *Link) settleExact(c *cell, r *reply, now mono.Time) {
	if r.err != nil || len(r.numbers) != 3 {
		c.table.counts.errors.Add(1)
		l.sendHome(c, c.asked, now)
		return
	}
	at := c.table.terms.Load()
	admitted, used, wait := r.numbers[0], r.numbers[1], r.numbers[2]
	c.there.Store(max(at.rule.Count-used, 0))
	if wait > 0 {
		// Nothing frees a place before the oldest request leaves the window: until then nobody needs to be asked.
		until := int64(now.Add(microseconds(wait)))
		c.free.Store(until)
		c.again.Store(until)
	}
	for _, w := range c.asked {
		l.waiting.Add(-1)
		ok := w.cost <= admitted
		if ok {
			admitted -= w.cost
		}
		w.tell(quota.Verdict{Verdict: c.numbers(at, now, ok), By: quota.Store})
	}
}

func (c *cell) forgetAsked() {
	clear(c.asked)
	c.asked = c.asked[:0]
}

// giveBack adds to the batch what is to be said of a rule that no configuration has any more. Whether it arrives is not known: else
// the leases end by themselves.
func (l *Link) giveBack(b *batch, t *Table, now mono.Time) {
	b.calls = append(b.calls, l.enrol(t, "1"))
	if t.exact || t.terms.Load() == nil {
		return
	}
	l.scratch = t.each(l.scratch, func(c *cell) {
		held := c.held.Swap(0)
		if held == 0 || len(b.calls) >= 4*batchMax {
			if held > 0 {
				c.account.Discard(held)
			}
			return
		}
		f := c.facts()
		f.Waiting = 0
		b.calls = append(b.calls, l.settleCall(c, c.account.Report(now, l.serial.Add(1), f, held)))
		c.account.Failed() // nobody looks at the answer
	})
}

// finish ends the goroutine's work: what is in hand is given back if Redis can be reached.
func (l *Link) finish() {
	l.mu.Lock()
	l.mu.leaving = append(l.mu.leaving, l.mu.tables...)
	tables := l.mu.tables
	l.mu.tables = nil
	l.mu.Unlock()
	if !l.unreachable.Load() {
		l.round()
	}
	if !l.unreachable.Load() {
		l.closed = true
		l.unreachable.Store(true)
	}
	now := mono.Now()
	for _, t := range tables {
		l.scratch = t.each(l.scratch, func(c *cell) { l.sendHome(c, nil, now) })
	}
	if l.client != nil {
		l.client.close()
		l.client = nil
	}
}

func microseconds(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
