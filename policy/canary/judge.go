package canary

import (
	"math"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// State is where a canary is.
type State uint8

// States.
const (
	Running    State = iota // on one of its steps
	Done                    // on the last, and that went well
	RolledBack              // it was worse
	Stopped                 // somebody else decides
)

var stateWords = [...]string{"running", "done", "rolled_back", "stopped"}

// String returns the word of logs and records.
func (s State) String() string { return stateWords[s] }

// Cause is why a canary is where it is, or stays there.
type Cause uint8

// Causes. The first ones are those of transitions, the others of staying on a step.
const (
	Began        Cause = iota // the first step
	StepPassed                // up: no worse so far
	LastPassed                // done
	MoreErrors                // rolled back
	Slower                    // rolled back
	Inconclusive              // the step takes longer than it may; it goes on
	Ordered                   // stopped: an operator set weights
	Replanned                 // the plan has other steps

	TimeLeft       // StepTime is not over
	RequestsLeft   // the canary has not had StepRequests
	BaselineLeft   // the baseline has no requests to compare with
	ErrorsDoubted  // it may be worse: waiting for certainty
	LatencyDoubted // likewise
	Settled        // nothing is to come
)

var causeWords = [...]string{"began", "step_passed", "last_passed", "more_errors", "slower", "inconclusive", "ordered", "replanned",
	"time_left", "requests_left", "baseline_left", "errors_doubted", "latency_doubted", "settled"}

// String returns the word of logs and records.
func (c Cause) String() string { return causeWords[c] }

// Numbers are what was seen of both on one step, or since the beginning.
type Numbers struct {
	CanaryRequests, BaselineRequests uint64
	CanaryErrors, BaselineErrors     float64 // shares
	CanaryP50, BaselineP50           time.Duration
	CanaryP95, BaselineP95           time.Duration
	CanaryP99, BaselineP99           time.Duration
}

// Evidence is how much speaks against the canary. A chance is an always-valid p-value: how likely it is, at most, that
// a version which is no worse would ever have looked as bad as this one did.
type Evidence struct {
	ErrorsChance, LatencyChance float64
	Limit                       float64 // the chance below which it is rolled back
}

// Transition is one change, and all that led to it.
type Transition struct {
	At         mono.Time
	From, To   State
	Step       int     // after it, counted from 0
	Weight     float64 // after it
	Before     float64 // weight
	Cause      Cause
	Took       time.Duration // since the one before it
	OnStep     Numbers       // of the step that ended
	Whole      Numbers       // since the canary began
	Evidence   Evidence
	DoubtIs    Cause // of Inconclusive: what the step waits for
	Tolerances [2]float64
}

// Judge is the judge of one canary. It is not safe for concurrent use.
type Judge struct {
	plan   Plan
	state  State
	step   int
	weight float64
	cause  Cause // why it stays

	began, stepBegan mono.Time
	said             bool // inconclusive, of this step

	// First readings of the canary, the step and the window, and the last one of all.
	first, stepFirst, last both
	windowBegan            mono.Time
	windows                int // of this step
	// Of a judge that was resumed: what was seen before, and the counters when it was. Its readings count from the
	// canary's beginning.
	resumed        bool
	before, origin both

	past     memory
	errors   wager
	latency  wager
	mostSeen [2]float64 // of the capital of each, as logarithms
}

type both struct{ canary, baseline Sample }

// Begin returns the judge of a canary that begins now, and the transition to its first step: the caller sets the
// weight. The samples are the counters' present state: what was before counts as the baseline's past only.
func Begin(p Plan, now mono.Time, canary, baseline *Sample) (*Judge, Transition) {
	j := &Judge{plan: p.Filled(), began: now, stepBegan: now, windowBegan: now, cause: TimeLeft,
		errors: newWager(1, len(errorsMore)), latency: newWager(1, len(latencyPoints)*len(latencyOdds))}
	at := both{*canary, *baseline}
	j.first, j.stepFirst, j.last = at, at, at
	j.past.add(baseline)
	if j.weight = j.plan.Steps[0]; j.weight == 1 { // a plan without a step to compare on
		j.state, j.cause = Done, Settled
	}
	return j, Transition{At: now, To: j.state, Weight: j.weight, Cause: Began, Tolerances: j.tolerances(), Evidence: j.Evidence()}
}

func (j *Judge) tolerances() [2]float64 { return [2]float64{j.plan.Errors, j.plan.Latency} }

// Weight is what the canary is to have: its step's, or nothing once it is rolled back. Of one that was stopped it is
// the last that the judge gave it.
func (j *Judge) Weight() float64 { return j.weight }

// State is where it is, Step on which step, counted from 0, of how many, and Cause why it stays there.
func (j *Judge) State() State { return j.state }

// Step returns the step, counted from 0, and how many there are.
func (j *Judge) Step() (step, of int) { return j.step, len(j.plan.Steps) }

// Cause is why it stays where it is.
func (j *Judge) Cause() Cause { return j.cause }

// Plan returns what it goes by, defaults filled in.
func (j *Judge) Plan() Plan { return j.plan }

// Look judges by what the counters say now, and returns a transition if there is one. It is to be called several times
// a second, and after each transition the caller sets the Weight.
func (j *Judge) Look(now mono.Time, canary, baseline *Sample) (Transition, bool) {
	if j.state != Running {
		j.cause = Settled
		return Transition{}, false
	}
	at := j.reading(canary, baseline)
	j.see(now, at)
	limit := j.plan.verdictAt()
	switch {
	case j.errors.capital() >= limit:
		return j.move(now, at, RolledBack, j.step, MoreErrors), true
	case j.latency.capital() >= limit:
		return j.move(now, at, RolledBack, j.step, Slower), true
	}
	if j.cause = j.waitsFor(now, &at); j.cause != StepPassed {
		if !j.said && now.Sub(j.stepBegan) >= j.plan.StepTimeMax {
			j.said = true
			t := j.transition(now, at, Inconclusive)
			t.DoubtIs = j.cause
			return t, true
		}
		return Transition{}, false
	}
	if j.step == len(j.plan.Steps)-1 {
		return j.move(now, at, Done, j.step, LastPassed), true
	}
	t := j.move(now, at, Running, j.step+1, StepPassed)
	if j.plan.Steps[j.step] == 1 { // there is nothing left to compare with
		t.To, t.Cause = Done, LastPassed
		j.state, j.cause = Done, Settled
	}
	return t, true
}

// waitsFor tells what is missing for the next step, StepPassed if nothing is.
func (j *Judge) waitsFor(now mono.Time, at *both) Cause {
	switch {
	case now.Sub(j.stepBegan) < j.plan.StepTime:
		return TimeLeft
	case at.canary.since(&j.stepFirst.canary).Requests < j.plan.StepRequests:
		return RequestsLeft
	case at.baseline.since(&j.stepFirst.baseline).Requests == 0:
		return BaselineLeft
	case j.windows < windowsMin:
		return TimeLeft
	case j.errors.capital() > math.Log(suspicion):
		return ErrorsDoubted
	case j.latency.capital() > math.Log(suspicion):
		return LatencyDoubted
	}
	return StepPassed
}

// see closes the window, if it is one, and bets on it.
func (j *Judge) see(now mono.Time, at both) {
	c, b := at.canary.since(&j.last.canary), at.baseline.since(&j.last.baseline)
	switch {
	case c.Requests == 0 || b.Requests == 0:
		return
	case now.Sub(j.windowBegan) < window && c.Requests < windowRequests:
		return
	}
	j.last, j.windowBegan = at, now
	j.windows++
	if j.past.requests > 0 { // else there is nothing to bet by
		j.bet(&c, &b)
	}
	j.past.add(&b)
	j.mostSeen[0] = max(j.mostSeen[0], j.errors.capital())
	j.mostSeen[1] = max(j.mostSeen[1], j.latency.capital())
}

func (j *Judge) bet(c, b *Sample) {
	most := WindowShare * j.plan.verdictAt()

	failed := pair{float64(c.Errors), float64(c.Requests), float64(b.Errors), float64(b.Requests)}
	usual := min(j.past.errorShare(), shareMax-j.plan.Errors-errorsMore[0])
	j.errors.invest(failed.canaryOf)
	for i, d := range errorsMore {
		j.errors.take(i, failed.factor(min(usual+j.plan.Errors+d, shareMax), usual, j.plan.Errors), most)
	}

	of, ofBaseline := c.Latency.count(), b.Latency.count()
	if of == 0 || ofBaseline == 0 {
		return
	}
	j.latency.invest(of)
	for i, q := range latencyPoints {
		bucket, beyond, ok := j.past.threshold(q)
		if !ok {
			continue
		}
		late := pair{c.Latency.beyond(bucket, j.plan.Latency), of, b.Latency.beyond(bucket, 0), ofBaseline}
		for k, odds := range latencyOdds {
			j.latency.take(i*len(latencyOdds)+k, late.factor(more(beyond, odds), beyond, 0), most)
		}
	}
}

// move changes the state.
func (j *Judge) move(now mono.Time, at both, to State, step int, cause Cause) Transition {
	before, from := j.Weight(), j.state
	t := j.transition(now, at, cause)
	if step != j.step || to != from {
		j.stepBegan, j.windowBegan, j.said, j.windows = now, now, false, 0
		j.stepFirst, j.last = at, at
	}
	j.state, j.step = to, step
	switch {
	case to == RolledBack:
		j.weight = 0
	case to != Stopped:
		j.weight = j.plan.Steps[step]
	}
	if j.cause = TimeLeft; to != Running {
		j.cause = Settled
	}
	t.From, t.To, t.Step, t.Before, t.Weight = from, to, step, before, j.Weight()
	return t
}

func (j *Judge) transition(now mono.Time, at both, cause Cause) Transition {
	return Transition{At: now, From: j.state, To: j.state, Step: j.step, Weight: j.Weight(), Before: j.Weight(), Cause: cause,
		Took: now.Sub(j.stepBegan), OnStep: numbers(&at, &j.stepFirst), Whole: numbers(&at, &j.first), Evidence: j.Evidence(), Tolerances: j.tolerances()}
}

// Stop is what an operator does by setting weights himself: the judge has nothing more to say.
func (j *Judge) Stop(now mono.Time, canary, baseline *Sample) (Transition, bool) {
	if j.state == Stopped {
		return Transition{}, false
	}
	return j.move(now, j.reading(canary, baseline), Stopped, j.step, Ordered), true
}

// Replan goes on by another plan: evidence and counts are kept. With other steps the canary is on the highest that is
// not above its weight, or on the first.
func (j *Judge) Replan(p Plan, now mono.Time, canary, baseline *Sample) (Transition, bool) {
	weight := j.Weight()
	j.plan = p.Filled()
	step := 0
	for i, w := range j.plan.Steps {
		if w <= weight {
			step = i
		}
	}
	if j.state != Running {
		j.step = step
		return Transition{}, false
	}
	if j.plan.Steps[step] == weight {
		j.step = step
		return Transition{}, false
	}
	j.step = -1 // whatever its number is, it is another step
	return j.move(now, j.reading(canary, baseline), Running, step, Replanned), true
}

// Evidence returns how much speaks against the canary.
func (j *Judge) Evidence() Evidence {
	chance := func(most float64) float64 { return min(math.Exp(-most), 1) }
	return Evidence{chance(j.mostSeen[0]), chance(j.mostSeen[1]), j.plan.Risk / 2}
}

// Numbers returns what was seen on the present step, and since the canary began, by the counters' present state.
func (j *Judge) Numbers(canary, baseline *Sample) (onStep, whole Numbers) {
	at := j.reading(canary, baseline)
	return numbers(&at, &j.stepFirst), numbers(&at, &j.first)
}

func numbers(at, first *both) Numbers {
	c, b := at.canary.since(&first.canary), at.baseline.since(&first.baseline)
	return Numbers{c.Requests, b.Requests, ratio(&c), ratio(&b), c.Latency.Quantile(0.5), b.Latency.Quantile(0.5),
		c.Latency.Quantile(0.95), b.Latency.Quantile(0.95), c.Latency.Quantile(0.99), b.Latency.Quantile(0.99)}
}

func ratio(s *Sample) float64 {
	if s.Requests == 0 {
		return 0
	}
	return float64(s.Errors) / float64(s.Requests)
}
