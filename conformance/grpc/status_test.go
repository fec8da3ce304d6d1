//go:build linux

package grpc

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// An answer with a message has its status in the trailer; an error without one is a single HEADERS frame, trailers-only,
// and stays one: clients tell "refused before it began" by it.
func TestStatusTravelsWhereItWas(t *testing.T) {
	up := startCalls(t, calls{unary: func(_ context.Context, r *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
		if string(r.GetPayload().GetBody()) == "refuse" {
			return nil, status.Error(codes.FailedPrecondition, "not now: 100% naïve")
		}
		return &grpc_testing.SimpleResponse{Payload: r.GetPayload()}, nil
	}})
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			addr := w.start(t, up.addr, nil)
			a := rawCall(t, addr, unaryPath, frame(t, payload("hello")))
			if code := a.trailer.Get("Grpc-Status"); a.status != http.StatusOK || code != "0" || a.header.Get("Grpc-Status") != "" {
				t.Errorf("a good call: %+v; want status 0 in the trailer alone", a)
			}
			a = rawCall(t, addr, unaryPath, frame(t, payload("refuse")))
			if code := a.header.Get("Grpc-Status"); a.status != http.StatusOK || code != "9" || len(a.body) > 0 || len(a.trailer) > 0 {
				t.Errorf("a refused call: %+v; want status 9 in the header, and nothing behind it", a)
			}
			if got, want := a.header.Get("Grpc-Message"), "not now: 100%25 na%C3%AFve"; got != want {
				t.Errorf("grpc-message %q, want %q as the upstream wrote it", got, want)
			}
		})
	}
}

// Metadata of all kinds arrives on both sides: repeated keys in order, binary values, and none of the gateway's own mixed
// into the trailer.
func TestMetadataArrivesWhole(t *testing.T) {
	up := startCalls(t, calls{unary: func(ctx context.Context, r *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		if got := fmt.Sprint(md.Get("tag"), md.Get("raw-bin")); got != "[one two] [\x00\xff\n]" {
			return nil, status.Errorf(codes.InvalidArgument, "metadata came as %q", got)
		}
		if err := grpc.SetTrailer(ctx, metadata.Pairs("after", "first", "after", "second", "after-bin", "\x00\x01")); err != nil {
			return nil, err
		}
		return &grpc_testing.SimpleResponse{Payload: r.GetPayload()}, nil
	}})
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			client := dial(t, w.start(t, up.addr, nil))
			ctx := metadata.AppendToOutgoingContext(t.Context(), "tag", "one", "tag", "two", "raw-bin", "\x00\xff\n")
			var trailer metadata.MD
			if _, err := client.UnaryCall(ctx, payload("x"), grpc.Trailer(&trailer)); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(trailer.Get("after"), trailer.Get("after-bin")); got != "[first second] [\x00\x01]" || len(trailer) != 2 {
				t.Errorf("trailer %v, want after twice, after-bin, and nothing else", trailer)
			}
		})
	}
}

// What goes wrong in the gateway is told as gRPC tells it: status 200, the code and a message. A client that knows only
// gRPC would make something else of an HTTP status.
func TestGatewayErrorsAreStatuses(t *testing.T) {
	gate := make(chan struct{})
	defer close(gate)
	slow := startCalls(t, calls{unary: func(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
		select {
		case <-ctx.Done():
		case <-gate:
		}
		return nil, status.Error(codes.Aborted, "too late")
	}})
	nobody := gateway.FreeAddr(t)
	for _, c := range []struct {
		name, cluster, routes string
		want                  codes.Code
	}{
		{"no route", rpcCluster(slow), "[{path: /other.Service/*, cluster: rpc}]", codes.Unimplemented},
		{"upstream down", fmt.Sprintf("{endpoints: [%q], protocol: h2c}", nobody), allToRPC, codes.Unavailable},
		{"timeout", rpcCluster(slow), "[{path: /*, cluster: rpc, timeouts: {request: 300ms}, retry: off}]", codes.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr, _ := startRPC(t, c.cluster, c.routes, gateway.GRPC)
			a := rawCall(t, addr, unaryPath, frame(t, payload("x")))
			code, message := a.grpcStatus()
			if a.status != http.StatusOK || code != fmt.Sprint(int(c.want)) || message == "" ||
				!strings.HasPrefix(a.header.Get("Content-Type"), "application/grpc") {
				t.Errorf("below gRPC: %d %v %v; want 200, grpc-status %d and a message", a.status, a.header, a.trailer, c.want)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if _, err := dial(t, addr).UnaryCall(ctx, payload("x")); status.Code(err) != c.want {
				t.Errorf("grpc-go got %v, want %v", err, c.want)
			}
		})
	}
}

// A request that is no call gets plain HTTP on the same listener.
func TestGatewayErrorsToOthersAreHTTP(t *testing.T) {
	addr, _ := startRPC(t, fmt.Sprintf("{endpoints: [%q], protocol: h2c}", gateway.FreeAddr(t)), "[{path: /other/*, cluster: rpc}]", gateway.GRPC)
	a := rawCall(t, addr, "/missing", nil, "Content-Type", "application/json")
	if code, _ := a.grpcStatus(); a.status != http.StatusNotFound || code != "" {
		t.Errorf("got %d with grpc-status %q, want 404 without", a.status, code)
	}
}

// The gateway keeps the client's grpc-timeout by itself: the client here has no clock of its own, the upstream never
// answers, and yet the call ends.
func TestDeadlineEndsACallThatHangs(t *testing.T) {
	up := startCalls(t, calls{unary: func(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
		<-ctx.Done()
		<-t.Context().Done() // and not even then
		return nil, ctx.Err()
	}})
	addr, _ := startRPC(t, rpcCluster(up), allToRPC, gateway.GRPC)
	a := rawCall(t, addr, unaryPath, frame(t, payload("x")), "Grpc-Timeout", "300m")
	if code, _ := a.grpcStatus(); a.status != http.StatusOK || code != "4" {
		t.Errorf("got %d %v %v, want DEADLINE_EXCEEDED", a.status, a.header, a.trailer)
	}
}

// The first attempt takes a second and fails. What the second is given is what is left of the client's time, not the
// whole of it again: else a chain of services works on for a client that has gone.
func TestDeadlineIsPassedOnShrinking(t *testing.T) {
	const spent, slack = time.Second, 700 * time.Millisecond
	deadlines := make(chan time.Time, 2)
	first := make(chan struct{}, 1)
	first <- struct{}{}
	unary := func(ctx context.Context, r *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
		deadline, ok := ctx.Deadline()
		if !ok {
			return nil, status.Error(codes.Internal, "the call came without a deadline")
		}
		deadlines <- deadline
		select {
		case <-first:
			<-time.After(spent)
			return nil, status.Error(codes.Unavailable, "try another")
		default:
			return &grpc_testing.SimpleResponse{Payload: r.GetPayload()}, nil
		}
	}
	addr, _ := startRPC(t, rpcCluster(startCalls(t, calls{unary: unary}), startCalls(t, calls{unary: unary})),
		"[{path: /*, cluster: rpc, retry: {attempts: 2, on: [grpc_unavailable], non_idempotent: true}}]", gateway.GRPC)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	want, _ := ctx.Deadline()
	if _, err := dial(t, addr).UnaryCall(ctx, payload("x")); err != nil {
		t.Fatal(err)
	}
	for _, attempt := range []string{"first", "second"} {
		if got := <-deadlines; got.Sub(want) > slack {
			t.Errorf("the %s attempt was given %v more than the client has", attempt, got.Sub(want))
		}
	}
}
