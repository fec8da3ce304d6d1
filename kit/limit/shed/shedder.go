package shed

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/internal/sys"
	"github.com/yumen-io/yumen/kit/limit"
	core "github.com/yumen-io/yumen/policy/shed"
)

// Config says when there is too much to do. The zero value is usable.
type Config struct {
	// WaitFrom and WaitTo are how long goroutines wait for a processor where the pressure begins and where it is full, from 1 ms to
	// 10 s; 0 means 10 ms and 50 ms. Ten is how long another goroutine may compute without being asked to stop.
	WaitFrom, WaitTo time.Duration
	// MemoryFrom and MemoryTo are the same of the share of memory in use, above 0 and up to 1; 0 means 0.85 and 0.95.
	MemoryFrom, MemoryTo float64
	// Recovery is how long the pressure takes from full to none, up to an hour; 0 means 5 s.
	Recovery time.Duration
	// Mode Shadow judges and counts, and gives up nothing.
	Mode limit.Mode
	// OnDecision is called with each decision, on the goroutine that asks; nil means nobody is told.
	OnDecision func(Decision)
	// Measure is asked ten times a second at most how long goroutines wait for a processor and which share of memory is in use; nil
	// means that this process is measured. One goroutine at a time calls it, and it must not block.
	Measure func() (wait time.Duration, memory float64)
	// Clock is the time; nil means time.Now.
	Clock func() time.Time
}

const (
	waitMin, waitMax = time.Millisecond, 10 * time.Second
	recoveryMax      = time.Hour
	// lookPause is the time between two measurements.
	lookPause = 100 * time.Millisecond
	// waitsShare of the waits are as long as what is measured, or shorter: most wait for nothing, and the longest few tell of the
	// runtime's own pauses.
	waitsShare = 0.9
	// waitsLeast are needed to say so; fewer are taken for what they are after waitsPause.
	waitsLeast = 16
	waitsPause = time.Second
)

// Shedder gives requests up. It is safe for concurrent use.
type Shedder struct {
	epoch time.Time
	at    atomic.Pointer[settings]

	// Published.
	pressure, memory atomic.Uint64 // bits of a float64
	wait             atomic.Int64
	due              atomic.Int64 // mono.Time of the next measurement

	counts [4]struct{ allowed, refused atomic.Uint64 } // by priority

	mu struct {
		sync.Mutex
		gauge core.Gauge
	}
}

// settings are a Config as decisions follow it. Frozen.
type settings struct {
	cfg  Config
	core core.Config
}

// New makes a Shedder. The error names each field that is wrong and says what it wants.
func New(cfg Config) (*Shedder, error) {
	s := &Shedder{}
	if cfg.Measure == nil {
		cfg.Measure = newMeasure(cfg.Clock).both
	}
	at, err := compile(cfg)
	if err != nil {
		return nil, err
	}
	s.at.Store(at)
	s.epoch = at.cfg.Clock().Add(-24 * time.Hour) // so that times are positive, also of a clock that goes back
	return s, nil
}

// Set has other settings hold from the next request on. Measure and Clock stay what they are.
func (s *Shedder) Set(cfg Config) error {
	old := &s.at.Load().cfg
	cfg.Measure, cfg.Clock = old.Measure, old.Clock
	at, err := compile(cfg)
	if err == nil {
		s.at.Store(at)
	}
	return err
}

func compile(cfg Config) (*settings, error) {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf("shed: "+format, args...)) }
	s := &settings{cfg: cfg}
	s.core = core.Config{TurnFrom: cfg.WaitFrom, TurnTo: cfg.WaitTo, MemoryFrom: cfg.MemoryFrom, MemoryTo: cfg.MemoryTo, Recovery: cfg.Recovery}.WithDefaults()
	c := &s.core
	if s.cfg.Clock == nil {
		s.cfg.Clock = time.Now
	}
	if cfg.WaitFrom < 0 || c.TurnFrom < waitMin || c.TurnFrom > waitMax {
		bad("WaitFrom: %v is not between %v and %v", cfg.WaitFrom, waitMin, waitMax)
	}
	if cfg.WaitTo < 0 || c.TurnTo <= c.TurnFrom || c.TurnTo > waitMax {
		bad("WaitTo: %v is not above WaitFrom, %v, and up to %v", c.TurnTo, c.TurnFrom, waitMax)
	}
	if !(cfg.MemoryFrom >= 0) || c.MemoryFrom > 1 {
		bad("MemoryFrom: %v is not above 0 and up to 1", cfg.MemoryFrom)
	}
	if !(cfg.MemoryTo >= 0) || !(c.MemoryTo > c.MemoryFrom) || c.MemoryTo > 1 {
		bad("MemoryTo: %v is not above MemoryFrom, %v, and up to 1", c.MemoryTo, c.MemoryFrom)
	}
	if cfg.Recovery < 0 || c.Recovery > recoveryMax {
		bad("Recovery: %v is not between 0 and %v", cfg.Recovery, recoveryMax)
	}
	if cfg.Mode > limit.Shadow {
		bad("Mode: %d is none", cfg.Mode)
	}
	return s, errors.Join(wrong...)
}

// measure is what is asked when nobody else is named.
type measure struct {
	memory sys.Memory
	waits  sys.Waits
	clock  func() time.Time
	since  time.Time // the last measurement that had enough waits
	wait   time.Duration
}

func newMeasure(clock func() time.Time) *measure {
	if clock == nil {
		clock = time.Now
	}
	m := &measure{memory: sys.FindMemory(), clock: clock, since: clock()}
	m.waits.Quantile(waitsShare, 0) // what was before is no news
	return m
}

func (m *measure) both() (time.Duration, float64) {
	least, now := uint64(waitsLeast), m.clock()
	if now.Sub(m.since) >= waitsPause {
		least = 0
	}
	if wait, ok := m.waits.Quantile(waitsShare, least); ok {
		m.wait, m.since = wait, now
	}
	return m.wait, m.memory.Used()
}

// Allow judges a request: nil, or an *Error if it is given up.
func (s *Shedder) Allow(p limit.Priority) error {
	at := s.at.Load()
	now := mono.Time(at.cfg.Clock().Sub(s.epoch))
	if int64(now) >= s.due.Load() && s.mu.TryLock() { // else somebody does so at this moment
		s.look(at, now)
		s.mu.Unlock()
	}
	p = min(max(p, limit.Low), limit.Critical)
	d := Decision{Priority: p, Mode: at.cfg.Mode, Pressure: math.Float64frombits(s.pressure.Load()),
		Memory: math.Float64frombits(s.memory.Load()), Wait: time.Duration(s.wait.Load())}
	d.Share = core.Share(int(limit.Critical-p), d.Pressure)
	d.Allowed = !core.Sheds(d.Share, rand.Uint64())
	counts := &s.counts[limit.Critical-p]
	if d.Allowed {
		counts.allowed.Add(1)
	} else {
		d.RetryAfter = (time.Second + time.Duration(d.Pressure*float64(at.core.Recovery))).Round(time.Millisecond)
		counts.refused.Add(1)
	}
	if at.cfg.OnDecision != nil {
		at.cfg.OnDecision(d)
	}
	if d.Refused() {
		return &Error{d}
	}
	return nil
}

// look measures, and publishes the pressure. The caller holds mu.
func (s *Shedder) look(at *settings, now mono.Time) {
	wait, memory := at.cfg.Measure()
	s.pressure.Store(math.Float64bits(s.mu.gauge.Update(now, &at.core, wait, memory)))
	s.memory.Store(math.Float64bits(memory))
	s.wait.Store(int64(wait))
	s.due.Store(int64(now.Add(lookPause)))
}

// Stats are numbers of a Shedder, as of the last request.
type Stats struct {
	Pressure float64       // 0 to 1
	Memory   float64       // the share in use
	Wait     time.Duration // for a processor
	// Allowed and Refused are counts since it was made, of all priorities; Refused in shadow mode too.
	Allowed, Refused uint64
}

// Stats returns the numbers.
func (s *Shedder) Stats() Stats {
	st := Stats{Pressure: math.Float64frombits(s.pressure.Load()), Memory: math.Float64frombits(s.memory.Load()), Wait: time.Duration(s.wait.Load())}
	for i := range s.counts {
		st.Allowed += s.counts[i].allowed.Load()
		st.Refused += s.counts[i].refused.Load()
	}
	return st
}

// Of returns how many requests of a priority were let in and given up.
func (s *Shedder) Of(p limit.Priority) (allowed, refused uint64) {
	c := &s.counts[limit.Critical-min(max(p, limit.Low), limit.Critical)]
	return c.allowed.Load(), c.refused.Load()
}
