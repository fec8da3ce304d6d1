package limit_test

import (
	"context"
	"errors"
	"testing"
	"time"

	servers "github.com/yumen-io/yumen/kit/internal/servers/health"
	"github.com/yumen-io/yumen/kit/limit"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

var check = &healthpb.HealthCheckRequest{}

func TestCallsToALimitedServer(t *testing.T) {
	h := &hand{}
	l := must(t, limit.Config{Count: 1, Per: time.Minute, Clock: h.now})
	byMethod := func(_ context.Context, method string) string { return method }
	c := servers.Dial(t, nil, []grpc.ServerOption{grpc.UnaryInterceptor(l.UnaryServer(byMethod)), grpc.StreamInterceptor(l.StreamServer(byMethod))})
	wants := func(err error, md metadata.MD) {
		t.Helper()
		st := status.Convert(err)
		if st.Code() != codes.ResourceExhausted || st.Message() != "Requests come too often: 1 in 1m0s are served. (rate_limited)" {
			t.Errorf("%v", err)
		}
		if got := md.Get("grpc-retry-pushback-ms"); len(got) != 1 || got[0] != "60000" {
			t.Errorf("pushback %v", got)
		}
		if len(st.Details()) != 1 || st.Details()[0].(*errdetails.RetryInfo).RetryDelay.AsDuration() != time.Minute {
			t.Errorf("details %v", st.Details())
		}
	}
	if _, err := c.Check(background, check); err != nil {
		t.Fatal(err)
	}
	var md metadata.MD
	_, err := c.Check(background, check, grpc.Trailer(&md))
	wants(err, md)

	ctx, cancel := context.WithCancel(background)
	defer cancel()
	first, err := c.Watch(ctx, check)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Recv(); err != nil {
		t.Fatal(err)
	}
	second, err := c.Watch(ctx, check)
	if err != nil {
		t.Fatal(err)
	}
	_, err = second.Recv()
	wants(err, second.Trailer())
}

func TestCallsOfALimitedClient(t *testing.T) {
	l := must(t, limit.Config{Algorithm: limit.Concurrency, Count: 1})
	c := servers.Dial(t, nil, nil, grpc.WithUnaryInterceptor(l.UnaryClient(nil)), grpc.WithStreamInterceptor(l.StreamClient(nil)))
	for range 2 { // the place of a stream is given back when it has ended
		ctx, cancel := context.WithCancel(background)
		stream, err := c.Watch(ctx, check)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Check(background, check); !errors.Is(err, limit.ErrRefused) || status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a second at a time: %v", err)
		}
		cancel()
		if _, err := stream.Recv(); err == nil {
			t.Error("a stream went on")
		}
		for range 2 {
			if _, err := c.Check(background, check); err != nil {
				t.Error(err)
			}
		}
	}
}
