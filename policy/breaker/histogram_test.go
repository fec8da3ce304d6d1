package breaker

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestEachLatencyIsInTheClassThatHoldsIt(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 65535, 65536, 65537, 81919, 81920, time.Millisecond, 10 * time.Millisecond, time.Second, 7 * time.Second} {
		i := HistogramBucket(d)
		if d < lowerBound(i) || i+1 < HistogramBuckets && d >= lowerBound(i+1) {
			t.Errorf("%s is in class %d, from %s to %s", d, i, lowerBound(i), lowerBound(i+1))
		}
	}
	for i := range HistogramBuckets {
		if got := HistogramBucket(lowerBound(i)); got != i {
			t.Errorf("class %d begins at %s, which is in class %d", i, lowerBound(i), got)
		}
	}
	for _, d := range []time.Duration{-1, time.Hour, math.MaxInt64} {
		if i := HistogramBucket(d); i != 0 && i != HistogramBuckets-1 {
			t.Errorf("%d is in class %d", d, i)
		}
	}
}

func TestQuantilesAgreeWithASortedList(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := 1; n < 2000; n = n*2 + 1 {
		var h Histogram
		var list []time.Duration
		for range n {
			d := time.Duration(math.Exp(r.NormFloat64()*1.5) * float64(20*time.Millisecond))
			h.Add(d)
			list = append(list, d)
		}
		slices.Sort(list)
		for _, q := range []float64{0.5, 0.95, 1} {
			want := list[max(int(math.Ceil(q*float64(n)))-1, 0)]
			got := h.Quantile(q)
			if off := float64(got) / float64(want); off < 0.79 || off > 1.26 { // a class is a quarter of an octave at most
				t.Errorf("quantile %g of %d latencies is %s, want %s", q, n, got, want)
			}
		}
		for _, d := range []time.Duration{0, list[0], list[n/2], time.Minute} {
			at := lowerBound(HistogramBucket(d))
			want := uint32(0)
			for _, l := range list {
				if l >= at {
					want++
				}
			}
			if got := h.above(at); got != want {
				t.Errorf("%d of %d are above %s, want %d", got, n, at, want)
			}
		}
	}
	if got := new(Histogram).Quantile(0.95); got != 0 {
		t.Errorf("nothing has a quantile of %s", got)
	}
}

// slowWindow is every count with its time, added up anew each time it is asked.
type slowWindow []struct {
	bucket int64
	c      Counts
}

func TestTheWindowAgreesWithAListOfAllCounts(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var w window
	var twin slowWindow
	now := t0
	w.reset(10*time.Second, now)
	for range 3000 {
		now = now.Add(time.Duration(r.Int64N(int64(400 * time.Millisecond))))
		if r.IntN(200) == 0 {
			now = now.Add(time.Duration(r.Int64N(int64(30 * time.Second))))
		}
		var c Counts
		for range r.IntN(5) {
			c.Add(time.Duration(r.Int64N(int64(time.Second))), r.IntN(3) == 0, r.IntN(9) == 0, r.IntN(4) == 0)
		}
		w.add(now, &c)
		at := int64(now) / int64(time.Second)
		twin = append(twin, struct {
			bucket int64
			c      Counts
		}{at, c})
		var want Counts
		for i := range twin {
			if twin[i].bucket > at-windowBuckets {
				want.merge(&twin[i].c)
			}
		}
		if w.sum != want {
			t.Fatalf("at %d: %+v, want %+v", at, numbersOf(&w.sum), numbersOf(&want))
		}
	}
}

func TestNewsAreWhatCameSinceAlsoWhereCountsWrap(t *testing.T) {
	var all, seen Counts
	all.Failures, all.Timeouts, all.Slow = 1<<32-1, 3, 2
	all.Latency[5] = 1<<32 - 2
	all.News(&seen)
	was := all
	all.Add(time.Hour, true, true, true)
	all.Failures++ // wraps once more
	all.Latency[5] += 4
	got := all.News(&seen)
	want := Counts{Failures: 2, Timeouts: 1, Slow: 1, Run: was.Run + 1}
	want.Latency[5], want.Latency[HistogramBuckets-1] = 4, 1
	if got != want || seen != all {
		t.Errorf("%+v, want %+v", got, want)
	}
	if again := all.News(&seen); again.Total() != 0 || again.Failures != 0 {
		t.Errorf("told twice: %+v", again)
	}
}
