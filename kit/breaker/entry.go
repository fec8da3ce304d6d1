package breaker

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	core "github.com/yumen-io/yumen/policy/breaker"
)

const (
	// allShares is above every number that a call draws: all pass.
	allShares = 1<<32 - 1
	// stripes is over how many counters endings are spread, so that processors do not wait for each other.
	stripes = 8
)

// published is what calls go by until something changes. Frozen, but for the probes that are left.
type published struct {
	settings  *settings
	view      core.View
	threshold uint64 // a call that draws a number of 32 bits below it passes
	probes    *atomic.Int32
}

// takeProbe asks for one of the probes of this episode.
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

func (p *published) decision(key string, now mono.Time, pass, probe bool) Decision {
	v := &p.view
	d := Decision{Key: key, Allowed: pass, Mode: p.settings.cfg.Mode, Probe: probe, State: State(v.State), Share: v.Share}
	if v.Last.Cause != core.None {
		d.Cause, d.Numbers = v.Last.Cause.String(), numbersOf(&v.Last)
	}
	if !pass {
		d.RetryAfter = time.Second
		if v.State == core.Open {
			d.RetryAfter = max(v.Until.Sub(now), time.Second)
		}
	}
	return d
}

func numbersOf(t *core.Transition) Numbers {
	return numbers(t.Numbers, t.Score)
}

func numbers(n core.Numbers, score float64) Numbers {
	return Numbers{Total: n.Total, Failures: n.Failures, ErrorRatio: n.ErrorRatio, TimeoutRatio: n.TimeoutRatio, SlowRatio: n.SlowRatio,
		P95: n.P95, Consecutive: n.Run, Score: score}
}

// stripe is how calls ended, of those that drew it.
type stripe struct {
	latency                  [core.HistogramBuckets]atomic.Uint32
	failures, timeouts, slow atomic.Uint32
	_                        [64]byte // the next one is on another line
}

// entry is one key's breaker.
type entry struct {
	of  *Breaker
	key string

	// Published.
	now  atomic.Pointer[published]
	due  atomic.Int64  // mono.Time of the next tick
	run  atomic.Uint32 // failures in a row; written only while there are any
	ends [stripes]stripe

	mu struct {
		sync.Mutex
		breaker *core.Breaker
		ticked  mono.Time
		seen    core.Counts // as of the last tick
		used    mono.Time   // a tick at which a call had ended
	}
}

func newEntry(of *Breaker, key string, s *settings, now mono.Time) *entry {
	e := &entry{of: of, key: key}
	e.mu.breaker = core.New(s.core, rand.Uint64(), now)
	e.mu.ticked, e.mu.used = now, now
	e.due.Store(int64(now.Add(tickPause)))
	e.publish(s)
	return e
}

// publish lets calls go by what the breaker says now. The caller holds mu, or is alone.
func (e *entry) publish(s *settings) {
	p := &published{settings: s, view: e.mu.breaker.View(), probes: new(atomic.Int32)}
	if p.view.Share >= 1 {
		p.threshold = allShares + 1
	} else {
		p.threshold = uint64(p.view.Share * (1 << 32))
		p.probes.Store(int32(p.view.Probes))
	}
	before := e.now.Load()
	if before != nil && before.view.Episode == p.view.Episode {
		p.probes = before.probes // new settings deal out no new probes
	} else {
		e.run.Store(0)
	}
	e.now.Store(p)
}

// at is what a call goes by that comes now. If it is time, the breaker takes in first how calls have ended.
func (e *entry) at(now mono.Time) *published {
	if int64(now) >= e.due.Load() && e.mu.TryLock() { // else somebody does so at this moment
		changes := e.tick(now)
		p := e.now.Load()
		e.mu.Unlock()
		e.tell(p.settings, changes)
		return p
	}
	return e.now.Load()
}

// tick hands the counts to the decision and publishes what changed. The caller holds mu.
func (e *entry) tick(now mono.Time) (changes []core.Transition) {
	if int64(now) < e.due.Load() {
		return nil
	}
	// What was counted since the last tick ended within its pause: whoever came later would have ticked. So after a time without calls
	// it is not taken for news.
	if at := e.mu.ticked.Add(tickPause); now.Sub(at) >= tickPause {
		changes = e.decide(at, changes)
	}
	changes = e.decide(now, changes)
	e.due.Store(int64(now.Add(tickPause)))
	return changes
}

// decide is tick as of one time.
func (e *entry) decide(now mono.Time, changes []core.Transition) []core.Transition {
	c := e.collect()
	b := e.mu.breaker
	before := b.View().Episode
	t, changed := b.Tick(now, &c)
	e.mu.ticked = now
	if c.Total() > 0 {
		e.mu.used = now
	}
	if changed {
		changes = append(changes, t)
	}
	if changed || b.View().Episode != before {
		e.publish(e.now.Load().settings)
	}
	return changes
}

// collect returns how calls ended since the last time. The caller holds mu.
func (e *entry) collect() core.Counts {
	all := core.Counts{Run: e.run.Load()}
	for i := range e.ends {
		s := &e.ends[i]
		for b := range s.latency {
			all.Latency[b] += s.latency[b].Load()
		}
		all.Failures += s.failures.Load()
		all.Timeouts += s.timeouts.Load()
		all.Slow += s.slow.Load()
	}
	return all.News(&e.mu.seen)
}

// count takes an ending in. It writes nothing that calls share unless there are failures.
func (e *entry) count(admitted *published, o Outcome, latency time.Duration, now mono.Time) {
	p := e.at(now)
	if p.view.Era != admitted.view.Era {
		return // a call from before it opened is no news
	}
	s := &e.ends[rand.Uint32()%stripes]
	s.latency[core.HistogramBucket(latency)].Add(1)
	set := p.settings
	if set.cfg.SlowThan > 0 && latency >= set.cfg.SlowThan {
		s.slow.Add(1)
	}
	if o == Success {
		if e.run.Load() != 0 {
			e.run.Store(0)
		}
		return
	}
	s.failures.Add(1)
	if o == Timeout {
		s.timeouts.Add(1)
	}
	if run := e.run.Add(1); set.run > 0 && run >= set.run && p.view.State == core.Closed {
		e.trip(p, run, now)
	}
}

// trip opens at once, without waiting for the next tick.
func (e *entry) trip(p *published, run uint32, now mono.Time) {
	e.mu.Lock()
	if e.mu.breaker.View().Era != p.view.Era {
		e.mu.Unlock()
		return // another was faster
	}
	c := e.collect()
	c.Run = run
	t, changed := e.mu.breaker.Trip(now, &c)
	var changes []core.Transition
	if changed {
		e.mu.ticked, e.mu.used = now, now
		e.publish(e.now.Load().settings)
		changes = append(changes, t)
	}
	e.mu.Unlock()
	e.tell(p.settings, changes)
}

// follow has settings hold from now on.
func (e *entry) follow(s *settings, now mono.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.breaker.Configure(s.core, now)
	e.publish(s)
}

func (e *entry) reset(now mono.Time) {
	e.mu.Lock()
	p := e.now.Load()
	t := e.mu.breaker.Reset(now)
	e.publish(p.settings)
	e.mu.Unlock()
	e.tell(p.settings, []core.Transition{t})
}

func (e *entry) idle(now mono.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.breaker.View().State == core.Closed && now.Sub(e.mu.used) >= idleMin
}

// tell logs changes, and hands them to whoever asked for them. Nobody holds mu.
func (e *entry) tell(s *settings, changes []core.Transition) {
	for i := range changes {
		t := &changes[i]
		e.of.changes.Add(1)
		c := Change{Key: e.key, At: e.of.wall(t.At), From: State(t.From), To: State(t.To), Cause: t.Cause.String(), Numbers: numbersOf(t), OpenFor: t.OpenFor}
		if t.Cause == core.Score {
			c.Top, c.Typical = t.Top.String(), t.Typical
		}
		if t.From != t.To { // not each step of the stair
			log := s.cfg.Logger.Info
			if c.To == Open {
				log = s.cfg.Logger.Warn
			}
			log("breaker changed its state", "key", e.key, "from", c.From.String(), "to", c.To.String(), "cause", c.Cause,
				"total", c.Numbers.Total, "failures", c.Numbers.Failures, "in_a_row", c.Numbers.Consecutive, "p95", c.Numbers.P95, "score", c.Numbers.Score)
		}
		if s.cfg.OnChange != nil {
			s.cfg.OnChange(c)
		}
	}
}

func (e *entry) stats(now mono.Time) KeyStats {
	e.at(now)
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.mu.breaker
	v := b.View()
	learnt, score, _ := b.Learnt()
	k := KeyStats{Key: e.key, State: State(v.State), Since: e.of.wall(v.Since), Share: v.Share, Window: numbers(b.Window(), score), Learnt: learnt}
	if v.Last.Cause != core.None {
		k.Opened, k.LastFor = v.Last.Cause.String(), v.Last.OpenFor
	}
	return k
}
