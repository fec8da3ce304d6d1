package redis

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/policy/quota"
)

// Config says which Redis, and how to reach it.
type Config struct {
	Address  string // host:port; of a cluster, any of its nodes
	Username string
	Password string
	Database int
	TLS      *tls.Config // nil means none
	// Timeout is for one round trip, and for connecting, from 1 ms to 1 s (an answer that comes later is worth nothing); 0
	// means 100 ms, which is many times what Redis takes in a data centre. No request waits longer than two of them.
	Timeout time.Duration
	// Logger is told when Redis can no longer be reached, and when it can again; nil means slog.Default().
	Logger *slog.Logger
}

const (
	timeoutDefault = 100 * time.Millisecond
	timeoutMin     = time.Millisecond
	timeoutMax     = time.Second // below the lease

	// batchMax is how many keys are asked for in one round trip: some 60 kB, and a few milliseconds of Redis.
	batchMax = 256
	// waitersMax is how many requests wait at a time; more are judged as if Redis could not be reached.
	waitersMax = 8192
	// tickPause is the time between two looks at what is in hand.
	tickPause = 50 * time.Millisecond
	// enrolPause is the time between two signs of life, enrolKept how long one is believed.
	enrolPause = time.Second
	enrolKept  = 5 * time.Second
	// backoffMin and backoffMax bound the time between two tries to reach Redis. A part of it is random, so that processes do
	// not come all at once.
	backoffMin = 100 * time.Millisecond
	backoffMax = time.Second
)

// Store is one Redis. It is safe for concurrent use.
type Store struct {
	cfg     Config
	scripts scripts
	node    uint64       // this run of this process, for the ledgers
	name    string       // the same as text
	serial  atomic.Int64 // of reports and accounts

	// Published.
	unreachable atomic.Bool
	waiting     atomic.Int64
	trips       atomic.Uint64
	failures    atomic.Uint64
	took        atomic.Int64 // the last round trip, in ns

	wakeup chan struct{}
	stop   chan struct{}
	done   chan struct{}

	mu struct {
		sync.Mutex
		queue   []*cell
		sources []*source
		leaving []*source
		closed  bool
		trouble error
	}

	// Owned by the goroutine.
	client  *client
	pause   time.Duration
	retryAt mono.Time
	batch   batch
	scratch []*cell
}

// Open makes a Store and begins to connect in the background. The error names what is wrong with cfg; that Redis cannot be reached is
// none.
func Open(cfg Config) (*Store, error) {
	var wrong []error
	if cfg.Address == "" {
		wrong = append(wrong, errors.New("limit/redis: Address: write host:port"))
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = timeoutDefault
	}
	if cfg.Timeout < timeoutMin || cfg.Timeout > timeoutMax {
		wrong = append(wrong, fmt.Errorf("limit/redis: Timeout: %v is not between %v and %v", cfg.Timeout, timeoutMin, timeoutMax))
	}
	if cfg.Database < 0 {
		wrong = append(wrong, fmt.Errorf("limit/redis: Database: %d is below 0", cfg.Database))
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	var id [8]byte
	rand.Read(id[:])
	s := &Store{
		cfg: cfg, scripts: newScripts(), node: binary.LittleEndian.Uint64(id[:]) >> 1,
		wakeup: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	s.name = strconv.FormatUint(s.node, 10)
	go s.run()
	return s, nil
}

// Close gives back what is in hand, if Redis can be reached, and ends the goroutine. It takes two timeouts at most. Limits that
// are asked after it are judged as if Redis could not be reached.
func (s *Store) Close() {
	s.mu.Lock()
	if !s.mu.closed {
		s.mu.closed = true
		close(s.stop)
	}
	s.mu.Unlock()
	<-s.done
}

// Stats are numbers of a Store since it was opened.
type Stats struct {
	Reachable bool
	Trouble   error         // why the last round trip failed that did; nil if none has
	Trips     uint64        // round trips
	Failures  uint64        // those that failed, and connections that could not be made
	Took      time.Duration // the last round trip
	Waiting   int           // requests that wait for an answer now
}

// Stats returns the numbers.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	trouble := s.mu.trouble
	s.mu.Unlock()
	return Stats{
		Reachable: !s.unreachable.Load(), Trouble: trouble, Trips: s.trips.Load(), Failures: s.failures.Load(),
		Took: time.Duration(s.took.Load()), Waiting: int(s.waiting.Load()),
	}
}

// Attach is for limit.New.
func (s *Store) Attach(shared limit.Shared) (limit.Source, error) {
	at, err := compile(shared)
	if err != nil {
		return nil, err
	}
	of := newSource(s, shared)
	of.terms.Store(at)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return nil, errors.New("limit/redis: the store is closed")
	}
	s.mu.sources = append(s.mu.sources, of)
	s.signal()
	return of, nil
}

func (s *Store) detach(of *source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.mu.sources, of); i >= 0 {
		s.mu.sources = slices.Delete(s.mu.sources, i, i+1)
		s.mu.leaving = append(s.mu.leaving, of)
		s.signal()
	}
}

func (s *Store) signal() {
	select {
	case s.wakeup <- struct{}{}:
	default:
	}
}

// enqueue has a cell reported in the next round. The lock is held for an append.
func (s *Store) enqueue(c *cell) {
	if s.unreachable.Load() || !c.queued.CompareAndSwap(false, true) {
		return
	}
	s.mu.Lock()
	s.mu.queue = append(s.mu.queue, c)
	s.mu.Unlock()
	s.signal()
}

// sendHome judges all who wait at a cell without Redis.
func (s *Store) sendHome(c *cell, asked []waiter, now mono.Time) {
	for _, w := range c.takeWaiting(asked) {
		s.waiting.Add(-1)
		w.answer <- c.source.without(c, now, w.cost, limit.Unreachable)
	}
}

// run is the goroutine.
func (s *Store) run() {
	defer close(s.done)
	ticker := time.NewTicker(tickPause)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			s.finish()
			return
		case <-ticker.C:
			s.tick(mono.Now())
		case <-s.wakeup:
		}
		for s.round() {
			select {
			case <-ticker.C:
				s.tick(mono.Now())
			default:
			}
		}
	}
}

// tick looks at everything in hand: what is not good any more is taken out, what is not needed given back, who is idle
// forgotten.
func (s *Store) tick(now mono.Time) {
	s.mu.Lock()
	sources := slices.Clone(s.mu.sources)
	s.mu.Unlock()
	for _, of := range sources {
		at := of.terms.Load()
		s.scratch = of.each(s.scratch, func(c *cell) { s.look(c, at, now) })
	}
}

func (s *Store) look(c *cell, at *terms, now mono.Time) {
	if seen := c.seen.Load(); seen != c.lastSeen {
		c.lastSeen, c.lastUse = seen, now
	}
	idle := now.Sub(c.lastUse) >= quota.Lease
	if c.account == nil {
		if idle && int64(now) >= c.again.Load() {
			c.source.take(c)
		}
		return
	}
	c.expire(now)
	f := c.facts()
	c.account.Look(now, f)
	switch {
	case idle && (c.account.Idle(now, f) || s.unreachable.Load() && f.Held == 0 && now.Sub(c.lastUse) >= at.rule.FillTime()):
		// While nobody can be told, debts of keys whose share is full again are forgotten: the bound has them.
		c.source.take(c)
	case c.account.Due(now, f):
		s.enqueue(c)
	}
}

// lose is called when a round has failed: Redis is unreachable until one succeeds.
func (s *Store) lose(err error, now mono.Time) {
	s.failures.Add(1)
	s.pause = min(max(2*s.pause, backoffMin), backoffMax)
	s.retryAt = now.Add(s.pause - s.pause/4 + time.Duration(randomBelow(int64(s.pause/2))))
	s.mu.Lock()
	s.mu.trouble = err
	sources := slices.Clone(s.mu.sources)
	s.mu.Unlock()
	if !s.unreachable.Load() {
		for _, of := range sources {
			if at := of.terms.Load(); !of.exact && at.shared.OnUnreachable == limit.LocalShare {
				empty := of.ownShare(at).Empty(now)
				s.scratch = of.each(s.scratch, func(c *cell) {
					if c.good.Load() != 0 { // Redis has granted its share already
						c.share.Store(uint64(empty))
					}
				})
			}
		}
		s.unreachable.Store(true)
		s.cfg.Logger.Warn("redis cannot be reached, limits are judged without it", "address", s.cfg.Address, "error", err)
	}
	s.mu.Lock()
	queue := s.mu.queue
	s.mu.queue = nil
	s.mu.Unlock()
	for _, c := range queue {
		c.queued.Store(false)
		s.sendHome(c, nil, now)
	}
}

// reach is called when a round has succeeded.
func (s *Store) reach() {
	s.pause = 0
	if s.unreachable.CompareAndSwap(true, false) {
		s.cfg.Logger.Info("redis can be reached again", "address", s.cfg.Address)
	}
}

// finish ends the goroutine's work: what is in hand is given back if Redis can be reached.
func (s *Store) finish() {
	s.mu.Lock()
	sources := s.mu.sources
	s.mu.leaving = append(s.mu.leaving, sources...)
	s.mu.sources = nil
	s.mu.Unlock()
	if !s.unreachable.Load() && s.client != nil {
		s.round()
	}
	s.unreachable.Store(true)
	now := mono.Now()
	for _, of := range sources {
		s.scratch = of.each(s.scratch, func(c *cell) { s.sendHome(c, nil, now) })
	}
	if s.client != nil {
		s.client.conn.Close()
		s.client = nil
	}
}

func (s *Store) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), s.cfg.Timeout)
}

func randomBelow(n int64) int64 {
	var b [8]byte
	rand.Read(b[:])
	return int64(binary.LittleEndian.Uint64(b[:])>>1) % max(n, 1)
}
