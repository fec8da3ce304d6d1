package observe

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// TracingConfig is how Tracing is made. Service is required.
type TracingConfig struct {
	// Service is the name of the program in traces.
	Service string
	// Attributes say more about the process: version, zone.
	Attributes []attribute.KeyValue
	// Exporter sends spans away: kit/observe/otlp makes one, and who does not name it does not link it. Nil: nothing is
	// recorded, and traces of others are passed on.
	Exporter sdktrace.SpanExporter
	// Ratio is which part of the requests without a trace begin one that is recorded: above 0, up to 1. A request that
	// comes with a trace follows what that says. Default: 0.01.
	Ratio float64
	// NoRoots makes no recorded trace begin here; Ratio is not looked at then.
	NoRoots bool
	// QueueMax bounds the spans that wait for the Exporter, beyond which they are dropped: up to 1,000,000. Default: 2,048.
	QueueMax int

	// random stands in for the randomness of trace ids.
	random func() uint64
}

// Tracing is a set-up of OpenTelemetry that sets nothing global. All methods may be called by any goroutine.
type Tracing struct {
	provider  *sdktrace.TracerProvider
	tracer    trace.Tracer
	threshold uint64 // of the 63 upper bits of the trace id's second half, as TraceIDRatioBased
	random    func() uint64
	spanKey   any // OpenTelemetry's own key of the span in a context
}

// NewTracing makes Tracing. With an Exporter it starts a goroutine, which Shutdown ends.
func NewTracing(cfg TracingConfig) (*Tracing, error) {
	var errs []error
	if cfg.Service == "" {
		errs = append(errs, errors.New("the Service is empty and must be the program's name"))
	}
	if cfg.Ratio == 0 {
		cfg.Ratio = 0.01
	}
	if !(cfg.Ratio > 0 && cfg.Ratio <= 1) {
		errs = append(errs, fmt.Errorf("the Ratio is %v and must be above 0 and at most 1", cfg.Ratio))
	}
	if cfg.QueueMax == 0 {
		cfg.QueueMax = 2048
	}
	if cfg.QueueMax < 1 || cfg.QueueMax > 1_000_000 {
		errs = append(errs, fmt.Errorf("the QueueMax is %d and must be 1 to 1000000", cfg.QueueMax))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("observe: tracing: %w", errors.Join(errs...))
	}
	if cfg.random == nil {
		cfg.random = rand.Uint64
	}
	t := &Tracing{random: cfg.random}
	if cfg.Exporter != nil && !cfg.NoRoots {
		t.threshold = uint64(cfg.Ratio * (1 << 63))
	}
	options := []sdktrace.TracerProviderOption{
		sdktrace.WithResource(resource.NewSchemaless(append([]attribute.KeyValue{attribute.String("service.name", cfg.Service)}, cfg.Attributes...)...)),
		sdktrace.WithSampler(sampler{t}),
	}
	if cfg.Exporter != nil {
		options = append(options, sdktrace.WithBatcher(cfg.Exporter, sdktrace.WithMaxQueueSize(cfg.QueueMax), sdktrace.WithMaxExportBatchSize(min(512, cfg.QueueMax))))
	}
	t.provider = sdktrace.NewTracerProvider(options...)
	t.tracer = t.provider.Tracer("github.com/yumen-io/yumen/kit/observe")
	trace.SpanFromContext(keyThief{context.Background(), &t.spanKey})
	return t, nil
}

// Provider is what makes tracers, for libraries that want one and for otel.SetTracerProvider.
func (t *Tracing) Provider() trace.TracerProvider { return t.provider }

// Propagator reads and writes traceparent, tracestate and baggage, for otel.SetTextMapPropagator.
func (t *Tracing) Propagator() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}

// Start begins a span inside the program. In a trace that is not recorded it costs what the SDK costs.
func (t *Tracing) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	return t.tracer.Start(ctx, name, options...)
}

// Shutdown exports what waits. When ctx ends first, the rest is lost.
func (t *Tracing) Shutdown(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// sampler decides for the SDK as the middleware has decided before it.
type sampler struct{ t *Tracing }

// decided marks the context of a root that the middleware has chosen to record.
type decided struct{}

func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	parent := trace.SpanContextFromContext(p.ParentContext)
	result := sdktrace.SamplingResult{Tracestate: parent.TraceState()}
	take := parent.IsSampled()
	if !parent.IsValid() {
		take = p.ParentContext.Value(decided{}) != nil || s.t.takes(p.TraceID)
	}
	if take {
		result.Decision = sdktrace.RecordAndSample
	}
	return result
}

func (s sampler) Description() string { return "observe: parent, or ratio" }

func (t *Tracing) takes(id trace.TraceID) bool {
	return binary.BigEndian.Uint64(id[8:])>>1 < t.threshold
}

// root is the trace of a request that came without one.
func (t *Tracing) root() (sc trace.SpanContext, take bool) {
	var id trace.TraceID
	binary.BigEndian.PutUint64(id[:8], t.random())
	binary.BigEndian.PutUint64(id[8:], t.random())
	if !id.IsValid() {
		id[15] = 1
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: t.spanID()}), t.takes(id)
}

func (t *Tracing) spanID() (id trace.SpanID) {
	binary.BigEndian.PutUint64(id[:], t.random()|1)
	return id
}

// parse reads a traceparent (W3C Trace Context, section 3.2). A version above 00 may go on after the flags; ff may not be.
func parse(header string) (sc trace.SpanContext, ok bool) {
	if len(header) < 55 || header[2] != '-' || header[35] != '-' || header[52] != '-' {
		return sc, false
	}
	if len(header) > 55 && (header[:2] == "00" || header[55] != '-') {
		return sc, false
	}
	var b [26]byte // version, trace, span, flags
	var text [52]byte
	n := copy(text[:], header[:2])
	n += copy(text[n:], header[3:35])
	n += copy(text[n:], header[36:52])
	copy(text[n:], header[53:55])
	for _, c := range text {
		if c >= 'A' && c <= 'F' {
			return sc, false
		}
	}
	if _, err := hex.Decode(b[:], text[:]); err != nil || b[0] == 0xff {
		return sc, false
	}
	sc = trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(b[1:17]), SpanID: trace.SpanID(b[17:25]), TraceFlags: trace.TraceFlags(b[25]) & trace.FlagsSampled, Remote: true,
	})
	return sc, sc.IsValid()
}

// traceparent writes the header of a span.
func traceparent(sc trace.SpanContext) string {
	b := make([]byte, 0, 55)
	id, span := sc.TraceID(), sc.SpanID()
	b = hex.AppendEncode(append(b, "00-"...), id[:])
	b = hex.AppendEncode(append(b, '-'), span[:])
	return string(hex.AppendEncode(append(b, '-'), []byte{byte(sc.TraceFlags() & trace.FlagsSampled)}))
}

// unsampled is the span of a request that is not recorded, and the context that has it, in one: OpenTelemetry's own take
// an allocation each, and with the copy of the request that makes three.
type unsampled struct {
	context.Context
	span spanOnly
}

// spanOnly is apart from the context because both have methods of the same name to give.
type spanOnly struct {
	noop.Span
	t  *Tracing
	sc trace.SpanContext
}

func (s *spanOnly) SpanContext() trace.SpanContext       { return s.sc }
func (s *spanOnly) TracerProvider() trace.TracerProvider { return s.t.provider }

// Value answers to OpenTelemetry's key with the span.
func (u *unsampled) Value(key any) any {
	if key == u.span.t.spanKey {
		return trace.Span(&u.span)
	}
	return u.Context.Value(key)
}

// keyThief learns OpenTelemetry's key of the span, which is not exported, by being asked for it.
type keyThief struct {
	context.Context
	key *any
}

func (k keyThief) Value(key any) any {
	*k.key = key
	return nil
}

// since is a duration that is never negative, whatever the clock does.
func since(now, begun time.Time) time.Duration { return max(0, now.Sub(begun)) }
