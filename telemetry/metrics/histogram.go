package metrics

import (
	"math/bits"
	"time"
)

// bucketsMax is the number of buckets of every histogram here, the unbounded last one included. One number for all keeps
// them fixed arrays: a histogram is two cache lines and knows no allocation.
const bucketsMax = 15

// scale is the upper bounds of a histogram's buckets, inclusive as Prometheus's le is, and the table that finds the
// bucket of a value.
//
// octave[k] is the first bucket that a value of bit length k can fall into. Bounds that at least double put at most one
// bound, and bounds in steps of 1, 2.5, 5, 10 at most one or two, into an octave: the search is a table look-up and one
// or two compares, whatever the value, where a linear search over 14 bounds mispredicts.
type scale struct {
	bounds [bucketsMax - 1]uint64
	octave [65]uint8
	unit   float64                 // one exposed unit, in the bounds' unit
	le     [bucketsMax - 1]float64 // bounds in the exposed unit
}

// newScale builds the table for ascending bounds; unit is what one exposed unit is in the bounds' unit.
func newScale(unit float64, bounds [bucketsMax - 1]uint64) *scale {
	s := &scale{bounds: bounds, unit: unit}
	for i, b := range bounds {
		s.le[i] = float64(b) / unit
	}
	for k := range s.octave {
		var smallest uint64
		if k > 0 {
			smallest = 1 << (k - 1)
		}
		i := 0
		for i < len(bounds) && bounds[i] < smallest {
			i++
		}
		s.octave[k] = uint8(i)
	}
	return s
}

// bucket returns the index of the first bucket whose bound is at least v.
func (s *scale) bucket(v uint64) int {
	i := int(s.octave[bits.Len64(v)])
	for i < len(s.bounds) && v > s.bounds[i] {
		i++
	}
	return i
}

const (
	us = uint64(time.Microsecond)
	ms = uint64(time.Millisecond)
	sc = uint64(time.Second)
)

// The scales. They are read only.
var (
	// requestScale spans what a user notices. Below 0.5 ms the gateway's own share hides the difference; above 10 s the
	// usual timeouts have fired. Steps of 1, 2.5, 5 keep the error of an estimated quantile under the width of a step.
	requestScale = newScale(float64(sc), [...]uint64{500 * us, 1 * ms, 2500 * us, 5 * ms, 10 * ms, 25 * ms, 50 * ms,
		100 * ms, 250 * ms, 500 * ms, 1 * sc, 2500 * ms, 5 * sc, 10 * sc})
	// turnScale spans a loop's turn: 10 us is one request, 250 ms is a loop that hangs and every client with it.
	turnScale = newScale(float64(sc), [...]uint64{10 * us, 25 * us, 50 * us, 100 * us, 250 * us, 500 * us, 1 * ms,
		2500 * us, 5 * ms, 10 * ms, 25 * ms, 50 * ms, 100 * ms, 250 * ms})
	// eventScale counts events of a turn, up to any batch a poller returns.
	eventScale = newScale(1, [...]uint64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192})
)

// histogram is 16 counters, two cache lines. Its count is not kept: it is the sum of the buckets, and so cannot
// disagree with them.
type histogram struct {
	cells [bucketsMax]counter
	sum   counter
}

func (h *histogram) observe(s *scale, v uint64) {
	h.cells[s.bucket(v)].Add(1)
	h.sum.Add(v)
}

// nanos is a duration as histograms hold it. A clock that stepped back counts as zero, not as 584 years.
func nanos(d time.Duration) uint64 { return uint64(max(d, 0)) }

// distribution is a histogram's sum over the shards, as one scrape saw it.
type distribution struct {
	cells [bucketsMax]uint64
	sum   uint64
}

func (d *distribution) add(h *histogram) {
	for i := range h.cells {
		d.cells[i] += h.cells[i].Load()
	}
	d.sum += h.sum.Load()
}

func (d *distribution) count() (n uint64) {
	for _, c := range d.cells {
		n += c
	}
	return n
}
