package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/yumen-io/yumen/kit/internal/servers/etcd"
)

// TestMain is also an etcd member, and the instances that are restarted: processes of their own.
func TestMain(m *testing.M) {
	etcd.Main()
	if text := os.Getenv(instanceVariable); text != "" {
		if err := runInstance(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what should happen soon. Nothing is asserted of it: a busy machine is no bug.
const patience = 30 * time.Second

const (
	workMethod  = "/test.Work/Do"
	watchMethod = "/test.Work/Watch"
)

// worker is a gRPC service without generated code: Do answers what its function says, Watch stays until its function returns.
type worker struct {
	do    func(context.Context) (string, error)
	watch func(context.Context, func() error) error
}

type workServer interface{ server() *worker }

func (w *worker) server() *worker { return w }

func (w *worker) register(s *grpc.Server) {
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "test.Work", HandlerType: (*workServer)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Do", Handler: func(srv any, ctx context.Context, decode func(any) error, through grpc.UnaryServerInterceptor) (any, error) {
			in := &emptypb.Empty{}
			if err := decode(in); err != nil {
				return nil, err
			}
			do := func(ctx context.Context, _ any) (any, error) {
				text, err := srv.(*worker).do(ctx)
				return wrapperspb.String(text), err
			}
			if through == nil {
				return do(ctx, in)
			}
			return through(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: workMethod}, do)
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Watch", ServerStreams: true, Handler: func(srv any, s grpc.ServerStream) error {
			if err := s.RecvMsg(&emptypb.Empty{}); err != nil {
				return err
			}
			return srv.(*worker).watch(s.Context(), func() error { return s.SendMsg(wrapperspb.String("news")) })
		}}}}, w)
}

// call makes a unary call.
func call(ctx context.Context, conn *grpc.ClientConn, opts ...grpc.CallOption) (string, error) {
	out := &wrapperspb.StringValue{}
	err := conn.Invoke(ctx, workMethod, &emptypb.Empty{}, out, opts...)
	return out.GetValue(), err
}

// watch begins a streaming call and waits for its first message.
func watch(t *testing.T, ctx context.Context, conn *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, watchMethod)
	must(t, err)
	must(t, s.SendMsg(&emptypb.Empty{}))
	must(t, s.CloseSend())
	must(t, s.RecvMsg(&wrapperspb.StringValue{}))
	return s
}

// spend takes so long, or until ctx ends.
func spend(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually asks again and again for what nobody notifies of.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(patience); !ok(); <-ticker.C {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// journal is a log that tests read.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey, "took", "service", "stack", "addresses":
			return slog.Attr{}
		}
		return a
	}}))
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(b[:len(b)-1]))
	return len(b), nil
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.lines...)
}

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// atOnce is a drain that waits for nobody but requests.
var atOnce = DrainConfig{Wait: -1, Unready: -1, GoAway: -1, Finish: patience, Stop: patience}

// run runs an App. It is shut down at the end of the test, if it has not ended by then.
func run(t *testing.T, cfg Config) (a *App, ended <-chan error) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = silent
	}
	cfg.NoSignals = true
	a, err := New(cfg)
	must(t, err)
	result := make(chan error, 1)
	go func() { result <- a.Run(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = a.Shutdown(ctx) // what Run returns is for the test
	})
	return a, result
}

// ready runs an App and waits until it is ready.
func ready(t *testing.T, cfg Config) (a *App, ended <-chan error) {
	t.Helper()
	a, ended = run(t, cfg)
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-a.Ready():
	case err := <-ended:
		t.Fatalf("it has ended before it was ready: %v", err)
	case <-late.C:
		t.Fatal("it is not ready")
	}
	return a, ended
}

// outcome is what Run has returned.
func outcome(t *testing.T, ended <-chan error) error {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case err := <-ended:
		return err
	case <-late.C:
		t.Fatal("it does not end")
		return nil
	}
}
