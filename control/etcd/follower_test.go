package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/control/etcd"
	"github.com/yumen-io/yumen/kit/registry"
)

// quick is an etcd as a document would have it, with short times.
func quick(addr string) etcd.Server {
	return etcd.Server{Addresses: []string{addr}, Prefix: "/yumen", Timeout: 300 * time.Millisecond, Grace: 500 * time.Millisecond}
}

func service(name string, server etcd.Server) *etcd.Service {
	return &etcd.Service{Service: name, Server: server}
}

func registries(t *testing.T, snapshots string) *etcd.Registries {
	r := etcd.NewRegistries(snapshots, slog.New(slog.DiscardHandler))
	t.Cleanup(r.Wait)
	return r
}

func follow(t *testing.T, r *etcd.Registries, services ...*etcd.Service) *etcd.Follower {
	t.Helper()
	f, err := r.Follow(etcd.Config{Services: services, Changed: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	f.Start()
	t.Cleanup(f.Stop)
	return f
}

func targets(f *etcd.Follower) string {
	var list []string
	for _, t := range f.Targets() {
		list = append(list, fmt.Sprintf("%s*%d", t.Addr, t.Weight))
	}
	return strings.Join(list, " ")
}

func TestInstancesComeAndGo(t *testing.T) {
	s := startServer(t)
	services := s.services()
	a := register(t, services, registry.Instance{Service: "orders", ID: "a", Address: "10.0.0.1:80"})
	register(t, services, registry.Instance{Service: "orders", ID: "b", Address: "10.0.0.2:80", Weight: 50, Zone: "eu-1", Colour: "blue", Version: "2"})
	register(t, services, registry.Instance{Service: "other", ID: "c", Address: "10.0.0.9:80"})
	f := follow(t, registries(t, ""), service("orders", quick(s.addr)))
	if err := f.First(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := targets(f); got != "10.0.0.1:80*100 10.0.0.2:80*50" {
		t.Errorf("%s", got)
	}
	st := f.Statuses()[0]
	if st.State != "fresh" || st.Endpoints != 2 || st.Missing != 0 || st.Service != "etcd orders" || st.Etcd == "" || st.LastError != nil {
		t.Errorf("%+v", st)
	}
	if i := st.Instances[1]; i.ID != "b" || i.Zone != "eu-1" || i.Colour != "blue" || i.Version != "2" {
		t.Errorf("%+v", i)
	}
	register(t, services, registry.Instance{Service: "orders", ID: "d", Address: "10.0.0.3:80", Weight: 9999})
	eventually(t, "the third", func() bool { return targets(f) == "10.0.0.1:80*100 10.0.0.2:80*50 10.0.0.3:80*1000" })
	if err := a.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first is gone", func() bool { return targets(f) == "10.0.0.2:80*50 10.0.0.3:80*1000" })
}

func TestOnlyInstancesThatAreMeant(t *testing.T) {
	s := startServer(t)
	services := s.services()
	register(t, services, registry.Instance{Service: "orders", ID: "a", Address: "10.0.0.1:80", Colour: "blue", Zone: "x", Version: "1"})
	register(t, services, registry.Instance{Service: "orders", ID: "b", Address: "10.0.0.2:80", Colour: "green", Zone: "x", Version: "2"})
	register(t, services, registry.Instance{Service: "orders", ID: "n", Address: "orders.internal:80", Colour: "green"})
	register(t, services, registry.Instance{Service: "orders", ID: "same", Address: "10.0.0.2:80", Colour: "green", Zone: "x", Version: "2"})
	r := registries(t, "")
	for _, c := range []struct {
		plan     etcd.Service
		want     string
		unusable int
	}{
		{etcd.Service{}, "10.0.0.1:80*100 10.0.0.2:80*100", 1},
		{etcd.Service{Colour: "blue"}, "10.0.0.1:80*100", 0},
		{etcd.Service{Zone: "x", Version: "2"}, "10.0.0.2:80*100", 0},
		{etcd.Service{Version: "3"}, "", 0},
	} {
		plan := c.plan
		plan.Service, plan.Server = "orders", quick(s.addr)
		f := follow(t, r, &plan)
		if err := f.First(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, st := targets(f), f.Statuses()[0]; got != c.want || st.Unusable != c.unusable || (c.want == "") != (st.State == "none") {
			t.Errorf("%s: %s, %+v", plan.String(), got, st)
		}
	}
}

func TestWhatIsKnownStaysWhileEtcdIsFrozenAndWhenItDies(t *testing.T) {
	s := startServer(t)
	services := s.services()
	register(t, services, registry.Instance{Service: "orders", ID: "a", Address: "10.0.0.1:80"})
	folder := t.TempDir()
	r := etcd.NewRegistries(folder, slog.New(slog.DiscardHandler))
	f, err := r.Follow(etcd.Config{Services: []*etcd.Service{service("orders", quick(s.addr))}, Changed: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.First(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.Start()
	state := func(want string) func() bool {
		return func() bool { return f.Statuses()[0].State == want && targets(f) == "10.0.0.1:80*100" }
	}
	s.freeze()
	eventually(t, "stale while it is frozen", state("stale"))
	s.thaw()
	eventually(t, "fresh again", state("fresh"))
	s.kill()
	eventually(t, "stale when it is dead", func() bool { return state("stale")() && f.Statuses()[0].LastError != nil })
	f.Stop()
	r.Wait()

	// A process that starts now has the file, and nothing else.
	again := follow(t, registries(t, folder), service("orders", quick(s.addr)))
	if err := again.First(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := again.Statuses()[0]; st.State != "from_snapshot" || targets(again) != "10.0.0.1:80*100" {
		t.Errorf("%+v", st)
	}
	// One without a file says that it knows nothing.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := follow(t, registries(t, ""), service("orders", quick(s.addr))).First(ctx); !errors.Is(err, etcd.ErrUnknown) || !strings.Contains(err.Error(), "orders") {
		t.Errorf("%v", err)
	}
}

func TestAnEmptySetIsNotFollowed(t *testing.T) {
	s := startServer(t)
	services := s.services()
	a := register(t, services, registry.Instance{Service: "orders", ID: "a", Address: "10.0.0.1:80"})
	r := registries(t, "")
	f := follow(t, r, service("orders", quick(s.addr)))
	if err := f.First(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.Targets()
	if err := a.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "etcd has none", func() bool { st := f.Statuses()[0]; return st.State == "kept" && st.Missing == 1 })
	if got := targets(f); got != "10.0.0.1:80*100" {
		t.Errorf("%s", got)
	}
	// Nor by a change of the document.
	next, err := r.Follow(etcd.Config{Services: []*etcd.Service{service("orders", quick(s.addr))}, Before: f, Changed: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Stop()
	if err := next.First(t.Context()); err != nil || targets(next) != "10.0.0.1:80*100" {
		t.Errorf("%v: %s", err, targets(next))
	}
	register(t, services, registry.Instance{Service: "orders", ID: "b", Address: "10.0.0.2:80"})
	eventually(t, "the next one takes its place", func() bool { return targets(f) == "10.0.0.2:80*100" && targets(next) == "10.0.0.2:80*100" })
}

func TestClustersShareOneConnection(t *testing.T) {
	s := startServer(t)
	r := registries(t, "")
	one := follow(t, r, service("orders", quick(s.addr)), service("payments", quick(s.addr)))
	two := follow(t, r, service("orders", quick(s.addr)))
	other := quick(s.addr)
	other.Grace = time.Minute
	three := follow(t, r, service("orders", other))
	for _, f := range []*etcd.Follower{one, two, three} {
		if err := f.First(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.Open(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}
