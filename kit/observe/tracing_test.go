package observe

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

const (
	sampledParent   = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	unsampledParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
)

func newTracing(t testing.TB, ratio float64) (*Tracing, *tracetest.InMemoryExporter) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	tr, err := NewTracing(TracingConfig{Service: "test", Exporter: exporter, Ratio: ratio})
	must(t, err)
	t.Cleanup(func() { _ = tr.Shutdown(context.Background()) })
	return tr, exporter
}

func exported(t testing.TB, tr *Tracing, e *tracetest.InMemoryExporter) tracetest.SpanStubs {
	t.Helper()
	must(t, tr.provider.ForceFlush(t.Context()))
	return e.GetSpans()
}

func newMiddleware(t testing.TB, cfg MiddlewareConfig) *Middleware {
	t.Helper()
	m, err := NewMiddleware(cfg)
	must(t, err)
	return m
}

// nobody is a writer that costs nothing, so that only the middleware is counted.
type nobody struct{ header http.Header }

func (n nobody) Header() http.Header         { return n.header }
func (n nobody) Write(b []byte) (int, error) { return len(b), nil }
func (n nobody) WriteHeader(int)             {}

func TestARequestThatIsNotRecordedCostsTwoAllocations(t *testing.T) {
	tr, exporter := newTracing(t, 1e-12)
	metrics, err := NewMetrics(MetricsConfig{})
	must(t, err)
	profiler, err := NewProfiler(ProfilerConfig{Dir: t.TempDir()})
	must(t, err)
	m := newMiddleware(t, MiddlewareConfig{Tracing: tr, Metrics: metrics, Profiler: profiler})
	var seen trace.SpanContext
	h := m.HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = trace.SpanContextFromContext(r.Context())
		w.WriteHeader(204)
	}))
	for _, header := range []string{"", unsampledParent} {
		r := httptest.NewRequest("GET", "/orders/17", nil)
		if header != "" {
			r.Header.Set("Traceparent", header)
		}
		w := nobody{http.Header{}}
		if n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) }); n > 2 && !raceEnabled {
			t.Errorf("HTTP with %q: %v allocations", header, n)
		}
		if !seen.IsValid() || seen.IsSampled() || header != "" && seen.TraceID().String() != header[3:35] || seen.SpanID().String() == sampledParent[36:52] {
			t.Errorf("with %q: %v", header, seen)
		}

		call := m.UnaryServer()
		ctx := t.Context()
		if header != "" {
			ctx = metadata.NewIncomingContext(ctx, metadata.Pairs("traceparent", header))
		}
		info := &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/Get"}
		handler := func(ctx context.Context, req any) (any, error) {
			seen = trace.SpanContextFromContext(ctx)
			return req, nil
		}
		if n := testing.AllocsPerRun(1000, func() { _, _ = call(ctx, nil, info, handler) }); n > 2 && !raceEnabled {
			t.Errorf("gRPC with %q: %v allocations", header, n)
		}
		if !seen.IsValid() || seen.IsSampled() || header != "" && seen.TraceID().String() != header[3:35] {
			t.Errorf("gRPC with %q: %v", header, seen)
		}
	}
	if got := exported(t, tr, exporter); len(got) != 0 {
		t.Fatal(got)
	}
	if text := scrape(t, metrics); !strings.Contains(text, `server_request_seconds_count{method="GET",protocol="http",route="",status="204"} 2002`) {
		t.Error(text)
	}
}

// Two services and a client between them; a log line in the second has the trace that the first one began.
func TestATraceOverTwoServices(t *testing.T) {
	for _, c := range []struct {
		ratio  float64
		header string
		spans  int
	}{{1, "", 3}, {1e-12, "", 0}, {1e-12, sampledParent, 3}, {1, unsampledParent, 0}, {1, "00-garbage", 3}} {
		tr, exporter := newTracing(t, c.ratio)
		m := newMiddleware(t, MiddlewareConfig{Tracing: tr})
		var line strings.Builder
		log := newLog(t, LogConfig{Output: &line})
		back := httptest.NewServer(m.HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			log.Logger().InfoContext(r.Context(), "here")
			w.WriteHeader(503)
		})))
		client := &http.Client{Transport: tr.RoundTripper(nil)}
		mux := http.NewServeMux()
		var first trace.SpanContext
		mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
			first = trace.SpanContextFromContext(r.Context())
			req, _ := http.NewRequestWithContext(r.Context(), "GET", back.URL, nil)
			resp, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(w, resp.Body)
			_ = resp.Body.Close()
		})
		front := httptest.NewServer(m.HTTP(mux))
		req, _ := http.NewRequest("GET", front.URL+"/orders/17", nil)
		if c.header != "" {
			req.Header.Set("Traceparent", c.header)
		}
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		_ = resp.Body.Close()
		client.CloseIdleConnections()
		http.DefaultClient.CloseIdleConnections()
		front.Close()
		back.Close()
		must(t, log.Close(t.Context()))
		if !strings.Contains(line.String(), `"trace_id":"`+first.TraceID().String()+`"`) {
			t.Errorf("%s is not in %s", first.TraceID(), line.String())
		}
		if len(c.header) == 55 && first.TraceID().String() != c.header[3:35] {
			t.Errorf("%s: %s", c.header, first.TraceID())
		}
		spans := exported(t, tr, exporter)
		names := map[string]bool{}
		for _, s := range spans {
			names[s.Name] = true
			if s.SpanContext.TraceID() != first.TraceID() {
				t.Errorf("%s is of trace %s", s.Name, s.SpanContext.TraceID())
			}
		}
		if len(spans) != c.spans || c.spans > 0 && !names["GET /orders/{id}"] {
			t.Errorf("%+v: %d spans, %v", c, len(spans), names)
		}
	}
}

type health struct {
	grpc_health_v1.UnimplementedHealthServer
	seen chan trace.SpanContext
}

func (h *health) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	h.seen <- trace.SpanContextFromContext(ctx)
	return &grpc_health_v1.HealthCheckResponse{}, nil
}

func (h *health) Watch(_ *grpc_health_v1.HealthCheckRequest, s grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	h.seen <- trace.SpanContextFromContext(s.Context())
	return nil
}

func TestGRPCCallsCarryTheirTrace(t *testing.T) {
	tr, exporter := newTracing(t, 1)
	metrics, err := NewMetrics(MetricsConfig{NoRuntime: true})
	must(t, err)
	m := newMiddleware(t, MiddlewareConfig{Tracing: tr, Metrics: metrics})
	server := grpc.NewServer(grpc.UnaryInterceptor(m.UnaryServer()), grpc.StreamInterceptor(m.StreamServer()))
	h := &health{seen: make(chan trace.SpanContext, 1)}
	grpc_health_v1.RegisterHealthServer(server, h)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	cc, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(tr.UnaryClient()), grpc.WithStreamInterceptor(tr.StreamClient()))
	must(t, err)
	t.Cleanup(func() { _ = cc.Close() })
	client := grpc_health_v1.NewHealthClient(cc)
	ctx, root := tr.Start(t.Context(), "root")
	_, err = client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	must(t, err)
	if got := <-h.seen; got.TraceID() != root.SpanContext().TraceID() || !got.IsSampled() {
		t.Error(got)
	}
	stream, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	must(t, err)
	if _, err := stream.Recv(); err != io.EOF {
		t.Fatal(err)
	}
	if got := <-h.seen; got.TraceID() != root.SpanContext().TraceID() {
		t.Error(got)
	}
	// A trace that is not recorded arrives as one.
	ctx = trace.ContextWithSpanContext(t.Context(), span)
	_, err = client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	must(t, err)
	if got := <-h.seen; got.TraceID() != span.TraceID() || got.IsSampled() {
		t.Error(got)
	}
	root.End()
	server.GracefulStop()
	if got := exported(t, tr, exporter); len(got) != 5 {
		t.Errorf("%d spans", len(got))
	}
	if text := scrape(t, metrics); !strings.Contains(text, `{method="unary",protocol="grpc",route="/grpc.health.v1.Health/Check",status="OK"} 2`) {
		t.Error(text)
	}
}

func TestAPanicIsObservedAndGoesOn(t *testing.T) {
	tr, exporter := newTracing(t, 1)
	m := newMiddleware(t, MiddlewareConfig{Tracing: tr})
	h := m.HTTP(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("the panic is lost")
			}
		}()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("BREW", "/", nil))
	}()
	if got := exported(t, tr, exporter); len(got) != 1 || got[0].Status.Code.String() != "Error" {
		t.Fatal(got)
	}
}

func TestAStrangerCannotHaveRequestsRecorded(t *testing.T) {
	tr, exporter := newTracing(t, 1e-12)
	m := newMiddleware(t, MiddlewareConfig{Tracing: tr, IgnoreParent: true})
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Traceparent", sampledParent)
	m.HTTP(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	if got := exported(t, tr, exporter); len(got) != 0 {
		t.Fatal(got)
	}
}

func TestTheRatioIsThatOfTheSDK(t *testing.T) {
	tr, _ := newTracing(t, 0.25)
	sdk := sdktrace.TraceIDRatioBased(0.25)
	taken := 0
	for range 4000 {
		sc, take := tr.root()
		want := sdk.ShouldSample(sdktrace.SamplingParameters{ParentContext: t.Context(), TraceID: sc.TraceID()}).Decision == sdktrace.RecordAndSample
		if take != want {
			t.Fatalf("%s: %v", sc.TraceID(), take)
		}
		if take {
			taken++
		}
	}
	if taken < 800 || taken > 1200 {
		t.Fatal(taken)
	}
}

func TestTraceparents(t *testing.T) {
	for header, want := range map[string]bool{
		sampledParent: true, unsampledParent: true, "": false, sampledParent + "-x": false, "01" + sampledParent[2:] + "-x": true, "01" + sampledParent[2:] + "x": false,
		"ff" + sampledParent[2:]: false, strings.ToUpper(sampledParent): false, sampledParent[:54]: false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false, "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		"00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01": false, "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01": false,
	} {
		sc, ok := parse(header)
		if ok != want {
			t.Errorf("%q: %v", header, ok)
		}
		if ok && header[:2] == "00" && traceparent(sc) != header {
			t.Errorf("%q became %q", header, traceparent(sc))
		}
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add(sampledParent)
	f.Fuzz(func(t *testing.T, header string) {
		if sc, ok := parse(header); ok && traceparent(sc)[3:53] != header[3:53] {
			t.Fatal(header)
		}
	})
}

func TestAConfigThatIsWrongEverywhere(t *testing.T) {
	_, err := NewTracing(TracingConfig{Ratio: 2, QueueMax: -1})
	for _, want := range []string{"Service", "Ratio", "QueueMax"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	_, err = NewProfiler(ProfilerConfig{CPUAbove: 2, LatencyAbove: -1, Quantile: 1, Every: 1, Interval: 1, Duration: 1, FilesMax: 1, BytesMax: 1})
	for _, want := range []string{"Dir", "CPUAbove", "LatencyAbove", "Quantile", "Every", "Interval", "Duration", "FilesMax", "BytesMax"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %s", err, want)
		}
	}
	if _, err = NewMiddleware(MiddlewareConfig{}); err == nil {
		t.Error("no Tracing")
	}
}

func BenchmarkUnsampledRequest(b *testing.B) {
	tr, _ := newTracing(b, 1e-12)
	metrics, err := NewMetrics(MetricsConfig{})
	must(b, err)
	m := newMiddleware(b, MiddlewareConfig{Tracing: tr, Metrics: metrics})
	h := m.HTTP(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }))
	r := httptest.NewRequest("GET", "/orders/17", nil)
	w := nobody{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
