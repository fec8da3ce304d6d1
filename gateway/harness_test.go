package gateway_test

import (
	"fmt"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/h2"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/policy/balance"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/policy/retry"
	"github.com/yumen-io/yumen/policy/route"
	"github.com/yumen-io/yumen/telemetry/log"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// settings are what a test may want to be different from the rest.
type settings struct {
	routes    []routeSettings
	pool      upstream.PoolConfig
	balance   balance.Config
	health    health.Config
	server    engine.ServerConfig
	listener  gateway.Listener
	endpoints []string
	dial      engine.DialConfig // how they are spoken to; HTTP/1 by default
	proxy     int               // version of the PROXY header they get; 0: none
	access    *log.Access       // nil: none
	passage   *passage          // nil: the listener is for requests
	offload   func(work func()) bool

	connsMax    int // of clients; 0: no bound
	bufBytesMax int // of the loop's buffers in use; 0: no bound
}

// passage says which routes, by their place, carry the bytes of a listener that has no requests; -1 for none.
type passage struct {
	names, wildcards map[string]int
	otherwise        int
}

type routeSettings struct {
	spec         route.Spec
	respond      *gateway.Respond
	redirect     *gateway.Redirect
	retry        retry.Config
	hedge        *retry.Hedge
	key          *gateway.Key
	filters      []gateway.Hooks
	request      time.Duration
	firstByte    time.Duration
	betweenBytes time.Duration
}

func usual(endpoints ...string) settings {
	return settings{
		routes:    []routeSettings{{spec: route.Spec{Name: "all", Path: "/*"}}},
		endpoints: endpoints,
		pool: upstream.PoolConfig{IdleMax: 100, IdleTimeout: time.Minute, QueueMax: 100,
			ConnectTimeout: 5 * time.Second, QueueTimeout: 5 * time.Second},
		server: engine.ServerConfig{HeadTimeout: 10 * time.Second, IdleTimeout: time.Minute, SendTimeout: time.Minute,
			BodyRateMin: 240, BodyWindow: 5 * time.Second},
		listener: gateway.Listener{Name: "web", Scheme: "http", Trust: gateway.Trust{XFields: true}},
	}
}

// running is a gateway with one loop that serves a test.
type running struct {
	addr     string
	gateway  *gateway.Gateway
	group    *upstream.Group
	metrics  *metrics.Registry
	listener *engine.Listener
}

// start runs a gateway until the test ends.
func start(tb testing.TB, s settings) *running {
	tb.Helper()
	l, err := loop.New(loop.Config{})
	check(tb, err)
	w := engine.NewWorker(l, s.bufBytesMax)
	go l.Run()
	workers := []*engine.Worker{w}
	reg, err := metrics.New(gateway.Vocabulary(metrics.Config{Loops: 1}))
	check(tb, err)
	g := gateway.New(gateway.Config{Engines: workers, Metrics: reg, AccessLog: s.access, Wall: time.Now, IDSeed: [8]byte{0xab}, Offload: s.offload})

	limits := h1.NewLimits(h1.Limits{})
	s.dial.H1, s.dial.H2 = limits, h2.NewLimits(h2.Limits{})
	group := upstream.NewGroup("app", workers)
	names := make([]string, len(s.routes))
	for i := range s.routes {
		names[i] = s.routes[i].spec.Name
	}
	view := reg.View(names, []string{"app"})
	targets := make([]upstream.Target, len(s.endpoints))
	for i, e := range s.endpoints {
		targets[i] = upstream.Target{Addr: netip.MustParseAddrPort(e)}
	}
	prepared, err := group.Prepare(&upstream.Spec{Name: "app", Dial: s.dial, Proxy: s.proxy, Pool: s.pool, Balance: s.balance, Health: s.health},
		targets, []*metrics.Cluster{view.Cluster(0, 0)})
	check(tb, err)
	prepared.Commit()
	g.Swap(snapshot(tb, s, view, group, prepared))

	sockets, err := engine.Bind("127.0.0.1:0", 1)
	check(tb, err)
	s.server.H1, s.server.H2 = limits, s.dial.H2
	listener, err := engine.Listen(workers, sockets, engine.ListenerConfig{
		Name: "web", Server: &s.server, ConnectionsMax: s.connsMax, Handlers: []engine.Handler{gateway.NewFront(g.Workers[0], &s.listener)},
	})
	check(tb, err)
	r := &running{addr: sockets.Bound().String(), gateway: g, group: group, metrics: reg, listener: listener}
	tb.Cleanup(func() {
		listener.Close()
		group.Close()
		l.Stop()
		<-l.Done()
	})
	return r
}

func snapshot(tb testing.TB, s settings, view *metrics.View, group *upstream.Group, prepared *upstream.Prepared) *gateway.Snapshot {
	tb.Helper()
	var specs []route.Spec
	var routes []*gateway.Route
	for i, r := range s.routes {
		specs = append(specs, r.spec)
		compiled := &gateway.Route{Name: r.spec.Name, Index: i, Filters: r.filters, Respond: r.respond, Redirect: r.redirect,
			Retry: retry.New(r.retry), Hedge: r.hedge, Key: r.key, Request: r.request, FirstByte: orElse(r.firstByte), BetweenBytes: orElse(r.betweenBytes)}
		if r.respond == nil && r.redirect == nil {
			compiled.Cluster = group
		}
		routes = append(routes, compiled)
	}
	table, problems := route.Compile(specs)
	if table == nil {
		tb.Fatalf("routes: %v", problems)
	}
	return &gateway.Snapshot{Revision: 1, Table: table, Routes: routes, View: view, Passages: s.passage.compile(routes),
		Clusters: []*upstream.Group{group}, Changes: []*upstream.Prepared{prepared}}
}

func (p *passage) compile(routes []*gateway.Route) map[string]*gateway.Passage {
	if p == nil {
		return nil
	}
	g := &gateway.Passage{Names: map[string]*gateway.Route{}, Wildcards: map[string]*gateway.Route{}}
	for name, i := range p.names {
		g.Names[name] = routes[i]
	}
	for name, i := range p.wildcards {
		g.Wildcards[name] = routes[i]
	}
	if p.otherwise >= 0 {
		g.Default = routes[p.otherwise]
	}
	return map[string]*gateway.Passage{"web": g}
}

func orElse(d time.Duration) time.Duration {
	if d == 0 {
		return time.Minute
	}
	return d
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func prefix(tb testing.TB, s string) netip.Prefix {
	tb.Helper()
	p, err := netip.ParsePrefix(s)
	check(tb, err)
	return p
}

// nothingHeld fails the test unless, once every connection of clients is closed, every buffer has been given back, no
// request runs, and no endpoint has any left.
func (r *running) nothingHeld(tb testing.TB) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	for {
		left := r.left(tb)
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("after the last client left: %s", left)
		}
		runtime.Gosched()
	}
}

// left says what a gateway without clients still holds; it is empty if that is nothing.
func (r *running) left(tb testing.TB) string {
	var open, held int
	r.gateway.OnEach(func(w *gateway.Worker) { open, held = open+w.Engine().Open(), held+w.Engine().Bufs.InUse() })
	if open != 0 || held != 0 {
		return fmt.Sprintf("%d connections are open and %d bytes of buffers held", open, held)
	}
	if n := r.listener.Open(); n != 0 {
		return fmt.Sprintf("%d connections are counted as open", n)
	}
	for addr, l := range r.group.Loads() {
		if l.InFlight != 0 || l.Waiting != 0 {
			return fmt.Sprintf("endpoint %s has %+v", addr, l)
		}
	}
	if n := r.metric(tb, "yumen_requests_running"); n != 0 {
		return fmt.Sprintf("%v requests are counted as running", n)
	}
	return ""
}

// metricLines returns the lines of the page of metrics that begin with name and are not zero.
func (r *running) metricLines(tb testing.TB, name string) string {
	page := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	var lines []string
	for line := range strings.Lines(page.Body.String()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, name) && !strings.HasSuffix(line, " 0") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// metric returns a number from the page of metrics: the first whose line begins with name.
func (r *running) metric(tb testing.TB, name string) float64 {
	page := httptest.NewRecorder()
	r.metrics.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(page.Body.String()) {
		if strings.HasPrefix(line, name) {
			n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(strings.TrimSpace(line), ' '):]), 64)
			check(tb, err)
			return n
		}
	}
	tb.Fatalf("no metric %s", name)
	return 0
}
