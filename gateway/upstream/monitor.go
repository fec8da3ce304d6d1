package upstream

import (
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/balance"
	"github.com/yumen-io/yumen/policy/health"
)

// judged is what the loops share about one endpoint: whether the monitor wants to hear of good outcomes too, and the
// verdict, for those who join later. Written by the monitor, read anywhere.
type judged struct {
	identity string
	// suspect is set while the endpoint has failures on its record: the next good outcome clears them, so it must be
	// told. Otherwise good outcomes, nearly all there are, stay on their loop.
	suspect atomic.Bool
	state   atomic.Uint32 // balance.Health
}

func (j *judged) verdict() balance.Health { return balance.Health(j.state.Load()) }

// observe passes a live outcome on, if it can change anything. It never waits: when the monitor is behind, the outcome is
// counted and dropped.
func (j *judged) observe(c *Cluster, o health.Outcome) {
	if o == health.Aborted {
		return
	}
	if o == health.OK && !j.suspect.Load() {
		return
	}
	if o != health.OK {
		j.suspect.Store(true)
	}
	select {
	case c.group.monitor.observed <- observation{j, o, ""}:
	default:
		c.counters.OutcomeDropped()
	}
}

// observation is the end of a live request or of a check.
type observation struct {
	endpoint *judged
	outcome  health.Outcome
	text     string // of a failed check, for people
}

// monitor owns the verdicts on a group's endpoints. One goroutine, which is asked for what others want to know.
type monitor struct {
	group    *Group
	observed chan observation // from loops
	probed   chan observation // from probers
	changes  chan change      // from the control plane
	asked    chan chan []Status
	stop     chan struct{}
	done     chan struct{}

	// Owned by the goroutine.
	judge     *health.Judge
	endpoints []*judged
	index     map[*judged]int
	probers   map[*judged]*prober
	spec      *Spec // nil before the first change
}

// change is a new list of endpoints, or a new way to judge them.
type change struct {
	spec      *Spec
	targets   []Target
	endpoints []*judged
	drain     *drainOrder
	applied   chan struct{}
}

type drainOrder struct {
	endpoint *judged
	drained  bool
}

// Status is what there is to say about an endpoint's health.
type Status struct {
	Address   string
	State     string
	For       time.Duration // how long it has been so
	Why       string
	LastError string // of a check or a live request; empty if none
	LastCheck string
	Checked   bool // an active check has ended
}

func newMonitor(g *Group) *monitor {
	m := &monitor{
		group:    g,
		observed: make(chan observation, 1024),
		probed:   make(chan observation, 64),
		changes:  make(chan change),
		asked:    make(chan chan []Status),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
		judge:    health.NewJudge(health.Config{}, nil, mono.Now()),
		index:    map[*judged]int{},
		probers:  map[*judged]*prober{},
	}
	go m.run()
	return m
}

// run is the monitor's goroutine.
func (m *monitor) run() {
	defer close(m.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if next := m.judge.Next(); next == mono.Never {
			timer.Reset(time.Hour)
		} else {
			timer.Reset(max(0, next.Sub(mono.Now())))
		}
		select {
		case c := <-m.changes:
			m.change(c)
			close(c.applied)
		case o := <-m.observed:
			if i, ok := m.index[o.endpoint]; ok {
				now := mono.Now()
				m.settle(m.judge.Outcome(i, now, o.outcome))
				v := m.judge.Verdict(i, now)
				o.endpoint.suspect.Store(v.Streak > 0 || v.Ejections > 0)
			}
		case o := <-m.probed:
			// What an ended prober had still to say would come when nothing can clear it any more.
			if p := m.probers[o.endpoint]; p != nil {
				p.last = o.text
				m.settle(m.judge.Probe(m.index[o.endpoint], mono.Now(), o.outcome))
			}
		case answer := <-m.asked:
			answer <- m.statuses()
		case <-timer.C:
			m.settle(m.judge.Tick(mono.Now()))
		case <-m.stop:
			for _, p := range m.probers {
				p.end()
			}
			return
		}
	}
}

func (m *monitor) end() {
	close(m.stop)
	<-m.done
}

// change takes over a new list; what is known of endpoints that stay is kept.
func (m *monitor) change(c change) {
	now := mono.Now()
	if c.drain != nil {
		if i, ok := m.index[c.drain.endpoint]; ok {
			m.settle(m.judge.Drain(i, now, c.drain.drained))
		}
		return
	}
	identities := make([]string, len(c.endpoints))
	index := make(map[*judged]int, len(c.endpoints))
	for i, e := range c.endpoints {
		identities[i] = e.identity
		index[e] = i
	}
	judge := health.NewJudge(c.spec.Health, identities, now)
	judge.Inherit(m.judge, now)
	if c.spec.Probe == nil {
		judge.ForgetChecks(now)
	}
	restart := !c.spec.checksAs(m.spec)
	for e, p := range m.probers {
		if i, stays := index[e]; !stays || restart || p.name != c.targets[i].Name {
			p.end()
			delete(m.probers, e)
		}
	}
	m.judge, m.endpoints, m.index, m.spec = judge, c.endpoints, index, c.spec
	if m.spec.Probe != nil {
		for i, e := range m.endpoints {
			if m.probers[e] == nil {
				m.probers[e] = startProber(m, e, m.spec, c.targets[i])
			}
		}
	}
	for i, e := range m.endpoints {
		e.state.Store(uint32(healthOf(judge.State(i))))
	}
}

// settle tells the loops of verdicts that changed.
func (m *monitor) settle(changed bool) {
	if !changed {
		return
	}
	for _, i := range m.judge.Changed() {
		e, state := m.endpoints[i], m.judge.State(i)
		e.state.Store(uint32(healthOf(state)))
		if state != health.Healthy {
			e.suspect.Store(true)
		}
		m.group.tell(e, healthOf(state))
	}
}

func healthOf(s health.State) balance.Health {
	switch s {
	case health.Ejected:
		return balance.Ejected
	case health.Failing:
		return balance.Failing
	case health.Drained:
		return balance.Drained
	}
	return balance.Healthy
}

// statuses describes the endpoints. Made when asked for: under a storm of failures, to have it ready after each would cost more
// than all else.
func (m *monitor) statuses() []Status {
	now := mono.Now()
	list := make([]Status, len(m.endpoints))
	for i, e := range m.endpoints {
		v := m.judge.Verdict(i, now)
		s := Status{Address: e.identity, State: v.State.String(), For: now.Sub(v.Since), Why: why(v, now), Checked: v.Checked}
		if v.LastError != health.OK {
			s.LastError = v.LastError.String()
		}
		if p := m.probers[e]; p != nil {
			s.LastCheck = p.last
		}
		list[i] = s
	}
	return list
}

// why says in a few words what a verdict rests on.
func why(v health.Verdict, now mono.Time) string {
	switch v.State {
	case health.Ejected:
		return "live requests failed (" + v.LastError.String() + "), back in " + v.EjectedUntil.Sub(now).Round(100*time.Millisecond).String()
	case health.Failing:
		return "active checks fail (" + v.LastCheck.String() + ")"
	case health.Drained:
		return "drained by an operator"
	}
	switch {
	case v.HeldBack:
		return "would be ejected, but too many are out already"
	case v.Checked:
		return "active checks pass"
	}
	return "nothing speaks against it"
}
