//go:build linux

package grpc

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// upstream is a grpc-go server that can be stopped and started again on its address.
type upstream struct {
	t        *testing.T
	addr     string
	options  []grpc.ServerOption
	register func(*grpc.Server)
	server   *grpc.Server
	health   *health.Server
	calls    atomic.Int64
}

func newUpstream(t *testing.T, options ...grpc.ServerOption) *upstream {
	t.Helper()
	u := &upstream{t: t, addr: gateway.FreeAddr(t), options: options}
	t.Cleanup(func() {
		if u.server != nil {
			u.server.Stop()
		}
	})
	return u
}

// start listens and serves: what register registers, and the health service.
func (u *upstream) start() {
	u.t.Helper()
	l, err := net.Listen("tcp", u.addr)
	if err != nil {
		u.t.Fatalf("starting an upstream: %v", err)
	}
	u.server, u.health = grpc.NewServer(u.options...), health.NewServer()
	u.register(u.server)
	grpc_health_v1.RegisterHealthServer(u.server, u.health)
	go func(s *grpc.Server) { _ = s.Serve(l) }(u.server) // ends with Stop and GracefulStop
}

// calls answers unary and bidirectional calls as its functions say; nil answers with an empty message, or echoes.
type calls struct {
	grpc_testing.UnimplementedTestServiceServer
	unary  func(context.Context, *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error)
	stream func(grpc.BidiStreamingServer[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]) error
	seen   *atomic.Int64
}

func (c *calls) UnaryCall(ctx context.Context, r *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	c.seen.Add(1)
	if c.unary != nil {
		return c.unary(ctx, r)
	}
	return &grpc_testing.SimpleResponse{Payload: r.GetPayload()}, nil
}

func (c *calls) FullDuplexCall(s grpc.BidiStreamingServer[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]) error {
	c.seen.Add(1)
	if c.stream != nil {
		return c.stream(s)
	}
	for {
		r, err := s.Recv()
		if err != nil {
			return nil // the client has finished, or gone
		}
		if err := s.Send(&grpc_testing.StreamingOutputCallResponse{Payload: r.GetPayload()}); err != nil {
			return err
		}
	}
}

// startCalls runs an upstream that answers so.
func startCalls(t *testing.T, c calls) *upstream {
	t.Helper()
	u := newUpstream(t)
	u.register = func(s *grpc.Server) {
		served := c
		served.seen = &u.calls
		grpc_testing.RegisterTestServiceServer(s, &served)
	}
	u.start()
	return u
}
