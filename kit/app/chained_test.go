package app

import (
	"context"
	"io"
	"net/http"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/yumen-io/yumen/kit/app/chain"
)

// TestTheRealChainOnRealPorts has callers with a key and without, on both protocols; probes and health need none.
func TestTheRealChainOnRealPorts(t *testing.T) {
	keys, err := chain.APIKeys(chain.APIKeysConfig{Field: "X-Api-Key",
		Keys: []chain.APIKey{{SHA256: chain.HashAPIKey("0123456789abcdef"), Principal: chain.Principal{ID: "shop"}}}})
	must(t, err)
	c, err := chain.New(chain.Config{Auth: chain.Auth{Authenticators: []chain.Authenticator{keys}}, Logger: silent})
	must(t, err)
	work := &worker{
		do: func(ctx context.Context) (string, error) { return chain.PrincipalOf(ctx).ID, nil },
		watch: func(ctx context.Context, say func() error) error {
			must(t, say())
			<-Draining(ctx) // also through the chain's contexts
			return status.Error(codes.Aborted, "come again")
		}}
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		if Draining(r.Context()) == nil {
			t.Error("the context of the drain is lost")
		}
		_, _ = io.WriteString(w, chain.PrincipalOf(r.Context()).ID)
	}, work, func(cfg *Config) { cfg.Chain, cfg.Admin = c, AdminConfig{} })
	base := "http://" + b.Addresses().HTTP
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/": 401} {
		if code, body := get(t, base+path); code != want {
			t.Errorf("%s without a key: %d %s", path, code, body)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base, nil)
	must(t, err)
	r.Header.Set("X-Api-Key", "0123456789abcdef")
	answer, err := b.web.RoundTrip(r)
	must(t, err)
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); string(body) != "shop" || err != nil {
		t.Errorf("with a key: %d %q, %v", answer.StatusCode, body, err)
	}
	if _, err := b.health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Errorf("health without a key: %v", err)
	}
	if _, err := call(t.Context(), b.conn); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a call without a key: %v", err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-api-key", "0123456789abcdef")
	if who, err := call(ctx, b.conn); who != "shop" || err != nil {
		t.Errorf("a call with a key: %q, %v", who, err)
	}
	stream := watch(t, ctx, b.conn)
	go func() { _ = b.Shutdown(context.Background()) }()
	if err := stream.RecvMsg(nil); status.Code(err) != codes.Aborted {
		t.Errorf("the stream ends with %v", err)
	}
	must(t, outcome(t, b.ended))
}
