package observe

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// UnaryServer observes a server's unary calls. The route in metrics is the method's full name, which is known to the
// server, for others are refused before.
func (m *Middleware) UnaryServer() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
		begun := m.now()
		ctx, span := m.begin(ctx, info.FullMethod, begun)
		returned := false
		defer func() { m.endCall(info.FullMethod, "unary", span, begun, err, returned) }()
		resp, err = handle(ctx, req)
		returned = true
		return resp, err
	}
}

// StreamServer observes a server's streams, each of which is one span and one observation with all of its time. The
// Profiler is not told of them.
func (m *Middleware) StreamServer() grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
		begun := m.now()
		ctx, span := m.begin(stream.Context(), info.FullMethod, begun)
		returned := false
		defer func() { m.endCall(info.FullMethod, "stream", span, begun, err, returned) }()
		err = handle(srv, &serverStream{stream, ctx})
		returned = true
		return err
	}
}

type serverStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *serverStream) Context() context.Context { return s.ctx }

func (m *Middleware) begin(ctx context.Context, method string, begun time.Time) (context.Context, trace.Span) {
	header := ""
	if !m.ignoreParent {
		// Not the whole metadata, which would be copied.
		if v := metadata.ValueFromIncomingContext(ctx, "traceparent"); len(v) == 1 {
			header = v[0]
		}
	}
	parent, known := parse(header)
	c := &unsampled{Context: ctx}
	c.span.t = m.t
	take := parent.IsSampled()
	if known {
		c.span.sc = trace.NewSpanContext(trace.SpanContextConfig{TraceID: parent.TraceID(), SpanID: m.t.spanID()})
	} else {
		c.span.sc, take = m.t.root()
	}
	if !take {
		return c, nil
	}
	if known {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent.WithTraceState(stateOf(metadata.ValueFromIncomingContext(ctx, "tracestate"))))
	} else {
		ctx = context.WithValue(ctx, decided{}, true)
	}
	ctx, span := m.t.tracer.Start(ctx, method, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(begun), trace.WithAttributes(
		attribute.String("rpc.system", "grpc"), attribute.String("rpc.method", method)))
	return ctx, span
}

func (m *Middleware) endCall(method, kind string, span trace.Span, begun time.Time, err error, returned bool) {
	code := status.Code(err)
	if !returned {
		code = grpccodes.Internal // a panic, which goes on
	}
	took := since(m.now(), begun)
	if m.profiler != nil && kind == "unary" {
		m.profiler.Observe(took)
	}
	if m.seconds != nil {
		m.seconds.With("grpc", kind, method, code.String()).Observe(took.Seconds())
	}
	if span == nil {
		return
	}
	span.SetAttributes(attribute.Int("rpc.grpc.status_code", int(code)))
	switch code {
	case grpccodes.Unknown, grpccodes.DeadlineExceeded, grpccodes.Unimplemented, grpccodes.Internal, grpccodes.Unavailable, grpccodes.DataLoss:
		span.SetStatus(codes.Error, "") // what is the server's fault
	}
	span.End(trace.WithTimestamp(begun.Add(took)))
}

// UnaryClient sends the trace of a call's context along, and makes a span for a call that is recorded.
func (t *Tracing) UnaryClient() grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		ctx, span := t.outgoing(ctx, method)
		err := invoke(ctx, method, req, reply, cc, opts...)
		endClient(span, err)
		return err
	}
}

// StreamClient is UnaryClient for streams. The span ends with the stream.
func (t *Tracing) StreamClient() grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		ctx, span := t.outgoing(ctx, method)
		if span != nil {
			opts = append(opts[:len(opts):len(opts)], grpc.OnFinish(func(err error) { endClient(span, err) }))
		}
		stream, err := open(ctx, desc, cc, method, opts...)
		if err != nil {
			endClient(span, err) // a second end does nothing
		}
		return stream, err
	}
}

func (t *Tracing) outgoing(ctx context.Context, method string) (context.Context, trace.Span) {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return ctx, nil
	}
	var span trace.Span
	if sc.IsSampled() {
		ctx, span = t.tracer.Start(ctx, method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
			attribute.String("rpc.system", "grpc"), attribute.String("rpc.method", method)))
		sc = span.SpanContext()
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", traceparent(sc))
	if s := sc.TraceState().String(); s != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "tracestate", s)
	}
	return ctx, span
}

func endClient(span trace.Span, err error) {
	if span == nil {
		return
	}
	code := status.Code(err)
	span.SetAttributes(attribute.Int("rpc.grpc.status_code", int(code)))
	if code != grpccodes.OK {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}
