package chain_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/yumen-io/yumen/kit/app/chain"
	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/kit/observe"
)

// whole is a chain with all of its parts, as a service would have it.
func whole(b testing.TB, sample float64) chain.Config {
	b.Helper()
	tracing, err := observe.NewTracing(observe.TracingConfig{Service: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { tracing.Shutdown(context.Background()) })
	metrics, err := observe.NewMetrics(observe.MetricsConfig{NoRuntime: true})
	if err != nil {
		b.Fatal(err)
	}
	middleware, err := observe.NewMiddleware(observe.MiddlewareConfig{Tracing: tracing, Metrics: metrics})
	if err != nil {
		b.Fatal(err)
	}
	log, err := observe.NewLog(observe.LogConfig{Output: io.Discard})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { log.Close(context.Background()) })
	many, err := limit.New(limit.Config{Count: 1_000_000_000})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(many.Close)
	return chain.Config{
		Observe: middleware, Logger: log.Logger(), Access: chain.Access{Sample: sample},
		Auth: chain.Auth{Authenticators: []chain.Authenticator{keys(b)}}, Limits: []chain.Limit{{Guard: many}},
	}
}

// writer takes an answer and keeps its memory, so that what is measured is the chain's.
type writer struct{ h http.Header }

func (w *writer) Header() http.Header         { return w.h }
func (w *writer) WriteHeader(int)             {}
func (w *writer) Write(b []byte) (int, error) { return len(b), nil }

var ok = []byte("ok")

func trivial(w http.ResponseWriter, _ *http.Request) { w.Write(ok) }

func configs(b testing.TB) []struct {
	name string
	cfg  chain.Config
} {
	never := chain.Deadline{Max: chain.Never}
	quiet := slog.New(slog.DiscardHandler)
	one := whole(b, 1)
	few := whole(b, 0.01)
	short := whole(b, 0.01)
	short.Deadline = never
	return []struct {
		name string
		cfg  chain.Config
	}{
		{"recovery", chain.Config{Access: chain.Access{Off: true}, Deadline: never, Breaker: chain.Breaker{Off: true}, Validation: chain.Validation{Off: true}, Logger: quiet}},
		{"defaults", chain.Config{Access: chain.Access{Sample: 0.01}, Logger: quiet}},
		{"whole, no Max", short},
		{"whole, 1 line in 100", few},
		{"whole, all lines", one},
	}
}

func BenchmarkHTTP(b *testing.B) {
	for _, c := range configs(b) {
		h := must(b, c.cfg).Handler(http.HandlerFunc(trivial))
		b.Run(c.name, func(b *testing.B) {
			r := httptest.NewRequest("GET", "/orders/7", nil)
			r.Header.Set("X-Api-Key", key)
			w := &writer{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.h)
				h.ServeHTTP(w, r)
			}
		})
	}
}

func BenchmarkUnary(b *testing.B) {
	for _, c := range configs(b) {
		through := must(b, c.cfg).Unary()
		b.Run(c.name, func(b *testing.B) {
			ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("x-api-key", key))
			in, out := wrapperspb.String("in"), wrapperspb.String("out")
			info := &grpc.UnaryServerInfo{FullMethod: "/shop.Orders/Create"}
			handle := func(context.Context, any) (any, error) { return out, nil }
			b.ReportAllocs()
			for b.Loop() {
				if _, err := through(ctx, in, info, handle); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkKnownToken(b *testing.B) {
	es := newSigner(b, "ES256", "e")
	a, err := chain.JWT(chain.JWTConfig{Issuer: "https://login", Audience: []string{"shop"}, Keys: set(b, es)})
	if err != nil {
		b.Fatal(err)
	}
	token := es.token(`{"iss":"https://login","aud":["shop"],"sub":"7","exp":4000000000,"scope":"orders admin"}`)
	c := must(b, chain.Config{Access: chain.Access{Off: true}, Auth: chain.Auth{Authenticators: []chain.Authenticator{a}}, Deadline: chain.Deadline{Max: chain.Never}})
	h := c.Handler(http.HandlerFunc(trivial))
	r := request("Authorization: Bearer " + token)
	w := &writer{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		h.ServeHTTP(w, r)
	}
}

func BenchmarkBind(b *testing.B) {
	body := &reader{text: good}
	r := httptest.NewRequest("POST", "/orders/7?size=5", body)
	r.Header.Set("Content-Type", "application/json")
	r.SetPathValue("id", "7")
	b.ReportAllocs()
	for b.Loop() {
		body.at = 0
		if _, err := chain.Bind[order](r); err != nil {
			b.Fatal(err)
		}
	}
}

// reader is a body that can be read again.
type reader struct {
	text string
	at   int
}

func (r *reader) Read(b []byte) (int, error) {
	if r.at == len(r.text) {
		return 0, io.EOF
	}
	n := copy(b, r.text[r.at:])
	r.at += n
	return n, nil
}

func (*reader) Close() error { return nil }
