package canary

import (
	"math"
	"time"
)

// Sample is what became of a variant's requests since counting began. It only grows.
type Sample struct {
	Requests uint64
	Errors   uint64 // of them
	// Latency is of those that were no errors. An error is quick or slow for reasons of its own: beside a baseline
	// that refuses at once, a canary that works would be slow.
	Latency Sketch
}

// Sketch is how many requests took how long, in buckets of a quarter of a doubling each: the first is all up to 0.1
// ms, the last all that is beyond the others.
type Sketch [Buckets]uint64

// Buckets is how many there are.
const Buckets = 88

// Bound is the upper bound of a bucket; that of the last is the longest duration.
func Bound(bucket int) time.Duration {
	if bucket >= Buckets-1 {
		return math.MaxInt64
	}
	return time.Duration(float64(100*time.Microsecond) * math.Exp2(float64(bucket)/4))
}

// Quantile returns an upper bound of what a share q of the requests took, at most a fifth above it; 0 without requests.
func (s *Sketch) Quantile(q float64) time.Duration {
	var n uint64
	for _, c := range s {
		n += c
	}
	if n == 0 {
		return 0
	}
	need := max(uint64(math.Ceil(q*float64(n))), 1)
	for i, c := range s {
		if c >= need {
			return Bound(i)
		}
		need -= c
	}
	return Bound(Buckets - 1)
}

// since returns what came after an earlier sample. Counts that have become smaller have been begun anew: then all of
// them came after.
func (s *Sample) since(earlier *Sample) Sample {
	if s.Requests < earlier.Requests || s.Errors < earlier.Errors {
		return *s
	}
	out := Sample{Requests: s.Requests - earlier.Requests, Errors: s.Errors - earlier.Errors}
	for i, c := range s.Latency {
		if c >= earlier.Latency[i] {
			out.Latency[i] = c - earlier.Latency[i]
		}
	}
	out.Errors = min(out.Errors, out.Requests) // the counters of several loops are not read at one moment
	return out
}

// count is how many requests are in it.
func (s *Sketch) count() (n float64) {
	for _, c := range s {
		n += float64(c)
	}
	return n
}

// beyond returns how many requests took longer than the bound of a bucket times 1+tolerance. Within a bucket they are
// taken to be spread evenly, on the scale of doublings, so that the number may be broken. With the null hypothesis
// that is safe in two ways: a version like the baseline has no more of them beyond than the baseline, however they lie
// in the bucket, and a broken count makes a bet smaller than whole ones of the same mean.
func (s *Sketch) beyond(bucket int, tolerance float64) (n float64) {
	past := 4 * math.Log2(1+tolerance) // in buckets
	whole := int(past)
	for i := bucket + 1 + whole; i < Buckets; i++ {
		part := 1.0
		if i == bucket+1+whole {
			part = 1 - (past - float64(whole))
		}
		n += part * float64(s[i])
	}
	return n
}

// memory is the baseline's past: what is bet on the next window is taken from here, and never from the window itself.
type memory struct {
	requests, errors float64
	latency          [Buckets]float64
	timed            float64 // sum of latency
}

// memoryMax is how many requests are remembered: when there are more, all count less. Enough for a p99 by thirty
// requests, few enough to follow the day.
const memoryMax = 3000

func (m *memory) add(s *Sample) {
	m.requests += float64(s.Requests)
	m.errors += float64(s.Errors)
	for i, c := range s.Latency {
		m.latency[i] += float64(c)
		m.timed += float64(c)
	}
	if fade := memoryMax / m.requests; fade < 1 {
		m.requests *= fade
		m.errors *= fade
	}
	if fade := memoryMax / m.timed; fade < 1 {
		for i := range m.latency {
			m.latency[i] *= fade
		}
		m.timed *= fade
	}
}

// errorShare is what the error ratio is thought to be: never 0, however long there was none.
func (m *memory) errorShare() float64 { return share(m.errors, m.requests) }

func share(n, of float64) float64 { return (n + 0.5) / (of + 1) }

// threshold returns the bucket whose bound is the quantile q, and the share of requests beyond it; false if too few
// are known.
func (m *memory) threshold(q float64) (bucket int, beyond float64, ok bool) {
	// Two requests beyond it at least: with fewer nobody knows where it is.
	if m.timed*(1-q) < 2 {
		return 0, 0, false
	}
	below := 0.0
	for i, c := range m.latency {
		if below += c; below >= q*m.timed {
			return i, share(m.timed-below, m.timed), i < Buckets-1
		}
	}
	return 0, 0, false
}
