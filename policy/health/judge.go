package health

import (
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Config is how strictly a cluster's endpoints are judged. The zero value has the defaults.
type Config struct {
	Active  Active
	Passive Passive
}

// Active is about checks.
type Active struct {
	FailuresToUnhealthy int // in a row; 0 means 3
	SuccessesToHealthy  int // in a row; 0 means 2
}

// Passive is about live requests.
type Passive struct {
	ConsecutiveFailures int           // that eject; 0 means 5, below 0 there is no ejection
	EjectionBase        time.Duration // the first ejection; 0 means 10 s
	EjectionMax         time.Duration // the longest; 0 means 5 min; at least EjectionBase
	MaxEjectedShare     float64       // of the endpoints that are not drained; 0 means 0.5, at most 1
	CountServerErrors   bool          // a ServerError is a failure; only for upstreams no request of a client can make fail
}

func (c Config) withDefaults() Config {
	a, p := &c.Active, &c.Passive
	if a.FailuresToUnhealthy <= 0 {
		a.FailuresToUnhealthy = 3
	}
	if a.SuccessesToHealthy <= 0 {
		a.SuccessesToHealthy = 2
	}
	if p.ConsecutiveFailures == 0 {
		p.ConsecutiveFailures = 5
	}
	if p.EjectionBase <= 0 {
		p.EjectionBase = 10 * time.Second
	}
	if p.EjectionMax <= 0 {
		p.EjectionMax = 5 * time.Minute
	}
	p.EjectionMax = max(p.EjectionMax, p.EjectionBase)
	if p.MaxEjectedShare <= 0 {
		p.MaxEjectedShare = 0.5
	}
	p.MaxEjectedShare = min(p.MaxEjectedShare, 1)
	return c
}

// State is the verdict on an endpoint. When several hold, it is the last of this list. The order is that of balance.Health.
type State uint8

const (
	Healthy State = iota
	Ejected       // live requests ended badly
	Failing       // its checks fail
	Drained       // an operator took it out
	states
)

func (s State) String() string {
	switch s {
	case Healthy:
		return "healthy"
	case Ejected:
		return "ejected"
	case Failing:
		return "failing"
	default:
		return "drained"
	}
}

// Verdict is what there is to say about an endpoint.
type Verdict struct {
	State State
	Since mono.Time // of the state

	Checked     bool    // a check has ended: the endpoint is no longer unknown
	CheckStreak int     // checks in a row that speak against the active verdict
	LastCheck   Outcome // how the last failed check failed; OK if none did

	Streak       int       // live requests in a row that ended badly
	LastError    Outcome   // how the last bad one ended; OK if none did
	LastErrorAt  mono.Time //
	EjectedUntil mono.Time // if ejected, whatever State says; else zero
	Ejections    int       // the steps of doubling that are not forgiven yet
	HeldBack     bool      // it would be ejected, but for MaxEjectedShare or for being the last one
}

// Judge keeps the verdicts on all endpoints of a cluster, by their index in its list. It has one owner, a loop or a goroutine:
// not safe for concurrent use. Probe and Outcome cost O(1) unless the verdict changes, then O(number of endpoints).
//
// After each call that reports a change, Changed has the endpoints whose state is another now. Time is a fact like the others:
// Tick must be called when Next has come.
type Judge struct {
	cfg        Config
	records    []record
	identities []string
	count      [states]int
	next       mono.Time
	changed    []int
}

type record struct {
	state State
	since mono.Time

	drained bool

	checked     bool
	failing     bool
	checkStreak int
	lastCheck   Outcome

	streak       int
	lastError    Outcome
	lastErrorAt  mono.Time
	ejectedUntil mono.Time // zero: not ejected
	returnedAt   mono.Time // from the last ejection
	lastEjection time.Duration
	ejections    int // steps of doubling, as of returnedAt
	heldBack     bool
}

// NewJudge returns a judge of the endpoints with these identities, all healthy and unknown.
func NewJudge(cfg Config, identities []string, now mono.Time) *Judge {
	j := &Judge{
		cfg:        cfg.withDefaults(),
		records:    make([]record, len(identities)),
		identities: append([]string(nil), identities...),
		next:       mono.Never,
	}
	for i := range j.records {
		j.records[i].since = now
	}
	j.count[Healthy] = len(identities)
	return j
}

// Inherit takes over what old knows of the endpoints that both have, by identity. Call it on a new judge, before any fact. Every
// verdict is then as before but for the guard of the last healthy one; Changed has all that are not healthy, or just became so.
func (j *Judge) Inherit(old *Judge, now mono.Time) {
	known := make(map[string]*record, len(old.records))
	for i := range old.records {
		known[old.identities[i]] = &old.records[i]
	}
	j.count = [states]int{}
	j.changed = j.changed[:0]
	for i, id := range j.identities {
		r := &j.records[i]
		if was := known[id]; was != nil {
			*r = *was
			if r.state != Healthy {
				j.changed = append(j.changed, i)
			}
		}
		j.count[r.state]++
	}
	j.guardLast(now)
	j.schedule()
}

// Probe takes in the end of a check of endpoint i and reports whether a verdict changed. Any outcome but OK is a failed check.
func (j *Judge) Probe(i int, now mono.Time, o Outcome) bool {
	j.changed = j.changed[:0]
	r := &j.records[i]
	if o != OK {
		r.lastCheck = o
	}
	against := (o == OK) == r.failing
	switch {
	case !against:
		r.checkStreak = 0
	case r.failing:
		if r.checkStreak++; r.checkStreak >= j.cfg.Active.SuccessesToHealthy {
			r.failing, r.checkStreak = false, 0
		}
	default:
		if r.checkStreak++; r.checkStreak >= j.cfg.Active.FailuresToUnhealthy || !r.checked {
			r.failing, r.checkStreak = true, 0
		}
	}
	r.checked = true
	return j.settle(i, now)
}

// ForgetChecks drops what checks have found, of every endpoint, and reports whether a verdict changed. It is for the day when
// there are no checks any more: nothing else could clear the verdict of one.
func (j *Judge) ForgetChecks(now mono.Time) bool {
	j.changed = j.changed[:0]
	for i := range j.records {
		r := &j.records[i]
		r.checked, r.failing, r.checkStreak, r.lastCheck = false, false, 0, OK
		j.restate(i, now)
	}
	j.guardLast(now)
	j.schedule()
	return len(j.changed) > 0
}

// Outcome takes in how a live request to endpoint i ended and reports whether a verdict changed.
func (j *Judge) Outcome(i int, now mono.Time, o Outcome) bool {
	j.changed = j.changed[:0]
	r := &j.records[i]
	switch {
	case o == OK:
		r.streak, r.heldBack = 0, false
		return false
	case o == Aborted, o == ServerError && !j.cfg.Passive.CountServerErrors:
		return false
	}
	r.lastError, r.lastErrorAt = o, now
	if r.ejectedUntil != 0 || j.cfg.Passive.ConsecutiveFailures < 0 {
		return false
	}
	if r.streak++; r.streak < j.cfg.Passive.ConsecutiveFailures {
		return false
	}
	if !j.mayEject(i) {
		r.heldBack = true
		return false
	}
	j.eject(r, now)
	return j.settle(i, now)
}

// Drain takes endpoint i out, or lets it back, on an operator's word, and reports whether a verdict changed.
func (j *Judge) Drain(i int, now mono.Time, drained bool) bool {
	j.changed = j.changed[:0]
	j.records[i].drained = drained
	return j.settle(i, now)
}

// Tick ends the ejections whose time is over and reports whether a verdict changed.
func (j *Judge) Tick(now mono.Time) bool {
	j.changed = j.changed[:0]
	if now < j.next {
		return false
	}
	for i := range j.records {
		if r := &j.records[i]; r.ejectedUntil != 0 && r.ejectedUntil <= now {
			j.release(r, now)
			j.restate(i, now)
		}
	}
	j.schedule()
	return len(j.changed) > 0
}

// Next is when time alone will change a verdict; mono.Never if it will not.
func (j *Judge) Next() mono.Time { return j.next }

// Changed has the endpoints whose state the last call changed. It is valid until the next call.
func (j *Judge) Changed() []int { return j.changed }

// State is the verdict on endpoint i in a word.
func (j *Judge) State(i int) State { return j.records[i].state }

// Count is the number of endpoints in a state.
func (j *Judge) Count(s State) int { return j.count[s] }

// Verdict is all there is to say about endpoint i.
func (j *Judge) Verdict(i int, now mono.Time) Verdict {
	r := &j.records[i]
	return Verdict{
		State: r.state, Since: r.since,
		Checked: r.checked, CheckStreak: r.checkStreak, LastCheck: r.lastCheck,
		Streak: r.streak, LastError: r.lastError, LastErrorAt: r.lastErrorAt,
		EjectedUntil: r.ejectedUntil, Ejections: r.unforgiven(now), HeldBack: r.heldBack,
	}
}

// mayEject says whether the cluster can do without endpoint i. One that is failing or drained anyway may be ejected as well:
// nobody is lost by it.
func (j *Judge) mayEject(i int) bool {
	if j.records[i].state != Healthy {
		return true
	}
	serving := j.count[Healthy] + j.count[Ejected] + j.count[Failing]
	unavailable := j.count[Ejected] + j.count[Failing] + 1
	most := max(int(j.cfg.Passive.MaxEjectedShare*float64(serving)+1e-9), 1) // 0.3 x 10 is 3
	return unavailable <= most && j.count[Healthy] > 1
}

func (j *Judge) eject(r *record, now mono.Time) {
	p := &j.cfg.Passive
	steps := r.unforgiven(now)
	r.lastEjection, r.ejections = p.EjectionBase, 1
	// Steps stop where the length does: else years of failing would take years to forgive.
	for r.ejections <= steps && r.lastEjection < p.EjectionMax {
		r.lastEjection = min(2*r.lastEjection, p.EjectionMax)
		r.ejections++
	}
	r.ejectedUntil = now.Add(r.lastEjection)
	r.streak, r.heldBack = 0, false
	j.next = min(j.next, r.ejectedUntil)
}

// release ends an ejection: the endpoint is on probation.
func (j *Judge) release(r *record, now mono.Time) {
	r.ejectedUntil, r.returnedAt = 0, now
	r.streak = max(j.cfg.Passive.ConsecutiveFailures-1, 0)
}

// unforgiven is what good standing has left of the steps of doubling.
func (r *record) unforgiven(now mono.Time) int {
	if r.ejections == 0 || r.ejectedUntil != 0 {
		return r.ejections
	}
	return max(r.ejections-int(max(now.Sub(r.returnedAt), 0)/r.lastEjection), 0)
}

// settle draws the conclusions from a changed record.
func (j *Judge) settle(i int, now mono.Time) bool {
	if j.restate(i, now) {
		j.guardLast(now)
		j.schedule()
	}
	return len(j.changed) > 0
}

// restate brings the state of endpoint i in line with its record.
func (j *Judge) restate(i int, now mono.Time) bool {
	r := &j.records[i]
	state := Healthy
	switch {
	case r.drained:
		state = Drained
	case r.failing:
		state = Failing
	case r.ejectedUntil != 0:
		state = Ejected
	}
	if state == r.state {
		return false
	}
	j.count[r.state]--
	j.count[state]++
	r.state, r.since = state, now
	j.changed = append(j.changed, i)
	return true
}

// guardLast ends the ejection that would end first if nobody is healthy: a suspect is better than a certain 503.
func (j *Judge) guardLast(now mono.Time) {
	if j.count[Healthy] > 0 || j.count[Ejected] == 0 {
		return
	}
	first := -1
	for i := range j.records {
		if r := &j.records[i]; r.state == Ejected && (first < 0 || r.ejectedUntil < j.records[first].ejectedUntil) {
			first = i
		}
	}
	j.release(&j.records[first], now)
	j.restate(first, now)
}

// schedule finds out when the next ejection ends.
func (j *Judge) schedule() {
	j.next = mono.Never
	for i := range j.records {
		if until := j.records[i].ejectedUntil; until != 0 {
			j.next = min(j.next, until)
		}
	}
}
