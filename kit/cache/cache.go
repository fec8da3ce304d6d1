package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Source says where an answer came from.
type Source uint8

const (
	Local  Source = iota + 1 // the first level, in this process
	Shared                   // the second level, Redis
	Loader                   // Load was called
	Stale                    // older than it may be, because nothing newer could be had
	Stub                     // made by Config.Stub, because nothing at all could be had
)

var sources = [...]string{Local: "l1", Shared: "l2", Loader: "loader", Stale: "stale", Stub: "stub"}

// String returns l1, l2, loader, stale or stub.
func (s Source) String() string {
	if int(s) < len(sources) && sources[s] != "" {
		return sources[s]
	}
	return fmt.Sprintf("source %d", uint8(s))
}

// Makeshift tells whether an answer is Stale or Stub, for which no bound of staleness holds but StaleFor.
func (s Source) Makeshift() bool { return s == Stale || s == Stub }

// Value is an answer. Several callers get the same V: what it points to is not for changing.
type Value[V any] struct {
	Value   V
	Source  Source
	Age     time.Duration // since the load began that brought it, 0 of a Stub
	Version uint64        // as Load said
}

var (
	// ErrNotFound says that there is nothing of a key. Load returns it, or an error that wraps it, and Get does.
	ErrNotFound = errors.New("cache: not found")
	// ErrClosed says that the cache was closed.
	ErrClosed = errors.New("cache: closed")
	// ErrBehind says that Load brought, until LoadTimeout, nothing but a version older than one that an event told of: its source lags behind.
	ErrBehind = errors.New("cache: the source is behind a version that is known")
	// ErrLoadsFull says that LoadsMax loads are under way, and none ended in time.
	ErrLoadsFull = errors.New("cache: too many loads at once")
)

// PanicError is the error of a Load that panicked.
type PanicError struct {
	Value any // what it panicked with; nil if it called runtime.Goexit
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns what it panicked with, if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Cache is a cache in three levels. It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	// Frozen.
	cfg   Config[K, V]
	bound time.Duration
	now   func() mono.Time
	link  *link // nil without Redis

	local    *local[K, V]
	loads    chan struct{} // a place for each load
	counts   counts
	epoch    atomic.Uint64 // records of an older one may be old
	followed atomic.Int64  // mono.Time: the feed was read to its end; 0 for not yet

	given   given // numbers of the feed
	feed    feed  // of the follower
	base    context.Context
	cancel  context.CancelFunc
	ended   chan struct{} // the follower has
	running struct {
		sync.Mutex
		closed  bool
		flights sync.WaitGroup
	}
}

// New makes a cache. The error names each field of cfg that is wrong. Redis is connected to in the background, and waited for for two timeouts at most: that it
// cannot be reached is no error.
func New[K comparable, V any](cfg Config[K, V]) (*Cache[K, V], error) {
	c, err := prepare(cfg, mono.Now)
	if err != nil {
		return nil, err
	}
	if c.link == nil {
		close(c.ended)
		return c, nil
	}
	ready := make(chan struct{})
	go c.follow(ready)
	patience := time.NewTimer(2 * c.cfg.Redis.Timeout)
	defer patience.Stop()
	select {
	case <-ready:
	case <-patience.C:
	}
	return c, nil
}

// prepare makes a cache that does not follow the feed yet.
func prepare[K comparable, V any](cfg Config[K, V], now func() mono.Time) (*Cache[K, V], error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Cache[K, V]{
		cfg: cfg, now: now, loads: make(chan struct{}, cfg.LoadsMax), ended: make(chan struct{}),
		bound: max(cfg.LocalTTL, cfg.LoadTimeout+cfg.Redis.Timeout),
	}
	if c.local, err = newLocal[K, V](cfg.LocalBytesMax, cfg.LocalTTL+cfg.StaleFor); err != nil {
		return nil, fmt.Errorf("cache: making the first level: %w", err)
	}
	if len(cfg.Redis.Addresses) > 0 {
		c.link = newLink(cfg.Redis, cfg.Name, c.announced)
	}
	c.base, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Close ends loads and goroutines, and waits for them; for a Load that does not heed its context it does not wait. Callers that wait get ErrClosed.
func (c *Cache[K, V]) Close() {
	c.running.Lock()
	first := !c.running.closed
	c.running.closed = true
	c.running.Unlock()
	c.cancel()
	<-c.ended
	c.running.flights.Wait()
	if first {
		c.local.entries.StopAllGoroutines()
		c.local.entries.InvalidateAll()
		if c.link != nil {
			c.link.close()
		}
	}
}

// Get returns the value of a key, from the nearest level that has it. If there is none, the error is ErrNotFound; otherwise an error wraps what Load returned
// (context.DeadlineExceeded after LoadTimeout, a *PanicError), or is ErrLoadsFull, ErrKey, ErrClosed. If ctx ends first, its error is returned, and what was begun for this caller goes on for others.
// Values of ctx reach Load, its end does not.
func (c *Cache[K, V]) Get(ctx context.Context, key K) (Value[V], error) {
	now := c.now()
	if e, ok := c.local.entries.GetIfPresent(key); ok && e.fresh(now, c.local.era.Load()) {
		c.counts.hits.inc()
		if now >= e.refresh && e.refreshing.CompareAndSwap(false, true) {
			c.renew(ctx, key)
		}
		return c.answer(e, now)
	}
	return c.miss(ctx, key)
}

// answer is that of an entry of the first level.
func (c *Cache[K, V]) answer(e *entry[V], now mono.Time) (Value[V], error) {
	v := Value[V]{Value: e.value, Source: e.source, Version: e.version}
	if e.source != Stub {
		v.Age = now.Sub(e.begun)
	}
	if e.source.Makeshift() {
		c.countMakeshift(e.source)
	}
	if e.absent {
		return v, ErrNotFound
	}
	return v, nil
}

func (c *Cache[K, V]) countMakeshift(s Source) {
	if s == Stale {
		c.counts.stale.Add(1)
	} else {
		c.counts.stubs.Add(1)
	}
}

func (c *Cache[K, V]) miss(ctx context.Context, key K) (Value[V], error) {
	c.counts.misses.Add(1)
	if err := ctx.Err(); err != nil {
		return Value[V]{}, err
	}
	f, err := c.board(ctx, key)
	if err != nil {
		return Value[V]{}, err
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return Value[V]{}, ctx.Err()
	}
	if f.value.Source.Makeshift() {
		c.countMakeshift(f.value.Source)
	}
	return f.value, f.err
}

// renew has a value that is in use loaded again before its end.
func (c *Cache[K, V]) renew(ctx context.Context, key K) {
	_, _ = c.board(ctx, key) // nobody waits; the value is still good
}

// board returns the flight of a key, which is begun if there is none.
func (c *Cache[K, V]) board(ctx context.Context, key K) (*flight[K, V], error) {
	name, err := c.name(key)
	if err != nil {
		return nil, err
	}
	c.running.Lock()
	if c.running.closed {
		c.running.Unlock()
		return nil, ErrClosed
	}
	c.running.flights.Add(1)
	c.running.Unlock()
	f, made := c.local.join(key, func() *flight[K, V] {
		return &flight[K, V]{key: key, name: name, done: make(chan struct{}), era: c.local.era.Load()}
	})
	if !made {
		c.running.flights.Done()
		c.counts.joined.Add(1)
		return f, nil
	}
	go func() {
		defer c.running.flights.Done()
		c.fly(context.WithoutCancel(ctx), f)
	}()
	return f, nil
}
