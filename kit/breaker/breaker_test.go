package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/breaker"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	background = context.Background()
	errBroken  = errors.New("broken")
	quiet      = slog.New(slog.NewTextHandler(io.Discard, nil))
)

// hand is a clock that tests move.
type hand struct{ ns atomic.Int64 }

func (h *hand) now() time.Time          { return time.Unix(1_800_000_000, h.ns.Load()) }
func (h *hand) advance(d time.Duration) { h.ns.Add(int64(d)) }

func must(t testing.TB, h *hand, cfg breaker.Config) *breaker.Breaker {
	t.Helper()
	if h != nil {
		cfg.Clock = h.now
	}
	cfg.Logger = quiet
	b, err := breaker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func do(b *breaker.Breaker, err error) error {
	return b.Do(background, "db", func(context.Context) error { return err })
}

// many makes n calls with that result, 10 ms apart, and returns how many were refused.
func many(h *hand, b *breaker.Breaker, n int, result error) (refused int) {
	for range n {
		h.advance(10 * time.Millisecond)
		if errors.Is(do(b, result), breaker.ErrOpen) {
			refused++
		}
	}
	return refused
}

func state(b *breaker.Breaker) breaker.State { return b.Stats().Keys[0].State }

// Each line is a story: so many calls with that end, and what the breaker is then.
func TestWhatOpensIt(t *testing.T) {
	type part struct {
		n   int
		err error
	}
	cancelled, late := context.Canceled, context.DeadlineExceeded
	for _, c := range []struct {
		name  string
		cfg   breaker.Config
		parts []part
		want  breaker.State
		cause string
	}{
		{"nothing", breaker.Config{}, []part{{100, nil}}, breaker.Closed, ""},
		{"20 failures in a row", breaker.Config{}, []part{{200, nil}, {20, errBroken}}, breaker.Open, "consecutive"},
		{"19 failures in a row", breaker.Config{}, []part{{200, nil}, {19, errBroken}, {100, nil}}, breaker.Closed, ""},
		{"half of the calls", breaker.Config{Consecutive: breaker.Never}, []part{{30, nil}, {31, errBroken}, {20, nil}}, breaker.Open, "error_ratio"},
		{"too few to tell", breaker.Config{Consecutive: breaker.Never, Volume: 50}, []part{{40, errBroken}}, breaker.Closed, ""},
		{"all of them cancelled", breaker.Config{}, []part{{100, cancelled}}, breaker.Closed, ""},
		{"cancels between failures", breaker.Config{Consecutive: 3}, []part{{2, errBroken}, {50, cancelled}, {1, errBroken}}, breaker.Open, "consecutive"},
		{"deadlines of callers who left no time", breaker.Config{}, []part{{100, late}}, breaker.Closed, ""},
		{"deadlines", breaker.Config{TimeoutMin: 1}, []part{{100, fmt.Errorf("asking: %w", late)}}, breaker.Closed, ""},
		{"both rules off", breaker.Config{Consecutive: breaker.Never, ErrorRatio: breaker.Never}, []part{{500, errBroken}}, breaker.Closed, ""},
	} {
		h := &hand{}
		b := must(t, h, c.cfg)
		for _, p := range c.parts {
			many(h, b, p.n, p.err)
		}
		k := b.Stats().Keys[0]
		if k.State != c.want || k.Opened != c.cause {
			t.Errorf("%s: %v by %q, want %v by %q", c.name, k.State, k.Opened, c.want, c.cause)
		}
	}
}

func TestDeadlinesThatWereLongEnoughAreTimeouts(t *testing.T) {
	h := &hand{}
	b := must(t, h, breaker.Config{Consecutive: 3})
	for range 3 {
		b.Do(background, "db", func(context.Context) error {
			h.advance(50 * time.Millisecond)
			return context.DeadlineExceeded
		})
	}
	if k := b.Stats().Keys[0]; k.State != breaker.Open {
		t.Errorf("%+v", k)
	}
}

func TestSlowCallsOpenIt(t *testing.T) {
	h := &hand{}
	b := must(t, h, breaker.Config{SlowThan: 200 * time.Millisecond, SlowRatio: 0.5})
	for range 40 {
		b.Do(background, "db", func(context.Context) error { h.advance(250 * time.Millisecond); return nil })
	}
	if k := b.Stats().Keys[0]; k.Opened != "slow_ratio" {
		t.Errorf("%+v", k)
	}
}

// It opens, refuses, probes, climbs, and closes; all of it is told.
func TestLifeOfABreaker(t *testing.T) {
	h := &hand{}
	var told []string
	b := must(t, h, breaker.Config{OnChange: func(c breaker.Change) {
		told = append(told, fmt.Sprintf("%v-%v %s", c.From, c.To, c.Cause))
	}})
	many(h, b, 20, errBroken)
	err := do(b, nil)
	var e *breaker.Error
	if !errors.As(err, &e) || !errors.Is(err, breaker.ErrOpen) {
		t.Fatal(err)
	}
	if d := e.Decision; d.RetryAfter != 5*time.Second || d.Numbers.Consecutive != 20 || d.State != breaker.Open || d.Cause != "consecutive" {
		t.Errorf("%+v", d)
	}
	h.advance(5 * time.Second)
	if n := many(h, b, 5, errBroken); n != 0 { // the probes
		t.Errorf("%d of the probes were refused", n)
	}
	h.advance(100 * time.Millisecond)
	if err := do(b, nil); !errors.As(err, &e) || e.Decision.State != breaker.Open || e.Decision.RetryAfter < 9*time.Second {
		t.Errorf("probes that failed: %v", err)
	}
	h.advance(10 * time.Second)
	refused := 0
	for i := 0; state(b) != breaker.Closed; i++ {
		refused += many(h, b, 1, nil)
		if i > 10_000 {
			t.Fatalf("it never closed: %v", told)
		}
	}
	if refused == 0 {
		t.Error("all passed on the stair")
	}
	want := "closed-open consecutive, open-half_open time_over, half_open-open probes_failed, open-half_open time_over, half_open-half_open probes_passed, " +
		"half_open-half_open probes_passed, half_open-half_open probes_passed, half_open-closed recovered"
	if got := strings.Join(told, ", "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestAfterATimeWithoutCallsOldEndingsAreOld(t *testing.T) {
	h := &hand{}
	b := must(t, h, breaker.Config{Consecutive: breaker.Never})
	for range 30 { // within one tick
		do(b, errBroken)
	}
	h.advance(time.Minute)
	if err := do(b, nil); err != nil {
		t.Errorf("a minute later: %v", err) // it opened then, and its time is over: this is the first probe
	}
	if k := b.Stats().Keys[0]; k.State != breaker.HalfOpen || k.Opened != "error_ratio" {
		t.Errorf("%+v", k)
	}
}

func TestProbesThatSayNothingAreReplaced(t *testing.T) {
	h := &hand{}
	b := must(t, h, breaker.Config{Consecutive: 2, Probes: 1})
	many(h, b, 2, errBroken)
	h.advance(5 * time.Second)
	for range 10 {
		if err := do(b, context.Canceled); errors.Is(err, breaker.ErrOpen) {
			t.Fatal("a probe that was cancelled was not replaced")
		}
	}
	c, err := b.Begin("db")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Begin("db"); err == nil {
		t.Error("two probes at a time")
	}
	c.End(breaker.Success)
}

func TestShadowRefusesNothing(t *testing.T) {
	h := &hand{}
	refusals := 0
	b := must(t, h, breaker.Config{Mode: breaker.Shadow, OnDecision: func(d breaker.Decision) {
		if !d.Allowed {
			refusals++
		}
	}})
	if n := many(h, b, 100, errBroken); n != 0 {
		t.Errorf("%d were refused", n)
	}
	if st := b.Stats(); st.Shadowed != 80 || st.Refused != 80 || refusals != 80 {
		t.Errorf("%+v, %d told", st, refusals)
	}
}

func TestSettingsChangeAndStatesStay(t *testing.T) {
	h := &hand{}
	b := must(t, h, breaker.Config{})
	many(h, b, 20, errBroken)
	set := func(cfg breaker.Config) {
		t.Helper()
		if err := b.Set(cfg); err != nil {
			t.Fatal(err)
		}
	}
	set(breaker.Config{OpenFor: time.Second, OpenMax: time.Second})
	var e *breaker.Error
	if err := do(b, nil); !errors.As(err, &e) || e.Decision.RetryAfter != time.Second {
		t.Errorf("%v", err)
	}
	set(breaker.Config{Mode: breaker.Shadow})
	if err := do(b, nil); err != nil {
		t.Error(err)
	}
	set(breaker.Config{})
	b.Reset("db")
	b.Reset("unknown")
	if err := do(b, nil); err != nil || state(b) != breaker.Closed {
		t.Errorf("after an operator closed it: %v", err)
	}
	if err := b.Set(breaker.Config{Window: 1}); err == nil {
		t.Error("wrong settings were taken")
	}
}

func TestKeysHaveBreakersOfTheirOwnUpToABound(t *testing.T) {
	h := &hand{}
	b := must(t, h, breaker.Config{KeysMax: 3, Consecutive: 1})
	call := func(key string, err error) error {
		return b.Do(background, key, func(context.Context) error { return err })
	}
	call("a", errBroken)
	if call("a", nil) == nil || call("b", nil) != nil || call("c", nil) != nil {
		t.Error("breakers are not apart")
	}
	for range 3 {
		if err := call("d", errBroken); err != errBroken {
			t.Errorf("a key without a place: %v", err)
		}
	}
	if st := b.Stats(); len(st.Keys) != 3 || st.Unguarded != 3 {
		t.Errorf("%+v", st)
	}
	h.advance(2 * time.Minute)
	call("d", errBroken)
	if st := b.Stats(); st.Unguarded != 3 || len(st.Keys) != 2 {
		t.Errorf("idle ones did not make room: %+v", st)
	}
}

func TestSettingsThatAreWrong(t *testing.T) {
	for _, c := range []struct {
		cfg  breaker.Config
		want string
	}{
		{breaker.Config{Window: time.Millisecond}, "breaker: Window: 1ms is not between 1s and 10m"},
		{breaker.Config{ErrorRatio: 50}, "breaker: ErrorRatio: 50 is not between 0 and 1"},
		{breaker.Config{SlowRatio: 0.5}, "breaker: SlowThan: say from when a call is slow, or leave out SlowRatio"},
		{breaker.Config{Mode: 7, Volume: -1, Probes: -1}, "breaker: Mode: 7 is none\nbreaker: Volume: -1 is below 0\nbreaker: Probes: -1 is not between 1 and 1000"},
		{breaker.Config{Ramp: []float64{0.5, 5}}, "breaker: Ramp: 5 is not between 0 and 1"},
		{breaker.Config{Statuses: []int{200}}, "breaker: Statuses: 200 is not between 400 and 599"},
		{breaker.Config{KeysMax: 1e6, OpenFor: -1}, "breaker: OpenFor: -1ns is below 0\nbreaker: KeysMax: 1000000 is not between 1 and 100000"},
		{breaker.Config{Adaptive: breaker.Adaptive{Score: 2}}, "breaker: Adaptive.Score: 2 is not between 0 and 1"},
	} {
		if _, err := breaker.New(c.cfg); err == nil || err.Error() != c.want {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
}

// The adaptive rule opens on an outage that no classic rule sees.
func TestAdaptiveOpensWhereTheClassicRuleIsBlind(t *testing.T) {
	h := &hand{}
	var first *breaker.Change
	b := must(t, h, breaker.Config{Consecutive: breaker.Never, ErrorRatio: breaker.Never, Adaptive: breaker.Adaptive{On: true}, OnChange: func(c breaker.Change) {
		if first == nil {
			first = &c
		}
	}})
	second := func(latency time.Duration, failEach int) {
		for i := range 50 {
			c, err := b.Begin("db")
			h.advance(latency + time.Duration(i%7)*time.Millisecond)
			if err == nil && failEach > 0 && i%failEach == 0 {
				c.End(breaker.Failure)
			} else if err == nil {
				c.End(breaker.Success)
			}
		}
	}
	for range 90 {
		second(20*time.Millisecond, 0)
	}
	if k := b.Stats().Keys[0]; k.State != breaker.Closed || k.Learnt < 30 {
		t.Fatalf("%+v", k)
	}
	for range 20 {
		second(300*time.Millisecond, 3)
	}
	if first == nil || first.Cause != "score" || first.Top == "" || first.Numbers.Score < 0.55 {
		t.Errorf("%+v", first)
	}
}

// Goroutines meet at every edge: closed, trip, probes, Set, Stats.
func TestGoroutines(t *testing.T) {
	h := &hand{}
	b := must(t, h, breaker.Config{Consecutive: 10, OpenFor: time.Second, RampStep: time.Millisecond})
	var broken atomic.Bool
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for i := range 3000 {
				if g == 0 {
					h.advance(10 * time.Millisecond)
					broken.Store(i/500%2 == 1)
				}
				key := fmt.Sprint("db-", i%3)
				b.Do(background, key, func(context.Context) error {
					if broken.Load() {
						return errBroken
					}
					return nil
				})
				if i%500 == 0 {
					b.Set(breaker.Config{Logger: quiet, Consecutive: 10, OpenFor: time.Second, RampStep: time.Millisecond})
					b.Stats()
				}
			}
		})
	}
	wg.Wait()
	for k := range 3 {
		for i := 0; ; i++ {
			h.advance(100 * time.Millisecond)
			b.Do(background, fmt.Sprint("db-", k), func(context.Context) error { return nil })
			if s := b.Stats(); s.Keys[0].State == breaker.Closed && s.Keys[1].State == breaker.Closed && s.Keys[2].State == breaker.Closed {
				break
			}
			if i > 1000 {
				break
			}
		}
	}
	for _, k := range b.Stats().Keys {
		if k.State != breaker.Closed {
			t.Errorf("it never came back: %+v", k)
		}
	}
}

// Of many at once exactly as many probes go as there are.
func TestProbesAreCountedOverGoroutines(t *testing.T) {
	h := &hand{}
	b := must(t, h, breaker.Config{Consecutive: 2, Probes: 7})
	many(h, b, 2, errBroken)
	h.advance(6 * time.Second)
	var passed atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if _, err := b.Begin("db"); err == nil {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if passed.Load() != 7 {
		t.Errorf("%d probes, want 7", passed.Load())
	}
}

func TestAPanicIsAFailure(t *testing.T) {
	h := &hand{}
	b := must(t, h, breaker.Config{Consecutive: 1})
	func() {
		defer func() { recover() }()
		b.Do(background, "db", func(context.Context) error { panic("oops") })
	}()
	if state(b) != breaker.Open {
		t.Error("it is closed")
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	b := must(t, nil, breaker.Config{})
	c, _ := b.Begin("db")
	c.End(breaker.Success)
	if n := testing.AllocsPerRun(1000, func() {
		c, _ := b.Begin("db")
		c.End(breaker.Success)
		b.Do(background, "db", func(context.Context) error { return nil })
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Run with
//
//	go test ./kit/breaker -run - -bench . -benchmem -cpu 1,2
func BenchmarkCall(b *testing.B) {
	for _, c := range []struct {
		name string
		keys []string
	}{{"one key", []string{"db"}}, {"four keys", []string{"a", "b", "c", "d"}}} {
		b.Run(c.name, func(b *testing.B) {
			br := must(b, nil, breaker.Config{})
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					c, _ := br.Begin(c.keys[i%len(c.keys)])
					c.End(breaker.Success)
				}
			})
		})
	}
}
