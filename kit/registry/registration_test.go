package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/yumen-io/yumen/kit/internal/servers/etcd"
)

const key00 = "/yumen/services/orders/i00"

func TestRegisteredUpdatedAndGone(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	r := open(t, quick(s.Endpoints()))
	w := watch(t, r, "orders")
	if got := until(t, w, "an answer", is(Fresh)); len(got.Instances) != 0 {
		t.Errorf("a service that nobody has registered has %v", got.Instances)
	}
	g := register(t, r, instance("orders", 0))
	registered(t, g)
	got := until(t, w, "the instance", freshWith(1)).Instances[0]
	want := g.Instance()
	if !got.equal(&want) || got.Started.IsZero() || got.Weight != weightDefault {
		t.Errorf("callers see %+v, registered is %+v", got, want)
	}
	next := instance("orders", 0)
	next.Weight, next.Colour = 7, "green"
	if err := g.Update(next); err != nil {
		t.Fatal(err)
	}
	after := until(t, w, "the update", func(s *Set) bool { return len(s.Instances) == 1 && s.Instances[0].Weight == 7 })
	if i := after.Instances[0]; i.Colour != "green" || !i.Started.Equal(want.Started) {
		t.Errorf("after an update callers see %+v", i)
	}
	if err := g.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, s); len(got) != 0 {
		t.Errorf("after Deregister etcd holds %v", got)
	}
	if err := g.Deregister(t.Context()); err != nil {
		t.Errorf("a second Deregister: %v", err)
	}
	if err := g.Update(next); !errors.Is(err, ErrClosed) {
		t.Errorf("Update after Deregister: %v, want ErrClosed", err)
	}
	if st := g.State(); st.Status != Deregistered {
		t.Errorf("State after Deregister is %v", st)
	}
}

func TestRegisteredBeforeEtcdIsThere(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	s.Kill()
	r := open(t, quick(s.Endpoints()))
	g := register(t, r, instance("orders", 0))
	w := watch(t, r, "orders")
	eventually(t, "an attempt", func() bool { return r.Stats().SessionFailures > 2 })
	if st := g.State(); st.Status != Registering {
		t.Errorf("State is %v", st)
	}
	if got := w.Set(); got.Freshness != Unknown || got.Version != 0 {
		t.Errorf("callers see %+v, want what means nothing", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait without etcd: %v", err)
	}
	if _, err := w.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Watcher.Wait without etcd: %v", err)
	}
	if r.Stats().LastError == nil {
		t.Error("Stats does not say why")
	}
	s.Restart()
	registered(t, g)
	until(t, w, "the instance", freshWith(1))
	if _, err := w.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheLaterOfTwoWithOneID(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	older, newer := open(t, quick(s.Endpoints())), open(t, quick(s.Endpoints()))
	a := register(t, older, instance("orders", 0))
	registered(t, a)
	second := instance("orders", 0)
	second.Address = "10.9.9.9:8080"
	b := register(t, newer, second)
	registered(t, b)
	eventually(t, "the earlier to see it", func() bool { return a.State().Status == Lost })
	if st := a.State(); !errors.Is(st.Err, ErrReplaced) {
		t.Errorf("the earlier one is lost because of %v", st.Err)
	}
	w := watch(t, newer, "orders")
	if got := until(t, w, "the later", freshWith(1)); got.Instances[0].Address != second.Address {
		t.Errorf("callers see %v", got.Instances)
	}
	lease := keys(t, s)[key00]

	// What the earlier does when it ends cannot take the later's key.
	if err := a.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := older.Close(); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, s)[key00]; got != lease {
		t.Errorf("after the earlier has deregistered the key has lease %x, want %x", got, lease)
	}
}

func TestTheEarlierIsBackWhenTheLaterIsGone(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	older, newer := open(t, quick(s.Endpoints())), open(t, quick(s.Endpoints()))
	a := register(t, older, instance("orders", 0))
	registered(t, a)
	b := register(t, newer, instance("orders", 0))
	registered(t, b)
	eventually(t, "the earlier to see it", func() bool { return a.State().Status == Lost })
	if err := newer.Close(); err != nil {
		t.Fatal(err)
	}
	registered(t, a)
}

func TestWhatOperatorsDoToKeys(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	r := open(t, quick(s.Endpoints()))
	g, other := register(t, r, instance("orders", 0)), register(t, r, instance("orders", 1))
	registered(t, g, other)
	lease := keys(t, s)[key00]

	act(t, s, func(ctx context.Context, c *clientv3.Client) error { _, err := c.Delete(ctx, key00); return err })
	eventually(t, "a deleted key to be back", func() bool { return keys(t, s)[key00] == lease })

	act(t, s, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Put(ctx, key00, "by hand")
		return err
	})
	eventually(t, "an overwritten key to be ours again", func() bool { return keys(t, s)[key00] == lease })

	act(t, s, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Revoke(ctx, clientv3.LeaseID(lease))
		return err
	})
	eventually(t, "both to be back under another lease", func() bool {
		k := keys(t, s)
		return len(k) == 2 && k[key00] != lease && k[key00] == k["/yumen/services/orders/i01"]
	})
	registered(t, g, other)
	if st := r.Stats(); st.LeaseLosses != 1 || st.LeaseGrants != 2 || st.Restored < 2 || st.Registered != 2 {
		t.Errorf("Stats are %+v", st)
	}
}

func TestLostAfterATTLWithoutEtcd(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	cfg := quick(s.Endpoints())
	cfg.TTL = time.Second
	r := open(t, cfg)
	g := register(t, r, instance("orders", 0))
	registered(t, g)
	s.Freeze()
	eventually(t, "the State to say so", func() bool { st := g.State(); return st.Status == Lost && st.Err != nil })
	s.Thaw()
	eventually(t, "it to be back", func() bool { return g.State().Status == Registered && len(keys(t, s)) == 1 })
}

func TestCloseDeregisters(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	r := open(t, quick(s.Endpoints()))
	g := register(t, r, instance("orders", 0))
	registered(t, g)
	w := watch(t, r, "orders")
	until(t, w, "the instance", freshWith(1))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, s); len(got) != 0 {
		t.Errorf("after Close etcd holds %v", got)
	}
	if got := g.State().Status; got != Deregistered {
		t.Errorf("the State is %v", got)
	}
	if got := w.Set(); len(got.Instances) != 1 {
		t.Errorf("a watcher has %d instances after Close, want its last", len(got.Instances))
	}
	w.Close()
	if _, err := r.Register(t.Context(), instance("orders", 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("Register after Close: %v", err)
	}
	if _, err := r.Watch("orders"); !errors.Is(err, ErrClosed) {
		t.Errorf("Watch after Close: %v", err)
	}
	if err := g.Wait(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Wait after Close: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

func TestCloseDoesNotWaitForAFrozenEtcd(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	r := open(t, quick(s.Endpoints()))
	registered(t, register(t, r, instance("orders", 0)))
	s.Freeze()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // no time at all: that it returns is the test
	if err := r.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown with etcd frozen: %v", err)
	}
}

func TestPasswordsAreUsedAgainAfterTheirTokenIsGone(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	cfg := quick(s.Endpoints())
	cfg.Username, cfg.Password = "root", "secret"
	r := open(t, cfg)
	g := register(t, r, instance("orders", 0))
	w := watch(t, r, "orders")
	until(t, w, "the instance", freshWith(1))

	// Logins begin to matter under a client that has none.
	act(t, s, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.UserAdd(ctx, "root", "secret")
		if err == nil {
			_, err = c.UserGrantRole(ctx, "root", "root")
		}
		if err == nil {
			_, err = c.AuthEnable(ctx)
		}
		return err
	})
	beats := r.Stats().Heartbeats
	eventually(t, "heartbeats that log in", func() bool { return r.Stats().Heartbeats > beats+2 && g.State().Err == nil })

	// A restarted etcd knows no token.
	s.Restart()
	registered(t, g)
	until(t, w, "the instance", freshWith(1))
	second := register(t, r, instance("orders", 1))
	registered(t, second)
	until(t, w, "a second one", freshWith(2))

	wrong := quick(s.Endpoints())
	wrong.Username, wrong.Password = "root", "guess"
	stranger := open(t, wrong)
	eventually(t, "a wrong password to be counted", func() bool { return stranger.Stats().AuthFailures > 1 })
	if err := stranger.Stats().LastError; !errors.Is(err, rpctypes.ErrAuthFailed) {
		t.Errorf("a wrong password is reported as %v", err)
	}
}

func TestWhatOneRegistryRefuses(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	r := open(t, quick(s.Endpoints()))
	g := register(t, r, instance("orders", 0))
	if _, err := r.Register(t.Context(), instance("orders", 0)); !errors.Is(err, ErrDuplicate) {
		t.Errorf("the same instance twice: %v", err)
	}
	if err := g.Update(instance("orders", 1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("an update under another id: %v", err)
	}
	bad := instance("orders", 0)
	bad.Address = "nowhere"
	if err := g.Update(bad); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "bad_address") {
		t.Errorf("an update with a bad address: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Register(ctx, instance("orders", 2)); !errors.Is(err, context.Canceled) {
		t.Errorf("Register with an ended context: %v", err)
	}
	for n := 1; ; n++ {
		i := instance("orders", 0)
		i.ID = fmt.Sprintf("m%d", n)
		if _, err := r.Register(t.Context(), i); err != nil {
			if !errors.Is(err, ErrFull) || n != registrationsMax {
				t.Errorf("registration %d: %v", n+1, err)
			}
			break
		}
	}
	for n := range servicesMax {
		if _, err := r.Watch(fmt.Sprintf("s%d", n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Watch("one-more"); !errors.Is(err, ErrFull) {
		t.Errorf("service %d: %v", servicesMax+1, err)
	}
}

// An etcd that is slow to revoke what has run out, because it was frozen and has thousands of those, answers the renewal of such a lease
// only when that is done. Nobody waits for it: a new lease is had at once, and the key is moved to it before the old one goes.
func TestALeaseThatHasRunOutIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	hung := make(chan context.Context, 100)
	client, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), Context: t.Context(), Logger: zap.NewNop(), DialOptions: []grpc.DialOption{
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			if strings.HasSuffix(method, "/LeaseKeepAlive") {
				hung <- ctx
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return open(ctx, desc, cc, method, opts...)
		})}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	cfg := quick(s.Endpoints())
	cfg.TTL = time.Second
	cfg, err = cfg.filled()
	if err != nil {
		t.Fatal(err)
	}
	link := &session{ctx: t.Context(), client: client, opened: time.Now(), usual: patience, young: patience}
	r := newRegistrar(&cfg, nil, &counters{})
	g := &Registration{registrar: r, key: key00}
	g.mu.value, g.mu.changed = []byte("v"), make(chan struct{})
	if err := r.add(g); err != nil {
		t.Fatal(err)
	}
	if err := r.round(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	first := r.lease
	eventually(t, "the lease to run out", func() bool { return time.Now().After(r.until) && keys(t, s)[key00] == 0 })
	if err := r.round(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	if now := keys(t, s)[key00]; r.lease == first || now != int64(r.lease) {
		t.Errorf("the key has lease %x, the first was %x, the last %x", now, first, r.lease)
	}
	select {
	case <-hung:
		t.Error("the renewal of a lease that had run out was waited for")
	default:
	}

	// One that etcd has prolonged by itself, as it does when it begins anew, is kept.
	r.cfg.TTL, r.lease = time.Hour, 0
	if err := r.round(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	kept := r.lease
	r.until = time.Now().Add(-time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-hung; cancel() }()
	if err := r.round(ctx, link); !errors.Is(err, context.Canceled) || r.lease != kept {
		t.Errorf("a lease that etcd has prolonged: %v, lease %x, want %x", err, r.lease, kept)
	}
}
