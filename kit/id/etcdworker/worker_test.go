package etcdworker

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/yumen-io/yumen/kit/id"
	"github.com/yumen-io/yumen/kit/internal/servers/etcd"
)

func TestMain(m *testing.M) {
	etcd.Main()
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what has to happen; nothing is asserted about how long it took.
const patience = 60 * time.Second

// two has two worker numbers.
var two = id.Layout{TimeBits: 41, WorkerBits: 1, SequenceBits: 12}

type bed struct {
	t      *testing.T
	server *etcd.Server
	client *clientv3.Client
	ids    sync.Map // of everything that was made
	made   atomic.Int64
}

func start(t *testing.T) *bed {
	t.Helper()
	b := &bed{t: t, server: etcd.Start(t)}
	b.client = b.server.Client()
	t.Cleanup(func() { _ = b.client.Close() })
	return b
}

// config has leases as short as they may be.
func (b *bed) config() Config {
	return Config{
		Client: b.client, Layout: two, Lease: 3 * time.Second, Reserve: time.Second, TrustEmpty: true,
		Logger: slog.New(slog.DiscardHandler),
	}
}

func (b *bed) worker(cfg Config) *Worker {
	b.t.Helper()
	w, err := New(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = w.Close(ctx)
	})
	return w
}

func (b *bed) generator(w *Worker) *id.Generator {
	b.t.Helper()
	g, err := id.New(id.Config{Layout: w.cfg.Layout, Worker: w, Clock: w.cfg.Clock})
	if err != nil {
		b.t.Fatal(err)
	}
	return g
}

func ready(t *testing.T, w *Worker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// until calls f every few milliseconds until it returns true.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("in %s this did not happen: %s", patience, what)
		}
	}
}

// make makes one id and fails the test if it was made before.
func (b *bed) make(g *id.Generator) error {
	b.t.Helper()
	v, err := g.Next(b.t.Context(), 0, 0)
	if err != nil {
		return err
	}
	if _, twice := b.ids.LoadOrStore(v, true); twice {
		b.t.Fatalf("%d was made twice", v)
	}
	b.made.Add(1)
	return nil
}

// some makes a hundred, however long the machine lets that take.
func (b *bed) some(g *id.Generator) {
	b.t.Helper()
	for range 100 {
		until(b.t, "an id is made", func() bool { return b.make(g) == nil })
	}
}

func (b *bed) put(key, value string) {
	b.t.Helper()
	if _, err := b.client.Put(b.t.Context(), key, value); err != nil {
		b.t.Fatal(err)
	}
}

func TestEachHasANumberOfItsOwnAndGivesItBack(t *testing.T) {
	t.Parallel()
	b := start(t)
	first, second := b.worker(b.config()), b.worker(b.config())
	ready(t, first)
	ready(t, second)
	n := first.Stats().Worker
	if m := second.Stats().Worker; n == m || n < 0 || m < 0 {
		t.Fatalf("numbers %d and %d", n, m)
	}
	g := b.generator(first)
	b.some(g)
	third := b.worker(b.config())
	until(t, "the third finds no number", func() bool { return third.Stats().Failures > 0 })
	if _, err := third.Term(); !errors.Is(err, id.ErrNoWorker) {
		t.Fatalf("a third number of two: %v", err)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.make(g); !errors.Is(err, id.ErrNoWorker) {
		t.Errorf("after Close: %v", err)
	}
	ready(t, third)
	if m := third.Stats().Worker; m != n {
		t.Errorf("the third has number %d, want %d", m, n)
	}
	g = b.generator(third)
	b.some(g)
	if err := first.Close(t.Context()); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if err := first.Ready(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Ready after Close: %v", err)
	}
}

func TestEtcdIsKilledAndComesBack(t *testing.T) {
	t.Parallel()
	b := start(t)
	w := b.worker(b.config())
	ready(t, w)
	g := b.generator(w)
	b.server.Kill()
	until(t, "ids end when the mark is reached", func() bool { return errors.Is(b.make(g), id.ErrNoWorker) })
	b.server.Restart()
	until(t, "ids are made again", func() bool { return b.make(g) == nil })
	t.Logf("%d ids, %+v", b.made.Load(), w.Stats())
}

func TestEtcdIsFrozenForLongerThanALease(t *testing.T) {
	t.Parallel()
	b := start(t)
	cfg := b.config()
	cfg.Reserve = time.Minute // so that it is the lease that ends
	w := b.worker(cfg)
	ready(t, w)
	g := b.generator(w)
	b.server.Freeze()
	until(t, "ids end before the lease does", func() bool { return errors.Is(b.make(g), id.ErrNoWorker) })
	b.server.Thaw()
	until(t, "ids are made again", func() bool { return b.make(g) == nil })
}

func TestEtcdLosesItsData(t *testing.T) {
	t.Parallel()
	b := start(t)
	cfg := b.config()
	cfg.TrustEmpty = false
	w := b.worker(cfg)
	ready(t, w)
	g := b.generator(w)
	b.some(g)
	b.server.Wipe()
	// Others start at once and know nothing of w.
	other := b.worker(cfg)
	h := b.generator(other)
	until(t, "both make ids", func() bool {
		mine, its := b.make(g), b.make(h)
		return w.Stats().Losses > 0 && mine == nil && its == nil
	})
	if n, m := w.Stats().Worker, other.Stats().Worker; n == m {
		t.Errorf("both have number %d", n)
	}
}

func TestACrashedProcessLeavesANumberThatBeginsAfterItsMark(t *testing.T) {
	t.Parallel()
	b := start(t)
	cfg := b.config()
	cfg.Layout.WorkerBits = 0 // one number: the next process must take the same
	w := b.worker(cfg)
	ready(t, w)
	g := b.generator(w)
	b.some(g)
	w.cancel() // the end of its goroutine, with nothing said to etcd
	<-w.done
	w.kv.held = nil
	next := b.worker(cfg)
	h := b.generator(next)
	until(t, "the next one makes ids", func() bool { _ = b.make(g); return b.make(h) == nil })
	term, err := next.Term()
	if err != nil {
		t.Fatal(err)
	}
	if old, _ := w.Term(); term.Last().Before(old.Last()) {
		t.Errorf("ids up to %s follow on %s", term.Last(), old.Last())
	}
	until(t, "the crashed one makes no more", func() bool { return errors.Is(b.make(g), id.ErrNoWorker) })
}

func TestSomebodyTakesTheNumberAway(t *testing.T) {
	t.Parallel()
	b := start(t)
	w := b.worker(b.config())
	ready(t, w)
	g := b.generator(w)
	if _, err := b.client.Delete(t.Context(), PrefixDefault+"holder/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	until(t, "it is noticed", func() bool { _ = b.make(g); return w.Stats().Losses == 1 })
	until(t, "another is claimed", func() bool { return b.make(g) == nil })
	if s := w.Stats(); s.Claims != 2 {
		t.Errorf("%+v", s)
	}
}

func TestAMarkFarAheadIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.put(PrefixDefault+"mark/0", text(time.Now().Add(time.Hour)))
	b.put(PrefixDefault+"mark/1", "not a time")
	w := b.worker(b.config())
	until(t, "no number can be used", func() bool { return w.Stats().Failures > 0 })
	if _, err := w.Term(); !errors.Is(err, id.ErrNoWorker) {
		t.Fatalf("a number with a mark an hour ahead: %v", err)
	}
	b.put(PrefixDefault+"mark/1", text(time.Now()))
	ready(t, w)
	if n := w.Stats().Worker; n != 1 {
		t.Errorf("number %d, want 1", n)
	}
}

func TestAClockThatIsSetBackCostsTheNumber(t *testing.T) {
	t.Parallel()
	b := start(t)
	var offset atomic.Int64
	cfg := b.config()
	cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	w := b.worker(cfg)
	ready(t, w)
	g := b.generator(w)
	b.some(g)
	n := w.Stats().Worker
	offset.Store(-int64(time.Hour))
	// ErrNoWorker, if the worker was faster than we.
	if err := b.make(g); !errors.Is(err, id.ErrClockBack) && !errors.Is(err, id.ErrNoWorker) {
		t.Fatalf("an hour back: %v", err)
	}
	until(t, "ids are made with the other number", func() bool { return b.make(g) == nil })
	if m := w.Stats().Worker; n == m {
		t.Errorf("still number %d", n)
	}
	// Forward again, past the mark: a round trip.
	offset.Store(0)
	until(t, "the mark follows", func() bool { return b.make(g) == nil })
}

func TestAnotherLayoutIsRefused(t *testing.T) {
	t.Parallel()
	b := start(t)
	w := b.worker(b.config())
	ready(t, w)
	cfg := b.config()
	cfg.Layout = id.DB32()
	other := b.worker(cfg)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := other.Ready(ctx); !errors.Is(err, ErrLayout) || !strings.Contains(err.Error(), "41/5/3/6/8") {
		t.Errorf("%v, want ErrLayout", err)
	}
}

func TestConfigsThatAreRefused(t *testing.T) {
	_, err := New(Config{Prefix: "/ids", Lease: time.Second, Reserve: time.Hour, Layout: id.Layout{TimeBits: 1}})
	for _, want := range []string{"Client is missing", `Prefix is "/ids" and must end with a slash`, "Lease is 1s and must be 3s to 10m",
		"Reserve is 1h0m0s and must be 1s to 10m", "TimeBits is 1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}
