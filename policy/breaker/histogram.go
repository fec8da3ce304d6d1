package breaker

import (
	"math/bits"
	"time"
)

// HistogramBuckets is how many classes of latency a Histogram has: four for each doubling, from 64 us to beyond 8 s, so that
// a quantile is off by a tenth at most. What is faster or slower belongs to the first or last class.
const HistogramBuckets = 72

// histogramShift is the first class: all below 2^16 ns.
const histogramShift = 16

// Histogram counts latencies by class. Counts wrap at 2^32; no tick has as many.
type Histogram [HistogramBuckets]uint32

// HistogramBucket returns the class of a latency. It costs about a nanosecond.
func HistogramBucket(d time.Duration) int {
	if d < 1<<histogramShift {
		return 0
	}
	n := bits.Len64(uint64(d)) - 1          // the octave
	quarter := int(uint64(d)>>(n-2)) & 3    // in it
	i := (n-histogramShift)*4 + quarter + 1 // class 0 is all below
	return min(i, HistogramBuckets-1)
}

// lowerBound is where a class begins.
func lowerBound(i int) time.Duration {
	if i == 0 {
		return 0
	}
	n, quarter := (i-1)/4+histogramShift, (i-1)%4
	return time.Duration(4+quarter) << (n - 2)
}

// Add counts one latency.
func (h *Histogram) Add(d time.Duration) { h[HistogramBucket(d)]++ }

func (h *Histogram) total() (n uint32) {
	for _, c := range h {
		n += c
	}
	return n
}

func (h *Histogram) merge(o *Histogram) {
	for i, c := range o {
		h[i] += c
	}
}

func (h *Histogram) subtract(o *Histogram) {
	for i, c := range o {
		h[i] -= c
	}
}

// Quantile returns the latency that a share q of those counted, from 0 to 1, does not exceed, placed within its class as if
// the class were filled evenly. It is 0 for an empty histogram.
func (h *Histogram) Quantile(q float64) time.Duration {
	n := h.total()
	if n == 0 {
		return 0
	}
	rank, before := q*float64(n), 0.0
	for i, c := range h {
		if c == 0 {
			continue
		}
		if before += float64(c); before >= rank || before == float64(n) {
			low := lowerBound(i)
			high := low
			if i < HistogramBuckets-1 {
				high = lowerBound(i + 1)
			}
			part := 1 - max(before-rank, 0)/float64(c)
			return low + time.Duration(part*float64(high-low))
		}
	}
	return 0
}

// above counts the latencies of classes that begin at d or later.
func (h *Histogram) above(d time.Duration) (n uint32) {
	i := HistogramBucket(d)
	if lowerBound(i) < d {
		i++
	}
	for ; i < HistogramBuckets; i++ {
		n += h[i]
	}
	return n
}
