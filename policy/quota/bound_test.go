package quota

import (
	"flag"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var report = flag.Bool("report", false, "print how near to the bound, and how much of the quota was usable")

var rules = []Rule{
	{Count: 1, Per: time.Second, Burst: 1},
	{Count: 10, Per: time.Second, Burst: 10},
	{Count: 100, Per: time.Second, Burst: 20},
	{Count: 1000, Per: time.Second, Burst: 1000},
	{Count: 300, Per: time.Minute, Burst: 300},
	{Count: 5000, Per: time.Second, Burst: 500},
}

// simulate draws nodes, rule, load and clocks, lets 10 s pass and returns the world.
func simulate(t *rapid.T, f faults, local bool) *world {
	seed := rapid.Uint64().Draw(t, "seed")
	nodes := rapid.IntRange(2, 8).Draw(t, "nodes")
	rule := rules[rapid.IntRange(0, len(rules)-1).Draw(t, "rule")]
	over := rapid.SampledFrom([]float64{0.3, 0.9, 1.5, 10}).Draw(t, "load")
	moving := rapid.Bool().Draw(t, "moving")
	w := newWorld(seed, rule, nodes, f, local)
	perStep := rule.Rate() * over * step.Seconds()
	for i := range 10_000 {
		second := i / 1000
		w.step(func(node int) int {
			mean := perStep / float64(nodes)
			if moving {
				mean = 0
				if node == second%nodes {
					mean = perStep
				}
			}
			if second%5 == 4 { // a pause, in which buckets fill
				mean = 0
			}
			k := int(mean)
			if w.rng.Float64() < mean-float64(k) {
				k++
			}
			return k
		})
	}
	return w
}

func TestNothingIsOverTheRateWithoutALossOfMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := faults{
			latency: time.Duration(rapid.SampledFrom([]int{0, 5, 60, 150}).Draw(t, "latency")) * time.Millisecond,
			lost:    rapid.SampledFrom([]float64{0, 0.05, 0.3}).Draw(t, "lost"),
			deaf:    rapid.SampledFrom([]float64{0, 0.05, 0.3}).Draw(t, "deaf"),
			late:    rapid.SampledFrom([]float64{0, 0.05, 0.3}).Draw(t, "late"),
			gone:    rapid.SampledFrom([]float64{0, 0.001}).Draw(t, "gone"),
		}
		w := simulate(t, f, false)
		if got, bound := w.most(), w.rule.Most(Situation{}); got > bound+0.5 {
			t.Fatalf("%v over the rate, at most %v", got, bound)
		}
	})
}

func TestAStoreThatForgetsCostsABurst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := faults{latency: 5 * time.Millisecond, late: 0.05, deaf: 0.05, gone: 0.0005}
		switch rapid.IntRange(0, 2).Draw(t, "fault") {
		case 0:
			f.restart = 0.0005
		case 1:
			f.jump = 0.0005
		default:
			f.restart, f.jump = 0.0003, 0.0003
		}
		w := simulate(t, f, false)
		if got, bound := w.most(), w.rule.Most(Situation{Losses: w.losses}); got > bound+0.5 {
			t.Fatalf("%v over the rate, at most %v after %d losses", got, bound, w.losses)
		}
	})
}

func TestNodesThatAreCutOffAdmitTheirShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := faults{
			latency: 5 * time.Millisecond, gone: 0.0005,
			lost: rapid.SampledFrom([]float64{0, 0.1}).Draw(t, "lost"),
			deaf: rapid.SampledFrom([]float64{0, 0.1}).Draw(t, "deaf"),
		}
		w := simulate(t, f, true)
		s := Situation{}
		for _, n := range w.nodes {
			// Each outage begins with a share that is used up, so only an interval that begins in one pays its burst.
			s.Local += w.rule.LocalMost(int64(len(w.nodes)), time.Duration(float64(n.away)*1.01))
		}
		if got, bound := w.most(), w.rule.Most(s); got > bound+0.5 {
			t.Fatalf("%v over the rate, at most %v", got, bound)
		}
	})
}

// What of the quota can be used is measured, and not only what is refused: a limiter that refuses everything is within every
// bound. The column is the least part of min(demand, rate) that was admitted.
func TestTheQuotaIsUsable(t *testing.T) {
	for _, c := range []struct {
		name   string
		nodes  int
		rule   Rule
		load   float64 // of the rate
		move   int     // the load moves to the next node after so many milliseconds; 0: all have the same
		faults faults
		want   float64
	}{
		{"steady, two nodes", 2, rules[3], 2, 0, faults{}, 0.99},
		{"steady, eight nodes", 8, rules[3], 2, 0, faults{}, 0.99},
		{"moving each second, eight nodes", 8, rules[3], 2, 1000, faults{}, 0.99},
		{"moving five times a second, eight nodes", 8, rules[3], 2, 200, faults{}, 0.97},
		{"below the limit, moving", 8, rules[3], 0.9, 1000, faults{}, 0.99},
		{"a small burst", 4, rules[2], 2, 0, faults{}, 0.97},
		{"a small burst, moving", 4, rules[2], 2, 500, faults{}, 0.95},
		{"few a second", 8, rules[1], 3, 0, faults{}, 0.95},
		{"one a second", 8, rules[0], 20, 0, faults{}, 0.80},
		{"answers lost", 4, rules[3], 2, 1000, faults{deaf: 0.05}, 0.75},
		{"far store", 4, rules[3], 2, 1000, faults{latency: 40 * time.Millisecond}, 0.95},
	} {
		w := newWorld(1, c.rule, c.nodes, c.faults, false)
		perStep := c.rule.Rate() * c.load * step.Seconds()
		const steps = 30_000
		for i := range steps {
			w.step(func(node int) int {
				mean := perStep / float64(c.nodes)
				if c.move > 0 {
					mean = 0
					if node == i/c.move%c.nodes {
						mean = perStep
					}
				}
				k := int(mean)
				if w.rng.Float64() < mean-float64(k) {
					k++
				}
				return k
			})
		}
		admitted, demanded := sum(w.admitted), sum(w.demanded)
		seconds := steps * step.Seconds()
		possible := min(float64(demanded), c.rule.Rate()*seconds+float64(c.rule.Burst))
		usable := float64(admitted) / possible
		if *report {
			t.Logf("%-42s usable %.3f; %.1f reports/s of all nodes, 1 for %.0f requests", c.name, usable, float64(w.reports)/seconds, float64(demanded)/float64(w.reports))
		}
		if usable < c.want {
			t.Errorf("%s: %.3f of the quota was usable, want %.2f", c.name, usable, c.want)
		}
	}
}

func sum(list []int64) (n int64) {
	for _, v := range list {
		n += v
	}
	return n
}
