package split

import (
	"math"
	"testing"
	"time"
)

// A duration is in the bucket whose bound is at or above it, and the bound before is below it.
func TestBucketsAreWhereTheirBoundsSay(t *testing.T) {
	for i := range SketchBuckets - 1 {
		b := Bound(i)
		if got := bucketOf(b); got != i {
			t.Errorf("%v is in bucket %d, want %d", b, got, i)
		}
		if got := bucketOf(b + 1); got != i+1 {
			t.Errorf("a little more than %v is in bucket %d, want %d", b, got, i+1)
		}
		if i > 0 {
			if ratio := float64(b) / float64(Bound(i-1)); math.Abs(ratio-math.Exp2(0.25)) > 1e-4 {
				t.Errorf("bucket %d is %v times as wide as the one before", i, ratio)
			}
		}
	}
	for d, want := range map[time.Duration]int{-1: 0, 0: 0, 50 * time.Microsecond: 0, time.Hour: SketchBuckets - 1, math.MaxInt64: SketchBuckets - 1} {
		if got := bucketOf(d); got != want {
			t.Errorf("%v is in bucket %d, want %d", d, got, want)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var s Sketch
	if s.Quantile(0.5) != 0 {
		t.Error("nobody took some time")
	}
	for i := 1; i <= 1000; i++ {
		s.Add(time.Duration(i) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{0: time.Millisecond, 0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond, 1: time.Second} {
		if got := s.Quantile(q); got < want || float64(got) > 1.2*float64(want) {
			t.Errorf("%v: %v, want %v to a fifth more", q, got, want)
		}
	}
}

func TestAWindowIsADifference(t *testing.T) {
	c := new(counts)
	add := func(loop int, o outcome) { g := o.of(); c.add(loop, &g) }
	add(0, outcome{200, 5 * time.Millisecond, ok})
	add(1, outcome{503, 1 * time.Millisecond, bad})
	earlier := c.totals()
	add(1, outcome{200, 7 * time.Millisecond, ok})
	add(2, outcome{504, 9 * time.Millisecond, unreached})
	add(2, outcome{499, 9 * time.Millisecond, left})
	add(2, outcome{429, 1 * time.Millisecond, own})
	add(2, outcome{200, 1 * time.Millisecond, cached})
	w := c.totals().Since(earlier)
	if w.Requests != 2 || w.Errors != 1 || w.ErrorShare() != 0.5 || w.Latency.Count() != 2 || w.Latency.Quantile(0.5) < 7*time.Millisecond {
		t.Errorf("%+v", w)
	}
	statuses := map[string]uint64{}
	c.statuses(func(status string, n uint64) { statuses[status] = n })
	if statuses["2xx"] != 3 || statuses["4xx"] != 2 || statuses["5xx"] != 2 || statuses["none"] != 0 {
		t.Errorf("%v", statuses)
	}
	if empty := (Totals{}); empty.ErrorShare() != 0 {
		t.Error("nothing is wrong with nothing")
	}
}
