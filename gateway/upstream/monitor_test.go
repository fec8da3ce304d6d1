package upstream_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/policy/balance"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/telemetry/metrics"
	"go.uber.org/goleak"
)

// patience is how long something that must happen may take on a busy machine.
const patience = 20 * time.Second

// bench is a group on one running loop.
type bench struct {
	tb       testing.TB
	worker   *engine.Worker
	group    *upstream.Group
	counters []*metrics.Cluster
}

func newBench(tb testing.TB) *bench {
	ignore := goleak.IgnoreCurrent()
	l, err := loop.New(loop.Config{})
	check(tb, err)
	reg, err := metrics.New(metrics.Config{Loops: 1, Outcomes: []string{"ok"}, Verdicts: []string{"no"}})
	check(tb, err)
	b := &bench{tb: tb, worker: engine.NewWorker(l, 0)}
	b.counters = []*metrics.Cluster{reg.View(nil, []string{"app"}).Cluster(0, 0)}
	b.group = upstream.NewGroup("app", []*engine.Worker{b.worker})
	go l.Run()
	tb.Cleanup(func() {
		b.group.Close()
		l.Stop()
		<-l.Done()
		goleak.VerifyNone(tb, ignore)
	})
	return b
}

// apply gives the group a specification and endpoints.
func (b *bench) apply(spec *upstream.Spec, addresses ...string) {
	var targets []upstream.Target
	for _, a := range addresses {
		targets = append(targets, upstream.Target{Addr: netip.MustParseAddrPort(a)})
	}
	p, err := b.group.Prepare(spec, targets, b.counters)
	check(b.tb, err)
	p.Commit()
	b.onLoop(func() { p.Apply(0) })
}

func (b *bench) onLoop(do func()) {
	done := make(chan struct{})
	b.worker.Loop.Post(func() { defer close(done); do() })
	<-done
}

// await waits until the endpoints' states are these.
func (b *bench) await(want ...string) {
	b.tb.Helper()
	var have []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); runtime.Gosched() {
		have = nil
		for _, s := range b.group.Statuses() {
			have = append(have, s.State)
		}
		if fmt.Sprint(have) == fmt.Sprint(want) {
			return
		}
	}
	b.tb.Fatalf("the endpoints are %v, want %v: %+v", have, want, b.group.Statuses())
}

// picks returns the addresses that so many choices fall on.
func (b *bench) picks(n int) map[string]int {
	chosen := map[string]int{}
	b.onLoop(func() {
		for i := range n {
			if e, _ := b.group.On(0).Pick(uint64(i), 0, nil); e != nil {
				chosen[e.Addr()]++
			}
		}
	})
	return chosen
}

// fail reports failed requests to an endpoint.
func (b *bench) fail(address string, n int) {
	b.onLoop(func() {
		for left, i := n, uint64(0); left > 0; i++ {
			e, why := b.group.On(0).Pick(i, 0, nil)
			if e == nil {
				b.tb.Errorf("nothing to choose: %v", why)
				return
			}
			if e.Addr() == address {
				g := e.Start()
				g.Done(health.Reset, time.Millisecond)
				left--
			}
		}
	})
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// flapping is an upstream whose checks fail on demand.
type flapping struct {
	*httptest.Server
	sick   atomic.Bool
	checks atomic.Int64
	host   atomic.Value
}

func newFlapping(tb testing.TB) *flapping {
	f := &flapping{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.checks.Add(1)
		f.host.Store(r.Host)
		if f.sick.Load() {
			w.WriteHeader(500)
		}
	}))
	tb.Cleanup(f.Close)
	return f
}

func (f *flapping) addr() string { return strings.TrimPrefix(f.URL, "http://") }

func probing(change func(*upstream.Probe)) *upstream.Spec {
	p := &upstream.Probe{Path: "/healthz", Host: "app.example", Interval: 5 * time.Millisecond, Timeout: 5 * time.Second, Jitter: 0.5,
		Expect: [4]upstream.StatusRange{{From: 200, To: 299}}}
	if change != nil {
		change(p)
	}
	return &upstream.Spec{Name: "app", Probe: p}
}

func TestAFlappingEndpointGoesAndComesBack(t *testing.T) {
	b, sick, well := newBench(t), newFlapping(t), newFlapping(t)
	b.apply(probing(nil), sick.addr(), well.addr())
	for range 3 {
		sick.sick.Store(true)
		b.await("failing", "healthy")
		if got := b.picks(100); got[well.addr()] != 100 {
			t.Errorf("choices fell on %v", got)
		}
		sick.sick.Store(false)
		b.await("healthy", "healthy")
		if got := b.picks(100); got[well.addr()] == 100 {
			t.Error("the endpoint is healthy again and never chosen")
		}
	}
	if got := well.host.Load(); got != "app.example" {
		t.Errorf("checks asked for host %v", got)
	}
}

func TestTCPChecks(t *testing.T) {
	b := newBench(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	addr := l.Addr().String()
	b.apply(probing(func(p *upstream.Probe) { p.TCP = true }), addr)
	b.await("healthy")
	l.Close()
	b.await("failing")
	if s := b.group.Statuses()[0]; !strings.Contains(s.LastCheck, "dial tcp") {
		t.Errorf("the last check says %q", s.LastCheck)
	}
	l, err = net.Listen("tcp", addr)
	check(t, err)
	defer l.Close()
	b.await("healthy")
}

func TestAHangingCheckTimesOutAndAlone(t *testing.T) {
	b, well := newBench(t), newFlapping(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, says nothing
	check(t, err)
	defer l.Close()
	b.apply(probing(func(p *upstream.Probe) { p.Timeout = 20 * time.Millisecond }), l.Addr().String(), well.addr())
	b.await("failing", "healthy")
	if s := b.group.Statuses()[0].Why; !strings.Contains(s, "timeout") {
		t.Errorf("it fails because %q", s)
	}
}

func TestHealthSurvivesAChangeOfConfiguration(t *testing.T) {
	b, sick, well := newBench(t), newFlapping(t), newFlapping(t)
	sick.sick.Store(true)
	b.apply(probing(nil), sick.addr(), well.addr())
	b.await("failing", "healthy")
	checks := well.checks.Load()

	// Another balancer, another order, a new endpoint; checks so rare that they cannot be what the verdict comes from.
	rare := probing(func(p *upstream.Probe) { p.Interval = time.Hour })
	rare.Balance = balance.Config{Algorithm: balance.LeastRequest}
	third := newFlapping(t)
	b.apply(rare, well.addr(), third.addr(), sick.addr())
	b.await("healthy", "healthy", "failing")
	if got := b.picks(100); got[sick.addr()] != 0 {
		t.Errorf("choices fell on %v", got)
	}
	for deadline := time.Now().Add(patience); third.checks.Load() == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the new endpoint is not checked")
		}
	}
	if well.checks.Load() < checks {
		t.Error("checks went backwards")
	}

	// Without checks there is nothing that could clear the verdict of one: it goes with them.
	b.apply(&upstream.Spec{Name: "app"}, well.addr(), sick.addr())
	b.await("healthy", "healthy")
}

func TestLiveFailuresEjectAndTimeBringsBack(t *testing.T) {
	b := newBench(t)
	spec := &upstream.Spec{Name: "app", Health: health.Config{Passive: health.Passive{ConsecutiveFailures: 3, EjectionBase: 30 * time.Millisecond}}}
	bad, good := "127.0.0.1:1", "127.0.0.1:2"
	b.apply(spec, bad, good)
	b.fail(bad, 2)
	b.await("healthy", "healthy")
	b.fail(bad, 1)
	b.await("ejected", "healthy")
	b.await("healthy", "healthy")
	if got := b.picks(10); len(got) != 2 {
		t.Errorf("choices fell on %v", got)
	}
}

func TestDrainTakesAnEndpointOutOfBalancing(t *testing.T) {
	b := newBench(t)
	b.apply(&upstream.Spec{Name: "app"}, "127.0.0.1:1", "127.0.0.1:2")
	if b.group.Drain("127.0.0.1:3", true) {
		t.Error("drained an endpoint that is not there")
	}
	if !b.group.Drain("127.0.0.1:1", true) {
		t.Error("there is such an endpoint")
	}
	b.await("drained", "healthy")
	if got := b.picks(10); got["127.0.0.1:1"] != 0 {
		t.Errorf("choices fell on %v", got)
	}
	b.apply(&upstream.Spec{Name: "app"}, "127.0.0.1:2", "127.0.0.1:1")
	b.await("healthy", "drained")
	b.group.Drain("127.0.0.1:1", false)
	b.await("healthy", "healthy")
}

func TestChecksAskForTheNameTheEndpointHasNow(t *testing.T) {
	b, well := newBench(t), newFlapping(t)
	spec := probing(func(p *upstream.Probe) { p.Host = "" })
	for _, name := range []string{"old.example", "new.example"} {
		p, err := b.group.Prepare(spec, []upstream.Target{{Addr: netip.MustParseAddrPort(well.addr()), Name: name}}, b.counters)
		check(t, err)
		p.Commit()
		for deadline := time.Now().Add(patience); well.host.Load() != name; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("checks ask for %v, want %s", well.host.Load(), name)
			}
		}
	}
}
