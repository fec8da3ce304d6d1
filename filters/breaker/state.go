package breaker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	core "github.com/yumen-io/yumen/policy/breaker"
)

// allShares is above every number that a request draws: all pass.
const allShares = 1<<32 - 1

// published is what requests go by until something changes. Frozen, but for the probes that are left.
type published struct {
	of        *state
	settings  *settings // those it follows; nil: nobody asked for so long that the state was given up
	view      core.View
	threshold uint64 // a request that draws a number of 32 bits below it passes
	openedAt  mono.Time
	tripped   *published // what is in force once a run of failures was completed, until the next tick; nil unless closed
	probe     probe

	// Of all loops: the probes of this episode that may still go.
	probes *atomic.Int32
}

// probe is kept by an exchange that was let through as one.
type probe struct{ of *published }

// takeProbe asks for one of the probes.
func (p *published) takeProbe() bool {
	for {
		left := p.probes.Load()
		if left <= 0 {
			return false
		}
		if p.probes.CompareAndSwap(left, left-1) {
			return true
		}
	}
}

// returnProbe lets another go in the place of one whose end says nothing.
func (p *published) returnProbe() { p.probes.Add(1) }

// counters are how requests of one loop ended, since it began. One loop writes, the ticking goroutine reads.
type counters struct {
	latency  [core.HistogramBuckets]atomic.Uint32
	failures atomic.Uint32
	timeouts atomic.Uint32
	slow     atomic.Uint32
	_        [64]byte // the next loop's are on another line
}

// state is one breaker: of a route, or of a cluster. It outlives configurations.
type state struct {
	key []byte // as people read it: "route=users"

	// Published.
	at  atomic.Pointer[published]
	run atomic.Uint32 // failures in a row, over all loops; written only while there are any

	// Each loop's own, read by the ticking goroutine.
	loops [gateway.LoopsMax]atomic.Pointer[counters]
	most  atomic.Int32 // one more than the highest loop that has any

	mu struct {
		sync.Mutex
		breaker  *core.Breaker
		settings *settings
		seen     core.Counts // as of the last tick
		asked    mono.Time   // when an ending was counted last
		records  records
	}
}

// newState returns a closed one.
func newState(key string, s *settings, seed uint64, now mono.Time) *state {
	st := &state{key: []byte(key)}
	st.mu.breaker = core.New(s.breaker, seed, now)
	st.mu.asked = now
	st.mu.settings = s
	st.publish()
	return st
}

// follow has settings hold from now on. The caller holds mu.
func (st *state) follow(s *settings, now mono.Time, wall time.Time) {
	if p := st.at.Load(); p.view.State == core.Open && st.mu.breaker.View().State == core.Closed {
		st.decide(now, wall) // loops have opened it, which the new settings should find
	}
	was := st.mu.settings
	st.mu.settings = s
	st.mu.breaker.Configure(s.breaker, now)
	if was.hold != s.hold {
		// An order begins and ends with a clean sheet: what was counted before it is old by now.
		st.mu.records.add(st.mu.breaker.Reset(now), s.hold, wall)
	}
	st.publish()
}

// publish lets requests go by what the breaker says now. The caller holds mu, or is alone.
func (st *state) publish() {
	s, view := st.mu.settings, st.mu.breaker.View()
	p := &published{of: st, settings: s, view: view, openedAt: view.Last.At, probes: new(atomic.Int32)}
	p.probe.of = p
	switch {
	case s.hold == HeldOpen:
		p.openedAt, p.view.State = view.Since, core.Open
	case s.hold == HeldClosed, view.Share >= 1:
		p.threshold = allShares + 1
	default:
		p.threshold = uint64(view.Share * (1 << 32))
		p.probes.Store(int32(view.Probes))
	}
	if before := st.at.Load(); before != nil && before.view.Episode == view.Episode && before.settings.hold == s.hold {
		p.probes = before.probes // new settings deal out no new probes
	}
	if view.State == core.Closed && s.hold == Auto && s.run > 0 {
		open := &published{of: st, settings: s, probes: new(atomic.Int32)}
		open.probe.of = open
		open.view = core.View{State: core.Open, Era: view.Era + 1, Episode: view.Episode + 1}
		open.view.Last.Numbers.Run = s.run
		p.tripped = open
	}
	st.run.Store(0)
	st.at.Store(p)
}

// on returns the counters of a loop, which alone makes them.
func (st *state) on(loop int) *counters {
	c := st.loops[loop].Load()
	if c == nil {
		c = new(counters)
		st.loops[loop].Store(c)
		for {
			most := st.most.Load()
			if int(most) > loop || st.most.CompareAndSwap(most, int32(loop+1)) {
				break
			}
		}
	}
	return c
}

// count takes an ending in. Loops call it. It writes nothing that loops share unless there are failures.
func (st *state) count(loop int, admitted *published, e *ending) {
	p := st.at.Load()
	if p.view.Era != admitted.view.Era || p.settings == nil || p.settings.hold != Auto {
		return // a request from before it opened is no news
	}
	c := st.on(loop)
	c.latency[core.HistogramBucket(e.latency)].Add(1)
	if e.slow {
		c.slow.Add(1)
	}
	if !e.failed {
		if st.run.Load() != 0 {
			st.run.Store(0)
		}
		return
	}
	c.failures.Add(1)
	if e.timedOut {
		c.timeouts.Add(1)
	}
	if run := st.run.Add(1); p.tripped != nil && run >= p.settings.run {
		// Whoever comes first opens it; the tick will write down when and why.
		st.at.CompareAndSwap(p, p.tripped)
	}
}

// collect returns how requests ended since the last call. The caller holds mu.
func (st *state) collect() core.Counts {
	all := core.Counts{Run: st.run.Load()}
	for i := range st.most.Load() {
		l := st.loops[i].Load()
		if l == nil {
			continue
		}
		for b := range l.latency {
			all.Latency[b] += l.latency[b].Load()
		}
		all.Failures += l.failures.Load()
		all.Timeouts += l.timeouts.Load()
		all.Slow += l.slow.Load()
	}
	return all.News(&st.mu.seen)
}

// tick hands the counts to the decision and publishes what changed.
func (st *state) tick(now mono.Time, wall time.Time) {
	st.mu.Lock()
	st.decide(now, wall)
	news := st.mu.records.news()
	st.mu.Unlock()
	for i := range news {
		news[i].log(string(st.key)) // which may wait, and loops ask for mu
	}
}

// decide is tick, with mu held.
func (st *state) decide(now mono.Time, wall time.Time) {
	p := st.at.Load()
	if p.settings == nil {
		return
	}
	c := st.collect()
	if c.Total() > 0 {
		st.mu.asked = now
	}
	if st.mu.settings.hold != Auto {
		return
	}
	b := st.mu.breaker
	before := b.View()
	t, changed := core.Transition{}, false
	if p.view.State == core.Open && before.State == core.Closed { // loops have opened it
		c.Run = p.settings.run
		t, changed = b.Trip(now, &c)
	} else {
		t, changed = b.Tick(now, &c)
	}
	if changed {
		st.mu.records.add(t, Auto, wall)
	}
	if changed || b.View().Episode != before.Episode {
		st.publish()
	}
}

// giveUp ends a state that nobody asked for in a long time, and tells whether it did. Whoever still has it finds out by
// published.settings.
func (st *state) giveUp(now mono.Time) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if now.Sub(st.mu.asked) < idleMax || st.mu.breaker.View().State != core.Closed {
		return false
	}
	st.at.Store(&published{of: st, view: st.mu.breaker.View(), probes: new(atomic.Int32)})
	return true
}
