package admission

import (
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/admission"
)

// Door is what is known of the cluster behind the filters of one name, over configurations.
type Door struct {
	seed  maphash.Seed // of tenants' numbers: who knew it could make himself another's tenant
	loops [gateway.LoopsMax]atomic.Pointer[side]

	// Published.
	settings atomic.Pointer[admission.LimitConfig] // those that a loop used last
	total    atomic.Int64                          // the limit of all loops
	base     atomic.Int64                          // the latency of the upstream with nothing to do; 0: not known

	// Of whoever looks at all loops; guarded, for a loop that is new does so too.
	mu struct {
		sync.Mutex
		limit    *admission.Limit
		settings *admission.LimitConfig
		sides    []*side
		demands  []int
		shares   []int
	}
}

// side is the door on one loop.
type side struct {
	// Loop-owned.
	gate  *admission.Gate
	told  *order
	by    *Filter // whose settings the gate has
	free  []*entry
	key   []byte
	shown mono.Time // when the window was published

	_ [64]byte // below, others read and write

	order atomic.Pointer[order]

	// Published by the loop.
	inFlight, queued atomic.Int64
	demand           atomic.Int64
	// The window, in which no number may be of another time than the others: writes is odd while it is written.
	writes      atomic.Uint64
	since       atomic.Int64
	sum         atomic.Uint64 // bits of a float64
	count, peak atomic.Int64
	pressed     atomic.Bool
}

// order is what a gate is told. Frozen.
type order struct {
	limit  int
	adapts bool
	since  mono.Time
	loops  int // among which the queue is divided
}

// showPause is the shortest time between two publications of a window: a tenth of what the reader's pause is.
const showPause = gateway.TickPause / 10

func newDoor() *Door {
	d := &Door{seed: maphash.MakeSeed()}
	d.mu.limit = admission.NewLimit(admission.LimitConfig{})
	return d
}

// Start is for gateway.Remembered.
func (d *Door) Start() {}

// Close is for gateway.Remembered.
func (d *Door) Close() {}

// Tick looks at all loops. It is for gateway.Ticking.
func (d *Door) Tick(now mono.Time, _ time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.adopt()
	var all admission.Sight
	l := d.mu.limit
	for _, s := range d.mu.sides {
		all.InFlight += int(s.inFlight.Load())
		if seen, since, ok := s.read(); ok && since == l.Since() {
			all.Add(seen)
		}
	}
	l.Observe(now, all)
	d.give()
}

// adopt takes over changed settings.
func (d *Door) adopt() {
	if said := d.settings.Load(); said != nil && said != d.mu.settings {
		d.mu.settings = said
		if d.mu.limit.Base() == 0 {
			d.mu.limit = admission.NewLimit(*said) // nothing is lost, and it begins where the settings say
			return
		}
		d.mu.limit.Configure(*said)
	}
}

// give tells each gate its share.
func (d *Door) give() {
	m := &d.mu
	m.demands = m.demands[:0]
	for _, s := range m.sides {
		m.demands = append(m.demands, int(s.demand.Load()))
	}
	m.shares = admission.Share(m.shares[:0], m.limit.Value(), m.limit.Adapts(), m.demands)
	d.total.Store(int64(m.limit.Value()))
	d.base.Store(int64(m.limit.Base()))
	for i, s := range m.sides {
		o := order{m.shares[i], m.limit.Adapts(), m.limit.Since(), len(m.sides)}
		if at := s.order.Load(); at == nil || *at != o {
			s.order.Store(&o)
		}
	}
}

// on returns the door's side on the exchange's loop, with what it has been told meanwhile.
func (d *Door) on(x *gateway.Exchange, f *Filter) *side {
	s := d.loops[x.LoopIndex()].Load()
	if s == nil {
		s = &side{gate: admission.NewGate(f.gate), by: f}
		d.settings.Store(&f.limit)
		d.loops[x.LoopIndex()].Store(s)
		d.mu.Lock()
		d.adopt()
		d.mu.sides = append(d.mu.sides, s)
		d.give()
		d.mu.Unlock()
	}
	if s.by != f {
		s.by, s.told = f, nil
		d.settings.Store(&f.limit)
	}
	s.obey()
	return s
}

// obey takes over what the gate is told.
func (s *side) obey() {
	if o := s.order.Load(); o != s.told {
		s.told = o
		cfg := s.by.gate
		if cfg.Queue > 0 {
			cfg.Queue = (cfg.Queue + o.loops - 1) / o.loops
		}
		s.gate.Configure(cfg)
		s.gate.SetLimit(o.limit, o.adapts, o.since)
	}
}

// publish shows others how things are on this loop.
func (s *side) publish(now mono.Time) {
	g := s.gate
	s.inFlight.Store(int64(g.InFlight()))
	s.queued.Store(int64(g.Queued()))
	if now.Sub(s.shown) < showPause && g.InFlight() > 0 {
		return
	}
	s.shown = now
	seen := g.Seen()
	s.writes.Add(1)
	s.since.Store(int64(g.Since()))
	s.sum.Store(math.Float64bits(seen.Sum))
	s.count.Store(int64(seen.Count))
	s.peak.Store(int64(seen.Peak))
	s.pressed.Store(seen.Pressed)
	s.writes.Add(1)
	s.demand.Store(int64(g.Demand()))
}

// read returns the window as it was published; false if it is being written: it can be had the next time.
func (s *side) read() (w admission.Sight, since mono.Time, ok bool) {
	before := s.writes.Load()
	w = admission.Sight{Sum: math.Float64frombits(s.sum.Load()), Count: int(s.count.Load()), Peak: int(s.peak.Load()), Pressed: s.pressed.Load()}
	since = mono.Time(s.since.Load())
	return w, since, before%2 == 0 && s.writes.Load() == before
}

// State is a door as an operator sees it: over all loops.
type State struct {
	Limit, InFlight, Queued int
}

// State describes the door. From any goroutine.
func (d *Door) State() State {
	st := State{Limit: int(d.total.Load())}
	for i := range d.loops {
		if s := d.loops[i].Load(); s != nil {
			st.InFlight += int(s.inFlight.Load())
			st.Queued += int(s.queued.Load())
		}
	}
	return st
}

// tell is for gateway.Guard.
func (d *Door) tell(yield func(number string, value float64)) {
	st := d.State()
	yield("limit", float64(st.Limit))
	yield("inflight", float64(st.InFlight))
	yield("queued", float64(st.Queued))
	yield("base_seconds", time.Duration(d.base.Load()).Seconds())
}
