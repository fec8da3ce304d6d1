package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// rpcServer is the gRPC server. A nil one does nothing, in the phases of a drain.
type rpcServer struct {
	a        *App
	server   *grpc.Server
	health   *health.Server
	services []string     // that health answers for, "" included
	l        *listener    // what counts its connections
	on       net.Listener // what it accepts from: l, or a part of it
	served   chan struct{}
	gone     chan struct{} // closed when GracefulStop has returned
}

func newRPC(a *App) (*rpcServer, error) {
	g := &a.cfg.GRPC
	s := &rpcServer{a: a, health: health.NewServer(), served: make(chan struct{}), gone: make(chan struct{})}
	opts := []grpc.ServerOption{
		grpc.ConnectionTimeout(g.ConnectTimeout),
		grpc.MaxHeaderListSize(uint32(g.HeadBytesMax)),
		grpc.MaxConcurrentStreams(uint32(g.StreamsMax)),
		// A client that is gone without a word is noticed within 80 s, and not after grpc-go's two hours.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(s.unary),
		grpc.ChainStreamInterceptor(s.stream),
	}
	switch {
	case g.SharePort:
		opts = append(opts, grpc.Creds(shaken{}))
	case g.TLS != nil:
		opts = append(opts, grpc.Creds(credentials.NewTLS(g.TLS)))
	}
	opts = append(opts, g.Options...)
	if c := a.cfg.Chain; c != nil {
		opts = append(opts, grpc.ChainUnaryInterceptor(pastOwnUnary(c.Unary())), grpc.ChainStreamInterceptor(pastOwnStream(c.Stream())))
	}
	s.server = grpc.NewServer(opts...)
	if err := guarded(func() error { g.Register(s.server); return nil }); err != nil {
		return nil, fmt.Errorf("app: Config.GRPC.Register: %w", err)
	}
	for name := range s.server.GetServiceInfo() {
		s.services = append(s.services, name)
	}
	// grpc-go ends the process where a service is registered twice.
	if own := grpc_health_v1.Health_ServiceDesc.ServiceName; slices.Contains(s.services, own) {
		return nil, errors.New("app: Config.GRPC.Register registers " + own + ", which an App has already")
	}
	s.services = append(s.services, "")
	grpc_health_v1.RegisterHealthServer(s.server, s.health)
	s.serving(false)
	return s, nil
}

// serving tells those who ask by grpc.health.v1.
func (s *rpcServer) serving(ready bool) {
	is := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if ready {
		is = grpc_health_v1.HealthCheckResponse_SERVING
	}
	for _, name := range s.services {
		s.health.SetServingStatus(name, is)
	}
}

var errStarting = status.Error(codes.Unavailable, "the service is starting")

// unary is what every unary call meets first.
func (s *rpcServer) unary(ctx context.Context, in any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (out any, err error) {
	if ownMethod(info.FullMethod) {
		return handle(ctx, in)
	}
	if s.a.gate.Load() == gateShut {
		return nil, errStarting
	}
	t := s.a.flight.begin("", info.FullMethod)
	defer func() {
		if value := recover(); value != nil {
			out, err = nil, s.panicked(info.FullMethod, value)
		}
		s.a.flight.done(t)
	}()
	return handle(ctx, in)
}

// stream is what every streaming call meets first.
func (s *rpcServer) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	if ownMethod(info.FullMethod) {
		// Who watches our health is told to go with everybody else, or a drain would wait for watchers.
		ctx, cancel := context.WithCancel(stream.Context())
		defer cancel()
		defer context.AfterFunc(s.a.leaving, cancel)()
		return handle(srv, &withContext{stream, ctx})
	}
	if s.a.gate.Load() == gateShut {
		return errStarting
	}
	t := s.a.flight.begin("", info.FullMethod)
	defer func() {
		if value := recover(); value != nil {
			err = s.panicked(info.FullMethod, value)
		}
		s.a.flight.done(t)
	}()
	return handle(srv, &withContext{stream, context.WithValue(stream.Context(), drainKey{}, s.a.leaving.Done())})
}

// panicked is the last net, as net/http has one: a chain's recovery is inside and comes first.
func (s *rpcServer) panicked(method string, value any) error {
	s.a.log.Error("a handler panicked", "method", method, "panic", value, "stack", string(debug.Stack()))
	return status.Error(codes.Internal, "internal error")
}

// withContext is a stream with another context.
type withContext struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *withContext) Context() context.Context { return s.ctx }

func pastOwnUnary(through grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, in any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if ownMethod(info.FullMethod) {
			return handle(ctx, in)
		}
		return through(ctx, in, info, handle)
	}
}

func pastOwnStream(through grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	return func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		if ownMethod(info.FullMethod) {
			return handle(srv, s)
		}
		return through(srv, s, info, handle)
	}
}

// serve accepts connections until leave or end.
func (s *rpcServer) serve() {
	go func() {
		defer close(s.served)
		err := guarded(func() error { return s.server.Serve(s.on) })
		if s.a.leaving.Err() == nil {
			s.a.end("gRPC server failed", fmt.Errorf("app: gRPC server: %w", err))
		}
	}()
}

// leave says GOAWAY to all connections and takes no more.
func (s *rpcServer) leave() {
	if s == nil {
		return
	}
	go func() {
		defer close(s.gone)
		s.server.GracefulStop()
	}()
}

// close waits for the goodbyes.
func (s *rpcServer) close() {
	if s == nil {
		return
	}
	s.l.closeAll(true) // GracefulStop would wait for their handshakes
	t := time.NewTimer(settleMax)
	defer t.Stop()
	select {
	case <-s.gone:
	case <-t.C:
	case <-s.a.forced.Done():
	}
}

// cut ends the contexts and connections of calls that run. Stop would wait for handshakes, so it is not waited for.
func (s *rpcServer) cut() {
	if s == nil {
		return
	}
	go s.server.Stop()
	s.l.closeAll(false)
}

// end leaves nothing, but handlers that do not heed their contexts.
func (s *rpcServer) end() {
	if s == nil {
		return
	}
	select {
	case <-s.gone:
		return
	default:
	}
	s.cut()
	t := time.NewTimer(returnMax)
	defer t.Stop()
	select {
	case <-s.gone:
	case <-t.C:
	}
}
