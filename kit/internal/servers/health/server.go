// Package health runs a real gRPC server for tests of interceptors, in the test's own process: its one service is that of
// health, which has a unary call (Check) and a stream that stays open (Watch), and both can be told to fail.
package health

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// T is what this package needs of a *testing.T or *testing.B.
type T interface {
	Helper()
	Fatal(args ...any)
	Cleanup(f func())
}

// Server is what a call meets. The zero value serves all.
type Server struct {
	// OnCheck and OnWatch are called with each call; the error, if there is one, is its answer. nil: none. They may wait for ctx.
	OnCheck, OnWatch func(ctx context.Context) error

	healthpb.UnimplementedHealthServer
	serving *health.Server
}

// Check answers a call.
func (s *Server) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if s.OnCheck != nil {
		if err := s.OnCheck(ctx); err != nil {
			return nil, err
		}
	}
	return s.serving.Check(ctx, r)
}

// Watch sends one answer, and no more until the client ends the stream.
func (s *Server) Watch(r *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	if s.OnWatch != nil {
		if err := s.OnWatch(stream.Context()); err != nil {
			return err
		}
	}
	return s.serving.Watch(r, stream)
}

// Dial starts s (nil: one that serves all) on a loopback port, with options, and returns a client of it. Both end with the test.
func Dial(t T, s *Server, server []grpc.ServerOption, client ...grpc.DialOption) healthpb.HealthClient {
	t.Helper()
	if s == nil {
		s = &Server{}
	}
	s.serving = health.NewServer()
	g := grpc.NewServer(server...)
	healthpb.RegisterHealthServer(g, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	cc, err := grpc.NewClient(l.Addr().String(), append(client, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cc.Close()
		g.Stop()
		<-done
	})
	return healthpb.NewHealthClient(cc)
}
