package app

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
)

// serving is an App whose gate is open, without sockets.
func serving(t testing.TB) *App {
	t.Helper()
	work := &worker{}
	a, err := New(Config{HTTP: HTTPConfig{Address: ":0", Handler: http.NotFoundHandler()}, GRPC: GRPCConfig{Address: ":0", Register: work.register}, NoSignals: true, Logger: silent})
	must(t, err)
	a.gate.Store(gateOpen)
	return a
}

func TestAdmittingARequestAllocatesNothing(t *testing.T) {
	a := serving(t)
	e := &entrance{a: a, next: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), probes: true}
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/orders/7", nil)
	for range 1000 { // each shard has had a request
		e.ServeHTTP(w, r)
	}
	if n := testing.AllocsPerRun(1000, func() { e.ServeHTTP(w, r) }); n != 0 {
		t.Errorf("a request: %v allocations", n)
	}
	info := &grpc.UnaryServerInfo{FullMethod: workMethod}
	handle := func(context.Context, any) (any, error) { return nil, nil }
	if n := testing.AllocsPerRun(1000, func() { _, _ = a.rpc.unary(t.Context(), nil, info, handle) }); n != 0 {
		t.Errorf("a call: %v allocations", n)
	}
}

func BenchmarkAdmitRequest(b *testing.B) {
	a := serving(b)
	e := &entrance{a: a, next: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), probes: true}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/orders/7", nil)
		for pb.Next() {
			e.ServeHTTP(w, r)
		}
	})
}

func BenchmarkAdmitCall(b *testing.B) {
	a := serving(b)
	info := &grpc.UnaryServerInfo{FullMethod: workMethod}
	handle := func(context.Context, any) (any, error) { return nil, nil }
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			_, _ = a.rpc.unary(ctx, nil, info, handle)
		}
	})
}

func TestMoreRequestsThanAnErrorNames(t *testing.T) {
	f := &flight{}
	var tickets []ticket
	for range 100 {
		tickets = append(tickets, f.begin("GET", "/"+strings.Repeat("x", 1000)))
	}
	names, more := f.names()
	if len(names) != namedMax || more != 100-namedMax || len(names[0]) > 220 || f.count() != 100 {
		t.Errorf("%d names and %d more of %d: %s", len(names), more, f.count(), names[0])
	}
	for _, at := range tickets {
		f.done(at)
	}
	if names, more := f.names(); len(names)+more+f.count() != 0 {
		t.Errorf("%d are left", f.count())
	}
}

func TestAServerThatFails(t *testing.T) {
	work := &worker{do: func(context.Context) (string, error) { return "", nil }}
	for name, fail := range map[string]func(*bench){
		"HTTP":  func(b *bench) { _ = b.App.web.l.Close() },
		"admin": func(b *bench) { _ = b.App.admin.l.Close() },
		"gRPC":  func(b *bench) { _ = b.App.rpc.l.Close() },
	} {
		b := newBench(t, http.NotFound, work, nil)
		fail(b)
		if err := outcome(t, b.ended); err == nil || !strings.Contains(err.Error(), "app: "+name+" server: ") || errors.Is(err, ErrForced) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
