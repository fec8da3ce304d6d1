package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/yumen-io/yumen/kit/internal/servers/etcd"
)

func TestOneOfThreeMembersIsFrozen(t *testing.T) {
	t.Parallel()
	c := etcd.StartCluster(t, 3)
	r := open(t, quick(c.Endpoints()))
	g := register(t, r, instance("orders", 0))
	w := watch(t, r, "orders")
	until(t, w, "the instance", freshWith(1))
	for range 2 {
		used := r.Stats().Endpoint
		for _, m := range c.Members {
			if m.Endpoints()[0] == used {
				m.Freeze()
				defer m.Thaw()
				eventually(t, "another member", func() bool { e := r.Stats().Endpoint; return e != "" && e != used })
				registered(t, g)
				until(t, w, "the instance", freshWith(1))
				m.Thaw()
			}
		}
	}
}

func TestTheMemberThatIsLeftHasNoLeader(t *testing.T) {
	t.Parallel()
	c := etcd.StartCluster(t, 3)
	r := open(t, quick(c.Endpoints()))
	g := register(t, r, instance("orders", 0))
	registered(t, g)
	w := watch(t, r, "orders")
	until(t, w, "the instance", freshWith(1))
	c.Members[0].Kill()
	c.Members[1].Kill()
	if got := until(t, w, "the caller to notice", is(Stale)); len(got.Instances) != 1 {
		t.Errorf("callers see %v", got.Instances)
	}
	c.Members[0].RestartNoWait()
	c.Members[1].Restart()
	until(t, w, "the instance", freshWith(1))
	registered(t, g)
}

func TestFrozenBetweenListAndWatch(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	cfg := quick(s.Endpoints())
	var once sync.Once
	cfg.listed = func() { once.Do(s.Freeze) }
	r := open(t, cfg)
	w := watch(t, r, "orders")
	eventually(t, "the silence to be heard", func() bool { return r.Stats().Silences > 0 })
	s.Thaw()
	registered(t, register(t, r, instance("orders", 0)))
	until(t, w, "the instance", freshWith(1))
}

func TestSetsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	r := open(t, quick(s.Endpoints()))
	w := watch(t, r, "orders")
	n := 0
	for set := range w.Sets(t.Context()) {
		if set.Freshness == Unknown {
			t.Error("an unknown set is told")
		}
		if len(set.Instances) == n {
			if n == 3 {
				break
			}
			register(t, r, instance("orders", n))
			n++
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range w.Sets(context.Background()) {
		}
	}()
	w.Close()
	<-done
}

func TestHistoryIsCompactedBetweenListAndWatch(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	cfg := quick(s.Endpoints())
	var once sync.Once
	var failed error
	cfg.listed = func() {
		once.Do(func() {
			c := s.Client()
			defer c.Close()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			var last int64
			for range 3 {
				a, err := c.Put(ctx, "/yumen/services/orders/x", "{}")
				if err != nil {
					failed = err
					return
				}
				last = a.Header.Revision
			}
			_, failed = c.Compact(ctx, last)
		})
	}
	r := open(t, cfg)
	w := watch(t, r, "orders")
	eventually(t, "a second list", func() bool { return r.Stats().Compactions == 1 })
	registered(t, register(t, r, instance("orders", 0)))
	until(t, w, "the instance", freshWith(1))
	if failed != nil {
		t.Fatal(failed)
	}
}

func TestAllInstancesVanish(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	cfg := quick(s.Endpoints())
	cfg.Grace = 500 * time.Millisecond
	r := open(t, cfg)
	w := watch(t, r, "orders")
	act(t, s, func(ctx context.Context, c *clientv3.Client) error {
		for n := range 3 {
			i := instance("orders", n)
			i.fill()
			text, err := encode(&i)
			if err != nil {
				return err
			}
			if _, err := c.Put(ctx, "/yumen/services/orders/"+i.ID, string(text)); err != nil {
				return err
			}
		}
		return nil
	})
	until(t, w, "all", freshWith(3))
	act(t, s, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Delete(ctx, "/yumen/services/orders/", clientv3.WithPrefix())
		return err
	})
	held := until(t, w, "all to be kept", func(s *Set) bool { return s.Missing == 3 })
	if held.Freshness != Stale || len(held.Instances) != 3 {
		t.Errorf("while all are missed callers see %d, %s", len(held.Instances), held.Freshness)
	}
	until(t, w, "the grace period to end", freshWith(0))
	if got := r.Stats().Holds; got != 1 {
		t.Errorf("held %d times, want once", got)
	}
}

func TestMalformedValuesAreSkippedAndNamedOnce(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	cfg := quick(s.Endpoints())
	var log locked
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r := open(t, cfg)
	registered(t, register(t, r, instance("orders", 0)))
	w := watch(t, r, "orders")
	until(t, w, "the good one", freshWith(1))
	act(t, s, func(ctx context.Context, c *clientv3.Client) error {
		for _, v := range []string{"{", "{}", "[]", strings.Repeat("x", valueBytesMax+1)} {
			if _, err := c.Put(ctx, "/yumen/services/orders/bad", v); err != nil {
				return err
			}
		}
		return nil
	})
	eventually(t, "all to be counted", func() bool { return r.Stats().Malformed == 4 })
	registered(t, register(t, r, instance("orders", 1)))
	until(t, w, "a second good one", freshWith(2))
	if got := strings.Count(log.String(), "a malformed instance is skipped"); got != 1 {
		t.Errorf("the log names it %d times, want once:\n%s", got, &log)
	}
}

func TestAGoodInstanceThatIsSpoiltStaysAsItWas(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	r := open(t, quick(s.Endpoints()))
	w := watch(t, r, "orders")
	put := func(v string) {
		act(t, s, func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.Put(ctx, "/yumen/services/orders/a", v)
			return err
		})
	}
	put(`{"schema":1,"service":"orders","id":"a","address":"10.0.0.1:80"}`)
	until(t, w, "it", freshWith(1))
	put(`{"schema":1,"service":"orders","id":"a","address":""}`)
	eventually(t, "the fault to be counted", func() bool { return r.Stats().Malformed == 1 })
	s.Restart() // and it is listed again
	eventually(t, "the fault to be seen again", func() bool { return r.Stats().Malformed == 2 })
	if got := until(t, w, "it", is(Fresh)); len(got.Instances) != 1 || got.Instances[0].Address != "10.0.0.1:80" {
		t.Errorf("callers see %v", got.Instances)
	}
}

func TestTwoWatchersOfOneService(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	r := open(t, quick(s.Endpoints()))
	a, b := watch(t, r, "orders"), watch(t, r, "orders")
	registered(t, register(t, r, instance("orders", 0)))
	until(t, a, "the instance", freshWith(1))
	until(t, b, "the instance", freshWith(1))
	if a.Set() != b.Set() {
		t.Error("two watchers have two sets")
	}
	a.Close()
	a.Close()
	registered(t, register(t, r, instance("orders", 1)))
	until(t, b, "a second instance", freshWith(2))
	b.Close()
	if got := r.Stats().Services; got != 0 {
		t.Errorf("%d services are watched after all watchers have closed", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := watch(t, r, "orders")
	if got, err := c.Wait(ctx); err != nil || len(got.Instances) != 2 {
		t.Errorf("a watcher after the last sees %v, %v", got, err)
	}
}

func TestABrokenSnapshotIsIgnored(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	cfg := quick(s.Endpoints())
	cfg.SnapshotDir = filepath.Join(t.TempDir(), "to", "be", "made")
	r := open(t, cfg)
	registered(t, register(t, r, instance("orders", 0)))
	until(t, watch(t, r, "orders"), "the instance", freshWith(1))
	eventually(t, "a snapshot", func() bool { return r.Stats().SnapshotsWritten > 0 })
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	file := filepath.Join(cfg.SnapshotDir, "orders.snapshot")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	torn := open(t, cfg)
	if got := watch(t, torn, "orders").Set(); got.Freshness != FromSnapshot || len(got.Instances) != 1 {
		t.Errorf("from the whole file callers see %+v", got)
	}
	for cut := range len(text) {
		if _, _, err := decodeSnapshot(text[:cut], "/yumen", "orders"); err == nil {
			t.Fatalf("a file cut at byte %d of %d is taken", cut, len(text))
		}
	}
	for n := range text {
		bad := bytes.Clone(text)
		bad[n] ^= 0x20
		if _, _, err := decodeSnapshot(bad, "/yumen", "orders"); err == nil && !headIsTheSame(bad, text) {
			t.Fatalf("a file with byte %d changed is taken", n)
		}
	}
	if err := os.WriteFile(file, text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, cfg)
	if got := watch(t, again, "orders").Set(); got.Freshness != Unknown {
		t.Errorf("from a torn file callers see %+v", got)
	}
	if got := again.Stats().SnapshotsBroken; got != 1 {
		t.Errorf("%d broken snapshots are counted, want 1", got)
	}
	if _, _, err := decodeSnapshot(text, "/yumen", "payments"); err == nil {
		t.Error("the snapshot of another service is taken")
	}
	if _, _, err := decodeSnapshot(text, "/other", "orders"); err == nil {
		t.Error("the snapshot of another prefix is taken")
	}
}

// headIsTheSame tells whether two files differ only in the case of the checksum's letters.
func headIsTheSame(a, b []byte) bool { return bytes.EqualFold(a, b) && bytes.Equal(a[40:], b[40:]) }

func TestASnapshotThatCannotBeWrittenIsCountedAndNotFatal(t *testing.T) {
	t.Parallel()
	s := etcd.Start(t)
	cfg := quick(s.Endpoints())
	cfg.SnapshotDir = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(cfg.SnapshotDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := open(t, cfg)
	registered(t, register(t, r, instance("orders", 0)))
	w := watch(t, r, "orders")
	eventually(t, "a failure", func() bool { return r.Stats().SnapshotFailures > 0 })
	until(t, w, "the instance", freshWith(1))
}

func TestNoInstanceIsSeenBeyondTheBound(t *testing.T) {
	f := &feed{service: "orders", prefix: "p/", cfg: &Config{}, stats: &counters{}, logger: slog.Default(),
		guard: newGuard(time.Minute), known: make(chan struct{}), archive: &archive{}, blamed: map[string]bool{}}
	f.set.Store(&Set{})
	all := map[string]Instance{}
	for n := range instancesMax {
		all[fmt.Sprint(n)] = named("x")
	}
	f.guard.list(zero, all, false)
	r := &clientv3.WatchResponse{Events: []*clientv3.Event{event("p/more", `{"schema":1,"service":"orders","id":"more","address":"h:1"}`)}}
	r.Header = header()
	if err := f.hear(r, true); err != nil {
		t.Fatal(err)
	}
	if got := len(f.set.Load().Instances); got != instancesMax || f.stats.dropped.Load() != 1 {
		t.Errorf("%d instances are seen and %d dropped, want %d and 1", got, f.stats.dropped.Load(), instancesMax)
	}
}

func TestASessionThatEndsBeforeAnythingWasListedTellsNothing(t *testing.T) {
	r := &Registry{}
	f := newFeed(r, "orders")
	f.guard.disconnect(zero)
	f.publish()
	if got := f.set.Load(); got.Version != 0 || got.Freshness != Unknown {
		t.Errorf("callers see version %d, %s", got.Version, got.Freshness)
	}
	f.archive = &archive{}
	f.guard.list(zero, map[string]Instance{}, false)
	f.publish()
	if got := f.set.Load(); got.Version != 1 || got.Freshness != Fresh {
		t.Errorf("after an empty list callers see version %d, %s", got.Version, got.Freshness)
	}
}

func TestAWatchThatWasMovedToAnotherEtcd(t *testing.T) {
	f := &feed{cluster: 1, revision: 10}
	for _, c := range []struct {
		cluster  uint64
		revision int64
		want     error
	}{{1, 10, nil}, {1, 11, nil}, {1, 4, errOtherCluster}, {2, 11, errOtherCluster}} {
		r := &clientv3.WatchResponse{Header: header()}
		r.Header.ClusterId, r.Header.Revision = c.cluster, c.revision
		if got := f.hear(r, true); !errors.Is(got, c.want) {
			t.Errorf("progress of cluster %d at %d: %v, want %v", c.cluster, c.revision, got, c.want)
		}
	}
}

// locked is a log that is written and read at the same time.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }
func (l *locked) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

func BenchmarkSet(b *testing.B) {
	f := &feed{}
	f.set.Store(&Set{Instances: make([]Instance, 20)})
	w := &Watcher{feed: f}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		n := 0
		for p.Next() {
			n += len(w.Set().Instances)
		}
		_ = n
	})
}
