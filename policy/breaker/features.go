package breaker

import (
	"math"
	"slices"
	"time"
)

// Feature is one of the things that a second is judged by. Of each, more is worse.
type Feature uint8

// Features of a second.
const (
	FeatureP95          Feature = iota // latency that 95 % stay below
	FeatureErrorRatio                  // failures
	FeatureTimeoutRatio                // failures that were timeouts
	features
)

var featureWords = [...]string{"p95", "error_ratio", "timeout_ratio"}

// String returns the word of logs and records.
func (f Feature) String() string { return featureWords[f] }

// Features are those of one second.
type Features struct {
	Total        uint32
	P95          time.Duration
	ErrorRatio   float64
	TimeoutRatio float64
}

// vector is the features as the forest sees them: the latency as its logarithm, since what matters is by how much it
// multiplies.
type vector [features]float64

// reach is how far beyond the data splits go at least: latency that doubles, a tenth of failures, a twentieth of timeouts.
var reach = vector{math.Ln2, 0.10, 0.05}

// reservoirMax seconds are kept, and reservoirTurn is how many healthy seconds pass for each that replaces one: what was healthy
// half an hour ago has then most likely been replaced. A service may become slower over a day without becoming ill.
const (
	reservoirMax  = 256
	reservoirTurn = 8
)

// reservoir is a sample of the healthy seconds of the last half hour or so.
type reservoir struct {
	list   [reservoirMax]vector
	n      int
	median vector
	worst  vector // what 98 % of the seconds do not exceed
}

// add takes a healthy second in, and may put it in the place of any other.
func (r *reservoir) add(v vector, g *generator) {
	switch {
	case r.n < reservoirMax:
		r.list[r.n] = v
		r.n++
	case g.below(reservoirTurn) == 0:
		r.list[g.below(reservoirMax)] = v
	default:
		return
	}
}

// summarise computes median and worst of one feature. It is done for one feature a second, in turn.
func (r *reservoir) summarise(f Feature) {
	if r.n == 0 {
		return
	}
	var values [reservoirMax]float64
	for i := range r.n {
		values[i] = r.list[i][f]
	}
	list := values[:r.n]
	slices.Sort(list)
	r.median[f], r.worst[f] = list[len(list)/2], list[len(list)*98/100]
}
