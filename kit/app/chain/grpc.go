package chain

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/yumen-io/yumen/kit/breaker"
	"github.com/yumen-io/yumen/kit/limit"
)

// unaryStep is one part of a chain; s.next goes on to the following.
type unaryStep func(s *unaryCall, ctx context.Context, req any) (any, error)

// unaryCall walks through the steps with one closure, which all of them share as their handler: each calls it at most once.
type unaryCall struct {
	state
	info   *grpc.UnaryServerInfo
	handle grpc.UnaryHandler
	steps  []unaryStep
	then   grpc.UnaryHandler // next
}

func (s *unaryCall) next(ctx context.Context, req any) (any, error) {
	if len(s.steps) == 0 {
		return s.handle(ctx, req)
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	return step(s, ctx, req)
}

// Unary is the chain for unary calls. A call that has passed this chain already passes as it is.
func (c *Chain) Unary() grpc.UnaryServerInterceptor {
	inner := c.serveUnary
	if c.cfg.Observe == nil {
		return inner
	}
	observed := c.cfg.Observe.UnaryServer()
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		return observed(ctx, req, info, func(ctx context.Context, req any) (any, error) { return inner(ctx, req, info, handle) })
	}
}

func (c *Chain) serveUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (resp any, err error) {
	if s := stateOf(ctx); s != nil && s.call.chain == c {
		return handle(ctx, req)
	}
	s := &unaryCall{info: info, handle: handle}
	s.then = s.next
	c.beginGRPC(&s.state, ctx, info.FullMethod, false)
	returned := false
	defer func() {
		if returned {
			c.endGRPC(&s.state, err)
			return
		}
		var panicked any
		if !c.cfg.Recovery.Off {
			panicked = recover()
		}
		resp, err = nil, c.endPanic(&s.state, panicked)
	}()
	if over := expired(ctx); over != nil && !c.cfg.Deadline.Off {
		s.call.refused(StageDeadline, over.Reason, nil)
		err = over
	} else {
		if !s.call.rule.Bare {
			s.steps = c.unary
		}
		resp, err = s.next(&s.state, req)
	}
	err = statusError(err)
	returned = true
	return resp, err
}

func (c *Chain) beginGRPC(s *state, ctx context.Context, method string, stream bool) {
	c.stats.calls.Add(1)
	s.Context = ctx
	s.call = Call{ctx: ctx, chain: c, protocol: "grpc", method: method, stream: stream, begun: c.now(), rule: c.ruleOf(method)}
}

// statusError says of contexts that have ended what gRPC says of them, so that whoever counts does not see UNKNOWN.
func statusError(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); !ok && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return status.FromContextError(err).Err()
	}
	return err
}

func (c *Chain) endGRPC(s *state, err error) {
	if s.call.stage == StageNone && s.call.at != StageNone {
		s.call.stage = s.call.at
		if r := (*limit.Error)(nil); errors.As(err, &r) {
			s.call.reason = r.Decision.Reason
		} else if s.call.stage == StageBreaker {
			s.call.reason = breaker.ReasonOpen
		}
	}
	code := codes.OK
	if err != nil {
		code = status.Code(err)
		if s.call.reason == "" {
			c.reasonOf(s, err)
		}
		if code == codes.DeadlineExceeded && s.call.stage == StageNone && expired(s.Context) != nil {
			s.call.refused(StageDeadline, ReasonDeadline, nil)
		}
	}
	if s.call.stage != StageNone {
		c.stats.refused[s.call.stage].Add(1)
	}
	c.logGRPC(s, code)
}

// reasonOf finds out what a handler says by its error.
func (c *Chain) reasonOf(s *state, err error) {
	if r := (*Refusal)(nil); errors.As(err, &r) {
		s.call.reason, s.call.cause = r.Reason, r.Cause
		return
	}
	if status.Code(err) == codes.Unknown {
		s.call.cause = err
	}
}

// endPanic is endGRPC for a handler that did not return.
func (c *Chain) endPanic(s *state, panicked any) error {
	if panicked == nil { // runtime.Goexit, or a panic that goes on
		c.logGRPC(s, codes.Internal)
		return nil
	}
	c.panicked(s, &s.call, panicked)
	s.call.reason = ReasonPanic
	err := panicStatus(s)
	c.logGRPC(s, codes.Internal)
	return err
}

// streamStep is one part of a chain; s.next goes on to the following.
type streamStep func(s *streamCall, srv any, ss grpc.ServerStream) error

// streamCall is also the stream that the handler gets.
type streamCall struct {
	grpc.ServerStream
	state state
	check func(any) error // of each message that comes; nil: none is checked

	info   *grpc.StreamServerInfo
	handle grpc.StreamHandler
	steps  []streamStep
	then   grpc.StreamHandler
}

// Context is that of the stream inside of the chain.
func (s *streamCall) Context() context.Context { return &s.state }

// RecvMsg checks what comes.
func (s *streamCall) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if s.check == nil {
		return nil
	}
	return s.check(m)
}

func (s *streamCall) next(srv any, ss grpc.ServerStream) error {
	if len(s.steps) == 0 {
		return s.handle(srv, ss)
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	return step(s, srv, ss)
}

// Stream is the chain for streams. Each message that a client sends is validated when it is received.
func (c *Chain) Stream() grpc.StreamServerInterceptor {
	inner := c.serveStream
	if c.cfg.Observe == nil {
		return inner
	}
	observed := c.cfg.Observe.StreamServer()
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		return observed(srv, ss, info, func(srv any, ss grpc.ServerStream) error { return inner(srv, ss, info, handle) })
	}
}

func (c *Chain) serveStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	ctx := ss.Context()
	if s := stateOf(ctx); s != nil && s.call.chain == c {
		return handle(srv, ss)
	}
	s := &streamCall{ServerStream: ss, info: info, handle: handle}
	s.then = s.next
	c.beginGRPC(&s.state, ctx, info.FullMethod, true)
	returned := false
	defer func() {
		if returned {
			c.endGRPC(&s.state, err)
			return
		}
		var panicked any
		if !c.cfg.Recovery.Off {
			panicked = recover()
		}
		err = c.endPanic(&s.state, panicked)
	}()
	if over := expired(ctx); over != nil && !c.cfg.Deadline.Off {
		s.state.call.refused(StageDeadline, over.Reason, nil)
		err = over
	} else {
		if !s.state.call.rule.Bare {
			s.steps = c.stream
		}
		err = s.next(srv, s)
	}
	err = statusError(err)
	returned = true
	return err
}

// buildGRPC lists the parts in the order of Handler.
func (c *Chain) buildGRPC() {
	add := func(before bool) {
		for _, g := range c.guards {
			if g.before == before {
				c.unary = append(c.unary, g.unary(), passedUnary)
				c.stream = append(c.stream, g.stream(), passedStream)
			}
		}
	}
	add(true)
	if len(c.cfg.Auth.Authenticators) > 0 {
		c.unary = append(c.unary, c.authUnary)
		c.stream = append(c.stream, c.authStream)
	}
	add(false)
	c.unary = append(c.unary, timeUnary)
	c.stream = append(c.stream, timeStream)
	if !c.cfg.Validation.Off {
		c.unary = append(c.unary, c.checkUnary)
		c.stream = append(c.stream, c.checkStream)
	}
}

func (g guard) keyFunc() limit.KeyFunc {
	return func(ctx context.Context, _ string) string { return g.key(&stateOf(ctx).call) }
}

func (g guard) unary() unaryStep {
	through := g.UnaryServer(g.keyFunc())
	return func(s *unaryCall, ctx context.Context, req any) (any, error) {
		s.call.at = g.stage
		return through(ctx, req, s.info, s.then)
	}
}

func passedUnary(s *unaryCall, ctx context.Context, req any) (any, error) {
	s.call.at = StageNone
	return s.next(ctx, req)
}

func (g guard) stream() streamStep {
	through := g.StreamServer(g.keyFunc())
	return func(s *streamCall, srv any, ss grpc.ServerStream) error {
		s.state.call.at = g.stage
		return through(srv, ss, s.info, s.then)
	}
}

func passedStream(s *streamCall, srv any, ss grpc.ServerStream) error {
	s.state.call.at = StageNone
	return s.next(srv, ss)
}

func (c *Chain) authUnary(s *unaryCall, ctx context.Context, req any) (any, error) {
	if refusal := c.authenticate(ctx, &s.call); refusal != nil {
		if md := refusal.answer().Trailer(); md != nil {
			_ = grpc.SetTrailer(ctx, md) // fails only where nothing can be told anyhow
		}
		return nil, refusal
	}
	return s.next(ctx, req)
}

func (c *Chain) authStream(s *streamCall, srv any, ss grpc.ServerStream) error {
	if refusal := c.authenticate(&s.state, &s.state.call); refusal != nil {
		if md := refusal.answer().Trailer(); md != nil {
			ss.SetTrailer(md)
		}
		return refusal
	}
	return s.next(srv, ss)
}

// timeUnary is the stage of Deadline.Max, inside the breaker.
func timeUnary(s *unaryCall, ctx context.Context, req any) (any, error) {
	inner, cancel := within(ctx, s.call.rule.Timeout)
	if cancel == nil {
		resp, err := s.next(ctx, req)
		return resp, statusError(err)
	}
	defer cancel()
	resp, err := s.next(inner, req)
	return resp, s.call.ownTime(ctx, inner, err)
}

// ownTime says whose time was over.
func (c *Call) ownTime(outer, inner context.Context, err error) error {
	err = statusError(err)
	if err != nil && status.Code(err) == codes.DeadlineExceeded && outer.Err() == nil && expired(inner) != nil {
		c.refused(StageDeadline, ReasonTimeout, nil)
		return tookTooLong
	}
	return err
}

func timeStream(s *streamCall, srv any, ss grpc.ServerStream) error {
	most := s.state.call.rule.Timeout
	if s.state.call.rule.own == 0 {
		most = Never
	}
	inner, cancel := within(&s.state, most)
	if cancel == nil {
		return statusError(s.next(srv, ss))
	}
	defer cancel()
	return s.state.call.ownTime(&s.state, inner, s.next(srv, &timedStream{ss, inner}))
}

// timedStream has less time than the stream that the guards see.
type timedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *timedStream) Context() context.Context { return s.ctx }

func (c *Chain) checkUnary(s *unaryCall, ctx context.Context, req any) (any, error) {
	if err := c.checkMessage(&s.call, req); err != nil {
		return nil, err
	}
	return s.next(ctx, req)
}

func (c *Chain) checkStream(s *streamCall, srv any, ss grpc.ServerStream) error {
	s.check = func(m any) error { return c.checkMessage(&s.state.call, m) }
	return s.next(srv, ss)
}
