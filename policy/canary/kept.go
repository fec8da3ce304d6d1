package canary

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Kept is a Judge as it is written down, to go on in another process. It can be written as JSON, and read back.
//
// What was seen is counted from the canary's beginning, not from a process's: the next process counts from nothing. Times
// are how long ago something was: the time in which no process ran is no part of a step.
type Kept struct {
	Plan   Plan    `json:"plan"` // filled in
	State  string  `json:"state"`
	Step   int     `json:"step"`
	Weight float64 `json:"weight"`

	OnStep time.Duration `json:"on_step_ns"`
	Said   bool          `json:"said,omitempty"`

	// All was seen since the beginning; Step and Window begin where these were.
	All       KeptPair `json:"all"`
	StepFrom  KeptPair `json:"step_from"`
	WindowEnd KeptPair `json:"window_end"`

	Past     KeptPast   `json:"past"`
	Errors   KeptWager  `json:"errors"`
	Latency  KeptWager  `json:"latency"`
	MostSeen [2]float64 `json:"most_seen"`
}

// KeptPair is a Sample of both.
type KeptPair struct {
	Canary   Sample `json:"canary"`
	Baseline Sample `json:"baseline"`
}

// KeptPast is what is remembered of the baseline.
type KeptPast struct {
	Requests float64   `json:"requests"`
	Errors   float64   `json:"errors"`
	Latency  []float64 `json:"latency"`
}

// KeptWager is a wager. Of a bet that has nothing the logarithm is the smallest number there is, since JSON has no infinity.
type KeptWager struct {
	Bets []float64 `json:"bets"`
	Cash float64   `json:"cash"`
	Seen float64   `json:"seen"`
}

// Keep writes the judge down, by the counters' present state.
func (j *Judge) Keep(now mono.Time, canary, baseline *Sample) Kept {
	at := j.reading(canary, baseline)
	from := func(r both) KeptPair {
		return KeptPair{r.canary.since(&j.first.canary), r.baseline.since(&j.first.baseline)}
	}
	return Kept{Plan: j.plan, State: j.state.String(), Step: j.step, Weight: j.weight, OnStep: now.Sub(j.stepBegan), Said: j.said,
		All: from(at), StepFrom: from(j.stepFirst), WindowEnd: from(j.last),
		Past:   KeptPast{j.past.requests, j.past.errors, slices.Clone(j.past.latency[:])},
		Errors: keepWager(&j.errors), Latency: keepWager(&j.latency), MostSeen: j.mostSeen}
}

// Resume returns the judge that was written down. The samples are the counters' present state, from which they go on. An
// error says that what was written down cannot be one: then there is no judge.
func Resume(k *Kept, now mono.Time, canary, baseline *Sample) (*Judge, error) {
	state := slices.Index(stateWords[:], k.State)
	if state < 0 {
		return nil, fmt.Errorf("a canary is in no state %q", k.State)
	}
	plan := k.Plan.Filled()
	plan.Errors, plan.Latency = k.Plan.Errors, k.Plan.Latency // zero is none here
	if err := k.check(&plan); err != nil {
		return nil, err
	}
	j := &Judge{plan: plan, state: State(state), step: k.Step, weight: k.Weight, said: k.Said, began: now, stepBegan: now.Add(-k.OnStep),
		windowBegan: now, windows: windowsMin, // not kept: there were some, as a rule
		cause: TimeLeft, mostSeen: k.MostSeen,
		errors: resumeWager(&k.Errors), latency: resumeWager(&k.Latency)}
	if j.state != Running {
		j.cause = Settled
	}
	j.past.requests, j.past.errors = k.Past.Requests, k.Past.Errors
	for i, n := range k.Past.Latency {
		j.past.latency[i] = n
		j.past.timed += n
	}
	// Readings count from the canary's beginning: what the counters have now is where this process begins.
	j.resumed, j.origin = true, both{*canary, *baseline}
	j.before = both{k.All.Canary, k.All.Baseline}
	j.stepFirst = both{k.StepFrom.Canary, k.StepFrom.Baseline}
	j.last = both{k.WindowEnd.Canary, k.WindowEnd.Baseline}
	return j, nil
}

// reading is the counters' present state, with what other processes have seen before.
func (j *Judge) reading(canary, baseline *Sample) both {
	if !j.resumed {
		return both{*canary, *baseline}
	}
	return both{j.before.canary.and(canary.since(&j.origin.canary)), j.before.baseline.and(baseline.since(&j.origin.baseline))}
}

// and is what both samples have together.
func (s Sample) and(more Sample) Sample {
	s.Requests += more.Requests
	s.Errors += more.Errors
	for i, n := range more.Latency {
		s.Latency[i] += n
	}
	return s
}

func keepWager(w *wager) KeptWager {
	k := KeptWager{Bets: slices.Clone(w.bets), Cash: w.cash, Seen: w.seen}
	for i, l := range k.Bets {
		k.Bets[i] = max(l, -math.MaxFloat64)
	}
	return k
}

func resumeWager(k *KeptWager) wager {
	return wager{bets: slices.Clone(k.Bets), cash: k.Cash, seen: k.Seen}
}

// errKept is what is wrong with what was written down, beyond what its parts say.
var errKept = errors.New("the numbers of the canary cannot be")

// check refuses what no judge is like. It is no proof against somebody who writes the file: who can, can set any weight.
func (k *Kept) check(plan *Plan) error {
	sane := k.Step >= 0 && k.Step < len(plan.Steps) && len(plan.Steps) <= StepsMax && k.Weight >= 0 && k.Weight <= 1 && k.OnStep >= 0 &&
		plan.Risk > 0 && plan.Risk < 1 && plan.Errors >= 0 && plan.Errors < 1 && plan.Latency >= 0 && plan.StepTime >= 0 && plan.StepTimeMax >= 0 &&
		len(k.Past.Latency) == Buckets && len(k.Errors.Bets) == len(errorsMore) && len(k.Latency.Bets) == len(latencyPoints)*len(latencyOdds)
	last := 0.0
	for _, w := range plan.Steps {
		sane = sane && w > last && w <= 1
		last = w
	}
	for _, w := range []*KeptWager{&k.Errors, &k.Latency} {
		// The cash is never spent to its end.
		sane = sane && w.Cash > 0 && w.Cash <= 1 && w.Seen >= 0
	}
	for _, n := range append([]float64{k.Past.Requests, k.Past.Errors}, k.Past.Latency...) {
		sane = sane && n >= 0 && n <= 2*memoryMax
	}
	if !sane {
		return errKept
	}
	return nil
}
