package registry

import (
	"os"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/internal/servers/etcd"
)

// outage is how long etcd is away: no time at all, or what YUMEN_ETCD_OUTAGE says, such as 60s.
func outage(t *testing.T) {
	t.Helper()
	text := os.Getenv("YUMEN_ETCD_OUTAGE")
	if text == "" {
		return
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(d)
}

// sentinel looks at every set that a watcher is given, and finds the empty one.
type sentinel struct {
	w         *Watcher
	stop      chan struct{}
	done      chan struct{}
	fewest, n int
}

func guardOver(t *testing.T, w *Watcher) *sentinel {
	t.Helper()
	s := &sentinel{w: w, stop: make(chan struct{}), done: make(chan struct{}), fewest: len(w.Set().Instances)}
	go func() {
		defer close(s.done)
		for {
			select {
			case <-s.stop:
				return
			case <-w.Changed():
				s.n++
				s.fewest = min(s.fewest, len(w.Set().Instances))
			}
		}
	}()
	return s
}

func (s *sentinel) end() int { close(s.stop); <-s.done; return s.fewest }

// TestTwentyInstancesComeBack is the promise of the package: twenty processes with an instance each, a caller who watches
// them, and everything that can happen to etcd. All come back, nobody sees a set without them, and a caller who starts
// meanwhile has them from its snapshot.
//
// With YUMEN_ETCD_OUTAGE=60s etcd is away for as long; otherwise for as long as it takes all to notice.
func TestTwentyInstancesComeBack(t *testing.T) {
	const instances = 20
	s := etcd.Start(t)
	dir := t.TempDir()
	cfg := quick(s.Endpoints())
	cfg.TTL = 30 * time.Second // no lease runs out because the machine is busy
	if os.Getenv("YUMEN_ETCD_OUTAGE") != "" {
		cfg = Config{Endpoints: s.Endpoints(), Logger: cfg.Logger} // as it is in production
	}
	var registries []*Registry
	var all []*Registration
	for n := range instances {
		r := open(t, cfg)
		registries = append(registries, r)
		all = append(all, register(t, r, instance("orders", n)))
	}
	registered(t, all...)
	cfg.SnapshotDir = dir
	caller := open(t, cfg)
	w := watch(t, caller, "orders")
	until(t, w, "all instances", freshWith(instances))
	eventually(t, "a snapshot", func() bool { return caller.Stats().SnapshotsWritten > 0 })

	// cold starts a caller now, which has only the snapshot, and follows it until all is well again.
	cold := func(t *testing.T) *Watcher {
		t.Helper()
		r := open(t, cfg)
		c := watch(t, r, "orders")
		if got := c.Set(); got.Freshness != FromSnapshot || len(got.Instances) != instances {
			t.Errorf("a cold caller starts with %d instances, %s; want %d from its snapshot", len(got.Instances), got.Freshness, instances)
		}
		return c
	}
	noticed := func(t *testing.T) {
		t.Helper()
		eventually(t, "everyone to notice", func() bool {
			for _, r := range registries {
				if r.Stats().Endpoint != "" {
					return false
				}
			}
			return true
		})
	}
	back := func(t *testing.T, what string, c *Watcher) {
		t.Helper()
		began := time.Now()
		for _, r := range registries {
			eventually(t, what+": the registrars", func() bool { st := r.Stats(); return st.Registered == 1 && st.Endpoint != "" })
		}
		eventually(t, what+": the keys", func() bool { return len(keys(t, s)) == instances })
		eventually(t, what+": the caller", func() bool { return freshWith(instances)(w.Set()) })
		if c != nil {
			eventually(t, what+": the cold caller", func() bool { return freshWith(instances)(c.Set()) })
		}
		t.Logf("%s: all back %v after etcd answers", what, time.Since(began).Round(10*time.Millisecond))
	}
	eye := guardOver(t, w)

	s.Kill()
	noticed(t)
	eventually(t, "the caller to notice", func() bool { return is(Stale)(w.Set()) })
	c := cold(t)
	outage(t)
	s.Restart()
	back(t, "killed", c)

	s.Freeze()
	eventually(t, "the caller to notice", func() bool { return is(Stale)(w.Set()) })
	noticed(t)
	c = cold(t)
	outage(t)
	s.Thaw()
	back(t, "frozen", c)

	s.Compact()
	s.Kill()
	s.Restart()
	back(t, "compacted", nil)

	s.Kill()
	noticed(t)
	c = cold(t)
	outage(t)
	s.Wipe()
	back(t, "wiped", c)

	got := eye.end()
	t.Logf("the smallest of %d sets that a caller saw had %d instances", eye.n, got)
	if got < instances/2 {
		t.Errorf("a caller saw a set of %d instances of %d", got, instances)
	}
	if got := caller.Stats().Wipes; got == 0 {
		t.Error("the caller has not noticed that etcd was wiped")
	}
}
