package observe_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/yumen-io/yumen/kit/observe"
)

// A service with logs, traces and metrics answers one request. A program has an exporter that sends spans away,
// that of kit/observe/otlp, in place of the one that keeps them.
func Example() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Output:
	// log: {"level":"info",... "msg":"an order was read","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",... "order":"17"}
	// span: GET /orders/{id}
	// metric: server_request_seconds_count{method="GET",protocol="http",route="GET /orders/{id}",status="200"} 1
}

func run() error {
	ctx := context.Background()
	var lines strings.Builder
	log, err := observe.NewLog(observe.LogConfig{Output: &lines})
	if err != nil {
		return err
	}
	exporter := tracetest.NewInMemoryExporter()
	tracing, err := observe.NewTracing(observe.TracingConfig{Service: "orders", Exporter: kept{exporter}})
	if err != nil {
		return err
	}
	metrics, err := observe.NewMetrics(observe.MetricsConfig{})
	if err != nil {
		return err
	}
	middleware, err := observe.NewMiddleware(observe.MiddlewareConfig{Tracing: tracing, Metrics: metrics})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(_ http.ResponseWriter, r *http.Request) {
		log.Logger().InfoContext(r.Context(), "an order was read", "order", r.PathValue("id"))
	})

	r := httptest.NewRequest("GET", "/orders/17", nil)
	r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	middleware.HTTP(mux).ServeHTTP(httptest.NewRecorder(), r)

	if err := log.Close(ctx); err != nil {
		return err
	}
	line := lines.String()
	fmt.Println("log:", cut(cut(line, `"time"`, `"msg"`), `"span_id"`, `"order"`))
	if err := tracing.Shutdown(ctx); err != nil {
		return err
	}
	for _, s := range exporter.GetSpans() {
		fmt.Println("span:", s.Name)
	}
	w := httptest.NewRecorder()
	observe.Admin(metrics).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "server_request_seconds_count") {
			fmt.Print("metric: ", line)
		}
	}
	return nil
}

// kept keeps its spans over the end of the program.
type kept struct{ *tracetest.InMemoryExporter }

func (kept) Shutdown(context.Context) error { return nil }

// cut replaces what differs from run to run.
func cut(line, from, to string) string {
	return strings.TrimSpace(line[:strings.Index(line, from)] + "... " + line[strings.Index(line, to):])
}
