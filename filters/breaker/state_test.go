package breaker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/internal/mono"
	core "github.com/yumen-io/yumen/policy/breaker"
)

const (
	t0   = mono.Time(time.Hour)
	tick = 100 * time.Millisecond
)

var wall = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

var users = &gateway.Route{Name: "users"}

var (
	good = ending{counts: true, latency: time.Millisecond}
	bad  = ending{counts: true, failed: true, latency: time.Millisecond}
)

// end has n requests end that were let through by what is in force.
func (st *state) end(loop, n int, e ending) {
	for range n {
		st.count(loop, st.at.Load(), &e)
	}
}

func TestARunOfFailuresOverAllLoopsOpensBeforeTheTick(t *testing.T) {
	f := compiled(t, Spec{On: all.On, Breaker: core.Config{Consecutive: 6}})
	st := f.meet(users, t0, wall).of
	st.end(0, 3, bad)
	st.end(1, 2, bad)
	if s := st.at.Load().view.State; s != core.Closed {
		t.Fatal(s)
	}
	st.end(0, 1, good) // in between
	st.end(0, 5, bad)
	if s := st.at.Load().view.State; s != core.Closed {
		t.Fatal(s)
	}
	st.end(1, 1, bad)
	if s := st.at.Load().view.State; s != core.Open {
		t.Fatal(s)
	}
	st.tick(t0+1, wall)
	s := st.status()
	if len(s.Transitions) != 1 {
		t.Fatalf("%+v", s)
	}
	if r := s.Transitions[0]; r.Cause != "consecutive" || r.InARow != 6 || r.Volume != 12 || r.To != "open" || r.At != wall || r.Classic != "consecutive" {
		t.Errorf("%+v", r)
	}
}

func TestRequestsFromBeforeItOpenedAreNoNews(t *testing.T) {
	f := compiled(t, Spec{On: all.On, Breaker: core.Config{Consecutive: 3, OpenFor: time.Second, Probes: 2}})
	st := f.meet(users, t0, wall).of
	before := st.at.Load()
	st.end(0, 3, bad)
	st.tick(t0+1, wall)
	now := t0.Add(2 * time.Second)
	st.tick(now, wall)
	if p := st.at.Load(); p.view.State != core.HalfOpen || p.probes.Load() != 2 {
		t.Fatalf("%+v", p.view)
	}
	for range 50 {
		st.count(0, before, &bad) // they hung all the time
	}
	st.tick(now+1, wall)
	if p := st.at.Load(); p.view.State != core.HalfOpen || p.view.Step != 0 {
		t.Fatalf("%+v", p.view)
	}
	st.end(0, 2, good)
	st.tick(now+2, wall)
	if p := st.at.Load(); p.view.State != core.HalfOpen || p.view.Step != 1 || p.threshold != uint64(1<<32/100) {
		t.Errorf("%+v, %d", p.view, p.threshold)
	}
}

func TestProbesAreDealtOutOnceAndGivenBackIfTheirEndSaysNothing(t *testing.T) {
	f := compiled(t, Spec{On: all.On, Breaker: core.Config{Consecutive: 1, OpenFor: time.Second, Probes: 5}})
	st := f.meet(users, t0, wall).of
	st.end(0, 1, bad)
	st.tick(t0+1, wall)
	st.tick(t0.Add(2*time.Second), wall)
	p := st.at.Load()
	var taken atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if p.takeProbe() {
					taken.Add(1)
				}
			}
		})
	}
	all.Wait()
	if taken.Load() != 5 {
		t.Errorf("%d probes were let through", taken.Load())
	}
	p.returnProbe()
	if !p.takeProbe() || p.takeProbe() {
		t.Error("one was given back")
	}
}

// TestLoopsThatCountWhileItTicksLoseNothing counts from many goroutines, each in the part of a loop.
func TestLoopsThatCountWhileItTicksLoseNothing(t *testing.T) {
	f := compiled(t, Spec{On: all.On, Breaker: core.Config{Consecutive: -1, ErrorRatio: -1, Window: time.Hour}})
	st := f.meet(users, t0, wall).of
	const loops, each = 4, 20_000
	var counting sync.WaitGroup
	for i := range loops {
		counting.Go(func() {
			for n := range each {
				e := good
				if n%4 == 0 {
					e = bad
				}
				st.end(i, 1, e)
			}
		})
	}
	done := make(chan struct{})
	go func() { counting.Wait(); close(done) }()
	now := t0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		now++
		st.tick(now, wall)
	}
	st.tick(now+1, wall)
	if n := st.mu.breaker.Window(); n.Total != loops*each || n.Failures != loops*each/4 {
		t.Errorf("%+v", n)
	}
}

func TestNewSettingsFindAnOpenBreakerOpen(t *testing.T) {
	memory := gateway.NewMemory()
	compile := func(s Spec) *Filter {
		r := memory.Recollect()
		f, problems := Compile(s, gateway.NewGuard("breaker", "test", gateway.Enforce, r), r)
		if f == nil {
			t.Fatal(problems)
		}
		r.Hold()
		return f
	}
	spec := Spec{On: all.On, Breaker: core.Config{Consecutive: 3}}
	first := compile(spec)
	st := first.meet(users, t0, wall).of
	st.end(0, 3, bad)
	spec.Breaker.Consecutive = 7
	second := compile(spec)
	if p := second.meet(users, t0+1, wall); p.of != st || p.view.State != core.Open || p.settings != second.settings {
		t.Fatalf("%+v", p.view)
	}
	// A request of the configuration that is going does not bring its settings back.
	if p := first.known(0); p == nil || p.settings != second.settings {
		t.Error("the old settings asked for their turn")
	}
	if p := first.meet(users, t0+2, wall); p.settings != second.settings {
		t.Error("the old settings hold again")
	}
	st.tick(t0.Add(6*time.Second), wall)
	half := st.at.Load()
	half.takeProbe()
	spec.Breaker.ErrorRatio = 0.2
	if p := compile(spec).meet(users, t0.Add(7*time.Second), wall); p.view.State != core.HalfOpen || p.probes.Load() != 4 {
		t.Errorf("%+v, %d probes left", p.view, p.probes.Load())
	}
}

func TestAnOrderHoldsAndEndsWithACleanSheet(t *testing.T) {
	memory := gateway.NewMemory()
	var f *Filter
	now := t0
	order := func(h Hold) *published {
		r := memory.Recollect()
		f, _ = Compile(Spec{On: all.On, Hold: h, Breaker: core.Config{Consecutive: 3}}, gateway.NewGuard("breaker", "test", gateway.Enforce, r), r)
		r.Hold()
		now++
		return f.meet(users, now, wall)
	}
	if p := order(HeldOpen); p.threshold != 0 || p.takeProbe() || p.view.State != core.Open {
		t.Errorf("held open: %+v", p.view)
	}
	if p := order(HeldClosed); p.threshold <= allShares {
		t.Error("held closed: somebody is refused")
	} else {
		p.of.end(0, 100, bad)
		p.of.tick(now.Add(tick), wall)
		if p.of.at.Load() != p {
			t.Error("an order was not obeyed")
		}
	}
	p := order(Auto)
	if p.view.State != core.Closed || p.threshold <= allShares {
		t.Errorf("released: %+v", p.view)
	}
	p.of.end(0, 3, bad)
	if p.of.at.Load().view.State != core.Open {
		t.Error("it does not decide again")
	}
	if p := order(HeldClosed); p.threshold <= allShares {
		t.Error("held closed over an open one: somebody is refused")
	}
	var held []string
	for _, r := range p.of.status().Transitions {
		held = append(held, fmt.Sprintf("%s to %s %s%s", r.From, r.To, r.Cause, map[bool]string{true: " " + r.Hold}[r.Hold != ""]))
	}
	want := "[closed to closed ordered closed closed to closed ordered closed to open consecutive open to closed ordered closed]"
	if fmt.Sprint(held) != want {
		t.Errorf("%v\nwant\n%s", held, want)
	}
}

func TestABreakerOfAClusterIsSharedByItsRoutesAndOneOfARouteIsNot(t *testing.T) {
	f := compiled(t, Spec{On: all.On})
	a, b := f.meet(&gateway.Route{Name: "a"}, t0, wall), f.meet(&gateway.Route{Name: "b", Index: 3}, t0, wall)
	shared := compiled(t, Spec{On: all.On, Scope: ByCluster})
	group := &upstream.Group{Name: "app"}
	c, d := shared.meet(&gateway.Route{Name: "c", Cluster: group}, t0, wall), shared.meet(&gateway.Route{Name: "d", Index: 1, Cluster: group}, t0, wall)
	if c.of != d.of || string(c.of.key) != "cluster=app" {
		t.Errorf("%s and %s", c.of.key, d.of.key)
	}
	if a.of == b.of || string(a.of.key) != "route=a" || f.known(3) != b || f.known(2) != nil || f.known(9) != nil {
		t.Error("routes share a breaker")
	}
}

func TestABreakerThatNobodyAsksForADayIsGivenUp(t *testing.T) {
	f := compiled(t, Spec{On: all.On})
	st := f.meet(users, t0, wall).of
	f.memory.Tick(t0.Add(idleMax-1), wall)
	if f.known(0) == nil {
		t.Fatal("too early")
	}
	f.memory.Tick(t0.Add(idleMax), wall)
	if f.known(0) != nil || len(f.memory.list()) != 0 {
		t.Error("it is still there")
	}
	if p := f.meet(users, t0.Add(idleMax+1), wall); p.of == st || p.settings != f.settings {
		t.Error("it came back from the dead")
	}
	st.tick(t0.Add(idleMax+2), wall) // does nothing
}

func TestTheLastHundredTransitionsAreKept(t *testing.T) {
	var q records
	for i := range 250 {
		q.add(core.Transition{Step: i}, Auto, wall)
		if i == 3 && len(q.news()) != 4 {
			t.Error("the log misses some")
		}
	}
	list := q.last(0)
	if len(list) != recordsMax || list[0].Step != 150 || list[99].Step != 249 {
		t.Errorf("%d, from %d to %d", len(list), list[0].Step, list[len(list)-1].Step)
	}
	if n := q.news(); len(n) != recordsMax || q.news() != nil {
		t.Errorf("%d are news", len(n))
	}
}

func TestTheGuardTellsOfItsBreakers(t *testing.T) {
	guard := gateway.NewGuard("breaker", "test", gateway.Enforce, nil)
	f, _ := Compile(Spec{On: all.On, Breaker: core.Config{Consecutive: 3}}, guard, nil)
	st := f.meet(users, t0, wall).of
	f.meet(&gateway.Route{Name: "a", Index: 1}, t0, wall)
	st.end(0, 3, bad)
	st.tick(t0+1, wall)
	got := map[string]float64{}
	guard.Tell(func(name string, v float64) { got[name] = v })
	if fmt.Sprint(got) != "map[closed:1 error_ratio:1 half_open:0 open:1 score:0]" {
		t.Error(got)
	}
	if list := guard.Detail().([]Status); len(list) != 2 || list[0].Key != "route=a" || list[1].State != "open" || len(list[1].Transitions) != 1 {
		t.Errorf("%+v", list)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	f := compiled(t, Spec{On: all.On})
	st := f.meet(users, t0, wall).of
	st.end(0, 1, good)
	if n := testing.AllocsPerRun(1000, func() {
		p := f.known(0)
		st.count(0, p, &good)
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

// BenchmarkRequest is what a closed breaker adds to a request of its own: the gateway's judgement is beside it.
func BenchmarkRequest(b *testing.B) {
	f := compiled(b, Spec{On: all.On})
	st := f.meet(users, t0, wall).of
	o := gateway.Outcome{Status: 200, FirstByte: time.Millisecond, Attempts: 1}
	b.ReportAllocs()
	for b.Loop() {
		p := f.known(0)
		if p.threshold <= allShares {
			b.Fatal("refused")
		}
		e := p.settings.judge(&o, true)
		st.count(0, p, &e)
	}
}

// BenchmarkMemoryTick is what a breaker of eight loops costs ten times a second when nothing changes.
func BenchmarkMemoryTick(b *testing.B) {
	f := compiled(b, Spec{On: all.On, Breaker: core.Config{Adaptive: core.Adaptive{On: true}}})
	st := f.meet(users, t0, wall).of
	now := t0
	b.ReportAllocs()
	for b.Loop() {
		for loop := range 8 {
			st.end(loop, 5, good)
		}
		now = now.Add(tick)
		st.tick(now, wall)
	}
}
