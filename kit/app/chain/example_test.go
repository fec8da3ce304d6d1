package chain_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/yumen-io/yumen/kit/app/chain"
	"github.com/yumen-io/yumen/kit/limit"
)

// Order is what clients send.
type Order struct {
	SKU      string `json:"sku" binding:"required"`
	Quantity int    `json:"quantity" binding:"min=1,max=99"`
}

// A service takes orders from callers with a key, two in an hour.
func Example() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Output:
	// 401 Say who is calling.
	// reason: credentials_missing
	// 200 2 x tea for acme
	// 400 {"type":"about:blank","title":"Bad Request","status":400,"detail":"one field is not right","reason":"invalid_request","errors":[{"field":"quantity","rule":"min","message":"must be 1 or more"}]}
	// 429 Requests come too often: 2 in 1h0m0s are served.
	// reason: rate_limited
	// gRPC: Unauthenticated Say who is calling. (credentials_missing)
}

func run() error {
	keys, err := chain.APIKeys(chain.APIKeysConfig{Keys: []chain.APIKey{
		{SHA256: chain.HashAPIKey("a key that nobody guesses"), Principal: chain.Principal{ID: "acme"}},
	}})
	if err != nil {
		return err
	}
	perCaller, err := limit.New(limit.Config{Count: 2, Per: time.Hour})
	if err != nil {
		return err
	}
	defer perCaller.Close()

	mux := http.NewServeMux()
	c, err := chain.New(chain.Config{
		Auth:       chain.Auth{Authenticators: []chain.Authenticator{keys}},
		Limits:     []chain.Limit{{Guard: perCaller}},
		Validation: chain.Validation{Types: []any{Order{}}},
		Route:      chain.RouteOf(mux),
		Methods:    map[string]chain.Method{"GET /prices": {Public: true}},
		Logger:     slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		in, err := chain.Bind[Order](r)
		if err != nil {
			chain.Refuse(w, r, err)
			return
		}
		fmt.Fprintf(w, "%d x %s for %s", in.Quantity, in.SKU, chain.PrincipalOf(r.Context()).ID)
	})
	server := httptest.NewServer(c.Handler(mux))
	defer server.Close()

	for _, call := range []struct{ key, body string }{
		{"", `{}`},
		{"a key that nobody guesses", `{"sku":"tea","quantity":2}`},
		{"a key that nobody guesses", `{"sku":"tea"}`},
		{"a key that nobody guesses", `{"sku":"tea","quantity":1}`},
	} {
		r, err := http.NewRequest("POST", server.URL+"/orders", strings.NewReader(call.body))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
		if call.key != "" {
			r.Header.Set("X-API-Key", call.key)
		}
		resp, err := server.Client().Do(r)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return err
		}
		fmt.Println(resp.StatusCode, strings.TrimSpace(string(text)))
	}

	// The same for gRPC: grpc.NewServer(grpc.UnaryInterceptor(c.Unary()), grpc.StreamInterceptor(c.Stream())).
	_, err = c.Unary()(context.Background(), wrapperspb.String("tea"), &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/Create"},
		func(context.Context, any) (any, error) { return nil, nil })
	fmt.Println("gRPC:", status.Convert(err).Code(), status.Convert(err).Message())
	return nil
}
