package admission

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/retry"
	"github.com/yumen-io/yumen/policy/route"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// eventually waits until a condition holds.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not after %v", what, patience)
		}
	}
}

// running is a gateway with one route, one cluster and this filter.
type running struct {
	tb      testing.TB
	addr    string
	gateway *gateway.Gateway
	memory  *gateway.Memory
	group   *upstream.Group
	view    *metrics.View
	limits  *h1.Limits
	up      *upstreamServer
	filter  atomic.Pointer[Filter]
	request time.Duration   // that the route allows
	before  []gateway.Hooks // filters before this one; set before swap
	retry   retry.Config
	serial  uint64
}

// upstreamServer answers a request for each word it is given.
type upstreamServer struct {
	*httptest.Server
	let     chan struct{}
	waiting atomic.Int64 // requests
	served  sync.Map     // by X-Id, in their order
	count   atomic.Int64
}

func newUpstream(tb testing.TB) *upstreamServer {
	u := &upstreamServer{let: make(chan struct{}, 1<<16)}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, again := u.served.Swap(r.Header.Get("X-Id"), u.count.Add(1)); !again {
			switch r.Header.Get("X-First") { // what the first answer to an id is
			case "reset":
				panic(http.ErrAbortHandler)
			case "503":
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
		}
		u.waiting.Add(1)
		defer u.waiting.Add(-1)
		select {
		case <-u.let:
		case <-r.Context().Done():
		}
		fmt.Fprint(w, "done")
	}))
	tb.Cleanup(u.Close)
	tb.Cleanup(u.CloseClientConnections)
	return u
}

func start(tb testing.TB, loops int, request time.Duration, mode gateway.Mode, spec Spec) *running {
	tb.Helper()
	r := &running{tb: tb, memory: gateway.NewMemory(), up: newUpstream(tb), request: request}
	var workers []*engine.Worker
	for i := range loops {
		l, err := loop.New(loop.Config{ID: i})
		check(tb, err)
		workers = append(workers, engine.NewWorker(l, 0))
		go l.Run()
	}
	reg, err := metrics.New(gateway.Vocabulary(metrics.Config{Loops: loops}))
	check(tb, err)
	r.gateway = gateway.New(gateway.Config{Engines: workers, Metrics: reg, Wall: time.Now})
	r.limits = h1.NewLimits(h1.Limits{})
	r.group = upstream.NewGroup("app", workers)
	r.view = reg.View([]string{"all"}, []string{"app"})
	r.swap(mode, spec)
	sockets, err := engine.Bind("127.0.0.1:0", loops)
	check(tb, err)
	var handlers []engine.Handler
	for _, w := range r.gateway.Workers {
		handlers = append(handlers, gateway.NewFront(w, &gateway.Listener{Name: "web", Scheme: "http"}))
	}
	listener, err := engine.Listen(workers, sockets, engine.ListenerConfig{
		Name: "web", Server: &engine.ServerConfig{H1: r.limits, Protocols: engine.HTTP1, HeadTimeout: 10 * time.Second,
			IdleTimeout: time.Minute, SendTimeout: time.Minute, BodyRateMin: 1, BodyWindow: time.Minute},
		Handlers: handlers,
	})
	check(tb, err)
	r.addr = sockets.Bound().String()
	tb.Cleanup(func() {
		listener.Close()
		r.group.Close()
		for _, w := range workers {
			w.Loop.Stop()
			<-w.Loop.Done()
		}
	})
	return r
}

// swap puts a configuration with these settings in force.
func (r *running) swap(mode gateway.Mode, spec Spec) {
	tb := r.tb
	tb.Helper()
	recollection := r.memory.Recollect()
	f, problems := Compile(spec, gateway.NewGuard("admission", "app", mode, recollection), recollection)
	if f == nil {
		tb.Fatal(problems)
	}
	r.filter.Store(f)
	clusters := []*metrics.Cluster{}
	for i := range r.gateway.Workers {
		clusters = append(clusters, r.view.Cluster(i, 0))
	}
	prepared, err := r.group.Prepare(&upstream.Spec{Name: "app", Dial: engine.DialConfig{H1: r.limits, Protocols: engine.HTTP1},
		Pool: upstream.PoolConfig{IdleMax: 100, IdleTimeout: time.Minute, QueueMax: 100, ConnectTimeout: 5 * time.Second, QueueTimeout: 5 * time.Second},
	}, []upstream.Target{{Addr: netip.MustParseAddrPort(r.up.Listener.Addr().String())}}, clusters)
	check(tb, err)
	prepared.Commit()
	table, wrong := route.Compile([]route.Spec{{Name: "all", Path: "/*"}})
	if table == nil {
		tb.Fatal(wrong)
	}
	r.serial++
	recollection.Hold()
	r.gateway.Swap(&gateway.Snapshot{Revision: r.serial, Table: table, View: r.view, Clusters: []*upstream.Group{r.group}, Changes: []*upstream.Prepared{prepared},
		Retired: recollection.Drop,
		Routes: []*gateway.Route{{Name: "all", Filters: append(slices.Clone(r.before), f.Hooks()), Cluster: r.group, Retry: retry.New(r.retry),
			Request: r.request, FirstByte: time.Minute, BetweenBytes: time.Minute}}})
}

func (r *running) state() State { return r.filter.Load().State() }

// becomes waits for a state.
func (r *running) becomes(inFlight, queued int) {
	r.tb.Helper()
	eventually(r.tb, fmt.Sprintf("%d in flight and %d queued", inFlight, queued), func() bool {
		s := r.state()
		return s.InFlight == inFlight && s.Queued == queued
	})
}

// tick looks at all loops, as if it were that late.
func (r *running) tick(now mono.Time) { r.memory.Tick(now, time.Time{}) }

// call is a request under way.
type call struct {
	conn   net.Conn
	answer chan string // status and reason
}

// send sends a request on a connection of its own.
func (r *running) send(id, tenant, fields string) *call {
	r.tb.Helper()
	conn, err := net.Dial("tcp", r.addr)
	check(r.tb, err)
	c := &call{conn, make(chan string, 1)}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Id: %s\r\nX-Tenant: %s\r\n%s\r\n", id, tenant, fields)
	go func() {
		defer conn.Close()
		resp, err := readAnswer(conn)
		if err != nil {
			c.answer <- err.Error()
			return
		}
		c.answer <- resp
	}()
	return c
}

// abandon resets the connection. (One that is only closed may still want its answer, as far as the gateway can tell.)
func (c *call) abandon(tb testing.TB) {
	check(tb, c.conn.(*net.TCPConn).SetLinger(0))
	check(tb, c.conn.Close())
}

// wants waits for the answer.
func (c *call) wants(tb testing.TB, want string) {
	tb.Helper()
	select {
	case got := <-c.answer:
		if got != want {
			tb.Errorf("got %q, want %q", got, want)
		}
	case <-time.After(patience):
		tb.Errorf("no answer, want %q", want)
	}
}
