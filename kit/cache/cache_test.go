package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

var background = context.Background()

func nothing[V any](context.Context, string) (v V, _ uint64, _ error) { return v, 0, ErrNotFound }

// hands is a clock that a test moves.
type hands struct{ at atomic.Int64 }

func newHands() *hands {
	h := &hands{}
	h.at.Store(int64(time.Hour))
	return h
}

func (h *hands) now() mono.Time          { return mono.Time(h.at.Load()) }
func (h *hands) advance(d time.Duration) { h.at.Add(int64(d)) }

// alone makes a cache without Redis by a clock of the test's.
func alone[V any](t *testing.T, cfg Config[string, V], h *hands) *Cache[string, V] {
	t.Helper()
	cfg.Name = "test"
	c, err := prepare(cfg, h.now)
	if err != nil {
		t.Fatal(err)
	}
	close(c.ended)
	t.Cleanup(c.Close)
	return c
}

func wantAnswer[V comparable](t *testing.T, c *Cache[string, V], key string, value V, source Source) {
	t.Helper()
	v, err := c.Get(background, key)
	if err != nil || v.Value != value || v.Source != source {
		t.Errorf("%s: %v from %v, %v; want %v from %v", key, v.Value, v.Source, err, value, source)
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	good := func() Config[string, int] { return Config[string, int]{Name: "users", Load: nothing[int]} }
	for _, c := range []struct {
		change func(*Config[string, int])
		want   string
	}{
		{func(c *Config[string, int]) { c.Name = "" }, "Name"},
		{func(c *Config[string, int]) { c.Name = "a{b}" }, "Name"},
		{func(c *Config[string, int]) { c.Name = strings.Repeat("a", 65) }, "Name"},
		{func(c *Config[string, int]) { c.Load = nil }, "Load"},
		{func(c *Config[string, int]) { c.LoadTimeout = -1 }, "LoadTimeout"},
		{func(c *Config[string, int]) { c.LoadsMax = -1 }, "LoadsMax"},
		{func(c *Config[string, int]) { c.TTL = time.Millisecond }, "TTL"},
		{func(c *Config[string, int]) { c.TTL, c.LocalTTL = time.Second, 2*time.Second }, "LocalTTL"},
		{func(c *Config[string, int]) { c.NegativeTTL = time.Hour }, "NegativeTTL"},
		{func(c *Config[string, int]) { c.StaleFor = -1 }, "StaleFor"},
		{func(c *Config[string, int]) { c.LocalBytesMax = 1 }, "LocalBytesMax"},
		{func(c *Config[string, int]) { c.ValueBytesMax = -1 }, "ValueBytesMax"},
		{func(c *Config[string, int]) { c.Codec.Encode = JSON[int]().Encode }, "Codec"},
		{func(c *Config[string, int]) { c.KeyName = func(string) string { return "" } }, "KeyName"},
		{func(c *Config[string, int]) { c.Redis.Timeout = time.Hour }, "Redis.Timeout"},
		{func(c *Config[string, int]) { c.Redis.FollowEvery = time.Hour }, "Redis.FollowEvery"},
		{func(c *Config[string, int]) { c.Redis.FeedLength = 1 }, "Redis.FeedLength"},
		{func(c *Config[string, int]) { c.Redis.Addresses = []string{""} }, "Redis.Addresses"},
		{func(c *Config[string, int]) { c.Redis.Database = -1 }, "Redis.Database"},
	} {
		cfg := good()
		c.change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "cache: "+c.want+": ") {
			t.Errorf("%s: %v", c.want, err)
		}
	}
	if _, err := New(Config[[2]int, int]{}); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not all is said at once: %v", err)
	}
}

func TestKeysOfAllKindsGoThereAndBack(t *testing.T) {
	type id int64
	name, parse := keyNames[id]()
	for _, k := range []id{0, -1, 1 << 62} {
		if got, err := parse(name(k)); err != nil || got != k {
			t.Errorf("%d became %d, %v", k, got, err)
		}
	}
	small, parseSmall := keyNames[uint8]()
	if got, err := parseSmall(small(200)); err != nil || got != 200 {
		t.Error(got, err)
	}
	if _, err := parseSmall("256"); err == nil {
		t.Error("256 is no byte")
	}
	type name2 string
	word, parseWord := keyNames[name2]()
	if got, err := parseWord(word("a{}b")); err != nil || got != "a{}b" {
		t.Error(got, err)
	}
}

func TestKeyTooLong(t *testing.T) {
	c := alone(t, Config[string, int]{Load: nothing[int]}, newHands())
	if _, err := c.Get(background, strings.Repeat("k", keyBytesMax+1)); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
	if _, err := c.Get(background, strings.Repeat("k", keyBytesMax)); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestAnswersSayWhereTheyCameFrom(t *testing.T) {
	h := newHands()
	version := uint64(0)
	c := alone(t, Config[string, string]{NoEarlyRefresh: true, Load: func(_ context.Context, key string) (string, uint64, error) {
		version++
		return fmt.Sprint(key, version), version, nil
	}}, h)
	wantAnswer(t, c, "a", "a1", Loader)
	h.advance(time.Second)
	v, err := c.Get(background, "a")
	if err != nil || v != (Value[string]{"a1", Local, time.Second, 1}) {
		t.Errorf("%+v, %v", v, err)
	}
	h.advance(10 * time.Second)
	wantAnswer(t, c, "a", "a2", Loader)
	if err := c.Invalidate(background, Event[string]{Key: "a", Version: 2}); err != nil {
		t.Error(err)
	}
	wantAnswer(t, c, "a", "a2", Local) // it has that change
	if err := c.Invalidate(background, Event[string]{Key: "a", Version: 3}); err != nil {
		t.Error(err)
	}
	wantAnswer(t, c, "a", "a3", Loader)
	if err := c.Invalidate(background, Event[string]{Key: "a"}); err != nil {
		t.Error(err)
	}
	wantAnswer(t, c, "a", "a4", Loader)
	if err := c.Invalidate(background, Event[string]{Key: "a", Version: 4, Deleted: true}); err != nil {
		t.Error(err)
	}
	wantAnswer(t, c, "a", "a5", Loader)
	if err := c.InvalidateAll(background, "test"); err != nil {
		t.Error(err)
	}
	wantAnswer(t, c, "a", "a6", Loader)
}

func TestNothingIsRememberedAsNothing(t *testing.T) {
	h := newHands()
	c := alone(t, Config[string, int]{NoEarlyRefresh: true, Load: nothing[int]}, h)
	for range 3 {
		if _, err := c.Get(background, "a"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	if n := c.Stats().Loads; n != 1 {
		t.Error(n, "loads")
	}
	h.advance(5 * time.Second)
	c.Get(background, "a")
	if n := c.Stats().Loads; n != 2 {
		t.Error(n, "loads")
	}
}

func TestManyWhoAskAtOnceLoadOnce(t *testing.T) {
	release := make(chan struct{})
	c := alone(t, Config[string, int]{Load: func(context.Context, string) (int, uint64, error) {
		<-release
		return 1, 1, nil
	}}, newHands())
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if v, err := c.Get(background, "a"); err != nil || v.Value != 1 {
				t.Error(v, err)
			}
		})
	}
	for c.Stats().Misses < 100 {
		runtime.Gosched()
	}
	close(release)
	all.Wait()
	if s := c.Stats(); s.Loads != 1 || s.Joined != 99 {
		t.Errorf("%d loads, %d joined", s.Loads, s.Joined)
	}
}

func TestOneWhoGivesUpDoesNotEndTheFlightOfOthers(t *testing.T) {
	release := make(chan struct{})
	type word struct{}
	var loadErr error
	c := alone(t, Config[string, int]{Load: func(ctx context.Context, _ string) (int, uint64, error) {
		if ctx.Value(word{}) != "of the first" {
			t.Error("values do not reach Load")
		}
		<-release
		loadErr = ctx.Err()
		return 1, 1, nil
	}}, newHands())
	first, giveUp := context.WithCancel(context.WithValue(background, word{}, "of the first"))
	gone := make(chan error)
	go func() {
		_, err := c.Get(first, "a")
		gone <- err
	}()
	for c.Stats().Loads == 0 {
		runtime.Gosched()
	}
	second := make(chan Value[int])
	go func() {
		v, _ := c.Get(background, "a")
		second <- v
	}()
	for c.Stats().Joined == 0 {
		runtime.Gosched()
	}
	giveUp()
	if err := <-gone; err != context.Canceled {
		t.Error(err)
	}
	close(release)
	if v := <-second; v.Value != 1 || loadErr != nil {
		t.Error(v, loadErr)
	}
}

func TestLoadThatPanicsOrEndsItsGoroutineIsAnError(t *testing.T) {
	cause := errors.New("cause")
	for name, load := range map[string]func(){"panic": func() { panic(cause) }, "goexit": runtime.Goexit} {
		c := alone(t, Config[string, int]{Load: func(context.Context, string) (int, uint64, error) {
			load()
			return 0, 0, nil
		}}, newHands())
		_, err := c.Get(background, "a")
		var p *PanicError
		if !errors.As(err, &p) || errors.Is(err, cause) != (name == "panic") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoadsThatHang(t *testing.T) {
	release := make(chan struct{})
	var hung atomic.Int64
	c := alone(t, Config[string, int]{LoadTimeout: 20 * time.Millisecond, LoadsMax: 2, Load: func(context.Context, string) (int, uint64, error) {
		hung.Add(1)
		defer hung.Add(-1)
		<-release
		return 1, 1, nil
	}}, newHands())
	t.Cleanup(func() {
		close(release)
		for hung.Load() > 0 {
			runtime.Gosched()
		}
	})
	for _, key := range []string{"a", "b"} {
		if _, err := c.Get(background, key); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
	if _, err := c.Get(background, "c"); !errors.Is(err, ErrLoadsFull) {
		t.Error(err)
	}
	if n := hung.Load(); n != 2 {
		t.Error(n, "loads hang, of at most 2")
	}
}

func TestStaleAndStubAnswersAreMarked(t *testing.T) {
	h := newHands()
	broken := errors.New("broken")
	var fails atomic.Bool
	c := alone(t, Config[string, string]{
		NoEarlyRefresh: true, TTL: time.Minute, StaleFor: time.Minute,
		Load: func(_ context.Context, key string) (string, uint64, error) {
			if fails.Load() {
				return "", 0, broken
			}
			return key, 7, nil
		},
		Stub: func(_ context.Context, key string, cause error) (string, bool) {
			if !errors.Is(cause, broken) {
				t.Error(cause)
			}
			return "nobody", key != "nil"
		},
	}, h)
	wantAnswer(t, c, "a", "a", Loader)
	fails.Store(true)
	wantAnswer(t, c, "a", "a", Local)
	if err := c.Invalidate(background, Event[string]{Key: "a", Version: 8}); err != nil {
		t.Error(err)
	}
	wantAnswer(t, c, "a", "a", Stale)
	loads := c.Stats().Loads
	wantAnswer(t, c, "a", "a", Stale) // without another try
	if n := c.Stats().Loads; n != loads {
		t.Error("whoever asks waits for what fails")
	}
	wantAnswer(t, c, "b", "nobody", Stub)
	if _, err := c.Get(background, "nil"); !errors.Is(err, broken) {
		t.Error(err)
	}
	h.advance(time.Second)
	if v, err := c.Get(background, "a"); err != nil || v.Source != Stale || v.Age != time.Second || v.Version != 7 {
		t.Errorf("%+v, %v", v, err)
	}
	h.advance(2*time.Minute - time.Second)
	wantAnswer(t, c, "a", "nobody", Stub) // too old
	fails.Store(false)
	h.advance(time.Second)
	wantAnswer(t, c, "a", "a", Loader)
	if s := c.Stats(); s.Stale != 3 || s.Stubs != 2 {
		t.Errorf("%d stale, %d stubs", s.Stale, s.Stubs)
	}
}

func TestAnEventDuringALoadKeepsItsValueOutOfTheFirstLevel(t *testing.T) {
	h := newHands()
	begun, release := make(chan struct{}), make(chan struct{})
	var version atomic.Uint64
	version.Store(1)
	c := alone(t, Config[string, uint64]{Load: func(context.Context, string) (uint64, uint64, error) {
		v := version.Load()
		begun <- struct{}{}
		<-release
		return v, v, nil
	}}, h)
	slow := make(chan Value[uint64])
	get := func() {
		v, _ := c.Get(background, "a")
		slow <- v
	}
	go get()
	<-begun
	version.Store(2)
	if err := c.Invalidate(background, Event[string]{Key: "a", Version: 2}); err != nil {
		t.Error(err)
	}
	go get() // does not go along with the one that has read the old row
	<-begun
	close(release)
	if a, b := <-slow, <-slow; a.Value+b.Value != 3 {
		t.Error(a, b)
	}
	c.running.flights.Wait()
	wantAnswer(t, c, "a", 2, Local)
}

func TestAValueInUseIsLoadedBeforeItsEnd(t *testing.T) {
	h := newHands()
	var loads atomic.Uint64
	c := alone(t, Config[string, uint64]{Load: func(context.Context, string) (uint64, uint64, error) {
		n := loads.Add(1)
		return n, n, nil
	}}, h)
	wantAnswer(t, c, "a", 1, Loader)
	e, _ := c.local.entries.GetEntryQuietly("a")
	h.at.Store(int64(e.Value.refresh))
	if e.Value.refresh >= e.Value.until {
		t.Fatal("no early refresh")
	}
	wantAnswer(t, c, "a", 1, Local)
	c.running.flights.Wait()
	wantAnswer(t, c, "a", 2, Local)
}

func TestCloseEndsWhoWaits(t *testing.T) {
	c := alone(t, Config[string, int]{Load: func(ctx context.Context, _ string) (int, uint64, error) {
		<-ctx.Done()
		return 0, 0, ctx.Err()
	}}, newHands())
	ch := make(chan error)
	go func() {
		_, err := c.Get(background, "a")
		ch <- err
	}()
	for c.Stats().Loads == 0 {
		runtime.Gosched()
	}
	c.Close()
	if err := <-ch; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := c.Get(background, "a"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	c.Close()
}

func TestLocalBytesMax(t *testing.T) {
	c := alone(t, Config[string, string]{LocalBytesMax: 100 * (entryBytes + 1000), Load: func(context.Context, string) (string, uint64, error) {
		return strings.Repeat("v", 1000), 1, nil
	}}, newHands())
	for i := range 1000 {
		c.Get(background, fmt.Sprint(i))
	}
	c.local.entries.CleanUp()
	if s := c.Stats(); s.LocalItems > 101 || s.LocalBytes > 101*(entryBytes+1000) {
		t.Errorf("%d items of %d bytes", s.LocalItems, s.LocalBytes)
	}
}
