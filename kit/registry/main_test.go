package registry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/yumen-io/yumen/kit/internal/servers/etcd"
)

func TestMain(m *testing.M) {
	etcd.Main()
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what should happen soon. Nothing is asserted of it: a busy machine is no bug.
const patience = 90 * time.Second

// quick is a Config whose outages are short: the code is the same, and nobody waits.
func quick(endpoints []string) Config {
	return Config{Endpoints: endpoints, TTL: 5 * time.Second, RequestTimeout: time.Second, Grace: time.Minute,
		BackoffMin: 10 * time.Millisecond, BackoffMax: 200 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func open(t *testing.T, cfg Config) *Registry {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // with etcd down, as some tests end, it says so
	return r
}

func instance(service string, n int) Instance {
	return Instance{Service: service, ID: fmt.Sprintf("i%02d", n), Address: fmt.Sprintf("10.0.0.%d:8080", n+1), Zone: "a",
		Version: "1.2", Colour: "blue", Protocols: []string{"grpc"}, Metadata: map[string]string{"rack": "7"}}
}

func register(t *testing.T, r *Registry, i Instance) *Registration {
	t.Helper()
	g, err := r.Register(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func registered(t *testing.T, all ...*Registration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, g := range all {
		if err := g.Wait(ctx); err != nil {
			t.Fatalf("%s: %v", g.key, err)
		}
	}
}

func watch(t *testing.T, r *Registry, service string) *Watcher {
	t.Helper()
	w, err := r.Watch(service)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// until waits for a set that is as it should be.
func until(t *testing.T, w *Watcher, what string, ok func(*Set) bool) *Set {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		s := w.Set()
		if ok(s) {
			return s
		}
		select {
		case <-w.Changed():
		case <-timeout.C:
			t.Fatalf("waited for %s; the set is %s since %v with %d instances, %d of them missing; %+v", what, s.Freshness, s.Since,
				len(s.Instances), s.Missing, w.registry.Stats())
		}
	}
}

// eventually asks again and again for what nobody notifies of.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(patience); !ok(); <-ticker.C {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}

func freshWith(n int) func(*Set) bool {
	return func(s *Set) bool { return s.Freshness == Fresh && len(s.Instances) == n }
}

func is(f Freshness) func(*Set) bool { return func(s *Set) bool { return s.Freshness == f } }

// keys are what etcd holds, each with its lease.
func keys(t *testing.T, s *etcd.Server) map[string]int64 {
	t.Helper()
	c := s.Client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a, err := c.Get(ctx, "/yumen/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int64{}
	for _, kv := range a.Kvs {
		all[string(kv.Key)] = kv.Lease
	}
	return all
}

// act sends something to etcd as an operator would.
func act(t *testing.T, s *etcd.Server, do func(context.Context, *clientv3.Client) error) {
	t.Helper()
	c := s.Client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := do(ctx, c); err != nil {
		t.Fatal(err)
	}
}
