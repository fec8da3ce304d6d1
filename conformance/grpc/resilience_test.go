//go:build linux

package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// An endpoint that says NOT_SERVING gets no more calls, though it would answer them, and is back when it says SERVING.
func TestNotServingEndpointIsLeft(t *testing.T) {
	ups := []*upstream{startCalls(t, calls{}), startCalls(t, calls{})}
	addr, _ := startRPC(t, fmt.Sprintf("{endpoints: [%q, %q], protocol: h2c, "+
		"health: {type: grpc, interval: 200ms, timeout: 150ms, failures: 2, successes: 1}}", ups[0].addr, ups[1].addr), allToRPC, gateway.GRPCHealth)
	client := dial(t, addr)
	awaitShare(t, client, ups[0], true)

	ups[0].health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	awaitShare(t, client, ups[0], false)

	ups[0].health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	awaitShare(t, client, ups[0], true)
}

// awaitShare waits until a row of calls reaches an upstream, or passes it by. None may fail meanwhile.
func awaitShare(t *testing.T, client grpc_testing.TestServiceClient, up *upstream, wanted bool) {
	t.Helper()
	const row = 40
	gateway.Eventually(t, patience, fmt.Sprintf("calls reach %s: %v", up.addr, wanted), func() error {
		before := up.calls.Load()
		for range row {
			if _, err := client.UnaryCall(t.Context(), payload("x")); err != nil {
				t.Fatalf("a call failed: %v", err)
			}
		}
		if got := up.calls.Load() - before; (got > 0) != wanted {
			return fmt.Errorf("%d of %d do", got, row)
		}
		return nil
	})
}

// One of two upstreams answers UNAVAILABLE. The client hears of none; what is not named as worth a retry, it hears.
func TestUnavailableIsTriedElsewhere(t *testing.T) {
	sick := startCalls(t, calls{unary: func(_ context.Context, r *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
		if string(r.GetPayload().GetBody()) == "mine" {
			return nil, status.Error(codes.FailedPrecondition, "no")
		}
		return nil, status.Error(codes.Unavailable, "restarting")
	}})
	well := startCalls(t, calls{})
	addr, _ := startRPC(t, fmt.Sprintf("{endpoints: [%q, %q], protocol: h2c, eject: off, retry_budget: {share: 100%%, floor: 1000/s}}", sick.addr, well.addr),
		"[{path: /*, cluster: rpc, retry: {attempts: 3, on: [grpc_unavailable], non_idempotent: true}}]", gateway.GRPC)
	client := dial(t, addr)
	for range 50 {
		if _, err := client.UnaryCall(t.Context(), payload("x")); err != nil {
			t.Fatalf("a call failed: %v", err)
		}
	}
	if sick.calls.Load() == 0 {
		t.Error("the sick upstream was never asked: nothing was shown")
	}
	gateway.Eventually(t, patience, "FAILED_PRECONDITION is passed on", func() error {
		if _, err := client.UnaryCall(t.Context(), payload("mine")); status.Code(err) != codes.FailedPrecondition {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}

// Three upstreams are restarted one after the other, each with GOAWAY and time for its calls, under a load of unary
// calls. No call fails: what a GOAWAY left out was never begun and is sent again.
func TestRollingRestartFailsNoCall(t *testing.T) {
	ups := []*upstream{startCalls(t, calls{}), startCalls(t, calls{}), startCalls(t, calls{})}
	addr, _ := startRPC(t, rpcCluster(ups...), allToRPC)
	load := startLoad(t, addr, 8)
	for _, up := range ups {
		load.awaitMore(t, 300)
		up.server.GracefulStop()
		load.awaitMore(t, 300)
		up.start()
		before := up.calls.Load()
		gateway.Eventually(t, patience, "the restarted upstream gets calls", func() error {
			if up.calls.Load() == before {
				return errors.New("none yet")
			}
			return nil
		})
	}
	load.stop(t)
}

// SIGTERM while streams are open and unary calls come: streams go on to their end, calls that were taken are answered,
// and clients that look for another connection are the only ones that are refused. The exit is 0.
func TestDrainLetsStreamsEnd(t *testing.T) {
	const streamCount = 8
	up := startCalls(t, calls{})
	addr, p := startRPC(t, rpcCluster(up), allToRPC)
	client := dial(t, addr)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var open []duplex
	for range streamCount {
		s, err := client.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := echo(s, "before"); err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}

	p.Signal(syscall.SIGTERM)

	for round := range 50 {
		for i, s := range open {
			if err := echo(s, fmt.Sprintf("stream %d round %d", i, round)); err != nil {
				t.Fatalf("stream %d, round %d after SIGTERM: %v", i, round, err)
			}
		}
	}
	for i, s := range open {
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); err != io.EOF {
			t.Errorf("the end of stream %d: %v", i, err)
		}
	}
	p.AwaitExit(patience)
}

type duplex = grpc.BidiStreamingClient[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]

// echo sends a message and wants it back.
func echo(s duplex, text string) error {
	if err := s.Send(&grpc_testing.StreamingOutputCallRequest{Payload: &grpc_testing.Payload{Body: []byte(text)}}); err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	got, err := s.Recv()
	if err != nil {
		return err
	}
	if string(got.GetPayload().GetBody()) != text {
		return fmt.Errorf("echo %q of %q", got.GetPayload().GetBody(), text)
	}
	return nil
}

// load is a number of clients, each on a connection of its own, that call again as soon as they are answered.
type load struct {
	ended    sync.WaitGroup
	stopping atomic.Bool
	done     atomic.Int64
	failed   struct {
		sync.Mutex
		reasons map[string]int
	}
}

func startLoad(t *testing.T, addr string, clients int) *load {
	t.Helper()
	l := &load{}
	l.failed.reasons = map[string]int{}
	for i := range clients {
		client := dial(t, addr)
		l.ended.Go(func() {
			for n := 0; !l.stopping.Load(); n++ {
				text := fmt.Sprintf("client %d call %d", i, n)
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				got, err := client.UnaryCall(ctx, payload(text))
				cancel()
				if err == nil && string(got.GetPayload().GetBody()) != text {
					err = errors.New("another's answer")
				}
				if err != nil {
					l.failed.Lock()
					l.failed.reasons[err.Error()]++
					l.failed.Unlock()
				}
				l.done.Add(1)
			}
		})
	}
	t.Cleanup(func() {
		l.stopping.Store(true)
		l.ended.Wait()
	})
	return l
}

func (l *load) awaitMore(t *testing.T, n int64) {
	t.Helper()
	want := l.done.Load() + n
	gateway.Eventually(t, patience, "the load goes on", func() error {
		if done := l.done.Load(); done < want {
			return fmt.Errorf("%d of %d calls", done, want)
		}
		return nil
	})
}

// stop ends the load and fails the test for each kind of failure it met.
func (l *load) stop(t *testing.T) {
	t.Helper()
	l.stopping.Store(true)
	l.ended.Wait()
	t.Logf("%d calls", l.done.Load())
	for _, reason := range slices.Sorted(maps.Keys(l.failed.reasons)) {
		t.Errorf("%d calls failed: %s", l.failed.reasons[reason], reason)
	}
}
