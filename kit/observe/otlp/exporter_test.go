package otlp_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"

	"github.com/yumen-io/yumen/kit/observe"
	"github.com/yumen-io/yumen/kit/observe/otlp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is a collector that keeps the names of spans, with their service and the token that they came with.
type sink struct {
	collector.UnimplementedTraceServiceServer
	server *grpc.Server

	mu  sync.Mutex
	got []string
}

func (s *sink) Export(ctx context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range r.ResourceSpans {
		service := ""
		for _, a := range of.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, scope := range of.ScopeSpans {
			for _, span := range scope.Spans {
				s.got = append(s.got, service+" "+span.Name+" "+strings.Join(md["token"], ","))
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func collect(t *testing.T, address string) *sink {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{server: grpc.NewServer()}
	collector.RegisterTraceServiceServer(s.server, s)
	go s.server.Serve(l)
	t.Cleanup(s.server.Stop)
	return s
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestSpansAreLostWhileThereIsNoCollectorAndSentWhenThereIs(t *testing.T) {
	address := freeAddress(t)
	var lines strings.Builder // of one goroutine, and read after it
	exporter, err := otlp.New(otlp.Config{
		Address: address, Headers: map[string]string{"token": "secret"}, Timeout: 100 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(&lines, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	tracing, err := observe.NewTracing(observe.TracingConfig{Service: "orders", Ratio: 1, Exporter: exporter})
	if err != nil {
		t.Fatal(err)
	}
	flush := tracing.Provider().(interface{ ForceFlush(context.Context) error }).ForceFlush
	span := func(name string) {
		_, s := tracing.Start(t.Context(), name)
		s.End()
		if err := flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	span("first")
	span("second")
	if got, want := exporter.Stats(), (otlp.Stats{Lost: 2, Failing: true}); got != want {
		t.Fatalf("%+v, want %+v", got, want)
	}
	s := collect(t, address)
	for exporter.Stats().Failing { // gRPC connects when it does
		span("again")
	}
	if err := tracing.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.got); n == 0 || s.got[n-1] != "orders again secret" {
		t.Errorf("%q", s.got)
	}
	if got := strings.Count(lines.String(), "\n"); got != 2 {
		t.Errorf("%d lines:\n%s", got, lines.String())
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	for _, c := range []struct {
		cfg  otlp.Config
		want string
	}{
		{otlp.Config{Address: "collector"}, "Address"},
		{otlp.Config{Address: "collector:grpc"}, "Address"},
		{otlp.Config{Address: "10.0.0.1:4317", Headers: map[string]string{"token": "x"}}, "Headers"},
		{otlp.Config{Timeout: time.Hour}, "Timeout"},
	} {
		if _, err := otlp.New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}
