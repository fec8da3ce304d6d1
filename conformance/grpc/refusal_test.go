//go:build linux

package grpc

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// answering is an upstream that answers every call.
func answering(t *testing.T) *upstream {
	return startCalls(t, calls{unary: func(_ context.Context, r *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
		return &grpc_testing.SimpleResponse{Payload: r.GetPayload()}, nil
	}})
}

// refused are guards that let one call pass, or none, and what they say to the next.
var refused = []struct {
	name, filters string
	passes        bool // the first one
	code          codes.Code
	fields        map[string]string // of the refusal; empty: it is there
}{
	{"limit", "limit: {rate: 1/h, burst: 1, headers: on}", true, codes.ResourceExhausted,
		map[string]string{"Retry-After": "3600", "Grpc-Retry-Pushback-Ms": "", "Ratelimit": "", "Ratelimit-Policy": ""}},
	{"basic auth", "basic_auth: USERS", false, codes.Unauthenticated,
		map[string]string{"Www-Authenticate": ""}},
}

// users puts the path of a file with nobody's password in the place of USERS.
func users(t *testing.T, filters string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte("ann:$2y$04$"+strings.Repeat("x", 53)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return strings.Replace(filters, "USERS", path, 1)
}

// What a guard has to say beyond its status is in the trailers-only head of the refusal, and pushback says what Retry-After does.
func TestRefusalsOfCallsAreWhole(t *testing.T) {
	up := answering(t)
	for _, c := range refused {
		t.Run(c.name, func(t *testing.T) {
			addr, _ := startRPC(t, rpcCluster(up), "[{path: /*, cluster: rpc, filters: ["+users(t, c.filters)+"]}]", gateway.GRPC)
			if c.passes {
				if code, _ := rawCall(t, addr, unaryPath, frame(t, payload("x"))).grpcStatus(); code != "0" {
					t.Fatalf("the first call: %s", code)
				}
			}
			a := rawCall(t, addr, unaryPath, frame(t, payload("x")))
			if a.status != http.StatusOK || a.header.Get("Grpc-Status") != fmt.Sprint(int(c.code)) || len(a.body) > 0 || a.header.Get("X-Yumen-Reason") == "" {
				t.Errorf("%d %v", a.status, a.header)
			}
			for name, want := range c.fields {
				if got := a.header.Get(name); got == "" || want != "" && got != want {
					t.Errorf("%s is %q, want %q: %v", name, got, want, a.header)
				}
			}
			if text := a.header.Get("Grpc-Retry-Pushback-Ms"); text != "" {
				if ms, err := strconv.Atoi(text); err != nil || ms < 3_000_000 || ms > 3_600_000 {
					t.Errorf("pushback %s", text)
				}
			}
			var trailer metadata.MD
			_, err := dial(t, addr).UnaryCall(t.Context(), payload("x"), grpc.Trailer(&trailer))
			if status.Code(err) != c.code {
				t.Errorf("grpc-go got %v, want %v", err, c.code)
			}
			for name := range c.fields {
				if len(trailer.Get(name)) == 0 {
					t.Errorf("grpc-go sees no %s: %v", name, trailer)
				}
			}
		})
	}
}

// A client whose policy would try again at once, twice, and be refused both times: pushback has it wait until there is room.
func TestPushbackIsHonoured(t *testing.T) {
	up := answering(t)
	addr, _ := startRPC(t, rpcCluster(up), "[{path: /*, cluster: rpc, filters: [limit: {rate: 1/s, burst: 1}]}]", gateway.GRPC)
	const policy = `{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.001s", "maxBackoff": "0.001s",
		"backoffMultiplier": 1, "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]}`
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(policy))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := grpc_testing.NewTestServiceClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range 3 {
		if _, err := client.UnaryCall(ctx, payload("x")); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
}

// A guard's refusal of a call of gRPC-Web is a last frame, wherever the guard stands.
func TestRefusalsOfWebCallsAreFrames(t *testing.T) {
	up := answering(t)
	for _, c := range refused {
		guard := "{" + users(t, c.filters) + "}"
		for _, order := range []string{guard + ", {grpc_web: {}}", "{grpc_web: {}}, " + guard} {
			addr, _ := startRPC(t, rpcCluster(up), "[{path: /*, cluster: rpc, filters: ["+order+"]}]", gateway.GRPCWeb)
			if c.passes {
				if a := webCall(t, addr, "application/grpc-web+proto", unaryPath, frame(t, payload("x"))); a.trailer.Get("Grpc-Status") != "0" {
					t.Fatalf("the first call: %+v", a)
				}
			}
			for _, kind := range []string{"application/grpc-web+proto", "application/grpc-web-text"} {
				a := webCall(t, addr, kind, unaryPath, frame(t, payload("x")))
				if a.err != nil || len(a.messages) > 0 || a.trailer.Get("Grpc-Status") != fmt.Sprint(int(c.code)) {
					t.Errorf("%s, %s: %+v", order, kind, a)
				}
				for name, want := range c.fields {
					if strings.HasPrefix(name, "Ratelimit") {
						continue // of every answer, in its head
					}
					if got := a.trailer.Get(name); got == "" || want != "" && got != want {
						t.Errorf("%s, %s: %s is %q, want %q", order, kind, name, got, want)
					}
				}
			}
		}
	}
}
