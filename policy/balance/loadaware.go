package balance

import (
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/loadaware"
)

// Load aware is policy/loadaware with the memory of a loop: weights from what endpoints report and what their answers take,
// a few times a second; then for each request the better of two that were drawn by weight. Two choices, next door, asks
// latency alone, and for every request anew: without a tolerance it makes the fastest of ten its favourite, and it knows
// nothing of a processor that is busy with other callers' work.
//
// Who may be chosen is decided as for every other algorithm, by health, tiers and panic; what the core calls unhealthy is what is
// not in the pool, and in panic base weights count alone.

// weighEvery is how often weights are computed anew. What a loop sees by itself works from request to request.
const weighEvery = 250 * time.Millisecond

// weigher is what a load-aware set has beside the others.
type weigher struct {
	settings loadaware.Settings
	members  []*loadaware.Member // by endpoint
	chances  []loadaware.Chance  // likewise
	table    loadaware.Table     // of all endpoints; those outside the pool have no weight
	outcome  loadaware.Outcome
	next     mono.Time
	due      bool // at once: the pool is another
}

// aware is what such a set knows of an endpoint, beside its state.
type aware struct {
	member     *loadaware.Member
	own        loadaware.Average // latency of heads, as this loop has measured it
	ratio      loadaware.Average // of that to what the endpoint says
	failures   float64           // recent share of requests
	learnedAt  mono.Time         // when own was last fed
	progressAt mono.Time         // when a head came last, or waiting for one began

	reported    bool
	reportedAt  mono.Time
	cpu, memory float64
	said        time.Duration // its latency by its own word; 0: it does not say

	calls, failed, malformed uint64
}

// Report is what an endpoint says of itself. See policy/orca for how it comes.
type Report struct {
	CPU, Memory float64       // shares in use; above 1 counts as 1
	Latency     time.Duration // what its requests take; 0: it does not say
}

// Factors are what a load-aware weight is made of.
type Factors struct {
	loadaware.Weight
	Facts    loadaware.Facts
	Expected float64       // the part of all requests that it is drawn for, 0 to 1
	Typical  time.Duration // the pool's median latency
	Own      time.Duration // its latency, as this loop has measured it
	Said     time.Duration // and as it says itself
	Reported bool          // it has reported its load
	// Calls are the requests that have ended, Failed those of them that failed, and Malformed the reports that could not be read.
	Calls, Failed, Malformed uint64
}

func newWeigher(cfg *Config, n int) *weigher {
	s := cfg.Load.Filled()
	s.SlowStart = cfg.SlowStart // of which 0 is none here, as for the other algorithms
	return &weigher{settings: s, members: make([]*loadaware.Member, n), chances: make([]loadaware.Chance, n), due: true}
}

// beAware gives the state what a load-aware set needs, if it has not got it from one before.
func (st *state) beAware(warm float64) {
	if st.aware == nil {
		st.aware = &aware{member: loadaware.NewMember(warm)}
	}
}

// waits notes that a request was given to the endpoint: if no other waits, waiting begins.
func (st *state) waits(now mono.Time) {
	if st.waiting() == 1 {
		st.aware.progressAt = now
	}
}

// learn takes in the outcome of a request. How fast something fails says nothing of an endpoint's speed; only that it took
// longer than usual is news.
func (a *aware) learn(now mono.Time, took time.Duration, ok bool) {
	a.calls++
	a.failures = loadaware.LearnFailure(a.failures, !ok)
	if ok {
		a.progressAt = max(now, a.progressAt)
	} else {
		a.failed++
		if !a.own.Known() || took < a.own.Duration() {
			return
		}
	}
	a.learnedAt = max(now, a.learnedAt)
	a.own = a.own.Learn(took, loadaware.StepAlone)
	if a.said > 0 {
		a.ratio = a.ratio.LearnRatio(took, a.said, loadaware.StepRatio)
	}
}

// Reported says what endpoint i has reported of itself. Shares that are no numbers or below 0 say nothing, nor does a report
// without any number above 0. Algorithms other than LoadAware take no notice.
func (s *Set) Reported(i int, now mono.Time, r Report) {
	a := s.states[i].aware
	if a == nil || !(r.CPU >= 0) || !(r.Memory >= 0) || r.CPU == 0 && r.Memory == 0 && r.Latency <= 0 {
		return
	}
	a.reported, a.reportedAt = true, now
	a.cpu, a.memory = min(r.CPU, 1), min(r.Memory, 1)
	if 0 < r.Latency && r.Latency < saidMax {
		a.said = r.Latency
	}
}

// saidMax is above any latency that an endpoint can mean.
const saidMax = time.Hour

// Malformed counts a report of endpoint i that could not be read.
func (s *Set) Malformed(i int) {
	if a := s.states[i].aware; a != nil {
		a.malformed++
	}
}

// weigh computes the weights anew if it is time to.
func (s *Set) weigh(now mono.Time) {
	w := s.weigher
	if !w.due && now < w.next {
		return
	}
	w.due, w.next = false, now.Add(weighEvery)
	w.settings.PanicThreshold = panicNever
	if s.reason == Panic {
		w.settings.PanicThreshold = panicAlways
	}
	for i, st := range s.states {
		st.aware.member.Facts = s.facts(i, now)
		w.members[i] = st.aware.member
	}
	w.outcome = w.settings.Weigh(now, w.members)
	for i, m := range w.members {
		w.chances[i] = loadaware.Chance{Weight: m.Weight.Final, Slowness: m.Weight.Slowness}
	}
	w.table.Fill(w.chances)
}

// The set decides whether there is panic, by tiers; these make the core agree.
const panicNever, panicAlways = -1, 2

// facts gathers what the core wants to know.
func (s *Set) facts(i int, now mono.Time) loadaware.Facts {
	st := s.states[i]
	a := st.aware
	f := loadaware.Facts{Base: float64(s.endpoints[i].Weight), CPU: -1, Memory: -1, Failures: a.failures,
		Ready: s.tierOf[i] == s.tier && st.health != Drained}
	if !s.member[i] || st.health != Healthy {
		f.ProbeFailures = s.weigher.settings.ProbeFailuresMax
	}
	if a.reported {
		f.CPU, f.Memory, f.LoadAge = a.cpu, a.memory, max(now.Sub(a.reportedAt), 0)
	}
	if a.said > 0 && a.ratio.Known() && f.LoadAge <= s.weigher.settings.LoadMemory {
		f.Latency = a.ratio.Of(a.said)
	} else {
		f.Latency = a.own.Duration()
	}
	if a.own.Known() {
		f.LatencyAge = max(now.Sub(a.learnedAt), 0)
	}
	if st.waiting() > 0 {
		f.Stalled = max(now.Sub(a.progressAt), 0)
	}
	return f
}

// loadAware draws two by weight and takes the one that promises the shorter wait.
func (s *Set) loadAware(rnd uint64) int {
	w := s.weigher
	if len(s.pool) == 1 || w.table.Empty() {
		return int(s.pool[below(rnd, uint64(len(s.pool)))])
	}
	d := dice(rnd)
	more := d.roll()
	first, second := w.table.Draw(rnd, more)
	return w.table.Prefer(first, second, s.states[first].waiting(), s.states[second].waiting(), more)
}

// waiting are the requests in flight whose answer has not begun. Streams and tunnels, of which a few stand for hours, would else
// outweigh the short requests that the choice is about.
func (st *state) waiting() int64 { return int64(st.inFlight - st.answered) }

// awareCost compares endpoints for a second attempt, also those outside the pool, which have no weight: their base counts then.
func (s *Set) awareCost(i int) float64 {
	st := s.states[i]
	w := &st.aware.member.Weight
	weight := w.Final
	if !(weight > 0) {
		weight = float64(s.endpoints[i].Weight)
	}
	return float64(st.waiting()+1) * max(w.Slowness, 1) / weight
}

// viewAware adds to the view of endpoint i what its weight is made of.
func (s *Set) viewAware(i int, now mono.Time, v *EndpointView) {
	if len(s.pool) > 0 {
		s.weigh(now)
	}
	a := s.states[i].aware
	if v.Effective = 0; v.InPool {
		v.Effective = a.member.Weight.Final
	}
	v.Latency, v.Failures = a.own.Duration(), a.failures
	if len(s.pool) == 0 {
		return
	}
	f := &Factors{
		Weight: a.member.Weight, Facts: s.facts(i, now), Typical: s.weigher.outcome.Typical, Own: a.own.Duration(), Said: a.said,
		Reported: a.reported, Calls: a.calls, Failed: a.failed, Malformed: a.malformed,
	}
	sum := 0.0
	for _, m := range s.weigher.members {
		sum += m.Weight.Final
	}
	if sum > 0 {
		f.Expected = a.member.Weight.Final / sum
	}
	v.Factors = f
}
