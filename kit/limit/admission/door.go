package admission

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/kit/limit"
	core "github.com/yumen-io/yumen/policy/admission"
)

// Config is the settings of a Door. The zero value finds out how many may be inside, and has up to 1000 others wait up to a second.
type Config struct {
	// Name of the door in refusals. "" means "default".
	Name string
	// Fixed is how many may be inside, 1 to 1,000,000; 0: as many as latency allows, and the next three say where to look.
	Fixed int
	// Min and Max bound the number that is found; 0 means 1 and 10,000.
	Min, Max int
	// Initial is where it begins; 0 means 16, or Min or Max if that is out of their range. A hundred is found in about two seconds.
	Initial int
	// Queue is how many may wait, up to 1,000,000; 0 means 1000, below 0 nobody may.
	Queue int
	// WaitMax is how long anybody may wait, 1 ms to a minute; 0 means 1 s: whoever waits longer has often given up.
	WaitMax time.Duration
	// ToHead has a place given back when the answer begins, and not when it ends: for answers that go on for long while there is
	// little to do for them, such as server-sent events. With ToHead a stream of gRPC has its place until its first message.
	ToHead bool
	// Mode Shadow judges and counts, and lets all in.
	Mode limit.Mode
	// OnDecision is called with each decision, on the goroutine that asks; nil means nobody is told. Of one who waits it is called once,
	// when the wait is over.
	OnDecision func(Decision)
	// Clock is the time; nil means time.Now. How long somebody waits is not measured by it.
	Clock func() time.Time
}

const (
	insideMax      = 1_000_000
	waitMaxDefault = time.Second
	waitMaxMin     = time.Millisecond
	waitMaxMax     = time.Minute
	weightMax      = 100
	// lookPause is the time between two looks at the latencies, as in the gateway.
	lookPause = 100 * time.Millisecond
)

// Request is what a Door wants to know of a request. The zero value is one of a tenant without a name, of Normal priority.
type Request struct {
	// Tenant is who asks. Requests of one wait for each other; tenants take turns.
	Tenant string
	// Weight is what the tenant gets of what all get, up to 100; 0 and below mean 1. It is that of the last request.
	Weight   float64
	Priority limit.Priority
}

// Door lets in as many requests as what is behind it works on. It is safe for concurrent use, and holds no goroutine: there
// is nothing to close.
type Door struct {
	epoch time.Time
	seed  maphash.Seed // of tenants' numbers: who knew it could make himself another's
	at    atomic.Pointer[Config]

	mu struct {
		sync.Mutex
		gate   *core.Gate
		limit  *core.Limit
		looked mono.Time
		stats  Stats
	}
}

// New makes a door. The error names each field that is wrong and says what it wants.
func New(cfg Config) (*Door, error) {
	cfg, err := cfg.filled()
	if err != nil {
		return nil, err
	}
	d := &Door{seed: maphash.MakeSeed()}
	d.at.Store(&cfg)
	d.epoch = cfg.Clock().Add(-24 * time.Hour) // so that times are positive, also of a clock that goes back
	d.mu.gate = core.NewGate(cfg.gate())
	d.mu.limit = core.NewLimit(cfg.limit())
	d.mu.gate.SetLimit(d.mu.limit.Value(), d.mu.limit.Adapts(), d.mu.limit.Since())
	return d, nil
}

// filled is a private copy with the defaults in.
func (c Config) filled() (Config, error) {
	var wrong []error
	between := func(field string, is, low, high int) {
		if is < low || is > high {
			wrong = append(wrong, fmt.Errorf("admission: %s: %d is not between %d and %d", field, is, low, high))
		}
	}
	if c.Name == "" {
		c.Name = "default"
	}
	if c.WaitMax == 0 {
		c.WaitMax = waitMaxDefault
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	between("Fixed", c.Fixed, 0, insideMax)
	between("Min", c.Min, 0, insideMax)
	between("Max", c.Max, 0, insideMax)
	between("Initial", c.Initial, 0, insideMax)
	if c.Min > 0 && c.Max > 0 && c.Min > c.Max {
		wrong = append(wrong, fmt.Errorf("admission: Max: %d is less than Min, %d", c.Max, c.Min))
	}
	if c.Fixed > 0 && (c.Min > 0 || c.Max > 0 || c.Initial > 0) {
		wrong = append(wrong, errors.New("admission: Fixed: a number that stays has no Min, Max and Initial"))
	}
	if c.Queue > insideMax {
		between("Queue", c.Queue, -1, insideMax)
	}
	if c.WaitMax < waitMaxMin || c.WaitMax > waitMaxMax {
		wrong = append(wrong, fmt.Errorf("admission: WaitMax: %v is not between %v and %v", c.WaitMax, waitMaxMin, waitMaxMax))
	}
	if c.Mode > limit.Shadow {
		wrong = append(wrong, fmt.Errorf("admission: Mode: %d is none", c.Mode))
	}
	return c, errors.Join(wrong...)
}

func (c *Config) gate() core.Config { return core.Config{Queue: c.Queue, WaitMax: c.WaitMax} }

func (c *Config) limit() core.LimitConfig {
	return core.LimitConfig{Fixed: c.Fixed, Min: c.Min, Max: c.Max, Initial: c.Initial}
}

// Set has other settings hold from the next request on. What was found out stays, and so does who waits, with the WaitMax he came
// under; Clock stays what it is.
func (d *Door) Set(cfg Config) error {
	cfg.Clock = d.at.Load().Clock
	cfg, err := cfg.filled()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at.Store(&cfg)
	d.mu.gate.Configure(cfg.gate())
	d.mu.limit.Configure(cfg.limit())
	d.mu.gate.SetLimit(d.mu.limit.Value(), d.mu.limit.Adapts(), d.mu.limit.Since())
	d.pump(d.now())
	return nil
}

func (d *Door) now() mono.Time { return mono.Time(d.at.Load().Clock().Sub(d.epoch)) }

// entry is one request at the door, from Enter to Leave, and pooled afterwards.
type entry struct {
	ticket core.Ticket
	ready  chan struct{} // of one that waits: closed when the gate has decided
	use    atomic.Uint64 // goes up with each use, so that a Place of an earlier one is recognised
	toHead bool
	head   mono.Time // when the answer began; 0: it has not
}

var entries = sync.Pool{New: func() any {
	e := &entry{}
	e.ticket.Of = e
	return e
}}

func (e *entry) free() {
	e.use.Add(1)
	e.head, e.ready = 0, nil
	entries.Put(e)
}

// Place is what Enter returns. The zero value is none, and all its methods do nothing.
type Place struct {
	// Decision is how it came about. In shadow mode it may say that the request would have been refused.
	Decision Decision

	door  *Door
	entry *entry
	use   uint64
}

// Enter asks for a place, and waits for one if it has to, no longer than Config.WaitMax and ctx allow. A deadline of ctx before which the
// request could not be answered is refused at once. The error is an *Error if the request is refused, else that of ctx. Without an error,
// Leave has to be called.
func (d *Door) Enter(ctx context.Context, r Request) (Place, error) {
	if err := ctx.Err(); err != nil {
		return Place{}, err
	}
	cfg := d.at.Load()
	ask := core.Request{Tenant: maphash.String(d.seed, r.Tenant), Weight: min(r.Weight, weightMax), Class: classOf(r.Priority)}
	if ask.Weight <= 0 || ask.Weight != ask.Weight {
		ask.Weight = 1
	}
	wall := cfg.Clock()
	if deadline, ok := ctx.Deadline(); ok {
		ask.Left = max(deadline.Sub(wall), 1)
	}
	now := mono.Time(wall.Sub(d.epoch))
	e := entries.Get().(*entry)
	e.toHead = cfg.ToHead
	p := Place{door: d, entry: e, use: e.use.Load(), Decision: Decision{Name: cfg.Name, Tenant: r.Tenant, Priority: r.Priority, Mode: cfg.Mode, TimeLeft: ask.Left}}

	d.mu.Lock()
	d.look(now)
	var v core.Verdict
	if cfg.Mode == limit.Shadow {
		v = d.mu.gate.Pass(now, &e.ticket, ask)
	} else {
		v = d.mu.gate.Arrive(now, &e.ticket, ask)
	}
	d.number(&p.Decision, ask)
	switch v {
	case core.Admitted:
		p.Decision.Allowed = true
	case core.Waiting:
		p.Decision.Allowed, p.Decision.Delayed = true, true
	case core.Full:
		p.Decision.Reason = ReasonFull
	case core.Late:
		p.Decision.Reason = ReasonLate
	}
	if v == core.Waiting && cfg.Mode == limit.Enforce {
		ready := make(chan struct{})
		e.ready = ready
		d.mu.Unlock()
		return d.wait(ctx, cfg, p, ask, ready)
	}
	d.count(&p.Decision)
	d.mu.Unlock()
	return d.conclude(cfg, p)
}

// wait waits for a turn.
func (d *Door) wait(ctx context.Context, cfg *Config, p Place, ask core.Request, ready <-chan struct{}) (Place, error) {
	e := p.entry
	timer := time.NewTimer(cfg.WaitMax)
	defer timer.Stop()
	select {
	case <-ready:
	case <-timer.C:
	case <-ctx.Done():
	}
	now := d.now()
	d.mu.Lock()
	switch {
	case e.ticket.Inside(): // perhaps at the moment in which time was over; then it has not been for nothing
		p.Decision.Waited = e.ticket.Waited(now)
	case d.mu.gate.Withdraw(&e.ticket):
		d.pump(now)
		if err := ctx.Err(); err != nil {
			d.mu.stats.Abandoned++
			d.mu.Unlock()
			e.free()
			return Place{}, err
		}
		p.Decision.Allowed, p.Decision.Delayed, p.Decision.Reason, p.Decision.Waited = false, false, ReasonTimeout, cfg.WaitMax
	default: // its turn came, and was too late
		p.Decision.Allowed, p.Decision.Delayed, p.Decision.Reason = false, false, ReasonLate
	}
	d.number(&p.Decision, ask)
	d.count(&p.Decision)
	d.mu.Unlock()
	return d.conclude(cfg, p)
}

// conclude tells, and makes an error of a refusal.
func (d *Door) conclude(cfg *Config, p Place) (Place, error) {
	refused := p.Decision.Refused()
	if refused {
		p.entry.free()
		p.entry = nil
	}
	if cfg.OnDecision != nil {
		told := false
		defer func() { // one that panics would keep the place for ever
			if !told {
				p.Leave(Failed)
			}
		}()
		cfg.OnDecision(p.Decision)
		told = true
	}
	if refused {
		return Place{}, &Error{p.Decision}
	}
	return p, nil
}

// number writes down by what a request was judged. The caller holds mu.
func (d *Door) number(to *Decision, r core.Request) {
	g := d.mu.gate
	to.Limit, to.Inside, to.Queued, to.QueuedOfTenant = g.Limit(), g.InFlight(), g.Queued(), g.QueuedOf(r.Class, r.Tenant)
	to.Wait, to.Service = g.Wait(r), g.Service()
}

// count is called with mu held.
func (d *Door) count(of *Decision) {
	st := &d.mu.stats
	switch of.Reason {
	case ReasonFull:
		st.Full++
	case ReasonTimeout:
		st.Timeout++
	case ReasonLate:
		st.Late++
	}
	if of.Allowed {
		st.Allowed++
	} else if of.Mode == limit.Shadow {
		st.Shadowed++
	}
	if of.Delayed {
		st.Delayed++
	}
}

// look finds out about the limit, a few times a second. The caller holds mu.
//
// Nobody has to be woken for it: those who wait do so for somebody who is inside, and who looks when he leaves.
func (d *Door) look(now mono.Time) {
	m := &d.mu
	if now.Sub(m.looked) < lookPause {
		return
	}
	m.looked = now
	m.limit.Observe(now, m.gate.Seen())
	m.gate.SetLimit(m.limit.Value(), m.limit.Adapts(), m.limit.Since())
	d.pump(now)
}

// pump lets in whose turn it is. The caller holds mu.
func (d *Door) pump(now mono.Time) {
	for {
		k, _ := d.mu.gate.Next(now)
		if k == nil {
			return
		}
		close(k.Of.(*entry).ready)
	}
}

// Outcome is how a request ended, for whoever wants to know how busy things are.
type Outcome uint8

// Outcomes.
const (
	// Worked: what was asked has worked on it; its latency counts. Also of a request that had no answer in time.
	Worked Outcome = iota
	// Failed: it says nothing of how busy things are, for failures are often quicker than work; and its client may have gone away.
	Failed
)

// Began says that the answer begins now, which ends its latency, and with Config.ToHead gives the place back. Only the first call counts.
func (p *Place) Began(o Outcome) {
	d, e := p.door, p.entry
	if e == nil || e.use.Load() != p.use {
		return
	}
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.head == 0 {
		e.head = now
		if e.toHead {
			d.leave(now, e, o)
		}
	}
}

// Leave gives the place back. Call it once, from any goroutine; a second call does nothing.
func (p *Place) Leave(o Outcome) {
	d, e := p.door, p.entry
	if e == nil || !e.use.CompareAndSwap(p.use, p.use+1) {
		return
	}
	now := d.now()
	d.mu.Lock()
	d.leave(now, e, o)
	d.mu.Unlock()
	e.free()
}

// leave is called with mu held.
func (d *Door) leave(now mono.Time, e *entry, o Outcome) {
	if !e.ticket.Inside() {
		return
	}
	var latency time.Duration
	if o == Worked {
		end := now
		if e.head != 0 {
			end = e.head
		}
		latency = max(end.Sub(e.ticket.Admitted()), 1)
	}
	d.mu.gate.Leave(now, &e.ticket, latency)
	d.look(now)
	d.pump(now)
}

// Stats are numbers of a Door; the first four are of now, the others since it was made.
type Stats struct {
	Limit  int // how many may be inside
	Inside int
	Queued int
	// Base is the latency without a crowd, as far as it is known; 0 if it is not, or the limit is fixed.
	Base time.Duration

	Allowed   uint64
	Delayed   uint64 // of Allowed, those that waited
	Full      uint64 // refusals, in shadow mode too
	Timeout   uint64
	Late      uint64
	Shadowed  uint64 // of Full and Late, those that went on
	Abandoned uint64 // who gave up waiting
}

// Stats returns the numbers.
func (d *Door) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.mu.stats
	st.Limit, st.Inside, st.Queued, st.Base = d.mu.gate.Limit(), d.mu.gate.InFlight(), d.mu.gate.Queued(), d.mu.limit.Base()
	return st
}

// classOf is a priority as the core knows it: lower numbers go first.
func classOf(p limit.Priority) core.Class {
	return core.Class(limit.Critical - min(max(p, limit.Low), limit.Critical))
}
