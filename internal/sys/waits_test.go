package sys

import (
	"math"
	"runtime"
	"testing"
	"time"
)

func TestQuantileOfWhatCame(t *testing.T) {
	bounds := []float64{math.Inf(-1), 0, 0.001, 0.010, math.Inf(1)}
	for _, c := range []struct {
		q      float64
		came   []uint64
		want   time.Duration
		number uint64
	}{
		{0.9, []uint64{0, 0, 0, 0}, 0, 0},
		{0.9, []uint64{5, 0, 0, 0}, 0, 5},
		{0.9, []uint64{0, 9, 1, 0}, time.Millisecond, 10},
		{0.9, []uint64{0, 8, 2, 0}, 10 * time.Millisecond, 10},
		{0.9, []uint64{0, 0, 0, 1}, 10 * time.Millisecond, 1}, // without an upper bound: the lower one
		{0, []uint64{0, 0, 1, 0}, 10 * time.Millisecond, 1},
	} {
		before := []uint64{7, 7, 7, 7}
		now := make([]uint64, len(before))
		for i := range now {
			now[i] = before[i] + c.came[i]
		}
		if d, n := quantile(c.q, now, before, bounds); d != c.want || n != c.number {
			t.Errorf("%v of %v: %v of %d, want %v of %d", c.q, c.came, d, n, c.want, c.number)
		}
	}
}

func TestWaitsAreCounted(t *testing.T) {
	var w Waits
	if _, ok := w.Quantile(0.9, 1); ok {
		t.Error("what was before the first look counts")
	}
	for i := 0; ; i++ {
		done := make(chan bool)
		for range 64 {
			go func() { done <- true }()
		}
		for range 64 {
			<-done
		}
		if d, ok := w.Quantile(0.9, 1); ok {
			if d < 0 || d > time.Hour {
				t.Errorf("%v", d)
			}
			return
		}
		if i == 10_000 {
			t.Fatal("the runtime counts no waits")
		}
		runtime.Gosched()
	}
}
