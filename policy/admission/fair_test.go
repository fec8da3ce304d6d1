package admission

import (
	"math/rand/v2"
	"testing"
	"time"
)

// services are what the simulated upstream takes, 20 ms in the mean.
var services = []struct {
	name    string
	service func(*rand.Rand) time.Duration
}{
	{"nearly constant", lognormal(20*time.Millisecond, 0.3)},
	{"varied", lognormal(20*time.Millisecond, 1)},
	{"cache before a database", bimodal(4*time.Millisecond, 84*time.Millisecond, 0.2)},
}

const servers = 32

// capacity is in requests a second.
const capacity = servers / 0.020

// modestAmong runs a tenant that sends a tenth of the capacity beside others, and returns its p99.
func modestAmong(seed uint64, loops int, service func(*rand.Rand) time.Duration, others ...*tenantSim) (*tenantSim, *world) {
	modest := &tenantSim{key: "modest", rate: capacity / 10}
	w := newWorld(seed, loops, Config{Queue: 1000 / loops}, NewLimit(LimitConfig{}), servers, service)
	w.start(modest)
	for _, t := range others {
		w.start(t)
	}
	w.run(3 * time.Second)
	w.measure(append(others, modest)...)
	w.run(6 * time.Second)
	return modest, w
}

// Two tenants, so that the share of each is half of the capacity. One sends fifty times that.
func TestGreedyTenantDoesNotRaiseTheP99OfAnotherByAQuarter(t *testing.T) {
	for _, loops := range []int{1, 4} {
		for _, s := range services {
			var alone, beside []time.Duration
			for seed := range uint64(3) {
				a, _ := modestAmong(seed, loops, s.service)
				b, w := modestAmong(seed, loops, s.service, &tenantSim{key: "greedy", rate: 50 * capacity / 2})
				alone, beside = append(alone, a.latency...), append(beside, b.latency...)
				if u := w.utilisation(6 * time.Second); u < 0.9 {
					t.Errorf("%s, %d loops, seed %d: utilisation %.2f", s.name, loops, seed, u)
				}
				if n := len(b.refused); n > 0 {
					t.Errorf("%s, %d loops, seed %d: the modest tenant was refused: %v", s.name, loops, seed, b.refused)
				}
			}
			before, now := quantile(alone, 0.99), quantile(beside, 0.99)
			t.Logf("%s, %d loops: p99 %v alone, %v beside the greedy one: %.2f", s.name, loops, before, now, now.Seconds()/before.Seconds())
			if now > before+before/4 {
				t.Errorf("%s, %d loops: p99 went from %v to %v", s.name, loops, before, now)
			}
		}
	}
}

func TestTenantAloneUsesTheUpstreamUp(t *testing.T) {
	for _, s := range services {
		for _, loops := range []int{1, 4} {
			w := newWorld(3, loops, Config{}, NewLimit(LimitConfig{}), servers, s.service)
			w.start(&tenantSim{key: "only", closed: 400})
			w.run(8 * time.Second)
			w.measure()
			w.run(40 * time.Second) // with a measurement of the base in it
			if u := w.utilisation(40 * time.Second); u < 0.9 {
				t.Errorf("%s, %d loops: utilisation %.2f", s.name, loops, u)
			}
		}
	}
}

func TestLimitFollowsTheUpstream(t *testing.T) {
	w := newWorld(4, 2, Config{}, NewLimit(LimitConfig{}), servers, lognormal(20*time.Millisecond, 1))
	w.start(&tenantSim{key: "only", closed: 600})
	for _, step := range []struct {
		situation string
		servers   int
		mean      time.Duration
	}{
		{"from the start", servers, 20 * time.Millisecond},
		{"twice the servers", 2 * servers, 20 * time.Millisecond},
		{"a quarter of them", servers / 2, 20 * time.Millisecond},
		{"five times as slow", servers / 2, 100 * time.Millisecond},
		{"fast again", servers, 10 * time.Millisecond},
	} {
		w.up.servers, w.up.service = step.servers, lognormal(step.mean, 1)
		w.run(20 * time.Second)
		w.measure()
		w.run(10 * time.Second)
		if u, n := w.utilisation(10*time.Second), w.limits(); u < 0.9 || n > 2*step.servers {
			t.Errorf("%s: %d servers, limit %d, utilisation %.2f", step.situation, step.servers, n, u)
		}
	}
}

// The simple design, in which each loop finds a limit of its own, has lost: what one errs by the other makes good, and they
// drift apart for ever.
func TestLoopsOnTheirOwnWouldDriftApart(t *testing.T) {
	spread := func(apart bool) (widest float64) {
		w := newWorld(5, 4, Config{Queue: 250}, NewLimit(LimitConfig{}), servers, lognormal(20*time.Millisecond, 1))
		if apart {
			w.events = nil
			for i := range w.doors {
				w.control(NewLimit(LimitConfig{}), w.doors[i:i+1])
			}
		}
		w.start(&tenantSim{key: "greedy", closed: 800})
		for range 40 {
			w.run(time.Second)
			least, most := w.doors[0].Limit(), w.doors[0].Limit()
			for _, g := range w.doors {
				least, most = min(least, g.Limit()), max(most, g.Limit())
			}
			widest = max(widest, float64(most)/float64(least))
		}
		return widest
	}
	together, apart := spread(false), spread(true)
	t.Logf("the largest limit over the smallest: %.1f together, %.1f apart", together, apart)
	if together > 1.5 || apart < 2*together {
		t.Errorf("the largest limit over the smallest: %.1f together, %.1f apart", together, apart)
	}
}

// Clients give up after 400 ms, and the gate does not know. First come, first served would serve all of them after 500.
func TestLastingOverloadServesThoseWhoStillWait(t *testing.T) {
	w := newWorld(6, 1, Config{}, NewLimit(LimitConfig{}), servers, lognormal(20*time.Millisecond, 0.5))
	impatient := &tenantSim{key: "impatient", rate: 3 * capacity, patience: 400 * time.Millisecond}
	w.start(impatient)
	w.run(8 * time.Second)
	w.measure(impatient)
	w.run(10 * time.Second)
	if share := float64(impatient.good) / float64(len(impatient.latency)); share < 0.8 {
		t.Errorf("%.2f of the answers were in time", share)
	}
}

func TestWhoCannotFinishInTimeIsToldAtOnce(t *testing.T) {
	w := newWorld(7, 1, Config{}, NewLimit(LimitConfig{}), servers, lognormal(20*time.Millisecond, 0.5))
	hurried := &tenantSim{key: "hurried", rate: 3 * capacity, deadline: 150 * time.Millisecond, patience: 150 * time.Millisecond}
	w.start(hurried)
	w.run(8 * time.Second)
	w.measure(hurried)
	w.run(10 * time.Second)
	// It is refused what is more likely late than not, so that of those at the edge some come late.
	share := float64(hurried.good) / float64(len(hurried.latency))
	if u := w.utilisation(10 * time.Second); share < 0.75 || u < 0.9 {
		t.Errorf("%.2f of the answers were in time, utilisation %.2f", share, u)
	}
	if hurried.refused[Late] == 0 || hurried.refused[99] > hurried.refused[Late]/100 {
		t.Errorf("refusals: %v", hurried.refused)
	}
}

func TestHigherPrioritiesGoFirstAndLowerOnesGoOn(t *testing.T) {
	w := newWorld(8, 1, Config{}, NewLimit(LimitConfig{}), servers, lognormal(20*time.Millisecond, 0.5))
	var of [Classes]*tenantSim
	for c := range of {
		of[c] = &tenantSim{key: Class(c).String(), closed: 200, class: Class(c)}
		w.start(of[c])
	}
	w.run(8 * time.Second)
	w.measure(of[:]...)
	w.run(10 * time.Second)
	all := 0
	for _, s := range of {
		all += len(s.latency)
	}
	for c, s := range of {
		share := float64(len(s.latency)) / float64(all)
		if c == 0 && share < 0.8 || c > 0 && share < 0.9/(PassesMax+3) {
			t.Errorf("%s: %.3f of the places", s.key, share)
		}
	}
}

// Four weights, all with more than they can have: the places go by weight, also when one tenant's requests are heavier.
func TestPlacesGoByWeight(t *testing.T) {
	w := newWorld(9, 1, Config{}, NewLimit(LimitConfig{}), servers, lognormal(20*time.Millisecond, 0.5))
	weights := []float64{1, 1, 2, 4}
	var of []*tenantSim
	for i, weight := range weights {
		s := &tenantSim{key: string(rune('a' + i)), closed: 150, weight: weight}
		if i == 1 {
			s.service = lognormal(80*time.Millisecond, 0.5)
		}
		of = append(of, s)
		w.start(s)
	}
	w.run(8 * time.Second)
	w.measure(of...)
	w.run(20 * time.Second)
	work := func(i int) float64 {
		n := float64(len(of[i].latency))
		if i == 1 {
			n *= 4
		}
		return n
	}
	unit := (work(0) + work(1) + work(2) + work(3)) / 8
	for i, weight := range weights {
		if got := work(i) / unit; got < weight*0.75 || got > weight*1.3 {
			t.Errorf("tenant %s of weight %v had %.2f", of[i].key, weight, got)
		}
	}
}
