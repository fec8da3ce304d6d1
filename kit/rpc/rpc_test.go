package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/registry"
	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// many makes calls from several goroutines and tells how many each server answered, and all latencies.
func many(t testing.TB, conn *grpc.ClientConn, goroutines, calls int) (by map[string]int, took []time.Duration) {
	t.Helper()
	by = map[string]int{}
	var mu sync.Mutex
	var tasks sync.WaitGroup
	for range goroutines {
		tasks.Go(func() {
			for range calls {
				began := time.Now()
				who, err := work(t.Context(), conn)
				mu.Lock()
				if err != nil {
					who = "error: " + err.Error()
				}
				by[who]++
				took = append(took, time.Since(began))
				mu.Unlock()
			}
		})
	}
	tasks.Wait()
	slices.Sort(took)
	return by, took
}

func TestCallsAreSharedByAllThatServe(t *testing.T) {
	servers := []*server{{}, {}, {}, {}}
	start(t, servers...)
	c := newClient(t, Config{})
	conn := dial(t, c, static(servers...))
	conn.Connect()
	until(t, "all are ready", allReady(c, 4))
	by, _ := many(t, conn, 8, 100)
	for _, s := range servers {
		// On a busy machine one seems slow for a while, and then gets half of what others get.
		if n := by[s.name]; n < 60 || n > 400 {
			t.Errorf("%s has %d of 800 calls: %v", s.name, n, by)
		}
	}
}

func TestASlowServerGetsHardlyAnything(t *testing.T) {
	servers := make([]*server, 10)
	for i := range servers {
		servers[i] = &server{}
	}
	start(t, servers...)
	for _, s := range servers {
		s.takes(5 * time.Millisecond)
	}
	c := newClient(t, Config{})
	conn := dial(t, c, static(servers...))
	conn.Connect()
	until(t, "all are ready", allReady(c, 10))
	many(t, conn, 10, 20)
	// Far slower than tenfold, so that a busy machine, on which all are slow, changes nothing; the simulation is exact.
	servers[3].takes(400 * time.Millisecond)
	until(t, "it is found out", func() bool { many(t, conn, 10, 20); return endpointOf(c, servers[3]).Slowness > 1 })
	before := servers[3].calls.Load()
	by, _ := many(t, conn, 10, 100)
	if n := servers[3].calls.Load() - before; n > 20 {
		t.Errorf("%d of 1000 calls went to the slow one: %v\n%+v", n, by, endpointOf(c, servers[3]))
	}
}

func TestASlowServerIsBackWhenItIsFastAgain(t *testing.T) {
	servers := []*server{{}, {}, {}}
	start(t, servers...)
	for _, s := range servers {
		s.takes(5 * time.Millisecond)
	}
	servers[0].takes(60 * time.Millisecond)
	c := newClient(t, Config{ProbeInterval: 100 * time.Millisecond})
	conn := dial(t, c, static(servers...))
	conn.Connect()
	until(t, "all are ready", allReady(c, 3))
	until(t, "it is slow", func() bool { many(t, conn, 4, 5); return endpointOf(c, servers[0]).Slowness > 2 })
	servers[0].takes(5 * time.Millisecond)
	// Another caller finds out, and the server's own report tells it to this one.
	other := newClient(t, Config{})
	direct := dial(t, other, static(servers[0]))
	until(t, "it is not slow", func() bool { many(t, direct, 4, 5); return endpointOf(c, servers[0]).Slowness == 1 })
}

func TestAServerThatDiesAndComesBack(t *testing.T) {
	servers := []*server{{}, {}}
	start(t, servers...)
	c := newClient(t, Config{})
	conn := dial(t, c, static(servers...))
	conn.Connect()
	until(t, "both are ready", allReady(c, 2))
	servers[0].stop()
	until(t, "one is known to be gone", allReady(c, 1))
	if by, _ := many(t, conn, 4, 25); by[servers[1].name] != 100 {
		t.Errorf("calls: %v", by)
	}
	if e := endpointOf(c, servers[0]); e.Reason != "not_ready" || e.Weight != 0 {
		t.Errorf("the dead one: %+v", e)
	}
	if err := servers[0].open(servers[0].address); err != nil {
		t.Fatal(err)
	}
	until(t, "it is back", func() bool { return endpointOf(c, servers[0]).Ready })
	until(t, "it has got a call", func() bool { _, _ = work(t.Context(), conn); return servers[0].calls.Load() > 0 })
}

func TestAServerThatDrainsGetsNothingNew(t *testing.T) {
	servers := []*server{{}, {}, {}}
	start(t, servers...)
	c := newClient(t, Config{})
	conn := dial(t, c, static(servers...))
	conn.Connect()
	until(t, "all are ready", allReady(c, 3))
	servers[0].health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	until(t, "it is known", allReady(c, 2))
	before := servers[0].calls.Load()
	by, _ := many(t, conn, 4, 50)
	if n := servers[0].calls.Load() - before; n != 0 || by[servers[1].name]+by[servers[2].name] != 200 {
		t.Errorf("it got %d calls: %v", n, by)
	}
	servers[0].health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	until(t, "it is back", allReady(c, 3))
}

func TestNothingServes(t *testing.T) {
	s := &server{}
	start(t, s)
	s.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	conn := dial(t, newClient(t, Config{}), static(s))
	if _, err := work(t.Context(), conn); status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
}

func TestAListThatChangesKeepsWhatIsKnown(t *testing.T) {
	servers := []*server{{}, {}, {}}
	start(t, servers...)
	c := newClient(t, Config{})
	r := manual.NewBuilderWithScheme("hand")
	list := func(servers ...*server) resolver.State {
		s := c.state(nil, nil, resolver.BuildOptions{DisableServiceConfig: true})
		for _, o := range servers {
			s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: o.address}}})
		}
		return s
	}
	r.InitialState(list(servers[:2]...))
	conn := dial(t, c, "hand:///", grpc.WithResolvers(r), grpc.WithDefaultServiceConfig(c.serviceConfig))
	conn.Connect()
	until(t, "two are ready", allReady(c, 2))
	servers[0].takes(30 * time.Millisecond)
	many(t, conn, 4, 30)
	known := endpointOf(c, servers[0])
	if known.OwnMS < 15 || known.WarmFactor != 1 {
		t.Fatalf("nothing was learnt: %+v", known)
	}
	r.UpdateState(list(servers...))
	until(t, "three are ready", allReady(c, 3))
	if e := endpointOf(c, servers[0]); e.OwnMS != known.OwnMS || e.Calls != known.Calls || e.WarmFactor != 1 {
		t.Errorf("with one more in the list: %+v, before %+v", e, known)
	}
	if e := endpointOf(c, servers[2]); e.WarmFactor > 0.9 {
		t.Errorf("the new one is warm at once: %+v", e)
	}
	r.UpdateState(list(servers[1:]...))
	until(t, "one is gone", func() bool { k := c.Explain()[0]; return len(k.Endpoints) == 2 && k.Remembered == 1 })
	r.UpdateState(list(servers...))
	until(t, "it is back", allReady(c, 3))
	if e := endpointOf(c, servers[0]); e.OwnMS != known.OwnMS || e.Calls != known.Calls {
		t.Errorf("after it was out of the list: %+v, before %+v", e, known)
	}
	r.UpdateState(list())
	until(t, "calls fail", func() bool { _, err := work(t.Context(), conn); return err != nil })
	if _, err := work(t.Context(), conn); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "has no instances") {
		t.Errorf("with an empty list: %v", err)
	}
	var words []string
	for _, ch := range c.Explain()[0].Changes {
		words = append(words, ch.Reason)
	}
	for _, want := range []string{"new", "gone", "back"} {
		if !slices.Contains(words, want) {
			t.Errorf("the history lacks %q: %v", want, words)
		}
	}
}

func TestServersWithoutStats(t *testing.T) {
	servers := []*server{{bare: true}, {bare: true}}
	start(t, servers...)
	c := newClient(t, Config{ProbeInterval: 100 * time.Millisecond})
	conn := dial(t, c, static(servers...))
	conn.Connect()
	until(t, "they are known to have none", func() bool { return endpointOf(c, servers[0]).NoStats && endpointOf(c, servers[1]).NoStats })
	if by, _ := many(t, conn, 4, 50); by[servers[0].name] < 40 || by[servers[1].name] < 40 {
		t.Errorf("%v", by)
	}
	if e := endpointOf(c, servers[0]); !e.Healthy || e.CPU != -1 || e.ProbeFailures != 0 {
		t.Errorf("%+v", e)
	}
}

// Both ways by which a server reports come to the same factors.
func TestReportedLoadLowersAWeight(t *testing.T) {
	busy := func() float64 { return 0.8 }
	idle := func() float64 { return 0.1 }
	f := func(name string, cfg Config, trailers bool) {
		t.Run(name, func(t *testing.T) {
			servers := []*server{{cfg: ReporterConfig{CPU: busy, Memory: idle, NoTrailers: !trailers}}, {cfg: ReporterConfig{CPU: idle, Memory: idle, NoTrailers: !trailers}}}
			start(t, servers...)
			c := newClient(t, cfg)
			conn := dial(t, c, static(servers...))
			conn.Connect()
			until(t, "both are ready", allReady(c, 2))
			until(t, "the busy one has less", func() bool {
				if trailers {
					many(t, conn, 2, 5)
				}
				a, b := endpointOf(c, servers[0]), endpointOf(c, servers[1])
				return a.CPU > 0.79 && a.LoadFactor < 0.3 && b.LoadFactor > 0.85 && a.Weight < b.Weight/2
			})
		})
	}
	f("probes", Config{ProbeInterval: 100 * time.Millisecond}, false)
	f("trailers", Config{ProbeInterval: -1}, true)
}

func TestStreamsAreNoMeasureOfLatency(t *testing.T) {
	s := &server{}
	start(t, s)
	c := newClient(t, Config{})
	conn := dial(t, c, static(s))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{StreamName: "Stay", ServerStreams: true}, "/test.Work/Stay")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stream.SendMsg(&emptypb.Empty{}), stream.CloseSend(), stream.RecvMsg(&emptypb.Empty{})); err != nil {
		t.Fatal(err)
	}
	if e := endpointOf(c, s); e.Streams != 1 || e.InFlight != 0 || e.StalledMS != 0 {
		t.Errorf("%+v", e)
	}
	cancel()
	until(t, "it is over", func() bool { return endpointOf(c, s).Streams == 0 })
	if e := endpointOf(c, s); e.OwnMS != 0 || e.Failing != 0 {
		t.Errorf("%+v", e)
	}
}

func TestDebugPage(t *testing.T) {
	s := &server{}
	start(t, s)
	c := newClient(t, Config{})
	get := func(target string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		c.DebugHandler().ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		return w
	}
	if text := get("/debug/lb").Body.String(); text != "no connections\n" {
		t.Errorf("%q", text)
	}
	conn := dial(t, c, static(s))
	if _, err := work(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	text := get("/debug/lb").Body.String()
	for _, want := range []string{"static:///" + s.address, "in flight", "100.0 %", "new"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	var list []Connection
	if err := json.Unmarshal(get("/debug/lb?format=json").Body.Bytes(), &list); err != nil || len(list) != 1 || list[0].Endpoints[0].Calls != 1 {
		t.Errorf("%v: %+v", err, list)
	}
	w := httptest.NewRecorder()
	c.DebugHandler().ServeHTTP(w, httptest.NewRequest("POST", "/debug/lb", nil))
	if w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if n := c.Stats().Connections; n != 0 {
		t.Errorf("%d connections after Close", n)
	}
}

func TestTargetsAndConfigsThatAreWrong(t *testing.T) {
	f := func(cfg Config, want string) {
		t.Helper()
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f(Config{ProbeInterval: time.Millisecond}, "ProbeInterval is 1ms, it must be at least 100ms")
	f(Config{ProbeTimeout: time.Minute}, "ProbeTimeout is 1m0s, it must be between 0 and ProbeInterval, 5s")
	f(Config{ForgetAfter: 1}, "ForgetAfter is 1ns, it must be at least 1s")
	f(Config{History: -1}, "History is -1, it must be between 1 and 10000")
	f(Config{MethodConfig: "{"}, "MethodConfig is no JSON array")
	f(Config{Floor: 2}, "Floor is 2, it must be between 0 and 1")
	f(Config{RatioMax: 0.1, PanicThreshold: 7}, "RatioMax is 0.1, it must be at least 1")
	if _, err := NewReporter(ReporterConfig{Interval: time.Hour}); err == nil || !strings.Contains(err.Error(), "Interval is 1h0m0s") {
		t.Errorf("%v", err)
	}
	c := newClient(t, Config{})
	for _, target := range []string{"static:///", "static:///here", "static:///a:1,b", "static:///" + strings.Repeat("a:1,", 1000) + "a:1", "yumen:///orders"} {
		conn := dial(t, c, target)
		if _, err := work(t.Context(), conn); status.Code(err) != codes.Unavailable {
			t.Errorf("%.40s: %v", target, err)
		}
	}
}

func TestChoosingAndLearningAllocateNothing(t *testing.T) {
	servers := []*server{{}, {}, {}}
	start(t, servers...)
	c := newClient(t, Config{ProbeInterval: -1})
	conn := dial(t, c, static(servers...))
	conn.Connect()
	until(t, "all are ready", allReady(c, 3))
	b := c.balancers()[0]
	b.mu.Lock()
	p := b.mu.picker
	b.mu.Unlock()
	done := balancer.DoneInfo{BytesSent: true, BytesReceived: true}
	info := balancer.PickInfo{Ctx: t.Context()}
	if n := testing.AllocsPerRun(1000, func() {
		r, err := p.Pick(info)
		if err != nil {
			t.Error(err)
			return
		}
		r.Done(done)
	}); n >= 1 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
	if s := c.Stats(); s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}

func TestAnotherProcessAtTheSameAddressBeginsCold(t *testing.T) {
	s, other := &server{}, &server{}
	start(t, s, other)
	c := newClient(t, Config{SlowStart: time.Hour})
	r := manual.NewBuilderWithScheme("hand")
	yesterday := time.Now().Add(-24 * time.Hour)
	list := func(started time.Time) resolver.State {
		state := c.state(nil, nil, resolver.BuildOptions{DisableServiceConfig: true})
		for _, o := range []*server{s, other} {
			i := &registry.Instance{Address: o.address, ID: o.name, Weight: 100, Started: yesterday}
			if o == s {
				i.Started = started
			}
			state.Endpoints = append(state.Endpoints, endpointsOf(&registry.Set{Instances: []registry.Instance{*i}})...)
		}
		return state
	}
	r.InitialState(list(yesterday))
	conn := dial(t, c, "hand:///", grpc.WithResolvers(r), grpc.WithDefaultServiceConfig(c.serviceConfig))
	conn.Connect()
	until(t, "both are ready", allReady(c, 2))
	many(t, conn, 2, 20)
	if e := endpointOf(c, s); e.OwnMS == 0 || e.WarmFactor != 1 {
		t.Fatalf("an old process begins cold, or nothing was learnt: %+v", e)
	}
	r.UpdateState(list(time.Now()))
	until(t, "it is cold", func() bool { return endpointOf(c, s).WarmFactor < 0.2 })
	if e := endpointOf(c, s); e.OwnMS != 0 {
		t.Errorf("what its predecessor took is still known: %+v", e)
	}
	if e := endpointOf(c, other); e.WarmFactor != 1 {
		t.Errorf("the other one: %+v", e)
	}
}
