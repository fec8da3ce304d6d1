package canary

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// chance is the probability of k of n.
func chance(k, n int, p float64) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return math.Exp(a-b-c) * math.Pow(p, float64(k)) * math.Pow(1-p, float64(n-k))
}

// What makes it all valid: as long as the canary is no worse, a bet makes nothing on average, whatever the proportions
// are and what they were thought to be. Counted out over everything that can happen.
func TestABetAgainstTheTruthMakesNothing(t *testing.T) {
	for _, sizes := range [][2]int{{1, 1}, {1, 40}, {12, 12}, {30, 2}} {
		n, m := sizes[0], sizes[1]
		for _, tolerance := range []float64{0, 0.005, 0.1} {
			for _, thought := range []float64{0.0002, 0.01, 0.3} {
				for _, more := range []float64{0.005, 0.05, 0.5} {
					for _, truth := range []float64{0, 0.003, 0.02, 0.3, 0.89} {
						for _, worse := range []float64{-0.02, 0, tolerance} {
							u := max(truth+worse, 0)
							mean := 0.0
							for k := range n + 1 {
								for l := range m + 1 {
									p := pair{float64(k), float64(n), float64(l), float64(m)}
									mean += chance(k, n, u) * chance(l, m, truth) * math.Exp(p.factor(thought+tolerance+more, thought, tolerance))
								}
							}
							if mean > 1+1e-7 {
								t.Fatalf("%d and %d requests, tolerance %v: %v and %v in truth, %v more than %v thought: a mean of %v",
									n, m, tolerance, u, truth, more, thought, mean)
							}
						}
					}
				}
			}
		}
	}
}

// And against what is not true it makes something.
func TestABetOnTheTruthGrows(t *testing.T) {
	p := pair{25, 1000, 100, 10000}
	if f := p.factor(0.025, 0.01, 0); f < 5 {
		t.Errorf("%v", f)
	}
	if f := (&pair{10, 1000, 100, 10000}).factor(0.025, 0.01, 0); f > -5 {
		t.Errorf("the same proportions: %v", f)
	}
	if f := (&pair{25, 1000, 0, 0}).factor(0.025, 0.01, 0.005); math.Abs(f) > 1e-6 {
		t.Errorf("nobody to compare with: %v", f)
	}
	if f := p.factor(0.01, 0.01, 0.005); f != 0 {
		t.Errorf("an alternative that is none: %v", f)
	}
}

func TestMoneyIsNeitherMadeNorLost(t *testing.T) {
	w := newWager(1, 6)
	before := w.cash
	for range 1000 {
		w.invest(100)
		if math.Abs(w.capital()) > 1e-9 || w.cash >= before || w.cash <= 0 {
			t.Fatalf("capital %v, cash %v after %v", w.capital(), w.cash, before)
		}
		before = w.cash
	}
	w.take(0, 100, 2)
	if got, want := w.capital(), math.Log(1+(1-w.cash)/6*(math.Exp(2)-1)); math.Abs(got-want) > 1e-9 {
		t.Errorf("a bet that won too much: %v, want %v", got, want)
	}
}

func TestNearestIsTheMostLikely(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		tolerance := 0.05 * r.Float64()
		baseline := 0.001 + 0.3*r.Float64()
		canary := baseline + tolerance + 0.001 + 0.5*r.Float64()
		n, m := 1+r.Float64()*1000, 1+r.Float64()*1000
		like := func(b float64) float64 {
			a := b + tolerance
			return n*(canary*math.Log(a)+(1-canary)*math.Log(1-a)) + m*(baseline*math.Log(b)+(1-baseline)*math.Log(1-b))
		}
		best := nearest(n, m, canary, baseline, tolerance)
		for b := baseline; b < canary-tolerance; b += (canary - tolerance - baseline) / 100 {
			if like(b) > like(best)+1e-6 {
				t.Fatalf("%v is likelier than %v", b, best)
			}
		}
	}
}

func sketch(counts map[int]uint64) (s Sketch) {
	for i, n := range counts {
		s[i] = n
	}
	return s
}

func TestBeyondAThreshold(t *testing.T) {
	s := sketch(map[int]uint64{3: 10, 4: 8, 5: 6, 87: 1})
	for _, c := range []struct {
		bucket    int
		tolerance float64
		want      float64
	}{
		{3, 0, 15}, {2, 0, 25}, {86, 0, 1}, {87, 0, 0},
		{3, math.Exp2(0.25) - 1, 7},              // a whole bucket
		{3, math.Exp2(0.125) - 1, 11},            // half of one
		{3, 0.1, 8*(1-4*math.Log2(1.1)) + 6 + 1}, // what a document says by default
		{3, 1, 1},
	} {
		if got := s.beyond(c.bucket, c.tolerance); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("beyond bucket %d and %v: %v, want %v", c.bucket, c.tolerance, got, c.want)
		}
	}
}

func TestQuantilesOfASketch(t *testing.T) {
	s := sketch(map[int]uint64{8: 90, 12: 9, 87: 1})
	for q, want := range map[float64]time.Duration{0.5: Bound(8), 0.9: Bound(8), 0.95: Bound(12), 1: math.MaxInt64} {
		if got := s.Quantile(q); got != want {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
	if got := new(Sketch).Quantile(0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestThePastFades(t *testing.T) {
	var m memory
	if _, _, ok := m.threshold(0.5); ok {
		t.Error("a threshold from nothing")
	}
	old := Sample{Requests: 1e6, Errors: 5e5, Latency: sketch(map[int]uint64{10: 1e6})}
	m.add(&old)
	fresh := Sample{Requests: 3e4, Latency: sketch(map[int]uint64{20: 2.97e4, 30: 300})}
	m.add(&fresh)
	if got := m.errorShare(); got > 0.05 {
		t.Errorf("an error ratio of long ago: %v", got)
	}
	if bucket, beyond, ok := m.threshold(0.5); bucket != 20 || beyond < 0.005 || beyond > 0.02 || !ok {
		t.Errorf("bucket %d, %v beyond, %v", bucket, beyond, ok)
	}
	few := memory{}
	few.add(&Sample{Requests: 50, Latency: sketch(map[int]uint64{10: 50})})
	if _, _, ok := few.threshold(0.99); ok {
		t.Error("a p99 of 50")
	}
}

func TestCountersThatBeganAnew(t *testing.T) {
	before := Sample{Requests: 100, Errors: 5, Latency: sketch(map[int]uint64{3: 100})}
	now := Sample{Requests: 7, Errors: 1, Latency: sketch(map[int]uint64{3: 7})}
	if got := now.since(&before); got != now {
		t.Errorf("%+v", got)
	}
}
