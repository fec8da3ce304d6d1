package balance

import (
	"math"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Two choices (Mitzenmacher 2001) over a peak-sensitive latency average (Finagle's "peak EWMA"): draw two endpoints, give
// the request to the one with the lower
//
//	cost = latency x (requests in flight + 1) x penalty for failures
//
// Always taking the best of all would send everybody's next request to one endpoint, on stale knowledge; the better of two
// is nearly as good and never worse than twice an even share.
//
// The average believes bad news at once and good news slowly: a sample above it replaces it, one below is blended in with
// the weight of the time that passed. But one sample raises it tenfold at most: a single request for the yearly report must
// not banish the endpoint that drew it, while an endpoint that is slow with everything is known after two or three. Without samples it fades, over LatencyMemory, to what is typical of the set, not to zero
// as in Finagle: an endpoint that was out for a minute must not return as the fastest in memory. A slow endpoint thus gets a
// request now and then, which is how it shows that it recovered.

const (
	peakStep       = 10.0     // the most by which one sample raises an average
	typicalStep    = 1.0 / 32 // of a sample in the set's typical latency
	failureStep    = 1.0 / 8  // of an outcome in the endpoint's share of failures
	failurePenalty = 99.0     // an endpoint that only fails costs a hundred times its latency
	distinctDraws  = 4
)

func (s *Set) twoChoices(now mono.Time, rnd uint64) int {
	d := dice(rnd)
	first := s.draw(&d, now)
	second, ok := s.drawOther(&d, first, now)
	a, b := int(s.pool[first]), int(s.pool[second])
	if ok && s.cost(b, now) < s.cost(a, now) {
		return b
	}
	return a
}

// drawOther draws a member different from the one at place first; false if there is none, or chance is against it: with very
// unequal weights the heavy endpoint is drawn again and again, rightly, and a warming one refuses.
func (s *Set) drawOther(d *dice, first int, now mono.Time) (int, bool) {
	n := len(s.pool)
	if n == 1 {
		return first, false
	}
	second := first
	if s.equal {
		second = int(below(d.roll(), uint64(n-1)))
		if second >= first {
			second++
		}
	}
	for k := 0; second == first; k++ {
		if k == distinctDraws {
			return first, false
		}
		second = s.drawPlace(d)
	}
	return second, s.admits(int(s.pool[second]), d.roll(), now)
}

// cost is the wait that endpoint i promises, in nanoseconds of a fictitious sort. The draw has honoured the weights already,
// so only the load is taken relative to them (and to their mean, so that all weights times ten changes nothing).
func (s *Set) cost(i int, now mono.Time) float64 {
	st := s.states[i]
	fade := s.fade(st, now)
	latency := s.believed(st)
	if latency > s.typical {
		latency = s.typical + (latency-s.typical)*fade
	}
	load := float64(st.inFlight)*s.meanWeight/float64(s.endpoints[i].Weight) + 1
	failures := st.failures * fade
	return max(latency, 1) * load * (1 + failurePenalty*failures*failures)
}

// believed is the latency of an endpoint before it fades: measured, else typical; 0 while the set has measured nothing.
func (s *Set) believed(st *state) float64 {
	if st.latency == 0 {
		return s.typical
	}
	return st.latency
}

// fade is what is left, 0 to 1, of what was learnt of an endpoint.
func (s *Set) fade(st *state, now mono.Time) float64 {
	x := max(float64(now.Sub(st.learnedAt)), 0) / s.latencyMemory
	if x < 1.0/16 {
		// A busy endpoint's last outcome was just now: the first terms of the series are off by less than a
		// twenty-thousandth, and cost a tenth of the function.
		return 1 - x*(1-x/2)
	}
	return math.Exp(-x)
}

// learn takes in the outcome of a request. A failure is no sample of latency, however quick it was, unless it was slower
// than what we believed: then it is news. How often the endpoint fails is kept apart, and squared in the cost: one failure
// in a hundred does not matter, failing always leaves nothing but trials.
func (s *Set) learn(st *state, now mono.Time, took time.Duration, ok bool) {
	fade := s.fade(st, now)
	st.failures *= fade
	st.learnedAt = max(now, st.learnedAt)
	believed, sample := s.believed(st), max(float64(took), 1)
	if !ok {
		st.failures += (1 - st.failures) * failureStep
		if believed > 0 && sample > believed {
			st.latency = min(sample, believed*peakStep)
		}
		return
	}
	st.failures -= st.failures * failureStep
	switch {
	case believed == 0:
		st.latency = sample
	case sample >= believed:
		st.latency = min(sample, believed*peakStep)
	case st.latency == 0:
		st.latency = sample
	default:
		st.latency = st.latency*fade + sample*(1-fade)
	}
	if s.typical == 0 {
		s.typical = sample
	}
	s.typical += (sample - s.typical) * typicalStep
}
