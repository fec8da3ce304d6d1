package limit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/yumen-io/yumen/kit/limit"
	"pgregory.net/rapid"
)

var background = context.Background()

// Each line is a limit, and what it says to requests at the given milliseconds: + allowed, - refused.
func TestWhatEachAlgorithmLetsThrough(t *testing.T) {
	for _, c := range []struct {
		cfg  limit.Config
		at   []int
		want string
	}{
		{limit.Config{Count: 2}, []int{0, 0, 0, 499, 500, 500, 1500, 1500, 1500}, "++--+-++-"},
		{limit.Config{Count: 1, Burst: 3}, []int{0, 0, 0, 0, 999, 1000}, "+++--+"},
		{limit.Config{Algorithm: limit.FixedWindow, Count: 2}, []int{0, 500, 900, 1000, 1000, 1000}, "++-++-"},
		{limit.Config{Algorithm: limit.SlidingWindow, Count: 2}, []int{0, 500, 900, 1000, 1500, 1999}, "++--+-"},
		{limit.Config{Algorithm: limit.Concurrency, Count: 2}, []int{0, 0, 0, 5000}, "++--"},
		{limit.Config{Count: 60, Per: time.Minute, Burst: 1}, []int{0, 999, 1000}, "+-+"},
	} {
		h := &hand{}
		c.cfg.Clock = h.now
		l := must(t, c.cfg)
		var got strings.Builder
		for _, at := range c.at {
			h.ns.Store(int64(at) * 1e6)
			if err := l.Allow(background, "k"); err == nil {
				got.WriteByte('+')
			} else {
				got.WriteByte('-')
			}
		}
		if got.String() != c.want {
			t.Errorf("%v %d: at %v ms %s, want %s", c.cfg.Algorithm, c.cfg.Count, c.at, got.String(), c.want)
		}
	}
}

func TestARefusalHasItsNumbers(t *testing.T) {
	h := &hand{}
	var told []limit.Decision
	l := must(t, limit.Config{Name: "per-user", Count: 2, Clock: h.now, OnDecision: func(d limit.Decision) { told = append(told, d) }})
	for range 2 {
		if err := l.Allow(background, "ann"); err != nil {
			t.Fatal(err)
		}
	}
	err := l.Allow(background, "ann")
	var e *limit.Error
	if !errors.Is(err, limit.ErrRefused) || !errors.As(err, &e) {
		t.Fatal(err)
	}
	if e.Decision.RetryAfter != 500*time.Millisecond || e.Decision.Reason != limit.ReasonRate || e.Decision.Key != "ann" {
		t.Errorf("%+v", e.Decision)
	}
	const want = "limit per-user: refused (rate_limited): 2 of 2 used in 1s, all there again in 1s, retry after 500ms, judged by process"
	if err.Error() != want {
		t.Errorf("%s\nwant %s", err, want)
	}
	if len(told) != 3 || told[0].Remaining != 1 || told[1].Remaining != 0 || told[2] != e.Decision {
		t.Errorf("told %+v", told)
	}
	if _, err := l.Take(background, "ann", 3); !errors.As(err, &e) || e.Decision.RetryAfter != 0 {
		t.Errorf("what never fits has a time: %v", err)
	}
	if st := l.Stats(); st.Allowed != 2 || st.Refused != 2 || st.Keys != 1 {
		t.Errorf("%+v", st)
	}
}

func TestShadowRefusesNothing(t *testing.T) {
	h := &hand{}
	l := must(t, limit.Config{Count: 1, Mode: limit.Shadow, Clock: h.now})
	for i := range 3 {
		p, err := l.Take(background, "k", 1)
		if err != nil || p.Decision.Allowed != (i == 0) {
			t.Errorf("%v, %v", p.Decision, err)
		}
	}
	if st := l.Stats(); st.Shadowed != 2 || st.Refused != 2 || st.Allowed != 1 {
		t.Errorf("%+v", st)
	}
}

func TestSettingsThatAreWrong(t *testing.T) {
	for _, c := range []struct {
		cfg  limit.Config
		want string
	}{
		{limit.Config{}, "limit: Count, Per: 0 is not between 1 and 1000000000"},
		{limit.Config{Count: 1, Per: time.Millisecond}, "limit: Count, Per: a rate is per second, minute or hour"},
		{limit.Config{Count: 1, Name: `a"b`}, `limit: Name: "a\"b" is not of 1 to 64 printable ASCII characters without quotes and backslashes`},
		{limit.Config{Count: 1, Algorithm: 9}, "limit: Algorithm: 9 is none"},
		{limit.Config{Count: 1, Mode: 2, KeysMax: -1, Nodes: 129, OnUnreachable: 3}, "limit: Mode: 2 is none\n" +
			"limit: KeysMax: -1 is not between 1 and 10000000\nlimit: Nodes: 129 is not between 1 and 128\nlimit: OnUnreachable: 3 is none"},
		{limit.Config{Count: 1, MaxDelay: time.Second}, "limit: MaxDelay: only a LeakyBucket has requests wait"},
		{limit.Config{Count: 1, Algorithm: limit.LeakyBucket, MaxDelay: time.Hour}, "limit: MaxDelay: 1h0m0s is not between 0 and 1m0s"},
		{limit.Config{Count: 1, Algorithm: limit.FixedWindow, Burst: 2}, "limit: Burst: a fixed_window has no burst: all it allows may come at once"},
		{limit.Config{Count: 1, Algorithm: limit.Concurrency, Per: time.Second}, "limit: Per: so many at a time have neither a time nor a burst: leave Per and Burst out"},
		{limit.Config{Count: 1, Algorithm: limit.Concurrency, Store: noStore{}}, "limit: Algorithm: a Store shares a TokenBucket or a SlidingWindow, not a concurrency"},
	} {
		if _, err := limit.New(c.cfg); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v\nwant %s", c.cfg, err, c.want)
		}
	}
}

type noStore struct{}

func (noStore) Attach(limit.Shared) (limit.Source, error) { return nil, errors.New("no store") }

func TestKeysKeepWhatTheyUsedWhenSettingsChange(t *testing.T) {
	h := &hand{}
	l := must(t, limit.Config{Count: 10, Clock: h.now})
	for range 10 {
		l.Allow(background, "k")
	}
	set := func(cfg limit.Config) {
		t.Helper()
		if err := l.Set(cfg); err != nil {
			t.Fatal(err)
		}
	}
	set(limit.Config{Count: 5})
	if l.Allow(background, "k") == nil {
		t.Error("a lower limit forgot what was used")
	}
	set(limit.Config{Count: 5, Mode: limit.Shadow})
	if err := l.Allow(background, "k"); err != nil {
		t.Error(err)
	}
	set(limit.Config{Algorithm: limit.SlidingWindow, Count: 1})
	if err := l.Allow(background, "k"); err != nil {
		t.Errorf("another algorithm begins anew: %v", err)
	}
	if err := l.Set(limit.Config{Name: "other", Count: 1}); err == nil {
		t.Error("a limit took another name")
	}
	if err := l.Set(limit.Config{Count: -1}); err == nil {
		t.Error("wrong settings were taken")
	}
	if l.Allow(background, "k") == nil {
		t.Error("an error changed something")
	}
}

// Whatever goroutines come: of a bucket of 1000 that does not fill, 1000 pass.
func TestExactOverGoroutines(t *testing.T) {
	for _, cfg := range []limit.Config{
		{Count: 1000, Per: time.Hour}, {Algorithm: limit.FixedWindow, Count: 1000, Per: time.Hour},
		{Algorithm: limit.SlidingWindow, Count: 1000, Per: time.Hour}, {Algorithm: limit.Concurrency, Count: 1000},
	} {
		h := &hand{}
		cfg.Clock = h.now
		l := must(t, cfg)
		var passed atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 500 {
					if l.Allow(background, "k") == nil {
						passed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if got := passed.Load(); got != 1000 {
			t.Errorf("%v: %d passed, want 1000", cfg.Algorithm, got)
		}
	}
}

// Keys come and go, tables grow, keys make room, and settings change meanwhile: no key passes more than it may.
func TestExactWhileKeysComeAndGo(t *testing.T) {
	h := &hand{}
	l := must(t, limit.Config{Count: 5, Per: time.Hour, Clock: h.now})
	var passed [400]atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 8000 {
				k := (i*7 + g*13) % len(passed)
				if l.Allow(background, fmt.Sprint("key-", k)) == nil {
					passed[k].Add(1)
				}
				if i%1000 == 0 {
					l.Set(limit.Config{Count: 5, Per: time.Hour})
				}
			}
		})
	}
	wg.Wait()
	for k := range passed {
		if got := passed[k].Load(); got != 5 {
			t.Errorf("key %d passed %d times, want 5", k, got)
		}
	}
}

func TestMoreKeysThanThereMayBe(t *testing.T) {
	h := &hand{}
	l := must(t, limit.Config{Count: 4, Per: time.Hour, KeysMax: 320, Clock: h.now})
	for range 4 { // used up: they stay
		for k := range 100 {
			l.Allow(background, fmt.Sprint("mine-", k))
		}
	}
	for k := range 20_000 { // one request each
		l.Allow(background, fmt.Sprint("flood-", k))
	}
	st := l.Stats()
	if st.Keys > 320+32 || st.Forgotten == 0 {
		t.Errorf("%+v", st)
	}
	for k := range 100 {
		if l.Allow(background, fmt.Sprint("mine-", k)) == nil {
			t.Fatalf("a flood of keys had mine-%d forgotten", k)
		}
	}
	h.advance(24 * time.Hour)
	for k := range 1000 {
		if err := l.Allow(background, fmt.Sprint("late-", k)); err != nil {
			t.Fatal(err)
		}
	}
	if st := l.Stats(); st.Evicted == 0 || st.Keys > 320+32 {
		t.Errorf("%+v", st)
	}
}

func TestKeysWithoutAPlaceShareOneCount(t *testing.T) {
	h := &hand{}
	l := must(t, limit.Config{Algorithm: limit.Concurrency, Count: 1, KeysMax: 1, Clock: h.now})
	var held []limit.Permit
	var last error
	for k := range 200 {
		p, err := l.Take(background, fmt.Sprint(k), 1)
		if err == nil {
			held = append(held, p)
		} else {
			last = err
		}
	}
	var e *limit.Error
	if !errors.As(last, &e) || e.Decision.Reason != limit.ReasonKeysFull {
		t.Errorf("%v", last)
	}
	if len(held) > 33 {
		t.Errorf("%d are under way", len(held))
	}
	for i := range held {
		held[i].Release()
		held[i].Release()
	}
	if _, err := l.Take(background, "new", 1); err != nil {
		t.Error(err)
	}
}

func TestPlacesAreGivenBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, err := limit.New(limit.Config{Algorithm: limit.Concurrency, Count: 3})
		if err != nil {
			t.Fatal(err)
		}
		var held []limit.Permit
		for range 50 {
			if rapid.Bool().Draw(t, "ends") && len(held) > 0 {
				held[0].Release()
				held = held[1:]
			} else if p, err := l.Take(background, "k", 1); (err == nil) != (len(held) < 3) {
				t.Fatalf("%d under way: %v", len(held), err)
			} else if err == nil {
				held = append(held, p)
			}
		}
	})
}

func TestALeakyBucketSpacesRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := must(t, limit.Config{Algorithm: limit.LeakyBucket, Count: 10, MaxDelay: time.Second})
		begun := time.Now()
		for i := range 5 {
			if err := l.Allow(background, "k"); err != nil {
				t.Fatal(err)
			}
			if at := time.Since(begun); at != time.Duration(i)*100*time.Millisecond {
				t.Errorf("request %d went on after %v", i, at)
			}
		}
		ctx, cancel := context.WithTimeout(background, 50*time.Millisecond)
		defer cancel()
		at := time.Now()
		if err := l.Allow(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) || time.Since(at) != 0 {
			t.Errorf("who cannot be served in time: %v after %v", err, time.Since(at))
		}
		ctx, cancel2 := context.WithCancel(background)
		time.AfterFunc(10*time.Millisecond, cancel2)
		if err := l.Allow(ctx, "k"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestKnownKeysAllocateNothing(t *testing.T) {
	l := must(t, limit.Config{Count: 1e9})
	if n := testing.AllocsPerRun(1000, func() { l.Allow(background, "k") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWordsOfPriorities(t *testing.T) {
	for _, p := range []limit.Priority{limit.Low, limit.Normal, limit.High, limit.Critical} {
		if got, ok := limit.ParsePriority(p.String()); got != p || !ok {
			t.Errorf("%s is read as %s", p, got)
		}
	}
	if got, ok := limit.ParsePriority("urgent"); got != limit.Normal || ok {
		t.Errorf("urgent is read as %s", got)
	}
	if low, high := limit.Priority(-9).String(), limit.Priority(9).String(); low != "low" || high != "critical" {
		t.Error(low, high)
	}
}
