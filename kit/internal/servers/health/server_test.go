package health_test

import (
	"context"
	"testing"

	"github.com/yumen-io/yumen/kit/internal/servers/health"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func TestCallsFailAsTheyAreTold(t *testing.T) {
	var mood error
	say := func(context.Context) error { return mood }
	c := health.Dial(t, &health.Server{OnCheck: say, OnWatch: say}, nil)
	for _, code := range []codes.Code{codes.OK, codes.Unavailable, codes.OK} {
		mood = status.Error(code, "in a mood") // nil of OK
		resp, err := c.Check(t.Context(), &healthpb.HealthCheckRequest{})
		if status.Code(err) != code || err == nil && resp.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%v: %v %v", code, resp, err)
		}
		stream, err := c.Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != code {
			t.Errorf("%v: a stream: %v", code, err)
		}
	}
}
