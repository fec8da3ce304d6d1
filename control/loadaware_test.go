package control

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/yumen-io/yumen/kit/rpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
)

// reporting is an upstream that says with each answer how busy it is.
type reporting struct {
	addr  string
	asked atomic.Int64
}

func startReporting(t *testing.T, answer http.HandlerFunc) *reporting {
	t.Helper()
	r := &reporting{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.asked.Add(1)
		answer(w, q)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	return r
}

// field is an upstream that reports in a field of its answers' heads.
func field(t *testing.T, value string) *reporting {
	return startReporting(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Endpoint-Load-Metrics", value)
		fmt.Fprint(w, "ok")
	})
}

// trailer is one that reports behind the body.
func trailer(t *testing.T, value string) *reporting {
	return startReporting(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "endpoint-load-metrics-bin, X-Sum")
		fmt.Fprint(w, "ok")
		w.(http.Flusher).Flush()
		w.Header().Set("endpoint-load-metrics-bin", value)
		w.Header().Set("X-Sum", "7")
	})
}

func balanced(protocol, balance string, upstreams ...*reporting) string {
	var list []string
	for _, u := range upstreams {
		list = append(list, fmt.Sprintf("%q", u.addr))
	}
	return fmt.Sprintf(`
listeners: [{name: web, address: "127.0.0.1:0", protocols: [http1, h2c]}]
admin: off
clusters:
  app: {endpoints: [%s], protocol: %s, balance: %s, slow_start: off}
routes: [{path: /*, cluster: app}]
`, strings.Join(list, ", "), protocol, balance)
}

func TestUpstreamsThatReportTheirLoad(t *testing.T) {
	idle := field(t, "TEXT cpu_utilization=0.1,mem_utilization=0.2")
	busy := field(t, `JSON {"cpu_utilization": 0.95, "mem_utilization": 0.3}`)
	full := trailer(t, "EZqZmZmZmek/") // memory 0.8
	broken := field(t, "TEXT cpu_utilization=lots")
	g := start(t, balanced("http1", "load_aware", idle, busy, full, broken), Options{})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	ask := func() {
		t.Helper()
		r, err := client.Get("http://" + g.addr("web") + "/")
		if err != nil {
			t.Fatal(err)
		}
		var body [8]byte
		n, _ := r.Body.Read(body[:])
		for m := 0; m >= 0; { // to the end, for the trailers
			if m, err = r.Body.Read(body[n:]); err != nil {
				break
			}
		}
		r.Body.Close()
		for _, h := range []http.Header{r.Header, r.Trailer} {
			for name := range h {
				if strings.Contains(strings.ToLower(name), "load-metrics") && h.Get(name) != "" {
					t.Fatalf("a client is told %s: %s", name, h.Get(name))
				}
			}
		}
		if r.Trailer != nil && r.Trailer.Get("X-Sum") != "7" {
			t.Fatalf("trailers %v", r.Trailer)
		}
	}
	factors := func(u *reporting) *EndpointFactors {
		for _, e := range g.Clusters()[0].Endpoints {
			if e.Address == u.addr {
				return e.Factors
			}
		}
		return nil
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("idle %+v\nbusy %+v\nfull %+v\nbroken %+v", factors(idle), factors(busy), factors(full), factors(broken))
		}
	})
	eventually(t, "the weights follow the reports", func() bool {
		ask()
		i, b, f, x := factors(idle), factors(busy), factors(full), factors(broken)
		return i.LoadFactor < 0.85 && b.Reason == "ratio_cap" && f.Reason == "memory" && x.MalformedReports > 3
	})
	i, b, f, x := factors(idle), factors(busy), factors(full), factors(broken)
	if x.Failed > 0 || i.CPU != 0.1 || i.Memory != 0.2 || b.CPU != 0.95 || f.Memory != 0.8 || x.CPU != -1 || x.ReportAgeMS != -1 || b.ReportAgeMS < 0 {
		t.Errorf("idle %+v\nbusy %+v\nfull %+v\nbroken %+v", i, b, f, x)
	}
	if b.Weight >= f.Weight || f.Weight >= i.Weight || b.Expected > 0.15 || i.Calls == 0 {
		t.Errorf("idle %+v\nbusy %+v\nfull %+v", i, b, f)
	}
	before := busy.asked.Load()
	for range 400 {
		ask()
	}
	if got := busy.asked.Load() - before; got > 80 {
		t.Errorf("the busy one of four got %d of 400", got)
	}
}

func TestReportsAreKeptWhereTheDocumentSaysSo(t *testing.T) {
	u, v := field(t, "TEXT cpu_utilization=0.5"), trailer(t, "EZqZmZmZmek/")
	told := func(g *gw) string {
		c, err := dial(g.addr("web"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: exam.test\r\n\r\n")
		r, err := http.ReadResponse(c.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		for body := make([]byte, 8); err == nil; {
			_, err = r.Body.Read(body)
		}
		return r.Header.Get("Endpoint-Load-Metrics") + r.Trailer.Get("Endpoint-Load-Metrics-Bin")
	}
	for _, c := range []struct{ balance, field, trailer string }{
		{"load_aware", "", ""},
		{"{algorithm: load_aware, keep_reports: on}", "TEXT cpu_utilization=0.5", "EZqZmZmZmek/"},
		{"least_request", "TEXT cpu_utilization=0.5", "EZqZmZmZmek/"},
	} {
		if got := told(start(t, balanced("http1", c.balance, u), Options{})); got != c.field {
			t.Errorf("%s: a head with %q, want %q", c.balance, got, c.field)
		}
		if got := told(start(t, balanced("http1", c.balance, v), Options{})); got != c.trailer {
			t.Errorf("%s: trailers with %q, want %q", c.balance, got, c.trailer)
		}
	}
}

// emptyCalls answers the one call that the test makes.
type emptyCalls struct {
	testgrpc.UnimplementedTestServiceServer
	asked *atomic.Int64
}

func (e emptyCalls) EmptyCall(context.Context, *testgrpc.Empty) (*testgrpc.Empty, error) {
	e.asked.Add(1)
	return &testgrpc.Empty{}, nil
}

// startCalls is a gRPC server with kit/rpc's Reporter.
func startCalls(t *testing.T, cpu float64) *reporting {
	t.Helper()
	u := &reporting{}
	reporter, err := rpc.NewReporter(rpc.ReporterConfig{CPU: func() float64 { return cpu }, Memory: func() float64 { return 0.1 }})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.addr = l.Addr().String()
	server := grpc.NewServer(reporter.ServerOptions()...)
	testgrpc.RegisterTestServiceServer(server, emptyCalls{asked: &u.asked})
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return u
}

func TestServersOfTheKitReportToTheGateway(t *testing.T) {
	idle, busy := startCalls(t, 0.1), startCalls(t, 0.9)
	g := start(t, balanced("h2c", "load_aware", idle, busy), Options{})
	conn, err := grpc.NewClient(g.addr("web"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := testgrpc.NewTestServiceClient(conn)
	t.Cleanup(func() {
		if t.Failed() {
			for _, e := range g.Clusters()[0].Endpoints {
				t.Logf("%+v", e.Factors)
			}
		}
	})
	eventually(t, "reports in trailers are followed", func() bool {
		var trailers metadata.MD
		if _, err := client.EmptyCall(t.Context(), &testgrpc.Empty{}, grpc.Trailer(&trailers)); err != nil {
			t.Fatal(err)
		}
		if got := trailers.Get("endpoint-load-metrics-bin"); len(got) > 0 {
			t.Fatal("the client is told the report")
		}
		e := g.Clusters()[0].Endpoints
		return e[0].Factors.SaidMS > 0 && e[1].Factors.LoadFactor < 0.15 && e[1].Factors.Expected < 0.2
	})
	if e := g.Clusters()[0].Endpoints; e[0].Factors.CPU != 0.1 && e[0].Factors.CPU != float64(float32(0.1)) {
		t.Errorf("%+v", e[0].Factors)
	}
}
