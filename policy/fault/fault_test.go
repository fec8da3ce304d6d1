package fault

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

func TestDelays(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		d          Delay
		low, high  time.Duration
		mean, slip time.Duration
	}{
		{Delay{Time: 200 * ms}, 200 * ms, 200 * ms, 200 * ms, 0},
		{Delay{Distribution: Uniform, Min: 100 * ms, Max: 300 * ms}, 100 * ms, 300 * ms, 200 * ms, 2 * ms},
		{Delay{Distribution: Exponential, Time: 200 * ms}, 0, 2 * time.Second, 200 * ms, 4 * ms},
		{Delay{Distribution: Exponential, Time: 200 * ms, Max: 200 * ms}, 0, 200 * ms, 126 * ms, 2 * ms}, // 1 - 1/e
	} {
		if wrong := c.d.Check(); wrong != "" {
			t.Fatal(wrong)
		}
		r := rand.New(rand.NewPCG(1, 2))
		var sum time.Duration
		const n = 100_000
		for range n {
			v := c.d.Draw(r.Uint64())
			if v < c.low || v > c.high {
				t.Fatalf("%+v: %s", c.d, v)
			}
			sum += v
		}
		if mean := sum / n; mean < c.mean-c.slip || mean > c.mean+c.slip {
			t.Errorf("%+v: %s on average, want %s", c.d, mean, c.mean)
		}
		for _, random := range []uint64{0, 1<<64 - 1} {
			if v := c.d.Draw(random); v < c.low || v > c.high {
				t.Errorf("%+v: %s for %x", c.d, v, random)
			}
		}
	}
}

// delay_max
func TestDelaysThatCannotBe(t *testing.T) {
	for _, d := range []Delay{
		{}, {Time: -1}, {Time: DelayMax + 1}, {Distribution: Uniform, Min: 2, Max: 1}, {Distribution: Uniform, Max: DelayMax + 1},
		{Distribution: Uniform, Min: -1, Max: 1}, {Distribution: Exponential}, {Distribution: Exponential, Time: 2, Max: 1}, {Distribution: Exponential, Time: DelayMax, Max: DelayMax + 1},
	} {
		if d.Check() == "" {
			t.Errorf("%+v passes", d)
		}
	}
}

// The slow twin counts all runs of requests.
func TestShareHoldsForEveryRun(t *testing.T) {
	for _, part := range []float64{0, 0.001, 0.01, 0.1, 0.3, 1} {
		r := rand.New(rand.NewPCG(3, 4))
		var s Share
		const n = 3000
		var taken [n + 1]int // before the i-th
		for i := range n {
			s.See(part)
			taken[i+1] = taken[i]
			if (i/500)%2 == 1 && r.IntN(3) > 0 && s.Take() { // in some stretches nobody asks
				taken[i+1]++
			}
		}
		for from := range n {
			for to := from + 1; to <= n; to += 7 {
				if got, most := float64(taken[to]-taken[from]), part*float64(to-from)+max(1, 100*part); got > most+1e-6 {
					t.Fatalf("part %v: %v of %d, at most %v", part, got, to-from, most)
				}
			}
		}
	}
	var s Share
	got := 0
	for range 1000 {
		if s.See(0.1); s.Take() {
			got++
		}
	}
	if got != 100 {
		t.Errorf("%d of 1000 at 10 %%", got)
	}
}

func TestWhenAnExperimentStops(t *testing.T) {
	limits := Limits{ErrorRatio: 0.05, P99: time.Second, Over: 30 * time.Second}
	for _, c := range []struct {
		name string
		at   func(second int) Counts // that come in each second
		want string                  // with the second
	}{
		{"all is well", func(int) Counts { return Counts{100, 1, 1} }, ""},
		{"too few to tell", func(int) Counts { return Counts{1, 1, 1} }, ""},
		{"errors", func(s int) Counts {
			if s < 40 {
				return Counts{100, 0, 0}
			}
			return Counts{100, 50, 0}
		}, "error_ratio"},
		{"slow", func(s int) Counts {
			if s < 40 {
				return Counts{100, 0, 0}
			}
			return Counts{100, 0, 20}
		}, "p99"},
		{"errors in the first second", func(int) Counts { return Counts{100, 100, 0} }, "error_ratio"},
		{"errors of a minute ago", func(s int) Counts {
			switch {
			case s == 0:
				return Counts{40, 40, 40}
			case s < 60:
				return Counts{}
			}
			return Counts{100, 0, 0}
		}, ""},
	} {
		var w Watch
		var sum Counts
		got := ""
		for tick := range 1000 {
			if tick%10 == 0 {
				more := c.at(tick / 10)
				sum.Total, sum.Errors, sum.Slow = sum.Total+more.Total, sum.Errors+more.Errors, sum.Slow+more.Slow
			}
			if got = w.Look(mono.Time(tick)*mono.Time(100*time.Millisecond), sum, limits); got != "" {
				break
			}
			if len(w.looks) > 32 {
				t.Fatalf("%d looks are kept", len(w.looks))
			}
		}
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
