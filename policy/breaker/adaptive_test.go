package breaker

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// life is how a service answers for some time.
type life struct {
	rate    int // requests a second
	took    time.Duration
	errors  float64
	timeout float64
}

var well = life{rate: 100, took: 20 * time.Millisecond, errors: 0.01}

// live plays a service to a breaker that refuses as it says.
func (b *bench) live(r *rand.Rand, l life, d time.Duration) *bench {
	for range int(d / tick) {
		b.now = b.now.Add(tick)
		c := Counts{Run: b.run}
		v := b.View()
		left := v.Probes
		if v.State == HalfOpen {
			left -= int(b.step.Total())
		}
		for range l.rate / 10 {
			if v.Share < 1 && r.Float64() >= v.Share {
				if left--; left < 0 {
					continue
				}
			}
			timedOut := r.Float64() < l.timeout
			took := time.Duration(float64(l.took) * math.Exp(0.5*r.NormFloat64()))
			if timedOut {
				took = time.Second
			}
			c.Add(took, timedOut || r.Float64() < l.errors, timedOut, false)
		}
		b.run = c.Run
		b.tell(b.Tick(b.now, &c))
	}
	return b
}

// adaptiveOnly has the classic rule out of reach.
func adaptiveOnly() Config {
	return Config{ErrorRatio: -1, Consecutive: -1, Adaptive: Adaptive{On: true}}
}

func TestWhatTheScoreOpensAndWhatItDoesNot(t *testing.T) {
	for _, c := range []struct {
		name  string
		ill   life
		opens bool
		top   Feature
	}{
		{"a total outage, which no healthy second was like", life{100, time.Millisecond, 1, 0}, true, FeatureErrorRatio},
		{"a third of errors, below the ratio", life{100, 30 * time.Millisecond, 0.3, 0}, true, FeatureErrorRatio},
		{"ten times slower without an error", life{100, 200 * time.Millisecond, 0.01, 0}, true, FeatureP95},
		{"timeouts", life{100, 20 * time.Millisecond, 0.01, 0.3}, true, FeatureTimeoutRatio},
		{"unusually fast", life{100, 2 * time.Millisecond, 0, 0}, false, 0},
		{"unusually fast and without errors, much traffic", life{1000, 3 * time.Millisecond, 0, 0}, false, 0},
		{"five times the traffic, a little slower", life{500, 26 * time.Millisecond, 0.01, 0}, false, 0},
		{"as always", well, false, 0},
	} {
		r := rand.New(rand.NewPCG(1, 1))
		b := newBench(adaptiveOnly())
		b.live(r, well, 3*time.Minute)
		if b.said.Len() > 0 {
			t.Fatalf("%s: a healthy service: %s", c.name, b.said.String())
		}
		b.live(r, c.ill, 5*time.Second)
		last := b.View().Last
		switch {
		case !c.opens && b.said.Len() > 0:
			t.Errorf("%s: opened, %+v", c.name, last)
		case c.opens && last.Cause != Score:
			t.Errorf("%s: not seen; score %.2f, evidence %.2f", c.name, b.detector.score, b.detector.evidence)
		case c.opens && last.Top != c.top && c.top != FeatureTimeoutRatio:
			t.Errorf("%s: because of %s (%.2f)", c.name, last.Top, last.Score)
		case c.opens && (last.Classic != None || last.Learnt < 100):
			t.Errorf("%s: %+v", c.name, last)
		}
	}
}

func TestAnOutageIsNotTakenForNormalHoweverLongItLasts(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	b := newBench(adaptiveOnly())
	b.live(r, well, 2*time.Minute)
	learnt := b.detector.reservoir
	b.live(r, life{100, time.Millisecond, 0.5, 0}, 4*time.Minute)
	if b.View().State == Closed || b.detector.reservoir.n != learnt.n {
		t.Errorf("%s, %d seconds learnt, %d before\n%s", b.View().State, b.detector.reservoir.n, learnt.n, b.said.String())
	}
	b.live(r, well, 2*time.Minute)
	if b.View().State != Closed {
		t.Errorf("not closed after it\n%s", b.said.String())
	}
}

func TestWhatTheScoreOpensLetsSomePass(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	cfg := adaptiveOnly()
	cfg.Adaptive.RefusedMax = 0.6
	b := newBench(cfg)
	b.live(r, well, 2*time.Minute).live(r, life{100, 20 * time.Millisecond, 0.4, 0}, 4*time.Second)
	if v := b.View(); v.State != Open || math.Abs(v.Share-0.4) > 1e-9 {
		t.Errorf("%+v", v)
	}
	// The classic rule refuses all.
	b = newBench(Config{Adaptive: Adaptive{On: true}})
	b.live(r, well, 2*time.Minute).live(r, life{100, 20 * time.Millisecond, 1, 0}, 2*time.Second)
	if v := b.View(); v.State != Open || v.Share != 0 || v.Last.Cause != Consecutive {
		t.Errorf("%+v", v)
	}
}

func TestAServiceThatChangedForGoodIsLearntAnew(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	cfg := adaptiveOnly()
	cfg.Adaptive.Relearn = time.Minute
	b := newBench(cfg)
	b.live(r, well, 2*time.Minute)
	slower := life{100, 300 * time.Millisecond, 0.01, 0}
	b.live(r, slower, 4*time.Minute)
	if b.View().State != Closed {
		t.Fatalf("not closed\n%s", b.said.String())
	}
	b.said.Reset()
	b.live(r, slower, 3*time.Minute)
	if b.said.Len() > 0 {
		t.Errorf("its new normal is not normal:\n%s", b.said.String())
	}
}

func TestFewRequestsAreJoinedIntoOneSecond(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	cfg := adaptiveOnly()
	cfg.Adaptive.Volume, cfg.Adaptive.Learn = 20, 10
	b := newBench(cfg)
	slow := life{10, 20 * time.Millisecond, 0.01, 0}
	b.live(r, slow, 4*time.Minute)
	if f := b.detector.last; f.Total < 20 || f.Total > 30 {
		t.Errorf("a second of %d requests", f.Total)
	}
	slow.errors = 1
	b.live(r, slow, 10*time.Second)
	if b.View().State != Open {
		t.Error("not seen")
	}
	// So few that even ten seconds do not make a second: nothing is learnt, and nothing judged.
	c := newBench(cfg)
	for range 600 {
		c.play(1, 1, 1, time.Millisecond).play(9, 0, 0, 0)
	}
	if n := c.detector.reservoir.n; n != 0 || c.said.Len() > 0 {
		t.Errorf("%d seconds learnt\n%s", n, c.said.String())
	}
}

func TestTheSameSeedSaysTheSame(t *testing.T) {
	play := func() string {
		r := rand.New(rand.NewPCG(6, 1))
		b := newBench(Config{Adaptive: Adaptive{On: true}})
		b.live(r, well, time.Minute).live(r, life{100, 90 * time.Millisecond, 0.2, 0.05}, time.Minute).live(r, well, time.Minute)
		return b.said.String()
	}
	if a, b := play(), play(); a != b || a == "" {
		t.Errorf("%s\n%s", a, b)
	}
}

func TestTheForestTellsApartWhatLiesBeyondTheData(t *testing.T) {
	g := generator(1)
	var r reservoir
	for range reservoirMax {
		r.add(vector{math.Log(20e6) + 0.1*g.float(), 0.01 * g.float(), 0}, &g)
	}
	var f forest
	f.renew(treesMax, &r, &g)
	score := func(p95 time.Duration, errors, timeouts float64) float64 {
		return f.score(&vector{math.Log(float64(p95)), errors, timeouts})
	}
	healthy := score(21*time.Millisecond, 0.005, 0)
	for _, c := range []struct {
		name        string
		got         float64
		least, most float64
	}{
		{"healthy", healthy, 0.2, 0.5},
		{"fast", score(time.Millisecond, 0, 0), 0, 0.58},
		{"twice as slow", score(45*time.Millisecond, 0.005, 0), 0.6, 0.8},
		{"all fail", score(21*time.Millisecond, 1, 0), 0.68, 0.8},
		{"everything at once", score(time.Second, 1, 0.5), 0.85, 1},
	} {
		if c.got < c.least || c.got > c.most {
			t.Errorf("%s scores %.3f, want %g to %g", c.name, c.got, c.least, c.most)
		}
	}
}

func TestATreeNeverHasMoreNodesThanItsIndicesReach(t *testing.T) {
	g := generator(7)
	for range 500 {
		sample := make([]vector, 1+g.below(sampleMax))
		for i := range sample {
			for f := range sample[i] {
				sample[i][f] = g.float() * float64(g.below(3))
			}
		}
		var tr tree
		tr.grow(sample, &g)
		if len(tr.nodes) > nodesMax {
			t.Fatalf("%d nodes", len(tr.nodes))
		}
		v := sample[0]
		if p := tr.path(&v); p < 0 || math.IsNaN(p) {
			t.Fatalf("path %g", p)
		}
	}
}

// BenchmarkSecond is what a second costs the ticking goroutine beside counting: the features, the score, the top contributor and the
// trees that are renewed.
func BenchmarkSecond(b *testing.B) {
	r := rand.New(rand.NewPCG(8, 1))
	h := newBench(adaptiveOnly())
	h.live(r, well, 5*time.Minute)
	d, cfg := &h.detector, h.cfg.Adaptive
	var c Counts
	for range 100 {
		c.Add(time.Duration(float64(200*time.Millisecond)*math.Exp(0.5*r.NormFloat64())), false, false, false)
	}
	b.ReportAllocs()
	for b.Loop() {
		d.current = c
		d.end(100, &cfg, true) // above the score, so that the contributor is asked for too
	}
}

// BenchmarkTick is what each of the ten ticks a second costs.
func BenchmarkTick(b *testing.B) {
	h := New(Config{Adaptive: Adaptive{On: true}}, 1, t0)
	now := t0
	var c Counts
	for range 10 {
		c.Add(20*time.Millisecond, false, false, false)
	}
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(tick)
		h.Tick(now, &c)
	}
}
