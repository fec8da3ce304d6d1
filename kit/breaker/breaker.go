package breaker

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

const (
	// tickPause is how often a breaker takes in how calls ended.
	tickPause = 100 * time.Millisecond
	// idleMin is how long a closed breaker must not have been asked to make room for another.
	idleMin = time.Minute
)

// Breaker is a breaker for each key. It is safe for concurrent use.
type Breaker struct {
	clock    func() time.Time // nil: time.Now
	epoch    time.Time
	settings atomic.Pointer[settings]
	entries  atomic.Pointer[map[string]*entry] // never changed, but replaced

	refused, shadowed, unguarded, changes atomic.Uint64

	mu sync.Mutex // whoever replaces settings or entries
}

// New makes a Breaker. The error names each field that is wrong and says what it wants.
func New(cfg Config) (*Breaker, error) {
	s, err := compile(cfg)
	if err != nil {
		return nil, err
	}
	b := &Breaker{clock: cfg.Clock}
	clock := cfg.Clock
	if clock == nil {
		clock = time.Now
	}
	b.epoch = clock().Add(-24 * time.Hour) // so that times are positive
	b.settings.Store(s)
	b.entries.Store(&map[string]*entry{})
	return b, nil
}

// Set has other settings hold from now on. States, what was learnt and, where its length stays, the windows are kept; what is
// open stays so for as long as it was going to be, but no longer than the new OpenMax.
func (b *Breaker) Set(cfg Config) error {
	s, err := compile(cfg)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settings.Store(s)
	for _, e := range *b.entries.Load() {
		e.follow(s, b.now())
	}
	return nil
}

// Reset closes the breaker of a key on an operator's word; what was learnt stays.
func (b *Breaker) Reset(key string) {
	if e := (*b.entries.Load())[key]; e != nil {
		e.reset(b.now())
	}
}

func (b *Breaker) now() mono.Time {
	if b.clock == nil {
		return mono.Time(time.Since(b.epoch)) // reads the monotonic clock alone, which takes half as long
	}
	return mono.Time(b.clock().Sub(b.epoch))
}

func (b *Breaker) wall(t mono.Time) time.Time { return b.epoch.Add(time.Duration(t)) }

// entry returns the key's breaker, a new one if there is none, and nil if there is no room for it.
func (b *Breaker) entry(key string, now mono.Time) *entry {
	if e := (*b.entries.Load())[key]; e != nil {
		return e
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	entries := *b.entries.Load()
	if e := entries[key]; e != nil {
		return e
	}
	s := b.settings.Load()
	entries = maps.Clone(entries)
	if len(entries) >= s.cfg.KeysMax {
		for k, e := range entries { // all that are idle, so that the next key does not have to look again
			if e.idle(now) {
				delete(entries, k)
			}
		}
		if len(entries) >= s.cfg.KeysMax {
			return nil
		}
	}
	key = strings.Clone(key) // it may be a part of something large
	e := newEntry(b, key, s, now)
	entries[key] = e
	b.entries.Store(&entries)
	return e
}

// Call is a call that was let through. The zero value is one that nobody counts.
type Call struct {
	entry *entry
	by    *published // what it was let through by
	begun mono.Time
	probe bool
}

// Begin asks whether a call to key may be made. The error is an *Error. Whoever gets none must tell how the call ended:
// End or Ignore, once.
func (b *Breaker) Begin(key string) (Call, error) {
	now := b.now()
	e := b.entry(key, now)
	if e == nil {
		b.unguarded.Add(1)
		return Call{}, nil
	}
	p := e.at(now)
	s := p.settings
	pass, probe := p.threshold > allShares || p.threshold > 0 && uint64(rand.Uint32()) < p.threshold, false
	if !pass {
		probe = p.takeProbe()
		pass = probe
	}
	if s.cfg.OnDecision != nil || !pass {
		d := p.decision(e.key, now, pass, probe)
		if s.cfg.OnDecision != nil {
			s.cfg.OnDecision(d)
		}
		if !pass {
			b.refused.Add(1)
			if s.cfg.Mode == Shadow {
				b.shadowed.Add(1)
				return Call{}, nil
			}
			return Call{}, &Error{d}
		}
	}
	return Call{e, p, now, probe}, nil
}

// Outcome is how a call ended.
type Outcome uint8

// Outcomes.
const (
	Success Outcome = iota
	Failure
	Timeout // a failure too
	Ignored // it says nothing of the dependency
)

// End says how the call ended, now.
func (c Call) End(o Outcome) {
	if c.entry != nil {
		now := c.entry.of.now()
		c.end(o, now.Sub(c.begun), now)
	}
}

func (c Call) end(o Outcome, latency time.Duration, now mono.Time) {
	switch {
	case c.entry == nil:
	case o == Ignored:
		if c.probe {
			c.by.probes.Add(1) // another may go in its place
		}
	default:
		c.entry.count(c.by, o, latency, now)
	}
}

// EndError says that the call ended with err, judged as Classify does.
func (c Call) EndError(ctx context.Context, err error) {
	if c.entry == nil {
		return
	}
	now := c.entry.of.now()
	took := now.Sub(c.begun)
	o := Classify(ctx, err)
	if o == Timeout && took < c.by.settings.cfg.TimeoutMin {
		o = Ignored
	}
	c.end(o, took, now)
}

// Classify says what an error means: nothing if the caller cancelled, or another guard of this process refused (its error has a method
// NotSent() bool); a Timeout if a deadline passed; a Failure otherwise.
func Classify(ctx context.Context, err error) Outcome {
	if err == nil {
		return Success // before anything that allocates
	}
	return classify(ctx, err)
}

func classify(ctx context.Context, err error) Outcome {
	var refusal interface{ NotSent() bool }
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.Canceled), ctx != nil && errors.Is(ctx.Err(), context.Canceled):
		return Ignored
	case errors.As(err, &refusal) && refusal.NotSent():
		return Ignored
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return Timeout
	}
	return Failure
}

// Do makes a call to key, if it may be made. The error is f's, or an *Error. A panic of f counts as a failure.
func (b *Breaker) Do(ctx context.Context, key string, f func(context.Context) error) error {
	c, err := b.Begin(key)
	if err != nil {
		return err
	}
	returned := false
	defer func() {
		if !returned {
			c.End(Failure)
		}
	}()
	err = f(ctx)
	returned = true
	c.EndError(ctx, err)
	return err
}

// Stats are numbers of a Breaker since it was made.
type Stats struct {
	Refused   uint64 // in shadow mode too
	Shadowed  uint64 // of them, those that went on
	Unguarded uint64 // calls of keys for which there was no room
	Changes   uint64 // of states
	Keys      []KeyStats
}

// KeyStats is one key's breaker.
type KeyStats struct {
	Key     string
	State   State
	Since   time.Time
	Share   float64 // of calls that pass
	Window  Numbers // as the classic rule sees it
	Learnt  int     // healthy seconds that the adaptive rule knows
	Opened  string  // why it opened last; empty if it has not
	LastFor time.Duration
}

// Stats returns the numbers. It goes through all keys, and takes the lock of each for a moment.
func (b *Breaker) Stats() Stats {
	st := Stats{Refused: b.refused.Load(), Shadowed: b.shadowed.Load(), Unguarded: b.unguarded.Load(), Changes: b.changes.Load()}
	for _, e := range *b.entries.Load() {
		st.Keys = append(st.Keys, e.stats(b.now()))
	}
	return st
}
