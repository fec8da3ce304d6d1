package fault

import (
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/fault"
)

// state is what is remembered of an experiment.
type state struct {
	guard      string // whose it is
	experiment string
	shadow     bool

	spent atomic.Int64           // requests that were affected
	began atomic.Int64           // Unix nanoseconds; 0: not yet
	ended atomic.Pointer[string] // why; nil: it goes on
	terms atomic.Pointer[terms]  // of the configuration in force
	loops [gateway.LoopsMax]atomic.Pointer[cell]
	ends  [len(endWords)]atomic.Uint64 // how often it ended so

	// The ticker's.
	watch fault.Watch
	told  end // what the log was told last
}

// terms are when an experiment ends.
type terms struct {
	requests int64
	after    time.Duration
	expires  time.Time
	stop     *fault.Limits
}

// cell is a loop's part. The counters are read by others; the rest is the loop's own.
type cell struct {
	seen    atomic.Uint64
	total   atomic.Uint64 // requests that no fault was injected into, and that have ended
	errors  atomic.Uint64
	slow    atomic.Uint64
	share   fault.Share
	delayed int // that are held
	slowed  int // whose answer goes slowly, or will
	free    []*visit
	who     []byte
	_       [64]byte // the next loop's is elsewhere
}

// Start is for gateway.Remembered.
func (s *state) Start() {}

// Close is for gateway.Remembered.
func (s *state) Close() {}

// Tick ends the experiment when it has to. It is for gateway.Ticking.
func (s *state) Tick(now mono.Time, wall time.Time) {
	s.begin(wall)
	t := s.terms.Load()
	if t == nil {
		return
	}
	how := s.end(t, wall)
	if how == goesOn && t.stop != nil {
		if s.told != goesOn {
			s.watch = fault.Watch{} // other terms let it go on: what was seen meanwhile is not its doing
		}
		if why := s.watch.Look(now, s.counts(), *t.stop); why != "" {
			s.ended.CompareAndSwap(nil, &why)
			how = stopped
		}
	}
	if how == s.told {
		return
	}
	if s.told = how; how != goesOn {
		s.ends[how].Add(1)
		s.log(t, how, wall)
	}
}

// begin notes when the experiment began, the first time.
func (s *state) begin(wall time.Time) {
	if s.began.Load() == 0 {
		s.began.CompareAndSwap(0, wall.UnixNano())
	}
}

// over tells whether the experiment has ended by its time.
func (s *state) over(t *terms, wall time.Time) bool {
	return !t.expires.IsZero() && !wall.Before(t.expires) || t.after > 0 && wall.UnixNano()-s.began.Load() >= int64(t.after)
}

// spend takes one of the requests that may be affected in all; 0 means any.
func (s *state) spend(max int64) bool {
	n := s.spent.Add(1)
	if max > 0 && n > max {
		s.spent.Add(-1)
		return false
	}
	return true
}

func (s *state) counts() fault.Counts {
	var c fault.Counts
	for i := range s.loops {
		if l := s.loops[i].Load(); l != nil {
			c.Total += l.total.Load()
			c.Errors += l.errors.Load()
			c.Slow += l.slow.Load()
		}
	}
	return c
}

func (s *state) seen() (n uint64) {
	for i := range s.loops {
		if l := s.loops[i].Load(); l != nil {
			n += l.seen.Load()
		}
	}
	return n
}

// on returns the loop's part, which it alone makes.
func (s *state) on(x *gateway.Exchange) *cell {
	at := &s.loops[x.LoopIndex()]
	c := at.Load()
	if c == nil {
		c = new(cell)
		at.Store(c)
	}
	return c
}
