package quotas

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/quota"
)

const (
	// batchMax is how many keys are asked for in one round trip: some 60 kB, and a few milliseconds of Redis.
	batchMax = 256
	// waitersMax is how many requests wait for one Redis at a time; each holds its head and a stream. More are judged as if Redis
	// could not be reached.
	waitersMax = 8192
	// tickPause is the time between two looks at what is in hand.
	tickPause = 50 * time.Millisecond
	// enrolPause is the time between two signs of life, enrolKept how long one is believed.
	enrolPause = time.Second
	enrolKept  = 5 * time.Second
	// backoffMin and backoffMax bound the time between two tries to reach Redis. A part of it is random, so that nodes do not
	// come all at once.
	backoffMin = 100 * time.Millisecond
	backoffMax = time.Second
	// outagesKept is how many outages are remembered for the bound.
	outagesKept = 32
)

// Link is one Redis. One goroutine, from Start to Close, makes all round trips; whoever asks leaves cells in its queue. Whoever keeps it
// starts and closes it.
type Link struct {
	settings Settings
	logger   *slog.Logger
	scripts  scripts
	node     uint64       // this run of this process, for the ledgers
	name     string       // the same as text
	serial   atomic.Int64 // of reports and accounts

	// Published.
	unreachable atomic.Bool
	waiting     atomic.Int64
	wakeup      chan struct{}
	trips       atomic.Uint64
	failures    atomic.Uint64
	took        atomic.Int64 // the last round trip

	mu struct {
		sync.Mutex
		queue   []*cell
		tables  []*Table
		leaving []*Table
		stop    chan struct{}
		done    chan struct{}
		trouble error
		since   mono.Time // of the state
		outages []outage
		losses  []mono.Time // when the store was seen to have forgotten
	}

	// Owned by the goroutine.
	client  *client
	pause   time.Duration
	retryAt mono.Time
	closed  bool // it ended while Redis could be reached, and nobody may wait for it meanwhile
	refused bool // the last failure told of was an answer
	batch   batch
	scratch []*cell
}

// outage is a time in which Redis could not be reached.
type outage struct{ from, to mono.Time } // to: mono.Never while it lasts

// NewLink makes a link, which does nothing until Start. A timeout of 0 means TimeoutDefault, a logger that is nil slog.Default().
func NewLink(s Settings, logger *slog.Logger) *Link {
	if s.Timeout == 0 {
		s.Timeout = TimeoutDefault
	}
	if logger == nil {
		logger = slog.Default()
	}
	var id [8]byte
	rand.Read(id[:])
	l := &Link{settings: s, logger: logger, scripts: newScripts(), node: binary.LittleEndian.Uint64(id[:]) >> 1, wakeup: make(chan struct{}, 1)}
	l.name = decimal(int64(l.node))
	return l
}

// Start begins the goroutine. It may follow Close.
func (l *Link) Start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.mu.done
	stop, done := make(chan struct{}), make(chan struct{})
	l.mu.stop, l.mu.done, l.mu.since = stop, done, mono.Now()
	go func() {
		if before != nil {
			<-before
		}
		l.run(stop)
		close(done)
	}()
}

// Close ends the goroutine, which gives back what is in hand first, in the background, within two
// timeouts. From then on nobody waits: requests are judged as if Redis could not be reached.
func (l *Link) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.stop != nil {
		close(l.mu.stop)
		l.mu.stop = nil
	}
}

// Ended is closed when the goroutine has ended after Close.
func (l *Link) Ended() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.done
}

func (l *Link) attach(t *Table) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.leaving = slices.DeleteFunc(l.mu.leaving, func(o *Table) bool { return o == t })
	if !slices.Contains(l.mu.tables, t) {
		l.mu.tables = append(l.mu.tables, t)
	}
	l.signal()
}

func (l *Link) detach(t *Table) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.tables = slices.DeleteFunc(l.mu.tables, func(o *Table) bool { return o == t })
	l.mu.leaving = append(l.mu.leaving, t)
	l.signal()
}

func (l *Link) signal() {
	select {
	case l.wakeup <- struct{}{}:
	default:
	}
}

// enqueue has a cell reported in the next round. From any goroutine; the lock is held for an append.
func (l *Link) enqueue(c *cell) {
	if l.unreachable.Load() || !c.queued.CompareAndSwap(false, true) {
		return
	}
	l.mu.Lock()
	l.mu.queue = append(l.mu.queue, c)
	l.mu.Unlock()
	l.signal()
}

// admitWaiter counts one more that waits, unless there are too many.
func (l *Link) admitWaiter() bool {
	if l.waiting.Add(1) <= waitersMax {
		return true
	}
	l.waiting.Add(-1)
	return false
}

// sendHome judges all who wait at a cell without the store.
func (l *Link) sendHome(c *cell, asked []waiter, now mono.Time) {
	for _, w := range c.takeWaiting(asked) {
		l.waiting.Add(-1)
		w.tell(c.table.without(c, now, w.cost, quota.Policy))
	}
}

// run is the goroutine.
func (l *Link) run(stop <-chan struct{}) {
	if l.closed {
		l.closed = false
		l.unreachable.Store(false)
	}
	ticker := time.NewTicker(tickPause)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			l.finish()
			return
		case <-ticker.C:
			l.tick(mono.Now())
		case <-l.wakeup:
		}
		for l.round() {
			select {
			case <-ticker.C:
				l.tick(mono.Now())
			default:
			}
		}
	}
}

// tick looks at everything in hand: what is not good any more is taken out, what is not needed given back, who is idle
// forgotten.
func (l *Link) tick(now mono.Time) {
	l.mu.Lock()
	tables := slices.Clone(l.mu.tables)
	l.mu.Unlock()
	for _, t := range tables {
		at := t.terms.Load()
		if at == nil {
			continue
		}
		l.scratch = t.each(l.scratch, func(c *cell) { l.look(c, at, now) })
	}
}

func (l *Link) look(c *cell, at *terms, now mono.Time) {
	if seen := c.seen.Load(); seen != c.lastSeen {
		c.lastSeen, c.lastUse = seen, now
	}
	idle := now.Sub(c.lastUse) >= quota.Lease
	if c.account == nil {
		if idle && int64(now) >= c.again.Load() {
			c.table.take(c)
		}
		return
	}
	c.expire(now)
	f := c.facts()
	c.account.Look(now, f)
	switch {
	case idle && (c.account.Idle(now, f) || l.unreachable.Load() && f.Held == 0 && now.Sub(c.lastUse) >= at.rule.FillTime()):
		// While nobody can be told, debts of keys whose share is full again are forgotten: the bound has them.
		c.table.take(c)
	case c.account.Due(now, f):
		l.enqueue(c)
	}
}

// expire takes out what is in hand and not good any more.
func (c *cell) expire(now mono.Time) {
	if int64(now) >= c.good.Load() {
		if n := c.held.Swap(0); n > 0 {
			c.account.Discard(n)
		}
	}
}

// lose is called when a round has failed: Redis is unreachable until one succeeds.
func (l *Link) lose(err error, now mono.Time) {
	l.failures.Add(1)
	l.pause = min(max(2*l.pause, backoffMin), backoffMax)
	l.retryAt = now.Add(l.pause - l.pause/4 + time.Duration(randomBelow(int64(l.pause/2))))

	l.mu.Lock()
	l.mu.trouble = err
	first := !l.unreachable.Load()
	// A line for an outage, and one more where a Redis that did not answer begins to refuse, as one does that has another password
	// now: that is for somebody to mend.
	var answer *rueidis.RedisError
	if refused := errors.As(err, &answer); first || refused != l.refused {
		l.refused = refused
		l.logger.Warn("Redis cannot be used: limits shared through it are judged without it", "address", l.settings.Address, "error", err)
	}
	tables := slices.Clone(l.mu.tables)
	if first {
		l.mu.since = now
		if len(l.mu.outages) == outagesKept {
			l.mu.outages = slices.Delete(l.mu.outages, 0, 1)
		}
		l.mu.outages = append(l.mu.outages, outage{now, mono.Never})
	}
	l.mu.Unlock()
	if first {
		for _, t := range tables {
			if at := t.terms.Load(); at != nil && !t.exact && at.unreachable == LocalShare {
				empty := t.ownShare(at).Empty(now)
				l.scratch = t.each(l.scratch, func(c *cell) {
					if c.good.Load() != 0 { // the store has granted its share already
						c.share.Store(uint64(empty))
					}
				})
			}
		}
		l.unreachable.Store(true)
	}
	l.mu.Lock()
	queue := l.mu.queue
	l.mu.queue = nil
	l.mu.Unlock()
	for _, c := range queue {
		c.queued.Store(false)
		l.sendHome(c, nil, now)
	}
}

// forgot is called when the store did not know a key that it should.
func (l *Link) forgot(now mono.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.mu.losses); n > 0 && now.Sub(l.mu.losses[n-1]) < quota.Lease {
		return // all keys went at once
	}
	if len(l.mu.losses) == outagesKept {
		l.mu.losses = slices.Delete(l.mu.losses, 0, 1)
	}
	l.mu.losses = append(l.mu.losses, now)
}

// reach is called when a round has succeeded.
func (l *Link) reach(now mono.Time) {
	l.pause = 0
	if !l.unreachable.Load() {
		return
	}
	l.mu.Lock()
	l.mu.since = now
	away := now.Sub(l.mu.outages[len(l.mu.outages)-1].from)
	l.mu.outages[len(l.mu.outages)-1].to = now
	l.mu.Unlock()
	l.logger.Info("Redis can be used again", "address", l.settings.Address, "after", away)
	l.unreachable.Store(false)
}

func randomBelow(n int64) int64 {
	var b [8]byte
	rand.Read(b[:])
	return int64(binary.LittleEndian.Uint64(b[:])>>1) % max(n, 1)
}
