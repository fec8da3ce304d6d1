package limit

import (
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"pgregory.net/rapid"
)

const t0 = mono.Time(1000 * time.Hour) // on the seam of two windows

func must(t testing.TB, cfg Config) *Limit {
	t.Helper()
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// asked is one request, so long after t0, and the verdict on it.
type asked struct {
	after time.Duration
	cost  int64
	want  Verdict
}

func yes(quota, used int64, reset time.Duration) Verdict {
	return Verdict{Allowed: true, Limit: quota, Used: used, Remaining: quota - used, Reset: reset}
}

func no(quota, used int64, retry, reset time.Duration) Verdict {
	return Verdict{Limit: quota, Used: used, Remaining: max(quota-used, 0), RetryAfter: retry, Reset: reset}
}

func delayed(quota, used int64, delay, reset time.Duration) Verdict {
	return Verdict{Allowed: true, Limit: quota, Used: used, Remaining: max(quota-used, 0), Delay: delay, Reset: reset}
}

func TestStories(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for _, c := range []struct {
		name  string
		cfg   Config
		asked []asked
	}{
		{"a token bucket of two, ten a second", Config{Count: 10, Per: s, Burst: 2}, []asked{
			{0, 1, yes(2, 1, 100*ms)}, {0, 1, yes(2, 2, 200*ms)}, {0, 1, no(2, 2, 100*ms, 200*ms)},
			{99 * ms, 1, no(2, 2, 1*ms, 101*ms)}, {100 * ms, 1, yes(2, 2, 200*ms)}, {time.Hour, 1, yes(2, 1, 100*ms)},
		}},
		{"five a minute, five at once", Config{Count: 5, Per: time.Minute}, []asked{
			{0, 5, yes(5, 5, time.Minute)}, {11 * s, 1, no(5, 5, 1*s, 49*s)}, {12 * s, 1, yes(5, 5, time.Minute)},
		}},
		{"more than the bucket ever holds", Config{Count: 5, Per: s}, []asked{{0, 6, no(5, 0, 0, 0)}, {0, 5, yes(5, 5, s)}}},
		{"a leaky bucket spaces out, and refuses what would wait too long", Config{Algorithm: LeakyBucket, Count: 10, Per: s, MaxDelay: 250 * ms}, []asked{
			{0, 1, yes(1, 1, 100*ms)}, {0, 1, delayed(1, 2, 100*ms, 200*ms)}, {50 * ms, 1, delayed(1, 3, 150*ms, 250*ms)},
			{50 * ms, 1, delayed(1, 4, 250*ms, 350*ms)}, {50 * ms, 1, no(1, 4, 100*ms, 350*ms)}, {s, 1, yes(1, 1, 100*ms)},
		}},
		{"a leaky bucket with a burst", Config{Algorithm: LeakyBucket, Count: 10, Per: s, Burst: 2}, []asked{
			{0, 1, yes(2, 1, 100*ms)}, {0, 1, yes(2, 2, 200*ms)}, {0, 1, delayed(2, 3, 100*ms, 300*ms)},
		}},
		{"a fixed window, twice around its seam", Config{Algorithm: FixedWindow, Count: 2, Per: s}, []asked{
			{900 * ms, 2, yes(2, 2, 100*ms)}, {950 * ms, 1, no(2, 2, 50*ms, 50*ms)}, {s, 2, yes(2, 2, s)}, {s, 3, no(2, 2, 0, s)},
			{s, 1, no(2, 2, s, s)},
		}},
		{"a sliding window, what was before counts in part", Config{Algorithm: SlidingWindow, Count: 10, Per: s}, []asked{
			{500 * ms, 10, yes(10, 10, 1500*ms)}, {900 * ms, 1, no(10, 10, 200*ms, 1100*ms)},
			{s, 1, no(10, 10, 100*ms, s)}, {1500 * ms, 5, yes(10, 10, 1500*ms)}, {1500 * ms, 1, no(10, 10, 100*ms, 500*ms+s)},
			{1600 * ms, 1, yes(10, 10, 1400*ms)}, {4 * s, 1, yes(10, 1, 2*s)},
		}},
		{"two at once", Config{Algorithm: Concurrency, Count: 2}, []asked{
			{0, 1, yes(2, 1, 0)}, {0, 1, yes(2, 2, 0)}, {0, 1, no(2, 2, 0, 0)}, {time.Hour, 1, no(2, 2, 0, 0)},
		}},
	} {
		l, word := must(t, c.cfg), Word(0)
		for i, a := range c.asked {
			var got Verdict
			if word, got = l.Decide(word, t0.Add(a.after), a.cost); got != a.want {
				t.Errorf("%s, request %d:\n got %+v\nwant %+v", c.name, i, got, a.want)
			}
		}
	}
}

func TestSettingsThatMakeNoSense(t *testing.T) {
	for _, c := range []struct {
		cfg     Config
		setting string
	}{
		{Config{Per: time.Second}, "rate"},
		{Config{Count: CountMax + 1, Per: time.Second}, "rate"},
		{Config{Count: 1}, "rate"},
		{Config{Count: 1, Per: 2 * time.Hour}, "rate"},
		{Config{Count: 1, Per: time.Hour, Burst: 1e6}, "burst"},
		{Config{Count: 1, Per: time.Hour, Burst: 1 << 62}, "burst"},
		{Config{Count: 1, Per: time.Second, Burst: -1}, "burst"},
		{Config{Algorithm: FixedWindow, Count: 1, Per: time.Second, Burst: 2}, "burst"},
		{Config{Algorithm: SlidingWindow, Count: 1, Per: time.Second, Burst: 2}, "burst"},
		{Config{Algorithm: SlidingWindow, Count: SlidingCountMax + 1, Per: time.Hour}, "rate"},
		{Config{Algorithm: LeakyBucket, Count: 1, Per: time.Second, MaxDelay: MaxDelayMax + 1}, "max_delay"},
		{Config{Algorithm: Concurrency}, "rate"},
	} {
		_, err := New(c.cfg)
		var e *Error
		if !errors.As(err, &e) || e.Setting != c.setting {
			t.Errorf("%+v: %v, want a problem of %s", c.cfg, err, c.setting)
		}
	}
	for _, cfg := range []Config{
		{Count: CountMax, Per: time.Second}, {Count: 1, Per: time.Hour, Burst: 8784}, {Algorithm: SlidingWindow, Count: SlidingCountMax, Per: time.Hour},
		{Algorithm: FixedWindow, Count: CountMax, Per: time.Hour},
	} {
		must(t, cfg)
	}
}

// A twin is the same limit as anybody would write it down, with all of its history at hand.
type twin interface {
	allows(now mono.Time, cost int64) (allowed bool, delay time.Duration)
}

// bucketTwin is a bucket with a level, of ticks, which time fills and requests empty.
type bucketTwin struct {
	interval, capacity, patience int64
	level                        int64 // below zero: promised to those who wait
	at                           mono.Time
}

func (b *bucketTwin) allows(now mono.Time, cost int64) (bool, time.Duration) {
	b.level = min(b.level+int64(now-b.at)<<tickBits, b.capacity)
	b.at = now
	left := b.level - cost*b.interval
	if cost*b.interval > b.capacity || left < -b.patience {
		return false, 0
	}
	b.level = left
	return true, untickUp(max(-left, 0))
}

// windowTwin keeps every request it let through.
type windowTwin struct {
	count, per int64
	sliding    bool
	log        []mono.Time
}

func (w *windowTwin) allows(now mono.Time, cost int64) (bool, time.Duration) {
	number := int64(now) / w.per
	var here, before int64
	for _, at := range w.log {
		switch int64(at) / w.per {
		case number:
			here++
		case number - 1:
			before++
		}
	}
	sum := big.NewRat(here+cost, 1)
	if w.sliding {
		sum.Add(sum, new(big.Rat).Mul(big.NewRat(before, 1), big.NewRat(w.per-int64(now)%w.per, w.per)))
	}
	if sum.Cmp(big.NewRat(w.count, 1)) > 0 {
		return false, 0
	}
	for range cost {
		w.log = append(w.log, now)
	}
	return true, 0
}

func twinOf(l *Limit) twin {
	switch b := l.bucket; l.algorithm {
	case TokenBucket, LeakyBucket:
		return &bucketTwin{interval: b.interval, capacity: b.capacity, patience: b.patience, level: b.capacity}
	default:
		return &windowTwin{count: l.count, per: l.per, sliding: l.algorithm == SlidingWindow}
	}
}

var units = []time.Duration{time.Second, time.Minute, time.Hour}

func drawnOf(t *rapid.T, cfg Config) *Limit {
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// drawn is any limit that has a rate.
func drawn(t *rapid.T, algorithms ...Algorithm) *Limit {
	cfg := Config{
		Algorithm: rapid.SampledFrom(algorithms).Draw(t, "algorithm"),
		Count:     rapid.SampledFrom([]int64{1, 2, 3, 7, 10, 60, 1000}).Draw(t, "count"),
		Per:       rapid.SampledFrom(units).Draw(t, "per"),
	}
	if cfg.Algorithm == TokenBucket || cfg.Algorithm == LeakyBucket {
		cfg.Burst = rapid.SampledFrom([]int64{0, 1, 2, 5, 50}).Draw(t, "burst")
	}
	if cfg.Algorithm == LeakyBucket {
		cfg.MaxDelay = rapid.SampledFrom([]time.Duration{0, time.Millisecond, 10 * time.Second, time.Minute}).Draw(t, "delay")
	}
	return drawnOf(t, cfg)
}

// pause is a time between two requests that does something with the limit: nothing, a hair, about an interval, a window.
func pause(t *rapid.T, l *Limit) time.Duration {
	per := int64(l.window)
	if l.bucket.interval > 0 {
		per = l.bucket.interval >> tickBits
	}
	return time.Duration(rapid.SampledFrom([]int64{0, 0, 0, 1, per / 3, per - 1, per, per + 1, 2*per + per/2}).Draw(t, "pause"))
}

func TestEachAgreesWithItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawn(t, TokenBucket, LeakyBucket, FixedWindow, SlidingWindow)
		slow, word, now := twinOf(l), Word(0), t0
		if b, ok := slow.(*bucketTwin); ok {
			b.at = now
		}
		for range 60 {
			now = now.Add(pause(t, l))
			cost := rapid.SampledFrom([]int64{1, 1, 1, 2, 5}).Draw(t, "cost")
			var v Verdict
			word, v = l.Decide(word, now, cost)
			allowed, delay := slow.allows(now, cost)
			if v.Allowed != allowed || v.Delay != delay {
				t.Fatalf("at %v: %+v, the twin says %v, %v", now.Sub(t0), v, allowed, delay)
			}
			if v.Limit != l.Quota() || v.Used < 0 || v.Remaining != max(v.Limit-v.Used, 0) || v.Reset < 0 || word == Gone {
				t.Fatalf("numbers that do not add up: %+v", v)
			}
		}
	})
}

// bound is what an interval of a length may let through, as the package's page says. Delays are told in whole nanoseconds.
func bound(l *Limit, length time.Duration) int64 {
	length++
	if l.algorithm == TokenBucket || l.algorithm == LeakyBucket {
		return int64(length)<<tickBits/l.bucket.interval + l.bucket.burst
	}
	if length < time.Duration(l.per) {
		return 2 * l.count
	}
	return (int64(length)/l.per + 2) * l.count
}

// Whatever arrives: no interval lets through more than the page says, nor more than asked for.
func TestNoIntervalLetsThroughMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawn(t, TokenBucket, LeakyBucket, FixedWindow, SlidingWindow)
		word, now := Word(0), t0
		var left []mono.Time // when requests went on
		for range 150 {
			now = now.Add(pause(t, l))
			var v Verdict
			if word, v = l.Decide(word, now, 1); v.Allowed {
				left = append(left, now.Add(v.Delay))
			}
		}
		if !slices.IsSorted(left) {
			t.Fatal("one overtook another")
		}
		for i := range left {
			for j := i; j < len(left); j++ {
				if n := int64(j - i + 1); n > bound(l, left[j].Sub(left[i])) {
					t.Fatalf("%d in %v, at most %d", n, left[j].Sub(left[i]), bound(l, left[j].Sub(left[i])))
				}
			}
		}
	})
}

// Who asks all the time gets all of the rate, less what rounding takes, and whoever waits as told is let in, and not before.
func TestRetryAfterIsWhenItIsAllowedAndNotBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawn(t, TokenBucket, LeakyBucket, FixedWindow, SlidingWindow)
		word, now := Word(0), t0
		for range 100 {
			now = now.Add(pause(t, l))
			next, v := l.Decide(word, now, 1)
			if !v.Allowed {
				if v.RetryAfter <= 0 {
					t.Fatalf("refused without a time: %+v", v)
				}
				if _, early := l.Decide(next, now.Add(v.RetryAfter-2), 1); early.Allowed {
					t.Fatalf("allowed before the time that was told: %+v", v)
				}
				if _, late := l.Decide(next, now.Add(v.RetryAfter), 1); !late.Allowed {
					t.Fatalf("refused at the time that was told: %+v, then %+v", v, late)
				}
			}
			if got := l.Load(next, now.Add(v.Reset)); got != 0 {
				t.Fatalf("%v of the quota is used when all of it should be there: %+v", got, v)
			}
			word = next
		}
	})
}

// The clock jumps back: nobody gets more than the quota out of it, nobody is refused for longer than from an exhausted key,
// but in a sliding window for a jump within it.
func TestClockThatJumpsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawn(t, TokenBucket, LeakyBucket, FixedWindow, SlidingWindow)
		word, now := Word(0), t0
		exhaust := func() (n int64) {
			for {
				var v Verdict
				if word, v = l.Decide(word, now, 1); !v.Allowed {
					return n
				}
				n++
			}
		}
		exhaust()
		back := time.Duration(rapid.Int64Range(1, int64(500*time.Hour)).Draw(t, "back"))
		if l.algorithm == SlidingWindow {
			back = min(back, time.Duration(l.per*(slidingBackMax-1)))
		}
		now = now.Add(-back)
		// Which may make up to a tick's worth of difference in the part of the window before that counts.
		if n := exhaust(); n > l.count+l.bucket.burst && l.algorithm == SlidingWindow || n > 0 && l.algorithm != SlidingWindow {
			t.Fatalf("%d let through by a jump of %v", n, back)
		}
		longest := 2*time.Duration(l.per) + untickUp(l.bucket.capacity+l.bucket.patience) + time.Duration(skewMax>>tickBits)
		if l.algorithm == SlidingWindow {
			// A jump back into the window before is taken for a loop whose clock is behind: the key waits for what was jumped.
			longest += min(back, time.Duration(l.per))
		}
		now = now.Add(longest)
		if n := exhaust(); n < 1 {
			t.Fatalf("still refused %v after a jump of %v", longest, back)
		}
	})
}

// Two loops whose clocks are some milliseconds apart let through as much as one, to the request.
func TestLoopsWhoseClocksDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawnOf(t, Config{Count: 10, Per: time.Second, Burst: rapid.Int64Range(1, 20).Draw(t, "burst")})
		word, now := Word(0), t0
		var left []mono.Time
		for range 100 {
			now = now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "pause")) * time.Millisecond)
			late := now.Add(-time.Duration(rapid.IntRange(0, 20).Draw(t, "behind")) * time.Millisecond)
			var v Verdict
			if word, v = l.Decide(word, late, 1); v.Allowed {
				left = append(left, now)
			}
		}
		for i := range left {
			for j := i; j < len(left); j++ {
				// The reader's clock may be 20 ms behind at the beginning of the interval.
				if n := int64(j - i + 1); n > bound(l, left[j].Sub(left[i])+20*time.Millisecond) {
					t.Fatalf("%d in %v", n, left[j].Sub(left[i]))
				}
			}
		}
	})
}

// Rate and burst change while a key is in use: an untouched key is full, an exhausted one stays exhausted, and nobody waits
// longer than the new settings, or a second, say.
func TestSettingsThatChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		per := rapid.SampledFrom(units).Draw(t, "per")
		kind := rapid.SampledFrom([]Algorithm{TokenBucket, LeakyBucket, FixedWindow, SlidingWindow}).Draw(t, "algorithm")
		draw := func() *Limit {
			return drawnOf(t, Config{Algorithm: kind, Count: rapid.Int64Range(1, 1000).Draw(t, "count"), Per: per})
		}
		old, young, word := draw(), draw(), Word(0)
		if _, v := young.Decide(word, t0, 1); !v.Allowed || v.Used != 1 {
			t.Fatalf("an untouched key: %+v", v)
		}
		for {
			next, v := old.Decide(word, t0, 1)
			if word = next; !v.Allowed {
				break
			}
		}
		_, v := young.Decide(word, t0, 1)
		if kind == TokenBucket && young.bucket.capacity <= old.bucket.capacity && v.Allowed {
			t.Fatalf("an exhausted key was let in: %+v", v)
		}
		if kind == FixedWindow && v.Used != old.count && !(v.Allowed && v.Used == old.count+1) {
			t.Fatalf("a count was lost: %+v", v)
		}
		word, _ = young.Decide(word, t0, 1)
		longest := 2*time.Duration(young.per) + untickUp(young.bucket.capacity+young.bucket.patience) + time.Second
		if _, v = young.Decide(word, t0.Add(longest), 1); !v.Allowed {
			t.Fatalf("refused after %v: %+v", longest, v)
		}
	})
}

func TestConcurrencyGivesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawnOf(t, Config{Algorithm: Concurrency, Count: rapid.Int64Range(1, 5).Draw(t, "count")})
		word, here := Word(0), int64(0)
		for range 100 {
			if rapid.Bool().Draw(t, "ends") {
				word = l.Release(word, 1) // also when nobody is there
				here = max(here-1, 0)
			} else {
				var v Verdict
				if word, v = l.Decide(word, t0, 1); v.Allowed != (here < l.count) {
					t.Fatalf("%d under way: %+v", here, v)
				} else if v.Allowed {
					here++
				}
			}
			if got := underWay(word); got != here {
				t.Fatalf("%d under way, want %d", got, here)
			}
		}
	})
}

// Whoever read the word of the key before must not be able to swap it.
func TestRenewedWordIsAnother(t *testing.T) {
	l := must(t, Config{Algorithm: Concurrency, Count: 5})
	word, _ := l.Decide(0, t0, 1)
	idle := l.Release(word, 1)
	fresh := l.Renew(idle)
	if fresh == idle || l.Load(fresh, t0) != 0 {
		t.Errorf("renewed %x to %x", idle, fresh)
	}
	for _, top := range []Word{1<<64 - 1<<32, 1<<64 - 2<<32, 1<<64 - 3<<32} {
		if w := l.Renew(top); w == Gone || w|concurrencyCountMask == Gone || underWay(w) != 0 {
			t.Errorf("renewed %x to %x", top, w)
		}
	}
	if w := must(t, Config{Count: 1, Per: time.Second}).Renew(123); w != 0 {
		t.Errorf("a bucket begins with %x", w)
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	for a := TokenBucket; a <= Concurrency; a++ {
		l, word, now := must(t, Config{Algorithm: a, Count: 1000, Per: time.Second}), Word(0), t0
		if n := testing.AllocsPerRun(1000, func() {
			now = now.Add(time.Microsecond)
			word, _ = l.Decide(word, now, 1)
			l.Load(word, now)
		}); n != 0 {
			t.Errorf("%v: %v allocations", a, n)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	for a := TokenBucket; a <= Concurrency; a++ {
		b.Run(a.String(), func(b *testing.B) {
			l, word, now := must(b, Config{Algorithm: a, Count: 1000, Per: time.Second}), Word(0), t0
			b.ReportAllocs()
			for b.Loop() {
				now += 1000
				word, _ = l.Decide(word, now, 1)
			}
		})
	}
}
