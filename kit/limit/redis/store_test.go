package redis_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	filter "github.com/yumen-io/yumen/filters/limit"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	servers "github.com/yumen-io/yumen/kit/internal/servers/redis"
	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/kit/limit/redis"
	"github.com/yumen-io/yumen/policy/quota"
	"github.com/yumen-io/yumen/store/quotas"
	"github.com/yumen-io/yumen/store/storetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var background = context.Background()

// slack is for what the tests cannot see: requests are noted some time after they were judged, on a machine with other things
// to do. It is in seconds of the rate.
const slack = 0.3

func open(t testing.TB, cfg redis.Config) *redis.Store {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Second // a busy machine is no outage
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s, err := redis.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func limiter(t testing.TB, cfg limit.Config) *limit.Limiter {
	t.Helper()
	l, err := limit.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func asking(l *limit.Limiter, key string) func() (bool, limit.By) {
	return func() (bool, limit.By) {
		p, err := l.Take(background, key, 1)
		var e *limit.Error
		if errors.As(err, &e) {
			return false, e.Decision.By
		}
		return err == nil, p.Decision.By
	}
}

func TestProcessesTogetherStayWithinTheBound(t *testing.T) {
	t.Parallel()
	r := servers.Start(t)
	var asks []func() (bool, limit.By)
	for range 4 {
		l := limiter(t, limit.Config{Name: "leased", Count: 1000, Burst: 300, Store: open(t, redis.Config{Address: r.Addr()})})
		asks = append(asks, asking(l, "k"))
	}
	got := storetest.Load(asks, 600, storetest.Within(1500*time.Millisecond))
	if over := got.Over(1000); over > 300+1000*slack {
		t.Errorf("%v over the rate: %v", over, got)
	}
	if len(got.Admitted) < 300 || got.By[limit.Stored] == 0 {
		t.Errorf("a limit that lets nothing through: %v", got)
	}
}

func TestExactlySoManyInAnyWindow(t *testing.T) {
	t.Parallel()
	r := servers.Start(t)
	var asks []func() (bool, limit.By)
	for range 3 {
		l := limiter(t, limit.Config{Name: "exact", Algorithm: limit.SlidingWindow, Count: 50, Store: open(t, redis.Config{Address: r.Addr()})})
		asks = append(asks, asking(l, "k"))
	}
	got := storetest.Load(asks, 100, storetest.Within(2200*time.Millisecond))
	// What was admitted by Redis's clock is noted here by another one, a moment later.
	if d, ok := got.Closest(50); ok && d < 850*time.Millisecond {
		t.Fatalf("51 in %v", d)
	}
	if len(got.Admitted) < 50 {
		t.Errorf("%v: want 50 at least", got)
	}
}

// A service of the kit and a gateway that name the same limit have one.
func TestAGatewayAndAServiceShareALimit(t *testing.T) {
	t.Parallel()
	r := servers.Start(t)
	for _, exact := range []bool{false, true} {
		cfg := limit.Config{Name: "shared", Count: 20, Per: time.Hour, Store: open(t, redis.Config{Address: r.Addr()})}
		spec := quotas.Spec{
			Redis: quotas.Settings{Address: r.Addr(), Timeout: time.Second},
			Name:  "shared", Rule: quota.Rule{Count: 20, Per: time.Hour, Burst: 20},
		}
		if exact {
			cfg.Algorithm, spec.Mode = limit.SlidingWindow, quotas.Exact
		}
		service := limiter(t, cfg)
		memory := gateway.NewMemory().Recollect()
		shared, problems := filter.NewShared(spec, memory)
		if problems != nil {
			t.Fatal(problems)
		}
		memory.Hold()
		t.Cleanup(func() {
			memory.Drop()
			<-shared.Table().Link().Ended()
		})
		asks := []func() (bool, limit.By){asking(service, "k"), func() (bool, limit.By) {
			v := shared.Decide([]byte("k"), mono.Now(), 1)
			if v.By == quota.Nobody {
				answer := make(chan quota.Verdict, 1)
				shared.Ask([]byte("k"), mono.Now(), 1, func(v quota.Verdict) { answer <- v })
				v = <-answer
			}
			return v.Allowed, limit.Stored
		}}
		got := storetest.Load(asks, 50, storetest.Within(700*time.Millisecond))
		if len(got.Admitted) != 20 {
			t.Errorf("exact %v: %v, want 20 admitted by both together", exact, got)
		}
	}
}

// Two limits of one name are one in a process as over processes, and it is told which limits there are.
func TestLimitsOfOneNameAreOne(t *testing.T) {
	t.Parallel()
	r := servers.Start(t)
	s := open(t, redis.Config{Address: r.Addr()})
	cfg := limit.Config{Name: "one", Count: 10, Per: time.Hour, Store: s}
	first, second := limiter(t, cfg), limiter(t, cfg)
	limiter(t, limit.Config{Name: "another", Algorithm: limit.SlidingWindow, Count: 10, Store: s})
	passed := 0
	for range 10 {
		for _, l := range []*limit.Limiter{first, second} {
			if l.Allow(background, "k") == nil {
				passed++
			}
		}
	}
	if passed != 10 {
		t.Errorf("%d passed, want 10", passed)
	}
	storetest.Eventually(t, "Redis counts this process", func() bool { return s.Stats().Limits[1].Nodes == 1 })
	got := s.Stats().Limits
	if len(got) != 2 || got[0].Name != "another" || !got[0].Exact ||
		got[1].Name != "one" || got[1].Exact || got[1].Keys != 1 || got[1].ExcessBound != 0 {
		t.Errorf("%+v", got)
	}
	first.Close()
	if len(s.Stats().Limits) != 2 {
		t.Error("the one that is left has lost its table")
	}
	second.Close()
	if got := s.Stats().Limits; len(got) != 1 {
		t.Errorf("%+v: nobody has the second any more", got)
	}
}

// What may have been admitted beyond the limit is a number: none in the ordinary way, a share and a burst in an outage, no bound if all
// is let through.
func TestTheExcessIsBounded(t *testing.T) {
	t.Parallel()
	r := servers.Start(t)
	for _, c := range []struct {
		what limit.OnUnreachable
		want func(excess float64) bool
	}{
		{limit.LocalShare, func(excess float64) bool { return excess > 20 && excess <= 60 }},
		{limit.RefuseAll, func(excess float64) bool { return excess == 20 }},
		{limit.AllowAll, func(excess float64) bool { return math.IsInf(excess, 1) }},
	} {
		s := open(t, redis.Config{Address: r.Addr()})
		l := limiter(t, limit.Config{Count: 20, Per: time.Hour, OnUnreachable: c.what, Store: s})
		storetest.Eventually(t, "Redis is in use", func() bool { return s.Stats().Reachable && l.Allow(background, "k") == nil })
		if got := s.Stats().Limits[0].ExcessBound; got != 0 {
			t.Errorf("%v: %v while all is well", c.what, got)
		}
		r.Kill()
		storetest.Eventually(t, "it is known", func() bool { return !s.Stats().Reachable })
		if got := s.Stats().Limits[0].ExcessBound; !c.want(got) {
			t.Errorf("%v: %v in an outage", c.what, got)
		}
		r.Restart()
	}
}

// What is decided without asking takes no memory.
func TestDecisionsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := servers.Start(t)
	s := open(t, redis.Config{Address: r.Addr()})
	l := limiter(t, limit.Config{Count: 1e6, Burst: 1e6, Store: s})
	key := strings.Repeat("k", 100)
	storetest.Eventually(t, "a thousand requests are decided without asking", func() bool {
		l.Allow(background, key)
		waits := s.Stats().Limits[0].Waits
		n := testing.AllocsPerRun(1000, func() { l.Allow(background, key) })
		if s.Stats().Limits[0].Waits != waits {
			return false
		}
		if n != 0 {
			t.Errorf("%v allocations a request", n)
		}
		return true
	})
}

func TestAStoppedRedisIsKnownAndComesBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		stop, back func(*servers.Server)
	}{
		{"frozen", (*servers.Server).Freeze, (*servers.Server).Thaw},
		{"killed", (*servers.Server).Kill, (*servers.Server).Restart},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := servers.Start(t)
			var asks []func() (bool, limit.By)
			var stores []*redis.Store
			var limits []*limit.Limiter
			for range 2 {
				s := open(t, redis.Config{Address: r.Addr(), Timeout: 100 * time.Millisecond})
				l := limiter(t, limit.Config{Count: 200, Burst: 40, Nodes: 2, Store: s})
				stores, limits, asks = append(stores, s), append(limits, l), append(asks, asking(l, "k"))
			}
			stop, result := make(chan struct{}), make(chan *storetest.Tally[limit.By])
			go func() { result <- storetest.Load(asks, 400, stop) }()
			both := func(reachable bool) func() bool {
				return func() bool {
					for _, s := range stores {
						if st := s.Stats(); st.Reachable != reachable || st.Trips == 0 {
							return false
						}
					}
					return true
				}
			}
			storetest.Eventually(t, "Redis is in use", both(true))
			c.stop(r)
			storetest.Eventually(t, "processes know that it is gone", both(false))
			storetest.Eventually(t, "processes decide by themselves", func() bool { return limits[0].Stats().Alone > 100 && limits[1].Stats().Alone > 100 })
			c.back(r)
			storetest.Eventually(t, "processes know that it is back", both(true))
			trips := stores[0].Stats().Trips
			storetest.Eventually(t, "processes ask again", func() bool { return stores[0].Stats().Trips > trips+3 })
			close(stop)
			got := <-result
			// All were cut off, so their shares take the place of what Redis would have granted; one that was killed may
			// grant a burst anew.
			if over := got.Over(200); over > 3*40+200*slack {
				t.Errorf("%v over the rate: %v", over, got)
			}
			if got.By[limit.LocalJudge] == 0 || got.By[limit.Stored] == 0 {
				t.Errorf("%v: want verdicts of both", got)
			}
		})
	}
}

func TestWhatBecomesOfRequestsWithoutRedis(t *testing.T) {
	t.Parallel()
	r := servers.Start(t)
	addr := r.Addr()
	r.Kill()
	for _, c := range []struct {
		name  string
		what  limit.OnUnreachable
		exact bool
		nodes int
		want  int // of 30 at once
		by    limit.By
	}{
		{"local share of one", limit.LocalShare, false, 0, 20, limit.LocalJudge},
		{"local share of four", limit.LocalShare, false, 4, 5, limit.LocalJudge},
		{"exact, local share of four", limit.LocalShare, true, 4, 5, limit.LocalJudge},
		{"all", limit.AllowAll, false, 0, 30, limit.Unreachable},
		{"none", limit.RefuseAll, false, 0, 0, limit.Unreachable},
		{"exact, none", limit.RefuseAll, true, 0, 0, limit.Unreachable},
	} {
		s := open(t, redis.Config{Address: addr})
		cfg := limit.Config{Count: 20, Per: time.Hour, OnUnreachable: c.what, Nodes: c.nodes, Store: s}
		if c.exact {
			cfg.Algorithm = limit.SlidingWindow
		}
		l := limiter(t, cfg)
		storetest.Eventually(t, "it is known", func() bool { return !s.Stats().Reachable })
		passed := 0
		for range 30 {
			allowed, by := asking(l, "k")()
			if by != c.by {
				t.Fatalf("%s: judged by %v", c.name, by)
			}
			if allowed {
				passed++
			}
		}
		if passed != c.want {
			t.Errorf("%s: %d of 30 passed, want %d", c.name, passed, c.want)
		}
		if c.what == limit.RefuseAll {
			var e *limit.Error
			if err := l.Allow(background, "k"); !errors.As(err, &e) || e.HTTPStatus() != 503 || e.Decision.Reason != limit.ReasonUnreachable || e.Decision.RetryAfter != time.Second {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}

func TestWhoeverGivesUpDoesNotWait(t *testing.T) {
	t.Parallel()
	r := servers.Start(t)
	s := open(t, redis.Config{Address: r.Addr()})
	l := limiter(t, limit.Config{Count: 10, Store: s})
	if err := l.Allow(background, "k"); err != nil {
		t.Fatal(err)
	}
	r.Freeze()
	ctx, cancel := context.WithCancel(background)
	done := make(chan error)
	go func() { done <- l.Allow(ctx, "another") }()
	storetest.Eventually(t, "it waits", func() bool { return s.Stats().Waiting > 0 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.Thaw()
	cancel()
	if err := l.Allow(ctx, "third"); !errors.Is(err, context.Canceled) {
		t.Errorf("who had given up before: %v", err)
	}
}

func TestSharedLimitThatChanges(t *testing.T) {
	t.Parallel()
	r := servers.Start(t)
	l := limiter(t, limit.Config{Count: 5, Per: time.Hour, Store: nil})
	if err := l.Set(limit.Config{Count: 5, Store: open(t, redis.Config{Address: r.Addr()})}); err == nil {
		t.Error("a limit took another store")
	}
	s := open(t, redis.Config{Address: r.Addr()})
	l = limiter(t, limit.Config{Count: 5, Per: time.Hour, Store: s})
	pass := func() (n int) {
		for range 30 {
			if l.Allow(background, "k") == nil {
				n++
			}
		}
		return n
	}
	if n := pass(); n != 5 {
		t.Errorf("%d passed", n)
	}
	if err := l.Set(limit.Config{Count: 5, Per: time.Hour, Mode: limit.Shadow, Store: s}); err != nil {
		t.Fatal(err)
	}
	if n := pass(); n != 30 {
		t.Errorf("%d passed in shadow", n)
	}
	if err := l.Set(limit.Config{Count: 5, Per: time.Hour, Algorithm: limit.SlidingWindow, Store: s}); err == nil {
		t.Error("a shared limit changed its algorithm")
	}
	if err := l.Set(limit.Config{Count: 20_000, Per: time.Hour, Store: s}); err != nil {
		t.Fatal(err)
	}
	// An exhausted key fills at the new rate, one each 0.18 s.
	storetest.Eventually(t, "the new rate holds", func() bool { return l.Allow(background, "k") == nil })
}

func TestSettingsThatAreWrong(t *testing.T) {
	const want = "limit/redis: Address: write host:port\nlimit/redis: Timeout: 2s is not between 1ms and 1s\nlimit/redis: Database: -1 is below 0"
	if _, err := redis.Open(redis.Config{Timeout: 2 * time.Second, Database: -1}); err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	r := servers.Start(t)
	s := open(t, redis.Config{Address: r.Addr()})
	if _, err := limit.New(limit.Config{Algorithm: limit.SlidingWindow, Count: 10_001, Store: s}); err == nil {
		t.Error("too many were taken")
	}
	s.Close()
	if _, err := limit.New(limit.Config{Count: 1, Store: s}); err == nil {
		t.Error("a closed store was taken")
	}
}

// What is decided without asking: the figure that leases are for.
func BenchmarkLeased(b *testing.B) {
	r := servers.Start(b)
	s := open(b, redis.Config{Address: r.Addr()})
	l := limiter(b, limit.Config{Count: 1e6, Burst: 1e6, Store: s})
	l.Allow(background, "k")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Allow(background, "k")
		}
	})
	b.ReportMetric(float64(s.Stats().Trips)/float64(b.N)*1000, "trips/1000")
}
