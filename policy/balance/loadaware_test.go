package balance

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/loadaware"
)

// The simulation of policy/loadaware with sets in the place of callers: the loops of some gateways, and ten servers with four
// workers and a queue each, in virtual time. Service times are lognormal around 20 ms, and all is used to 60 %.
const (
	loopsN    = 8
	serversN  = 10
	workersN  = 4
	serviceMS = 20.0
	spread    = 0.4 // sigma of the logarithm
	perSecond = 1200.0
)

type server struct {
	slower float64
	busy   int
	queue  []visit
	usedAt mono.Time
	cpu    float64 // smoothed over half a second
	took   loadaware.Average
}

func (s *server) advance(now mono.Time) {
	s.cpu += (float64(s.busy)/workersN - s.cpu) * (1 - math.Exp(-now.Sub(s.usedAt).Seconds()/0.5))
	s.usedAt = now
}

type visit struct {
	set    *Set
	server int
	sent   mono.Time
}

type happening struct {
	at  mono.Time
	run func(now mono.Time)
}

type agenda []happening

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at < a[j].at }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)        { *a = append(*a, x.(happening)) }
func (a *agenda) Pop() any          { x := (*a)[len(*a)-1]; *a = (*a)[:len(*a)-1]; return x }

// site is the simulated whole.
type site struct {
	r       *rand.Rand
	agenda  agenda
	servers [serversN]*server
	reports bool // servers say what their load is
	sent    []mono.Time
	took    []time.Duration
	to      []int
}

func (w *site) at(t mono.Time, run func(mono.Time)) { heap.Push(&w.agenda, happening{t, run}) }

func simulate(seed uint64, d time.Duration, cfg Config, reports bool, change func(w *site)) *site {
	w := &site{r: rand.New(rand.NewPCG(seed, 5)), reports: reports}
	for i := range w.servers {
		w.servers[i] = &server{slower: 1, usedAt: t0}
	}
	gap := func() time.Duration {
		return time.Duration(w.r.ExpFloat64() * loopsN / perSecond * float64(time.Second))
	}
	for range loopsN {
		set := New(cfg, list(serversN), t0)
		var send func(mono.Time)
		send = func(now mono.Time) {
			w.send(now, set)
			w.at(now.Add(gap()), send)
		}
		w.at(t0.Add(gap()), send)
	}
	change(w)
	for w.agenda[0].at < t0.Add(d) {
		h := heap.Pop(&w.agenda).(happening)
		h.run(h.at)
	}
	return w
}

func (w *site) send(now mono.Time, set *Set) {
	i, _ := set.Pick(now, w.r.Uint64(), 0, nil)
	set.Start(i, now)
	s := w.servers[i]
	s.advance(now)
	v := visit{set, i, now}
	if s.busy == workersN {
		s.queue = append(s.queue, v)
		return
	}
	s.busy++
	w.serve(now, v)
}

func (w *site) serve(now mono.Time, v visit) {
	s := w.servers[v.server]
	ms := serviceMS * math.Exp(spread*w.r.NormFloat64()-spread*spread/2) * s.slower
	w.at(now.Add(time.Duration(ms*float64(time.Millisecond))), func(now mono.Time) {
		s.advance(now)
		took := now.Sub(v.sent)
		s.took = s.took.Learn(took, loadaware.StepServer)
		w.sent, w.took, w.to = append(w.sent, v.sent), append(w.took, took), append(w.to, v.server)
		v.set.Answered(v.server, now)
		if w.reports {
			v.set.Reported(v.server, now, Report{CPU: s.cpu, Memory: 0.3, Latency: s.took.Duration()})
		}
		v.set.Ended(v.server)
		v.set.Done(v.server, now, took, Succeeded)
		if len(s.queue) > 0 {
			next := s.queue[0]
			s.queue = s.queue[1:]
			w.serve(now, next)
			return
		}
		s.busy--
	})
}

func (w *site) during(from, to int, do func(k int)) {
	for k, at := range w.sent {
		if s := at.Sub(t0).Seconds(); s >= float64(from) && s < float64(to) {
			do(k)
		}
	}
}

// p99 is of the requests sent from the one second to the other.
func (w *site) p99(from, to int) time.Duration {
	var took []time.Duration
	w.during(from, to, func(k int) { took = append(took, w.took[k]) })
	slices.Sort(took)
	return took[len(took)*99/100]
}

// part is the share of the requests of that time that went to server i.
func (w *site) part(i, from, to int) float64 {
	n, all := 0, 0
	w.during(from, to, func(k int) {
		if all++; w.to[k] == i {
			n++
		}
	})
	return float64(n) / float64(all)
}

func TestOneOfTenBecomesTenTimesSlower(t *testing.T) {
	slowOne := func(w *site) {
		w.at(t0.Add(15*time.Second), func(mono.Time) { w.servers[3].slower = 10 })
		w.at(t0.Add(35*time.Second), func(mono.Time) { w.servers[3].slower = 1 })
	}
	for _, c := range []struct {
		name    string
		cfg     Config
		reports bool
		least   float64 // part of the requests that the slow one has again, seven seconds after it has recovered
	}{
		{"two choices", Config{Algorithm: TwoChoices}, false, 0},
		// Each loop must find out by trials of its own, of which there are two in a thousand.
		{"load aware, by latency alone", Config{Algorithm: LoadAware}, false, 0.03},
		{"load aware, with reports", Config{Algorithm: LoadAware}, true, 0.08},
	} {
		w := simulate(7, 50*time.Second, c.cfg, c.reports, slowOne)
		well, slow, part, after := w.p99(10, 15), w.p99(17, 35), w.part(3, 17, 35), w.part(3, 42, 50)
		t.Logf("%-30s p99 well %v, one slow %v, its part %.2f %%, after it has recovered %.1f %%", c.name,
			well.Round(time.Millisecond/10), slow.Round(time.Millisecond/10), 100*part, 100*after)
		if c.cfg.Algorithm != LoadAware {
			continue
		}
		if float64(slow) > 1.2*float64(well) || part > 0.005 {
			t.Errorf("%s: p99 %v after %v, and the slow one gets %.2f %%", c.name, slow, well, 100*part)
		}
		if after < c.least || after > 0.13 {
			t.Errorf("%s: recovered, it has %.1f %% of the requests", c.name, 100*after)
		}
	}
}

// spin sends requests one after the other, each of which is over after took(i), and counts where they go.
func spin(s *Set, now *mono.Time, n int, took func(i int) time.Duration) []int {
	counts := make([]int, len(s.endpoints))
	for k := range uint64(n) {
		i, _ := s.Pick(*now, mix(k+uint64(*now)), 0, nil)
		counts[i]++
		s.Start(i, *now)
		*now = now.Add(time.Millisecond)
		s.Done(i, *now, took(i), Succeeded)
	}
	return counts
}

func even(int) time.Duration { return 20 * time.Millisecond }

func factorsOf(t *testing.T, s *Set, i int, now mono.Time) *Factors {
	t.Helper()
	f := s.View(i, now).Factors
	if f == nil {
		t.Fatalf("endpoint %d has no factors", i)
	}
	return f
}

func TestWhoReportsABusyProcessorGetsLess(t *testing.T) {
	now := t0
	s := New(Config{Algorithm: LoadAware}, list(4), now)
	for range 20 {
		for i := range 4 {
			cpu := 0.2
			if i == 2 {
				cpu = 0.9
			}
			s.Reported(i, now, Report{CPU: cpu, Memory: 0.1})
		}
		spin(s, &now, 500, even)
	}
	counts := spin(s, &now, 8000, even)
	// 0.1 beside three times 0.8
	if part := float64(counts[2]) / 8000; part < 0.03 || part > 0.055 {
		t.Errorf("the busy one got %v of 8000", counts)
	}
	f := factorsOf(t, s, 2, now)
	if f.Reason != loadaware.CPULoad || f.LoadFactor > 0.11 || f.Expected > 0.05 || !f.Reported || f.Calls == 0 {
		t.Errorf("%+v", f)
	}
}

func TestWeightsAreTheBaseOfLoadAware(t *testing.T) {
	now := t0
	s := New(Config{Algorithm: LoadAware}, weighted(1, 2, 3, 4), now)
	for i, c := range spin(s, &now, 100_000, even) {
		want := float64(i+1) * 10_000
		if f := float64(c); f < 0.95*want || f > 1.05*want {
			t.Errorf("weight %d of 10 got %d, want %.0f", i+1, c, want)
		}
	}
}

func TestAReportOfNoUseSaysNothing(t *testing.T) {
	s := New(Config{Algorithm: LoadAware}, list(2), t0)
	s.Pick(t0, 1, 0, nil)
	for _, r := range []Report{{}, {CPU: math.NaN()}, {CPU: -1}, {CPU: 0.5, Memory: math.NaN()}, {CPU: 0.5, Memory: -3}} {
		s.Reported(0, t0, r)
		if f := factorsOf(t, s, 0, t0); f.Reported || f.Facts.CPU != -1 {
			t.Errorf("%+v was believed: %+v", r, f.Facts)
		}
	}
	s.Reported(0, t0, Report{CPU: math.Inf(1), Memory: 7, Latency: 1000 * time.Hour})
	if f := factorsOf(t, s, 0, t0); f.Facts.CPU != 1 || f.Facts.Memory != 1 || f.Said != 0 {
		t.Errorf("%+v", f.Facts)
	}
	s.Malformed(1)
	if f := factorsOf(t, s, 1, t0); f.Malformed != 1 {
		t.Errorf("%+v", f)
	}
	other := New(Config{Algorithm: TwoChoices}, list(2), t0)
	other.Reported(0, t0, Report{CPU: 1})
	other.Malformed(0)
	if v := other.View(0, t0); v.Factors != nil {
		t.Errorf("%+v", v)
	}
}

// A body that is long on its way, a stream or a tunnel, is no stall; a head that does not come is.
func TestOnlyHeadsThatDoNotComeAreAStall(t *testing.T) {
	now := t0
	s := New(Config{Algorithm: LoadAware}, list(3), now)
	spin(s, &now, 300, even)
	s.Start(0, now)
	s.Answered(0, now)
	s.Start(1, now)
	now = now.Add(10 * time.Second)
	f, g := factorsOf(t, s, 0, now), factorsOf(t, s, 1, now)
	if f.Facts.Stalled != 0 || f.Slowness != 1 {
		t.Errorf("the one with a stream: %+v", f)
	}
	if g.Facts.Stalled != 10*time.Second || g.Slowness < 100 {
		t.Errorf("the one that does not answer: %+v", g)
	}
	counts := spin(s, &now, 2000, even)
	if counts[1] > 20 || counts[0] < 200 {
		t.Errorf("%v", counts)
	}
	s.Ended(0)
	s.Done(0, now, 0, Abandoned)
	s.Done(1, now, 0, Abandoned)
	if f := factorsOf(t, s, 1, now.Add(time.Second)); f.Facts.Stalled != 0 {
		t.Errorf("nothing waits any more: %+v", f.Facts)
	}
}

func TestFailuresThatAreQuickDoNotMakeAnEndpointFast(t *testing.T) {
	now := t0
	s := New(Config{Algorithm: LoadAware}, list(2), now)
	spin(s, &now, 300, even)
	for range 50 {
		s.Start(0, now)
		s.Done(0, now, time.Microsecond, Failed)
	}
	now = now.Add(time.Second)
	f := factorsOf(t, s, 0, now)
	if f.Own < 19*time.Millisecond || f.SuccessFactor > 0.1 || f.Failed != 50 {
		t.Errorf("%+v", f)
	}
	if counts := spin(s, &now, 300, even); counts[0] > 150 {
		t.Errorf("%v", counts)
	}
}

func TestLoadAwareHeedsTheRulesOfThePool(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"HHH", "xxx normal"},
		{"HEH", "x.x normal"},
		{"FFH|HH", "...xx backup"},
		{"FFH", "xxx panic"},
		{"FDH", "..x normal"},
		{"EF", "xx panic"},
		{"FF", ".. no_healthy_upstream"},
		{"DD", ".. all_drained"},
		{"", " no_endpoints"},
	} {
		s := cluster(t, Config{Algorithm: LoadAware}, c.in)
		if got := reach(s, nil); got != c.want {
			t.Errorf("%q: %s, want %s", c.in, got, c.want)
		}
		for i := range s.endpoints {
			s.View(i, t0)
		}
	}
}

func TestInPanicBaseWeightsCountAlone(t *testing.T) {
	now := t0
	s := cluster(t, Config{Algorithm: LoadAware}, "HFFF")
	s.Reported(0, now, Report{CPU: 0.99})
	counts := spin(s, &now, 8000, even)
	for _, c := range counts {
		if c < 1800 || c > 2200 {
			t.Errorf("%v", counts)
		}
	}
	if f := factorsOf(t, s, 0, now); f.Reason != loadaware.Panic {
		t.Errorf("%v", f.Reason)
	}
}

func TestANewEndpointWarmsUp(t *testing.T) {
	now := t0
	cfg := Config{Algorithm: LoadAware, SlowStart: 10 * time.Second}
	old := New(cfg, list(3), now)
	spin(old, &now, 1000, even)
	s := New(cfg, list(4), now)
	s.Inherit(old, now)
	first := spin(s, &now, 1000, even)
	if first[3] > 100 || first[3] == 0 {
		t.Errorf("the new one begins with %v", first)
	}
	if f := factorsOf(t, s, 3, now); f.WarmFactor > 0.3 || f.Reason != loadaware.Warming {
		t.Errorf("%+v", f)
	}
	for i := range 3 {
		if f := factorsOf(t, s, i, now); f.WarmFactor != 1 || f.Calls < 500 {
			t.Errorf("endpoint %d has lost what was known: %+v", i, f)
		}
	}
	spin(s, &now, 20_000, even)
	if last := spin(s, &now, 4000, even); last[3] < 850 {
		t.Errorf("warm, it has %v", last)
	}
}

func TestRequestsOfASetWithAnotherAlgorithmEnd(t *testing.T) {
	now := t0
	old := New(Config{Algorithm: LeastRequest}, list(2), now)
	i, _ := old.Pick(now, 1, 0, nil)
	old.Start(i, now)
	old.Answered(i, now)
	s := New(Config{Algorithm: LoadAware}, list(2), now)
	s.Inherit(old, now)
	old.Ended(i)
	old.Done(i, now, time.Millisecond, Succeeded)
	if f := factorsOf(t, s, i, now); f.Calls != 1 || f.Facts.Stalled != 0 {
		t.Errorf("%+v", f)
	}
	third := New(Config{Algorithm: TwoChoices}, list(2), now)
	third.Inherit(s, now)
	if v := third.View(i, now); v.InFlight != 0 || v.Factors != nil {
		t.Errorf("%+v", v)
	}
}

func TestLoadAwareTakesWhatIsWrittenOfLatency(t *testing.T) {
	// The server's word is what counts, as far as this loop sees the same.
	now := t0
	s := New(Config{Algorithm: LoadAware}, list(3), now)
	for range 100 {
		for i := range 3 {
			s.Reported(i, now, Report{CPU: 0.1, Latency: 10 * time.Millisecond})
		}
		spin(s, &now, 10, func(int) time.Duration { return 12 * time.Millisecond })
	}
	s.Reported(1, now, Report{CPU: 0.1, Latency: 100 * time.Millisecond})
	now = now.Add(time.Second)
	if f := factorsOf(t, s, 1, now); f.Latency < 110*time.Millisecond || f.Latency > 130*time.Millisecond || f.Slowness < 8 {
		t.Errorf("%v, %v times typical", f.Latency, f.Slowness)
	}
}
