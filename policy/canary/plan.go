package canary

import (
	"math"
	"slices"
	"time"
)

// Plan is how a canary is to go. Zero fields mean the defaults; None means none, where zero could be meant.
type Plan struct {
	Steps        []float64     // weights, growing, from above 0 to 1; default: 0.01, 0.05, 0.25, 0.5, 1
	StepTime     time.Duration // a step takes as long at least; default 5m
	StepRequests uint64        // and the canary gets as many requests in it; default 500
	StepTimeMax  time.Duration // when a step is called inconclusive; default ten times StepTime

	Errors  float64 // by how much the error ratio may be higher; default 0.005; None
	Latency float64 // by which part latency may be longer; default 0.1; None

	// Risk is the probability of rolling back a version that is no worse, over all its steps, at most; default 0.01.
	Risk float64
}

// None is a tolerance of nothing.
const None = -1

// Defaults of a Plan. Five steps of five minutes: half an hour, in which a leak or a cache that does not fill shows.
// Half a percent of errors and a tenth of latency: less than that no alarm would be raised about either.
const (
	DefaultStepTime     = 5 * time.Minute
	DefaultStepRequests = 500
	DefaultErrors       = 0.005
	DefaultLatency      = 0.1
	DefaultRisk         = 0.01
	stepTimesMax        = 10
)

// DefaultSteps returns the steps of a Plan that has none.
func DefaultSteps() []float64 { return []float64{0.01, 0.05, 0.25, 0.5, 1} }

// StepsMax bounds a plan.
const StepsMax = 32

// Filled returns the plan with its defaults filled in, and None as zero.
func (p Plan) Filled() Plan {
	if p.Steps = slices.Clone(p.Steps); len(p.Steps) == 0 {
		p.Steps = DefaultSteps()
	}
	if p.StepTime == 0 {
		p.StepTime = DefaultStepTime
	}
	if p.StepRequests == 0 {
		p.StepRequests = DefaultStepRequests
	}
	if p.StepTimeMax == 0 {
		p.StepTimeMax = stepTimesMax * p.StepTime
	}
	p.Errors = orNone(p.Errors, DefaultErrors)
	p.Latency = orNone(p.Latency, DefaultLatency)
	if p.Risk == 0 {
		p.Risk = DefaultRisk
	}
	return p
}

func orNone(v, usual float64) float64 {
	switch {
	case v < 0:
		return 0
	case v == 0:
		return usual
	}
	return v
}

// WindowShare is how much of the way to a verdict one window goes at most: three of them are bad when a canary is
// rolled back.
const WindowShare = 1.0 / 3

const (
	// window is how long one is, if there is a request of both in it; shorter once windowRequests of the canary are in
	// it, so that many requests do not have to wait for the clock.
	window         = time.Second
	windowRequests = 250

	// windowsMin are needed on a step before it is passed: a verdict takes as many, so that requests that all come at once, after a time
	// without any, do not lead up before they could have led back.
	windowsMin = 3

	// suspicion is the capital, in stakes, above which there is no step up: one in twenty versions that are no worse
	// comes there at some time, and waits until the doubt is gone.
	suspicion = 20
)

// The alternatives that are bet on. Errors: by how much the ratio is higher than the tolerance. Latency: how many
// times as likely it is, in odds, to be beyond a quantile.
var (
	errorsMore    = [...]float64{0.005, 0.01, 0.02, 0.05, 0.15, 0.5}
	latencyOdds   = [...]float64{1.3, 2, 4, 15}
	latencyPoints = [...]float64{0.5, 0.95, 0.99}
)

// shareMax keeps alternatives below certainty.
const shareMax = 0.98

// more returns a proportion with odds times as high.
func more(p, odds float64) float64 { return odds * p / (1 - p + odds*p) }

// verdictAt is the capital, as a logarithm, at which half of the risk is spent.
func (p *Plan) verdictAt() float64 { return math.Log(2 / p.Risk) }
