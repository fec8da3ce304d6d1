package split

import (
	"math"
	"math/bits"
	"time"
)

// What a judge of canaries works with, the one of this package (canary.go) or another:
//
//	State.InForce     the filter that serves now; nil before the first request
//	Filter.Variants   names, in the order of the document
//	Filter.Weights    what is in force, to the same order
//	Filter.Totals     what became of a variant's requests; the difference of two is a window
//	Filter.SetWeights a step, or the way back
//
// All of them may be called from any goroutine, Tick of a gateway.Ticking included: none blocks for long, and no loop waits for any.

// Totals are what became of a variant's requests since counting began. They only grow.
type Totals struct {
	// Requests ended, and say something of the variant: an upstream was asked, or could not be. Not counted are those that a client gave
	// up, and those that the gateway answered by itself for other reasons, such as a limit or a cache.
	Requests uint64
	// Errors are those of them that were answered with 5xx, or not at all. A try that failed and was made good by another is none.
	Errors uint64
	// Latency is the time to the first byte of the last try, of Requests that got one; of the others, all the time they took.
	Latency Sketch
}

// Since returns what became of the requests between two readings.
func (t Totals) Since(earlier Totals) Totals {
	t.Requests -= earlier.Requests
	t.Errors -= earlier.Errors
	for i := range t.Latency.counts {
		t.Latency.counts[i] -= earlier.Latency.counts[i]
	}
	return t
}

// ErrorShare is Errors of Requests, from 0 to 1; 0 without requests.
func (t *Totals) ErrorShare() float64 {
	if t.Requests == 0 {
		return 0
	}
	return float64(t.Errors) / float64(t.Requests)
}

// Sketch is how many requests took how long, in buckets that are a fifth wider than the one before: four to a doubling, from
// 0.1 ms to 7 min. What is outside is in the first and the last. Two sketches, of variants or of times, have the same buckets, so that they can be
// compared bucket by bucket.
type Sketch struct {
	counts [SketchBuckets]uint64
}

const (
	// SketchBuckets is how many buckets there are: 22 doublings of four.
	SketchBuckets = 88
	// sketchFrom is the upper bound of the first bucket: what is quicker is as quick as it gets.
	sketchFrom = 100 * time.Microsecond
)

// bucketOf returns the bucket of a duration.
func bucketOf(d time.Duration) int {
	if d <= sketchFrom {
		return 0
	}
	// The octave by the length of the number, and the quarter of it by the three quarters' powers of two.
	r := float64(d) / float64(sketchFrom)
	octave := bits.Len64(uint64(r)) - 1
	part := r / float64(uint64(1)<<octave)
	i := 4*octave + 1
	for _, edge := range quarters {
		if part > edge {
			i++
		}
	}
	if octave > 0 && part == 1 { // an edge belongs to the bucket below it
		i--
	}
	return min(i, SketchBuckets-1)
}

var quarters = [...]float64{1.189207115002721, math.Sqrt2, 1.681792830507429}

// Bound is the upper bound of a bucket; that of the last is the longest duration.
func Bound(bucket int) time.Duration {
	if bucket >= SketchBuckets-1 {
		return math.MaxInt64
	}
	return time.Duration(float64(sketchFrom) * math.Exp2(float64(bucket)/4))
}

// Add counts one more.
func (s *Sketch) Add(d time.Duration) { s.counts[bucketOf(d)]++ }

// Bucket returns how many are in a bucket.
func (s *Sketch) Bucket(i int) uint64 { return s.counts[i] }

// Count returns how many there are.
func (s *Sketch) Count() (n uint64) {
	for _, c := range s.counts {
		n += c
	}
	return n
}

// Quantile returns an upper bound of what a share q of the requests took, at most a fifth above it; 0 without requests.
func (s *Sketch) Quantile(q float64) time.Duration {
	n := s.Count()
	if n == 0 {
		return 0
	}
	need := max(uint64(math.Ceil(q*float64(n))), 1)
	for i, c := range s.counts {
		if c >= need {
			return Bound(i)
		}
		need -= c
	}
	return Bound(SketchBuckets - 1)
}
