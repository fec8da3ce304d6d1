package rpc

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/internal/servers/etcd"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// TestMain is also the server that a test freezes: a process of its own.
func TestMain(m *testing.M) {
	etcd.Main()
	if os.Getenv("YUMEN_RPC_SERVER") != "" {
		s := &server{name: "child"}
		if err := s.open("127.0.0.1:0"); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.address)
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the test lets go
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const workMethod = "/test.Work/Do"

// server is a gRPC server with one method, which takes as long as wait lets it.
type server struct {
	name    string
	address string
	load    *Reporter
	cfg     ReporterConfig
	extra   []grpc.ServerOption
	bare    bool // neither Stats nor trailers
	health  *health.Server
	grpc    *grpc.Server
	calls   atomic.Int64
	wait    atomic.Pointer[func(context.Context) error]
	task    sync.WaitGroup
}

type worker interface {
	do(context.Context) (*structpb.Struct, error)
}

func (s *server) do(ctx context.Context) (*structpb.Struct, error) {
	s.calls.Add(1)
	if wait := s.wait.Load(); wait != nil {
		if err := (*wait)(ctx); err != nil {
			return nil, err
		}
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{"server": structpb.NewStringValue(s.name)}}, nil
}

// takes has each call wait so long.
func (s *server) takes(d time.Duration) {
	f := func(ctx context.Context) error {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.wait.Store(&f)
}

func (s *server) open(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	if s.load, err = NewReporter(s.cfg); err != nil {
		return err
	}
	opts := s.extra
	if !s.bare {
		opts = append(opts, s.load.ServerOptions()...)
	}
	s.grpc = grpc.NewServer(opts...)
	desc := grpc.ServiceDesc{ServiceName: "test.Work", HandlerType: (*worker)(nil), Methods: []grpc.MethodDesc{{MethodName: "Do",
		Handler: func(srv any, ctx context.Context, decode func(any) error, through grpc.UnaryServerInterceptor) (any, error) {
			in := &emptypb.Empty{}
			if err := decode(in); err != nil {
				return nil, err
			}
			do := func(ctx context.Context, _ any) (any, error) { return srv.(worker).do(ctx) }
			if through == nil {
				return do(ctx, in)
			}
			return through(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: workMethod}, do)
		}}}, Streams: []grpc.StreamDesc{{StreamName: "Stay", ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		if err := s.SendMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		<-s.Context().Done()
		return nil
	}}}}
	s.grpc.RegisterService(&desc, s)
	s.health = health.NewServer()
	grpc_health_v1.RegisterHealthServer(s.grpc, s.health)
	if !s.bare {
		RegisterStats(s.grpc, s.load)
	}
	s.task.Go(func() { _ = s.grpc.Serve(l) })
	return nil
}

// start opens servers on free ports.
func start(t testing.TB, servers ...*server) {
	t.Helper()
	for n, s := range servers {
		if s.name == "" {
			s.name = fmt.Sprintf("server-%d", n)
		}
		if err := s.open("127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.stop)
	}
}

func (s *server) stop() {
	s.grpc.Stop()
	s.task.Wait()
}

func newClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func dial(t testing.TB, c *Client, target string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := c.Dial(target, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func static(servers ...*server) string {
	var list []string
	for _, s := range servers {
		list = append(list, s.address)
	}
	return "static:///" + strings.Join(list, ",")
}

// work makes a call and tells who answered.
func work(ctx context.Context, conn *grpc.ClientConn) (string, error) {
	out := &structpb.Struct{}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := conn.Invoke(ctx, workMethod, &emptypb.Empty{}, out); err != nil {
		return "", err
	}
	return out.Fields["server"].GetStringValue(), nil
}

// until polls, because what is waited for happens in gRPC's goroutines and nothing tells of it.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("in 15 s it did not come to this: %s", what)
		}
	}
}

// endpointOf is what the client's only connection knows of a server.
func endpointOf(c *Client, s *server) Endpoint {
	for _, k := range c.Explain() {
		for _, e := range k.Endpoints {
			if e.Address == s.address {
				return e
			}
		}
	}
	return Endpoint{}
}

func allReady(c *Client, n int) func() bool {
	return func() bool { return c.Stats().Ready == n }
}
