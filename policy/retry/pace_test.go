package retry

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The twin keeps all times and sorts them.
func TestQuantilesAreAtMostAQuarterAbove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Int64Range(1<<paceShift, int64(10*time.Minute)), paceEnough, paceFull-1).Draw(t, "times")
		q := rapid.Float64Range(0.01, 1).Draw(t, "q")
		var p Pace
		for _, d := range times {
			p.Observe(time.Duration(d))
		}
		slices.Sort(times)
		exact := time.Duration(times[min(len(times)-1, max(0, int(q*float64(len(times))+0.999999)-1))])
		if got := p.Quantile(q); got < exact || got > exact+exact/4+1 {
			t.Fatalf("quantile %v of %d times is %v, want %v or up to a quarter more", q, len(times), got, exact)
		}
	})
}

func TestPaceForgets(t *testing.T) {
	var p Pace
	if p.Quantile(0.5) != 0 {
		t.Error("nothing is known, and a quantile told")
	}
	for range paceEnough - 1 {
		p.Observe(time.Second)
	}
	if p.Quantile(0.5) != 0 {
		t.Error("too little is known, and a quantile told")
	}
	for range 10 * paceFull {
		p.Observe(time.Second)
	}
	for range 2 * paceFull {
		p.Observe(time.Millisecond)
	}
	if got := p.Quantile(0.75); got > 2*time.Millisecond {
		t.Errorf("after twice as many answers of 1 ms as are kept, the upper quartile is %v", got)
	}
	for _, d := range []time.Duration{-1, 0, 1, 1<<63 - 1} { // whatever a clock may say
		p.Observe(d)
	}
	if b := paceBucket(1<<63 - 1); b != paceBuckets-1 {
		t.Errorf("the longest time is in bucket %d", b)
	}
}

func TestWhenAHedgeBegins(t *testing.T) {
	var p Pace
	f := func(h Hedge, want time.Duration) {
		t.Helper()
		if got := h.Delay(&p); got != want {
			t.Errorf("%+v: %v, want %v", h, got, want)
		}
	}
	f(Hedge{After: 20 * time.Millisecond}, 20*time.Millisecond)
	f(Hedge{After: 20 * time.Millisecond, Quantile: 0.95}, 20*time.Millisecond)
	for range 100 {
		p.Observe(100 * time.Millisecond)
	}
	f(Hedge{After: 20 * time.Millisecond, Quantile: 0.95}, paceBound(paceBucket(100*time.Millisecond)))
	f(Hedge{After: time.Second, Quantile: 0.95}, time.Second)
	f(Hedge{After: 20 * time.Millisecond}, 20*time.Millisecond)
}

func BenchmarkObserve(b *testing.B) {
	var p Pace
	for i := range b.N {
		p.Observe(time.Duration(i) * time.Microsecond)
	}
}
