package limit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	core "github.com/yumen-io/yumen/policy/limit"
)

// Algorithm is a way to judge. Of a limit of Count per Per, an interval of a length t lets through at most:
type Algorithm uint8

// The algorithms.
const (
	// TokenBucket refuses what is over: t x Count/Per + Burst. It is the default, and with a Store it is shared by leases.
	TokenBucket Algorithm = iota
	// LeakyBucket has what is over wait, up to MaxDelay, and refuses beyond: t x Count/Per + Burst.
	LeakyBucket
	// FixedWindow allows Count in each Per of the process's clock, hence twice as many around the seam of two.
	FixedWindow
	// SlidingWindow allows Count in the last Per, nearly: below twice as many in the worst case. With a Store it is exact: each request
	// is asked for, and no window of that length has more than Count.
	SlidingWindow
	// Concurrency allows Count at a time, and any number over time. Use Take, and Release what it returns.
	Concurrency
)

// String returns the word of documents and logs.
func (a Algorithm) String() string {
	if a > Concurrency {
		return fmt.Sprintf("algorithm %d", a)
	}
	return core.Algorithm(a).String()
}

// Config is the settings of a limit. Count is the only one that has no default.
type Config struct {
	// Name of the limit in refusals, in the RateLimit fields and in a Store, where those who give the same name share the limit. Empty
	// means "default". Printable ASCII without quotes and backslashes, up to 64 bytes.
	Name      string
	Algorithm Algorithm
	// Count requests Per second, minute or hour, from 1 to 10^9 (SlidingWindow: 4,194,303, or 10,000 with a Store); of
	// Concurrency, Count at a time.
	Count int64
	// Per is from 1 s to 1 h; 0 means 1 s. Not of Concurrency.
	Per time.Duration
	// Burst is what a bucket holds: so many pass at once after a pause. 0 means Count for a TokenBucket, since five a minute means
	// to most that five may come together, and 1 for a LeakyBucket, which is there to space requests out. Not of others.
	Burst int64
	// MaxDelay is how long a LeakyBucket has a request wait at most, up to a minute; 0 means 1 s: whoever waits longer has often
	// given up, and holds memory here meanwhile.
	MaxDelay time.Duration
	Mode     Mode
	// KeysMax is about how many keys are counted at a time, 1 to 10^7; 0 means 100,000, which take 6 MB.
	KeysMax int

	// Store shares the limit with other processes; nil means that this process counts alone. Only for TokenBucket and SlidingWindow.
	Store Store
	// OnUnreachable is what becomes of requests while the Store cannot be reached. The default is this process's share.
	OnUnreachable OnUnreachable
	// Nodes is among how many processes the limit is divided at least while the Store cannot be reached, 1 to 128; as many
	// as were seen there last, if those are more. 0 means 1.
	Nodes int

	// OnDecision is called with each decision before it takes effect, on the goroutine that asks; nil means nobody is told.
	OnDecision func(Decision)
	// Clock is the time; nil means time.Now. It is read for each decision, and Set does not change it.
	Clock func() time.Time
}

const (
	keysMaxDefault = 100_000
	keysMaxMax     = 10_000_000
	nodesMax       = 128
	nameMax        = 64
)

// Limiter is a limit. It is safe for concurrent use.
type Limiter struct {
	clock   func() time.Time // nil: time.Now
	epoch   time.Time
	at      atomic.Pointer[settings]
	shadows atomic.Uint64
	alone   atomic.Uint64 // judged without a store that cannot be reached, or is too busy

	mu struct {
		sync.Mutex
		closed bool
	}
}

// settings are a Config as decisions follow it. Frozen, but for the words and the source.
type settings struct {
	cfg    Config
	limit  *core.Limit
	table  *table
	source Source // nil without a store
	policy string // the value of RateLimit-Policy
}

// New makes a limit. The error names each field that is wrong and says what it wants. Close a limit that has a Store; others
// hold nothing.
func New(cfg Config) (*Limiter, error) {
	s, err := compile(cfg)
	if err != nil {
		return nil, err
	}
	l := &Limiter{clock: cfg.Clock}
	clock := cfg.Clock
	if clock == nil {
		clock = time.Now
	}
	l.epoch = clock().Add(-24 * time.Hour) // so that times are positive, also of a clock that goes back
	s.table = newTable()
	if cfg.Store != nil {
		if s.source, err = cfg.Store.Attach(s.shared()); err != nil {
			return nil, fmt.Errorf("limit %s: %w", s.cfg.Name, err)
		}
	}
	l.at.Store(s)
	return l, nil
}

// compile checks cfg and fills in its defaults.
func compile(cfg Config) (*settings, error) {
	var wrong []error
	bad := func(field, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("limit: "+field+": "+format, args...))
	}
	if cfg.Name == "" {
		cfg.Name = "default"
	}
	if !isName(cfg.Name) {
		bad("Name", "%q is not of 1 to %d printable ASCII characters without quotes and backslashes", cfg.Name, nameMax)
	}
	if cfg.Algorithm > Concurrency {
		bad("Algorithm", "%d is none", cfg.Algorithm)
	}
	if cfg.Mode > Shadow {
		bad("Mode", "%d is none", cfg.Mode)
	}
	if cfg.KeysMax == 0 {
		cfg.KeysMax = keysMaxDefault
	}
	if cfg.KeysMax < 1 || cfg.KeysMax > keysMaxMax {
		bad("KeysMax", "%d is not between 1 and %d", cfg.KeysMax, keysMaxMax)
	}
	if cfg.Nodes < 0 || cfg.Nodes > nodesMax {
		bad("Nodes", "%d is not between 1 and %d", cfg.Nodes, nodesMax)
	}
	if cfg.OnUnreachable > RefuseAll {
		bad("OnUnreachable", "%d is none", cfg.OnUnreachable)
	}
	if cfg.Per == 0 && cfg.Algorithm != Concurrency {
		cfg.Per = time.Second
	}
	if cfg.Algorithm == Concurrency && (cfg.Per != 0 || cfg.Burst != 0) {
		bad("Per", "so many at a time have neither a time nor a burst: leave Per and Burst out")
	}
	if cfg.MaxDelay != 0 && cfg.Algorithm != LeakyBucket {
		bad("MaxDelay", "only a LeakyBucket has requests wait")
	}
	if cfg.Store != nil && cfg.Algorithm != TokenBucket && cfg.Algorithm != SlidingWindow {
		bad("Algorithm", "a Store shares a TokenBucket or a SlidingWindow, not a %v", cfg.Algorithm)
	}
	s := &settings{cfg: cfg}
	if cfg.Algorithm <= Concurrency {
		var err error
		s.limit, err = core.New(core.Config{Algorithm: core.Algorithm(cfg.Algorithm), Count: cfg.Count, Per: cfg.Per, Burst: cfg.Burst, MaxDelay: cfg.MaxDelay})
		if e := (*core.Error)(nil); errors.As(err, &e) {
			bad(fields[e.Setting], "%s", e.Cause)
		}
	}
	if wrong != nil {
		return nil, errors.Join(wrong...)
	}
	s.policy = s.policyField()
	return s, nil
}

// fields are those of a Config that the words of a document are about.
var fields = map[string]string{"rate": "Count, Per", "burst": "Burst", "max_delay": "MaxDelay"}

func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != "" && len(s) <= nameMax
}

func (s *settings) shared() Shared {
	c := &s.cfg
	return Shared{
		Name: c.Name, Exact: c.Algorithm == SlidingWindow, Count: c.Count, Per: c.Per, Burst: s.limit.Quota(),
		OnUnreachable: c.OnUnreachable, Nodes: max(c.Nodes, 1), KeysMax: c.KeysMax,
	}
}

// Set has other settings hold from the next decision on. Keys keep what they have used when Count, Burst, MaxDelay, Mode or
// OnDecision change, and begin anew when Algorithm does, or Per of a window. Name and Store stay what they are, and an error says so
// if cfg has others; then nothing has changed.
func (l *Limiter) Set(cfg Config) error {
	s, err := compile(cfg)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.at.Load()
	if s.cfg.Name != old.cfg.Name || s.cfg.Store != old.cfg.Store {
		return errors.New("limit: Name, Store: these stay what they are; make another limit")
	}
	s.table, s.source = old.table, old.source
	is, was := s.cfg.Algorithm, old.cfg.Algorithm
	if s.source != nil {
		if is != was {
			return errors.New("limit: Algorithm: a limit with a Store keeps its own; make another limit")
		}
		if err := s.source.Change(s.shared()); err != nil {
			return fmt.Errorf("limit %s: %w", s.cfg.Name, err)
		}
	}
	if is != was || (is == FixedWindow || is == SlidingWindow) && s.cfg.Per != old.cfg.Per {
		s.table = newTable()
	}
	l.at.Store(s)
	return nil
}

// Close gives back to the Store what this process has in hand. Without a Store it does nothing. The limit must not be used
// after it.
func (l *Limiter) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.at.Load(); s.source != nil && !l.mu.closed {
		l.mu.closed = true
		s.source.Detach()
	}
}

func (l *Limiter) now() mono.Time {
	if l.clock == nil {
		return mono.Time(time.Since(l.epoch)) // reads the monotonic clock alone, which takes half as long
	}
	return mono.Time(l.clock().Sub(l.epoch))
}

// Permit is what Take returns. The zero value is one of which nothing has to be given back.
type Permit struct {
	// Decision is how it came about. In shadow mode it may say that the request would have been refused.
	Decision Decision

	cell  *cell
	limit *core.Limit
}

// Release gives back the place that a Concurrency limit has given; with any other it does nothing. Call it once, when the
// request has ended, from any goroutine.
func (p *Permit) Release() {
	if p.cell != nil {
		p.cell.release(p.limit, p.Decision.Cost)
		p.cell = nil
	}
}

// Allow is Take of cost 1, for limits that are not of Concurrency.
func (l *Limiter) Allow(ctx context.Context, key string) error {
	_, err := l.Take(ctx, key, 1)
	return err
}

// Take judges a request that costs cost (1 and more; less counts as 1), and waits if a LeakyBucket says so. The error is an
// *Error if the request is refused, else that of ctx, which ended before the wait did, or would have: what was taken is then spent.
func (l *Limiter) Take(ctx context.Context, key string, cost int64) (Permit, error) {
	p, err := l.judge(ctx, key, max(cost, 1))
	if err != nil {
		return Permit{}, err
	}
	if d := p.Decision.Delay; d > 0 {
		if err := l.wait(ctx, d); err != nil {
			return Permit{}, err
		}
	}
	return p, nil
}

// wait waits for d, unless the deadline comes first: whoever cannot be served in time is told at once.
func (l *Limiter) wait(ctx context.Context, d time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return fmt.Errorf("limit: its turn comes in %v: %w", d.Round(time.Microsecond), context.DeadlineExceeded)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Limiter) judge(ctx context.Context, key string, cost int64) (p Permit, err error) {
	s := l.at.Load()
	d := &p.Decision
	d.Name, d.Key, d.Cost, d.Mode, d.Window = s.cfg.Name, key, cost, s.cfg.Mode, s.limit.Window()
	if s.source != nil {
		v, err := s.source.Judge(ctx, key, cost)
		if err != nil {
			return Permit{}, err
		}
		d.Allowed, d.By, d.Quota, d.Used, d.Remaining = v.Allowed, v.By, v.Quota, v.Used, v.Remaining
		d.RetryAfter, d.Reset = v.RetryAfter, v.Reset
		if v.By != Stored {
			l.alone.Add(1)
		}
		if !v.Allowed {
			d.Reason = ReasonRate
			if v.By == Unreachable {
				d.Reason = ReasonUnreachable
			} else if v.By == Crowded {
				d.Reason = ReasonKeysFull
			}
		}
		l.conclude(s, d, s.table.shardOf(key))
	} else {
		v, c, shard := s.table.decide(s.limit, s.cfg.KeysMax, key, l.now(), cost)
		d.Allowed, d.Quota, d.Used, d.Remaining = v.Allowed, v.Limit, v.Used, v.Remaining
		d.Delay, d.RetryAfter, d.Reset = v.Delay, v.RetryAfter, v.Reset
		switch {
		case !v.Allowed && c == &s.table.shared:
			d.Reason = ReasonKeysFull
		case !v.Allowed && s.limit.Counts():
			d.Reason = ReasonAtOnce
		case !v.Allowed:
			d.Reason = ReasonRate
		case s.limit.Counts():
			p.cell, p.limit = c, s.limit
		}
		if s.cfg.Mode == Shadow {
			d.Delay = 0 // it would have waited; in shadow nothing takes effect
		}
		l.conclude(s, d, shard)
	}
	if d.Refused() {
		return Permit{}, &Error{*d}
	}
	return p, nil
}

// conclude counts and tells.
func (l *Limiter) conclude(s *settings, d *Decision, at *shard) {
	if d.Allowed {
		at.allowed.Add(1)
	} else {
		at.refused.Add(1)
		if d.Mode == Shadow {
			l.shadows.Add(1)
		}
	}
	if d.Delay > 0 {
		at.delayed.Add(1)
	}
	if s.cfg.OnDecision != nil {
		s.cfg.OnDecision(*d)
	}
}

// Stats are numbers of a limit, since it was made or, but for Shadowed and Alone, began anew.
type Stats struct {
	Allowed    uint64
	Refused    uint64 // in shadow mode too
	Shadowed   uint64 // of Refused, those that went on
	Delayed    uint64 // of Allowed, those that waited
	Keys       int    // counted now; 0 with a Store
	Evicted    uint64 // keys that made room and had nothing used
	Forgotten  uint64 // keys that made room and had used something, at most half
	Overflowed uint64 // decisions on the count that keys without a place share
	Alone      uint64 // decisions of this process instead of the Store's
}

// Stats returns the numbers. It goes through 32 parts.
func (l *Limiter) Stats() Stats {
	st := Stats{Shadowed: l.shadows.Load(), Alone: l.alone.Load()}
	t := l.at.Load().table
	for i := range t.shards {
		s := &t.shards[i]
		st.Allowed += s.allowed.Load()
		st.Refused += s.refused.Load()
		st.Delayed += s.delayed.Load()
		st.Evicted += s.evicted.Load()
		st.Forgotten += s.forgotten.Load()
		st.Overflowed += s.overflowed.Load()
		s.mu.Lock()
		st.Keys += s.mu.keys
		s.mu.Unlock()
	}
	return st
}
