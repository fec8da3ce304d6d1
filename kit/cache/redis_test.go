package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/kit/internal/servers/redis"
)

// table is what the caches of a test read: rows with versions, and loads that a test can hold.
type table struct {
	sync.Mutex
	rows  map[string]uint64 // key to version, which is the value as well; 0 is none
	loads atomic.Int64
	fails atomic.Bool
	hold  chan struct{} // a load that has read its row waits here if it is not nil
	held  chan struct{}
}

func (t *table) load(_ context.Context, key string) (uint64, uint64, error) {
	t.loads.Add(1)
	if t.fails.Load() {
		return 0, 0, errors.New("the table is broken")
	}
	t.Lock()
	v, hold, held := t.rows[key], t.hold, t.held
	t.Unlock()
	if hold != nil {
		held <- struct{}{}
		<-hold
	}
	if v == 0 {
		return 0, 0, ErrNotFound
	}
	return v, v, nil
}

func (t *table) set(key string, v uint64) {
	t.Lock()
	t.rows[key] = v
	t.Unlock()
}

func (t *table) holdLoads(hold, held chan struct{}) {
	t.Lock()
	t.hold, t.held = hold, held
	t.Unlock()
}

func newTable() *table { return &table{rows: map[string]uint64{"a": 1}} }

// open makes a node over a Redis.
func open(t testing.TB, addr string, rows *table, change func(*Config[string, uint64])) *Cache[string, uint64] {
	t.Helper()
	cfg := Config[string, uint64]{
		Name: "test", Load: rows.load, NoEarlyRefresh: true, Logger: slog.New(slog.DiscardHandler),
		Redis: Redis{Addresses: []string{addr}, Timeout: 500 * time.Millisecond, FollowEvery: 5 * time.Millisecond},
	}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// raw is a client of the test's own.
func raw(t testing.TB, addr string) func(words ...string) rueidis.RedisMessage {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return func(words ...string) rueidis.RedisMessage {
		m, err := client.Do(background, client.B().Arbitrary(words...).Build()).ToMessage()
		if err != nil && !rueidis.IsRedisNil(err) {
			t.Error(words, err)
		}
		return m
	}
}

// until waits for what happens in the background.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	give := time.After(20 * time.Second)
	for !is() {
		select {
		case <-ticker.C:
		case <-give:
			t.Fatalf("never: %s", what)
		}
	}
}

func invalidate(t testing.TB, c *Cache[string, uint64], e Event[string]) {
	t.Helper()
	until(t, "Invalidate", func() bool { return c.Invalidate(background, e) == nil })
}

func TestThreeNodesLoadOnce(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	rows.holdLoads(hold, held)
	var nodes []*Cache[string, uint64]
	for range 3 {
		nodes = append(nodes, open(t, s.Addr(), rows, nil))
	}
	var all sync.WaitGroup
	for i := range 300 {
		all.Go(func() { wantOneOf(t, nodes[i%3], "a", 1, Loader, Shared) })
	}
	<-held
	until(t, "two nodes wait for the third", func() bool {
		waits, misses := uint64(0), uint64(0)
		for _, c := range nodes {
			waits, misses = waits+c.Stats().LeaseWaits, misses+c.Stats().Misses
		}
		return waits == 2 && misses == 300
	})
	close(hold)
	all.Wait()
	if n := rows.loads.Load(); n != 1 {
		t.Error(n, "loads")
	}
	for _, c := range nodes {
		c.running.flights.Wait()
	}
}

func wantOneOf(t testing.TB, c *Cache[string, uint64], key string, value uint64, one ...Source) {
	t.Helper()
	v, err := c.Get(background, key)
	ok := false
	for _, s := range one {
		ok = ok || v.Source == s
	}
	if err != nil || v.Value != value || !ok {
		t.Errorf("%s: %v from %v, %v; want %v from %v", key, v.Value, v.Source, err, value, one)
	}
}

func TestAnEventReachesAllNodes(t *testing.T) {
	for name, off := range map[string]bool{"with tracking": false, "without tracking": true} {
		t.Run(name, func(t *testing.T) {
			s := redis.Start(t)
			rows := newTable()
			change := func(c *Config[string, uint64]) { c.Redis.NoTracking = off }
			a, b := open(t, s.Addr(), rows, change), open(t, s.Addr(), rows, change)
			wantAnswer(t, a, "a", 1, Loader)
			wantAnswer(t, b, "a", 1, Shared)
			rows.set("a", 2)
			invalidate(t, a, Event[string]{Key: "a", Version: 2, At: time.Now()})
			until(t, "the other node sees it", func() bool { v, _ := b.Get(background, "a"); return v.Value == 2 })
			wantOneOf(t, a, "a", 2, Shared, Loader)
			until(t, "the feed is read", func() bool { return b.Stats().Events == 1 })
			if lag := b.Stats().LagMax; lag <= 0 {
				t.Error(lag)
			}
			if (b.Stats().Pushes == 0) != off {
				t.Error(b.Stats().Pushes, "pushes")
			}
		})
	}
}

// Also on the connection that comes after one that broke. The first levels alone would keep their copies for an hour.
func TestWhatAnOperatorDeletesInRedisLeavesTheFirstLevelsByTracking(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	c := open(t, s.Addr(), rows, func(cfg *Config[string, uint64]) { cfg.TTL, cfg.LocalTTL = time.Hour, time.Hour })
	for n := uint64(1); n <= 2; n++ {
		rows.set("a", n)
		c.local.entries.InvalidateAll()
		wantAnswer(t, c, "a", n, Loader)
		c.local.entries.InvalidateAll()
		wantAnswer(t, c, "a", n, Shared)
		before := c.Stats().Pushes
		raw(t, s.Addr())("DEL", c.link.keyOf("a"))
		until(t, "it is gone", func() bool { v, _ := c.Get(background, "a"); return v.Source == Loader })
		if c.Stats().Pushes == before {
			t.Error("nothing was announced")
		}
		if n == 1 {
			s.Kill()
			until(t, "redis is missed", func() bool { return !c.Stats().Reachable })
			s.Restart()
			until(t, "redis is back", func() bool { return c.Stats().Reachable })
		}
	}
}

func TestASlowReaderCannotBringBackAnOldValue(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	a, b := open(t, s.Addr(), rows, nil), open(t, s.Addr(), rows, nil)
	hold, held := make(chan struct{}), make(chan struct{})
	rows.holdLoads(hold, held)
	slow := make(chan Value[uint64])
	go func() {
		v, _ := a.Get(background, "a")
		slow <- v
	}()
	<-held // has read version 1
	rows.holdLoads(nil, nil)
	rows.set("a", 2)
	invalidate(t, b, Event[string]{Key: "a"}) // without a version: the lease alone
	wantAnswer(t, b, "a", 2, Loader)
	close(hold)
	if v := <-slow; v.Value != 1 {
		t.Error(v)
	}
	a.running.flights.Wait()
	wantAnswer(t, a, "a", 2, Shared)
	if n := a.Stats().LeaseLost; n != 1 {
		t.Error(n, "leases lost")
	}
}

func TestASourceThatLagsBehindIsAskedAgain(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	c := open(t, s.Addr(), rows, func(c *Config[string, uint64]) { c.LoadTimeout = 100 * time.Millisecond })
	invalidate(t, c, Event[string]{Key: "a", Version: 2})
	if v, err := c.Get(background, "a"); !errors.Is(err, ErrBehind) {
		t.Error(v, err)
	}
	if c.Stats().Behind == 0 {
		t.Error("not counted")
	}
	invalidate(t, c, Event[string]{Key: "new", Version: 5})
	for range 2 { // it may have been deleted since, so it is no error, and not remembered
		if v, err := c.Get(background, "new"); !errors.Is(err, ErrNotFound) || v.Source != Loader {
			t.Error(v, err)
		}
	}
	rows.set("a", 2)
	wantAnswer(t, c, "a", 2, Loader)
	// A deletion may have the last version of its row.
	rows.set("a", 0)
	invalidate(t, c, Event[string]{Key: "a", Version: 2, Deleted: true})
	if _, err := c.Get(background, "a"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	rows.set("b", 7)
	invalidate(t, c, Event[string]{Key: "b", Version: 7, Deleted: true})
	if v, err := c.Get(background, "b"); !errors.Is(err, ErrBehind) {
		t.Error("a row that was deleted is there:", v, err)
	}
}

func TestAnEventThatComesLateOrTwiceLeavesWhatIsNewer(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	c := open(t, s.Addr(), rows, nil)
	rows.set("a", 9)
	wantAnswer(t, c, "a", 9, Loader)
	for _, v := range []uint64{8, 9, 3} {
		invalidate(t, c, Event[string]{Key: "a", Version: v})
	}
	wantAnswer(t, c, "a", 9, Local)
	c.local.entries.InvalidateAll()
	wantAnswer(t, c, "a", 9, Shared)
}

func TestVersionsOf64Bits(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	c := open(t, s.Addr(), rows, func(c *Config[string, uint64]) { c.LoadTimeout = 30 * time.Millisecond })
	const top = 1<<64 - 1
	rows.set("a", top-1)
	invalidate(t, c, Event[string]{Key: "a", Version: top})
	if _, err := c.Get(background, "a"); !errors.Is(err, ErrBehind) {
		t.Error(err)
	}
	rows.set("a", top)
	wantAnswer(t, c, "a", top, Loader)
	c.local.entries.InvalidateAll()
	wantAnswer(t, c, "a", top, Shared)
}

func TestGarbageInRedisIsAMissAndGoes(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	c := open(t, s.Addr(), rows, nil)
	do := raw(t, s.Addr())
	key := c.link.keyOf("a")
	for i, spoil := range []func(){
		func() { do("HSET", key, "d", "garbage") },
		func() {
			do("HSET", key, "d", string(appendRecord(nil, record{version: 1, payload: []byte(`"no number"`)})))
		},
		func() { do("DEL", key); do("SET", key, "a string") },
		func() { do("DEL", key); do("HSET", key, "d", "garbage") }, // and no times
	} {
		wantOneOf(t, c, "a", 1, Loader, Shared, Local)
		spoil()
		c.local.entries.InvalidateAll()
		wantAnswer(t, c, "a", 1, Loader)
		if n := c.Stats().Garbage; n != uint64(i+1) {
			t.Error(i, n, "counted")
		}
		c.local.entries.InvalidateAll()
		wantAnswer(t, c, "a", 1, Shared)
	}
	do("DEL", key)
	do("SET", key, "a string")
	invalidate(t, c, Event[string]{Key: "a", Version: 1})
}

func TestValueBytesMax(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	rows.set("a", 1000)
	change := func(c *Config[string, uint64]) { c.ValueBytesMax = 3 }
	a, b := open(t, s.Addr(), rows, change), open(t, s.Addr(), rows, change)
	wantAnswer(t, a, "a", 1000, Loader)
	wantAnswer(t, a, "a", 1000, Local)
	wantAnswer(t, b, "a", 1000, Loader) // does not wait for a lease either
	if a.Stats().TooLong != 1 {
		t.Error("not counted")
	}
}

func TestANewEpochReachesAllNodesSoftly(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	change := func(c *Config[string, uint64]) { c.StaleFor = time.Minute }
	a, b := open(t, s.Addr(), rows, change), open(t, s.Addr(), rows, change)
	wantAnswer(t, a, "a", 1, Loader)
	wantAnswer(t, b, "a", 1, Shared)
	if err := a.InvalidateAll(background, "test"); err != nil {
		t.Fatal(err)
	}
	rows.fails.Store(true)
	until(t, "b knows", func() bool { return b.Stats().Epochs == 1 })
	wantAnswer(t, b, "a", 1, Stale)
	wantAnswer(t, open(t, s.Addr(), rows, change), "a", 1, Stale) // of Redis
	rows.fails.Store(false)
	rows.set("a", 2)
	until(t, "it is loaded", func() bool { v, _ := b.Get(background, "a"); return v.Value == 2 })
	wantOneOf(t, a, "a", 2, Shared)
}

func TestStaleAnswersOfRedisSurviveAnEvent(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	change := func(c *Config[string, uint64]) { c.StaleFor = time.Minute }
	a := open(t, s.Addr(), rows, change)
	wantAnswer(t, a, "a", 1, Loader)
	invalidate(t, a, Event[string]{Key: "a", Version: 2})
	rows.fails.Store(true)
	b := open(t, s.Addr(), rows, change)
	wantAnswer(t, b, "a", 1, Stale)
	rows.fails.Store(false)
	rows.set("a", 2)
	c := open(t, s.Addr(), rows, change)
	wantAnswer(t, c, "a", 2, Loader)
}

func TestAFailedLoadGivesTheLeaseBack(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	a, b := open(t, s.Addr(), rows, nil), open(t, s.Addr(), rows, nil)
	rows.fails.Store(true)
	if _, err := a.Get(background, "a"); err == nil {
		t.Error("no error")
	}
	rows.fails.Store(false)
	wantAnswer(t, b, "a", 1, Loader)
	if b.Stats().LeaseWaits != 0 {
		t.Error("b waited")
	}
}

func TestTheLeaseOfADeadNodeEnds(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	c := open(t, s.Addr(), rows, func(c *Config[string, uint64]) { c.LoadTimeout = 50 * time.Millisecond })
	if got, err := c.link.read(background, "a", "of the dead", time.Minute, 0, 0); err != nil || got.state != foundLease {
		t.Fatal(got, err)
	}
	wantAnswer(t, c, "a", 1, Loader) // by itself
	raw(t, s.Addr())("HSET", c.link.keyOf("a"), "u", "1")
	c.local.entries.InvalidateAll()
	wantAnswer(t, c, "a", 1, Loader)
	c.local.entries.InvalidateAll()
	wantAnswer(t, c, "a", 1, Shared)
}

func TestRecordsEnd(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	a := open(t, s.Addr(), rows, func(c *Config[string, uint64]) { c.TTL = 50 * time.Millisecond })
	wantAnswer(t, a, "a", 1, Loader)
	rows.set("a", 2)
	until(t, "the record ends without any event", func() bool { v, _ := a.Get(background, "a"); return v.Value == 2 })
	do := raw(t, s.Addr())
	until(t, "the key is gone", func() bool { m := do("EXISTS", a.link.keyOf("a")); n, _ := m.AsInt64(); return n == 0 })
	if bound := a.Stats().BoundUntold; bound < 50*time.Millisecond {
		t.Error(bound)
	}
}

func TestAFeedWithAHoleGivesUpTheFirstLevel(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	rows.set("b", 1)
	change := func(c *Config[string, uint64]) { c.Redis.NoTracking = true }
	a, b := open(t, s.Addr(), rows, change), open(t, s.Addr(), rows, change)
	wantAnswer(t, a, "a", 1, Loader)
	wantAnswer(t, b, "a", 1, Shared)
	// An event whose entry is gone before b reads it.
	do := raw(t, s.Addr())
	do("MULTI")
	do("HDEL", a.link.keyOf("a"), "d", "v", "x")
	do("HINCRBY", a.link.head, "seq", "1")
	do("EXEC")
	rows.set("a", 2)
	until(t, "b gives it up", func() bool { return b.Stats().Gaps == 1 })
	wantOneOf(t, b, "a", 2, Loader, Shared)
	invalidate(t, a, Event[string]{Key: "b", Version: 2})
	until(t, "the feed goes on", func() bool { return b.Stats().Events == 1 })
}

func TestFlushallUnderLoad(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	a, b := open(t, s.Addr(), rows, nil), open(t, s.Addr(), rows, nil)
	do := raw(t, s.Addr())
	stop, all := load(t, a, b)
	for v := uint64(2); v < 10; v++ {
		rows.set("a", v)
		do("FLUSHALL")
		invalidate(t, a, Event[string]{Key: "a", Version: v})
		until(t, "b sees it", func() bool { got, _ := b.Get(background, "a"); return got.Value == v })
	}
	close(stop)
	all.Wait()
	if b.Stats().Gaps == 0 {
		t.Error("nobody noticed")
	}
}

// load has goroutines get a key from nodes until stop is closed; none may fail.
func load(t *testing.T, nodes ...*Cache[string, uint64]) (stop chan struct{}, all *sync.WaitGroup) {
	stop, all = make(chan struct{}), &sync.WaitGroup{}
	for i := range 4 {
		all.Go(func() {
			for last := uint64(0); ; {
				select {
				case <-stop:
					return
				default:
				}
				v, err := nodes[i%len(nodes)].Get(background, "a")
				if err != nil || v.Value < last {
					t.Errorf("%v after %d: %v", v, last, err)
					return
				}
				last = v.Value
				runtime.Gosched()
			}
		})
	}
	return stop, all
}

func TestRedisKilledAndStartedAgainUnderLoad(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	a, b := open(t, s.Addr(), rows, nil), open(t, s.Addr(), rows, nil)
	wantAnswer(t, a, "a", 1, Loader)
	stop, all := load(t, a, b)
	s.Kill()
	until(t, "both notice", func() bool { return !a.Stats().Reachable && !b.Stats().Reachable })
	rows.set("a", 2)
	if err := a.Invalidate(background, Event[string]{Key: "a", Version: 2}); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	if v, err := a.Get(background, "a"); v.Value != 2 {
		t.Error("the first level of whoever is told is not rid of it:", v, err)
	}
	s.Restart()
	until(t, "both are back", func() bool { return a.Stats().Reachable && b.Stats().Reachable })
	invalidate(t, a, Event[string]{Key: "a", Version: 2})
	until(t, "b sees it", func() bool { v, _ := b.Get(background, "a"); return v.Value == 2 })
	close(stop)
	all.Wait()
	if st := a.Stats(); st.Trouble == nil || st.RedisFailures == 0 {
		t.Error("no failures counted")
	}
}

func TestRedisFrozenUnderLoad(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	change := func(c *Config[string, uint64]) { c.Redis.Timeout = 50 * time.Millisecond }
	a, b := open(t, s.Addr(), rows, change), open(t, s.Addr(), rows, change)
	until(t, "a value", func() bool { _, err := a.Get(background, "a"); return err == nil })
	stop, all := load(t, a, b)
	s.Freeze()
	until(t, "both notice", func() bool { return !a.Stats().Reachable && !b.Stats().Reachable })
	rows.set("b", 1)
	wantAnswer(t, a, "b", 1, Loader) // nobody waits for what is frozen
	if err := a.Invalidate(background, Event[string]{Key: "a", Version: 2}); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	rows.set("a", 2)
	s.Thaw()
	until(t, "both are back", func() bool { return a.Stats().Reachable && b.Stats().Reachable })
	invalidate(t, a, Event[string]{Key: "a", Version: 2})
	until(t, "b sees it", func() bool { v, _ := b.Get(background, "a"); return v.Value == 2 })
	close(stop)
	all.Wait()
}

func TestARedisThatForgetsTheEndOfItsFeedBeginsANewEpoch(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	c := open(t, s.Addr(), rows, nil)
	do := raw(t, s.Addr())
	wantAnswer(t, c, "a", 1, Loader)
	old := do("DUMP", c.link.keyOf("a"))
	before, _ := old.ToString()
	rows.set("a", 2)
	invalidate(t, c, Event[string]{Key: "a", Version: 2})
	until(t, "the feed is read", func() bool { return c.Stats().Events == 1 })
	// As after a restart from a file, or with a replica in its place, that lacks the last second.
	do("RESTORE", c.link.keyOf("a"), "0", before, "REPLACE")
	do("HSET", c.link.head, "seq", "0")
	until(t, "a new epoch", func() bool { return c.Stats().Epochs == 1 })
	wantAnswer(t, c, "a", 2, Loader)
}

// A failover so quick that nobody sees Redis gone, and a publisher so busy that the feed is as long as before when it is read
// next: the number alone says nothing.
func TestARedisThatForgotTheEndOfItsFeedAndHasPassedItBeginsANewEpoch(t *testing.T) {
	for _, publisher := range []string{"the reader itself", "another node"} {
		t.Run(publisher, func(t *testing.T) {
			s := redis.Start(t)
			rows := newTable()
			var nodes [2]*Cache[string, uint64]
			for i := range nodes {
				c, err := prepare(Config[string, uint64]{
					Name: "test", Load: rows.load, NoEarlyRefresh: true, Logger: slog.New(slog.DiscardHandler),
					Redis: Redis{Addresses: []string{s.Addr()}, Timeout: 500 * time.Millisecond, NoTracking: true},
				}, mono.Now)
				if err != nil {
					t.Fatal(err)
				}
				close(c.ended) // the test follows the feed
				t.Cleanup(c.Close)
				nodes[i] = c
			}
			read := func() {
				for _, c := range nodes {
					if err := c.read(); err != nil {
						t.Fatal(err)
					}
				}
			}
			do := raw(t, s.Addr())
			c := nodes[0]
			read()
			invalidate(t, c, Event[string]{Key: "b", Version: 1})
			read()
			wantAnswer(t, c, "a", 1, Loader)
			keys := []string{c.link.keyOf("a"), c.link.head, c.link.feed}
			before := make([]string, len(keys))
			for i, key := range keys {
				dump := do("DUMP", key)
				before[i], _ = dump.ToString()
			}
			rows.set("a", 2)
			invalidate(t, c, Event[string]{Key: "a", Version: 2})
			if publisher == "another node" {
				read()
			}
			for i, key := range keys {
				do("RESTORE", key, "0", before[i], "REPLACE")
			}
			told := nodes[0]
			if publisher == "another node" {
				told = nodes[1]
			}
			for n := range uint64(3) {
				invalidate(t, told, Event[string]{Key: "b", Version: n + 2})
			}
			read()
			read()
			for i, c := range nodes {
				if s := c.Stats(); s.Epochs != 1 {
					t.Errorf("node %d: %d epochs", i, s.Epochs)
				}
			}
			wantAnswer(t, c, "a", 2, Loader)
		})
	}
}

func TestRedisThatWasDownAtTheStart(t *testing.T) {
	s := redis.Start(t)
	s.Kill()
	rows := newTable()
	c := open(t, s.Addr(), rows, nil)
	wantAnswer(t, c, "a", 1, Loader)
	wantAnswer(t, c, "a", 1, Local)
	if err := c.InvalidateAll(background, "test"); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	s.Restart()
	until(t, "it is reached", func() bool { return c.Stats().Reachable })
	rows.set("b", 1)
	wantAnswer(t, c, "b", 1, Loader)
	wantAnswer(t, open(t, s.Addr(), rows, nil), "b", 1, Shared)
}

func TestManyEventsAtOnce(t *testing.T) {
	s := redis.Start(t)
	rows := newTable()
	a := open(t, s.Addr(), rows, nil)
	b := open(t, s.Addr(), rows, nil)
	var events []Event[string]
	for i := range 3*eventsMax + 7 {
		events = append(events, Event[string]{Key: fmt.Sprint(i), Version: 1})
	}
	if err := a.Invalidate(background, events...); err != nil {
		t.Fatal(err)
	}
	until(t, "all are read", func() bool { return b.Stats().Events == uint64(len(events)) })
	if n := b.Stats().Gaps; n != 0 {
		t.Error(n, "gaps")
	}
}

func TestACluster(t *testing.T) {
	s := redis.Start(t, "--cluster-enabled", "yes")
	do := raw(t, s.Addr())
	do("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	until(t, "the cluster is up", func() bool {
		m := do("CLUSTER", "INFO")
		info, _ := m.ToString()
		return strings.Contains(info, "cluster_state:ok")
	})
	rows := newTable()
	a, b := open(t, s.Addr(), rows, nil), open(t, s.Addr(), rows, nil)
	until(t, "both are there", func() bool { return a.Stats().Reachable && b.Stats().Reachable })
	for i := range 20 {
		rows.set(fmt.Sprint(i), 1)
		wantAnswer(t, a, fmt.Sprint(i), 1, Loader)
		wantAnswer(t, b, fmt.Sprint(i), 1, Shared)
		rows.set(fmt.Sprint(i), 2)
	}
	for i := range 20 {
		invalidate(t, a, Event[string]{Key: fmt.Sprint(i), Version: 2})
		until(t, "b sees it", func() bool { v, _ := b.Get(background, fmt.Sprint(i)); return v.Value == 2 })
	}
}
