package observe

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/yumen-io/yumen/kit/internal/answer"
)

// MiddlewareConfig says what requests are to be observed by. Tracing is required.
type MiddlewareConfig struct {
	Tracing *Tracing
	// Metrics, if set, get server_request_seconds with the labels protocol, method, route and status.
	Metrics *Metrics
	// Profiler, if set, is told how long requests take.
	Profiler *Profiler
	// IgnoreParent begins a trace of its own for each request, for servers that strangers talk to: whoever may say that a
	// request is recorded may have all of them recorded.
	IgnoreParent bool
	// Clock is the time. Default: time.Now.
	Clock func() time.Time
}

// Middleware observes the requests of servers. A request whose trace is not recorded costs two allocations: one for its
// context, span and status together, and net/http's copy of the request; a gRPC call one for the first three, and one
// for the header. All methods may be called by any goroutine.
type Middleware struct {
	t            *Tracing
	profiler     *Profiler
	ignoreParent bool
	now          func() time.Time
	seconds      *Vec[prometheus.Observer] // nil without metrics
}

// NewMiddleware makes a Middleware. With Metrics there can be one for them.
func NewMiddleware(cfg MiddlewareConfig) (*Middleware, error) {
	if cfg.Tracing == nil {
		return nil, errors.New("observe: middleware: Tracing must be set")
	}
	m := &Middleware{t: cfg.Tracing, profiler: cfg.Profiler, ignoreParent: cfg.IgnoreParent, now: clockOf(cfg.Clock)}
	if cfg.Metrics != nil {
		var err error
		m.seconds, err = cfg.Metrics.Histogram("server_request_seconds", "Time to answer a request.", nil, "protocol", "method", "route", "status")
		if err != nil {
			return nil, err
		}
	}
	return m, nil
}

// request is all that an HTTP request costs here.
type request struct {
	unsampled
	own      answer.Recorder
	at       *answer.Recorder // own, or that of who stands outside
	returned bool             // the handler did, and did not panic
}

// HTTP wraps a handler. The route in metrics and in the names of spans is the pattern of http.ServeMux below, or "" where
// there is none.
func (m *Middleware) HTTP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := m.now()
		header := ""
		if v := r.Header["Traceparent"]; len(v) == 1 && !m.ignoreParent {
			header = v[0]
		}
		parent, known := parse(header)
		q := &request{}
		if outer, ok := w.(*answer.Recorder); ok {
			q.at = outer
		} else {
			q.own.ResponseWriter, q.at = w, &q.own
		}
		q.unsampled.Context = r.Context()
		q.span.t = m.t
		take := parent.IsSampled()
		if known {
			q.span.sc = trace.NewSpanContext(trace.SpanContextConfig{TraceID: parent.TraceID(), SpanID: m.t.spanID(), TraceState: stateOf(r.Header["Tracestate"])})
		} else {
			q.span.sc, take = m.t.root()
		}
		if !take {
			r = r.WithContext(&q.unsampled)
			defer m.endHTTP(q, r, nil, begun)
			next.ServeHTTP(q.at, r)
			q.returned = true
			return
		}
		ctx := r.Context()
		if known {
			ctx = trace.ContextWithRemoteSpanContext(ctx, parent.WithTraceState(stateOf(r.Header["Tracestate"])))
		} else {
			ctx = context.WithValue(ctx, decided{}, true)
		}
		ctx, span := m.t.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(begun), trace.WithAttributes(
			attribute.String("http.request.method", methodOf(r.Method)), attribute.String("url.path", r.URL.Path), attribute.String("server.address", r.Host)))
		r = r.WithContext(ctx)
		defer m.endHTTP(q, r, span, begun)
		next.ServeHTTP(q.at, r)
		q.returned = true
	})
}

// stateOf reads a tracestate, which most requests do not have.
func stateOf(values []string) trace.TraceState {
	if len(values) != 1 || len(values[0]) > 512 { // the length that W3C Trace Context, section 3.3.1.5, asks to pass on at least
		return trace.TraceState{}
	}
	s, err := trace.ParseTraceState(values[0])
	if err != nil {
		return trace.TraceState{}
	}
	return s
}

// endHTTP also runs when a handler panics, which goes on to the server and counts as 500.
func (m *Middleware) endHTTP(q *request, r *http.Request, span trace.Span, begun time.Time) {
	status := q.at.Status()
	if status == 0 {
		status = http.StatusOK
	}
	if !q.returned {
		status = http.StatusInternalServerError
	}
	took := since(m.now(), begun)
	if m.profiler != nil {
		m.profiler.Observe(took)
	}
	if m.seconds != nil {
		m.seconds.With("http", methodOf(r.Method), r.Pattern, statusText(status)).Observe(took.Seconds())
	}
	if span == nil {
		return
	}
	if r.Pattern != "" {
		span.SetName(r.Pattern)
		span.SetAttributes(attribute.String("http.route", r.Pattern))
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= 500 {
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(begun.Add(took)))
}

// methodOf keeps the methods of strangers out of metrics.
func methodOf(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE":
		return method
	case "":
		return "GET"
	}
	return other
}

// statusText avoids the allocation of strconv for the statuses that occur.
func statusText(status int) string {
	switch status {
	case 200:
		return "200"
	case 201:
		return "201"
	case 204:
		return "204"
	case 302:
		return "302"
	case 304:
		return "304"
	case 400:
		return "400"
	case 401:
		return "401"
	case 403:
		return "403"
	case 404:
		return "404"
	case 429:
		return "429"
	case 500:
		return "500"
	case 502:
		return "502"
	case 503:
		return "503"
	case 504:
		return "504"
	}
	if status < 100 || status > 599 {
		return other
	}
	return strconv.Itoa(status)
}

// RoundTripper sends the trace of a request's context along, over next (nil means http.DefaultTransport). For a request
// that is recorded it makes a span. The request is copied, as a RoundTripper must.
func (t *Tracing) RoundTripper(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return &roundTripper{t, next}
}

type roundTripper struct {
	t    *Tracing
	next http.RoundTripper
}

func (rt *roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	sc := trace.SpanContextFromContext(r.Context())
	if !sc.IsValid() {
		return rt.next.RoundTrip(r)
	}
	var span trace.Span
	ctx := r.Context()
	if sc.IsSampled() {
		ctx, span = rt.t.tracer.Start(ctx, methodOf(r.Method), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
			attribute.String("http.request.method", methodOf(r.Method)), attribute.String("server.address", r.URL.Host), attribute.String("url.path", r.URL.Path)))
		sc = span.SpanContext()
	}
	r = r.Clone(ctx)
	r.Header.Set("Traceparent", traceparent(sc))
	if s := sc.TraceState().String(); s != "" {
		r.Header.Set("Tracestate", s)
	}
	resp, err := rt.next.RoundTrip(r)
	if span != nil {
		if err != nil {
			span.SetStatus(codes.Error, "no answer")
			span.RecordError(err)
		} else {
			span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
			if resp.StatusCode >= 400 {
				span.SetStatus(codes.Error, "")
			}
		}
		span.End() // when the answer begins: its body is the caller's
	}
	return resp, err
}

// CloseIdleConnections is for http.Client.CloseIdleConnections.
func (rt *roundTripper) CloseIdleConnections() {
	if c, ok := rt.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
