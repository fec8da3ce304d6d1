package sys

import (
	"math"
	"runtime/metrics"
	"time"
)

// Waits measures how long goroutines that could run waited for a processor, as the Go runtime counts it (one wait in eight). The zero
// value is ready. Not safe for concurrent use.
type Waits struct {
	samples []metrics.Sample
	before  []uint64
}

const waitsMetric = "/sched/latencies:seconds"

// Quantile returns how long the share q of the waits since the last success was at most, to a power of two or better. With fewer
// waits than least it says false, and they count the next time. Of no wait at all it returns 0. It takes some microseconds.
func (w *Waits) Quantile(q float64, least uint64) (time.Duration, bool) {
	if w.samples == nil {
		w.samples = []metrics.Sample{{Name: waitsMetric}}
	}
	metrics.Read(w.samples)
	if w.samples[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0, true // a runtime without this number
	}
	h := w.samples[0].Value.Float64Histogram()
	if len(w.before) != len(h.Counts) {
		w.before = make([]uint64, len(h.Counts))
		copy(w.before, h.Counts)
		return 0, least == 0 // what was before we looked is no news
	}
	d, n := quantile(q, h.Counts, w.before, h.Buckets)
	if n < least {
		return 0, false
	}
	copy(w.before, h.Counts)
	return d, true
}

// quantile is that of what came to a histogram, and how much that is. bounds has one more entry than there are counts; the first and the
// last may be infinite.
func quantile(q float64, now, before []uint64, bounds []float64) (time.Duration, uint64) {
	all := uint64(0)
	for i := range now {
		all += now[i] - before[i]
	}
	rank := uint64(math.Ceil(q * float64(all)))
	seen := uint64(0)
	for i := range now {
		seen += now[i] - before[i]
		if seen >= rank && seen > 0 {
			high := bounds[i+1]
			if math.IsInf(high, 1) {
				high = bounds[i]
			}
			return time.Duration(max(high, 0) * float64(time.Second)), all
		}
	}
	return 0, all
}
