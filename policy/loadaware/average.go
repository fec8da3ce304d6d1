package loadaware

import (
	"math"
	"time"
)

// Average is a moving average of latencies in their logarithm, so that one call that took a thousand times as long counts
// as much as one that took a thousandth. Zero knows nothing. It is a plain value: whoever shares it keeps its bits in an
// atomic word and swaps.
type Average float64

// Steps are the weight of one sample. A caller that learns alone must learn from two or three calls, a server sees enough of
// them to be calm, and so does a ratio to what the server says.
const (
	StepAlone  = 0.3
	StepRatio  = 1.0 / 8
	StepServer = 1.0 / 16

	// sampleMax is the logarithm of the most by which one sample may differ: ten times.
	sampleMax = 2.302585092994046
	// shift keeps the logarithm of one nanosecond, and of a ratio of one, apart from zero, which means nothing is known.
	shift = 64
)

// Learn returns the average after a sample that took so long. Nothing below a nanosecond is believed.
func (a Average) Learn(took time.Duration, step float64) Average {
	return a.learn(logarithm(max(float64(took), 1)), step)
}

// LearnRatio is Learn of took divided by reported, which is above 0.
func (a Average) LearnRatio(took, reported time.Duration, step float64) Average {
	return a.learn(logarithm(max(float64(took), 1)/float64(reported)), step)
}

func (a Average) learn(sample, step float64) Average {
	if a == 0 {
		return Average(sample + shift)
	}
	news := sample + shift - float64(a)
	return a + Average(step*min(max(news, -sampleMax), sampleMax))
}

// logarithm is math.Log of a finite number above 1e-300, to a ten millionth and in half the time: one is taken with each call. The number is 2^e times
// something close to 1, whose logarithm is a series in s that has shrunk to nothing after three parts.
func logarithm(x float64) float64 {
	bits := math.Float64bits(x)
	const half = 0x3fe6a09e667f3bcd // sqrt(1/2), from where the something begins
	e := int64(bits-half) >> 52
	m := math.Float64frombits(bits - uint64(e)<<52)
	s := (m - 1) / (m + 1)
	q := s * s
	return float64(e)*math.Ln2 + 2*s*(1+q*(1.0/3+q*(1.0/5+q/7)))
}

// Known tells whether anything was learnt.
func (a Average) Known() bool { return a != 0 }

// Duration is the average of what Learn was told, 0 if that is nothing.
func (a Average) Duration() time.Duration {
	if a == 0 {
		return 0
	}
	return toDuration(math.Exp(float64(a) - shift))
}

// Of is the average of what LearnRatio was told, times reported; 0 if that is nothing.
func (a Average) Of(reported time.Duration) time.Duration {
	if a == 0 {
		return 0
	}
	return toDuration(math.Exp(float64(a)-shift) * float64(reported))
}

// latencyMax is above any latency that means something, and far from overflow.
const latencyMax = time.Hour

func toDuration(ns float64) time.Duration { return time.Duration(min(ns, float64(latencyMax))) }

const (
	failureStep = 1.0 / 16  // the weight of one outcome in the share of failures
	failureMin  = 1.0 / 512 // below it the last failure is long ago, and the share is 0
)

// LearnFailure returns the share of calls that fail after one more outcome.
func LearnFailure(share float64, failed bool) float64 {
	if failed {
		return share + (1-share)*failureStep
	}
	if share -= share * failureStep; share < failureMin {
		return 0
	}
	return share
}
