package loop

import (
	"slices"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"pgregory.net/rapid"
)

// ring notes who fired.
type ring struct {
	timers []Timer
	fired  []int
	then   func(i int) // what the expirer does besides
}

func newRing(n int) *ring {
	r := &ring{timers: make([]Timer, n)}
	for i := range r.timers {
		r.timers[i].Init(r)
	}
	return r
}

func (r *ring) Expire(t *Timer) {
	for i := range r.timers {
		if t == &r.timers[i] {
			r.fired = append(r.fired, i)
			if r.then != nil {
				r.then(i)
			}
		}
	}
}

func (r *ring) take() []int {
	fired := r.fired
	r.fired = nil
	slices.Sort(fired)
	return fired
}

// slowWheel is a wheel anybody can see is right: a slice sorted by the tick at which each timer fires.
type slowWheel struct {
	entries []slowEntry
	floor   int64
}

type slowEntry struct {
	timer int
	tick  int64
}

func (s *slowWheel) cancel(timer int) {
	s.entries = slices.DeleteFunc(s.entries, func(e slowEntry) bool { return e.timer == timer })
}

func (s *slowWheel) arm(timer int, at mono.Time) {
	s.cancel(timer)
	tick := int64(at) / tickNanos
	if int64(at)%tickNanos != 0 {
		tick++ // never early
	}
	s.entries = append(s.entries, slowEntry{timer, max(tick, s.floor+1)})
	slices.SortFunc(s.entries, func(a, b slowEntry) int { return int(a.tick - b.tick) })
}

func (s *slowWheel) advance(now mono.Time) (fired []int) {
	s.floor = max(s.floor, int64(now)/tickNanos)
	for len(s.entries) > 0 && s.entries[0].tick <= s.floor {
		fired = append(fired, s.entries[0].timer)
		s.entries = s.entries[1:]
	}
	slices.Sort(fired)
	return fired
}

func TestWheelFiresWhatASortedSliceFires(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const timers = 12
		// Spans of every level, and edges of slots.
		span := rapid.Custom(func(t *rapid.T) time.Duration {
			level := rapid.IntRange(0, wheelLevels-1).Draw(t, "level")
			ticks := rapid.Int64Range(0, 1<<(wheelBits*(level+1))-1).Draw(t, "ticks")
			if rapid.Bool().Draw(t, "round") {
				ticks &^= 1<<(wheelBits*level) - 1
			}
			rest := rapid.SampledFrom([]int64{0, 0, 1, tickNanos / 2, tickNanos - 1}).Draw(t, "rest")
			return time.Duration(ticks<<tickShift + rest)
		})
		now := mono.Time(0).Add(span.Draw(t, "start") / 64)
		r, w := newRing(timers), makeWheel(now)
		twin := &slowWheel{floor: int64(now) / tickNanos}
		// Some timers arm themselves again as they fire: one in the past, one in the future.
		again := func(i int, arm func(at mono.Time)) {
			switch i {
			case 0:
				arm(1)
			case 1:
				arm(now.Add(100 * time.Millisecond))
			}
		}
		r.then = func(i int) { again(i, func(at mono.Time) { w.arm(&r.timers[i], at) }) }
		mustNotOversleep := func() {
			for _, e := range twin.entries {
				if at := w.wakeAt(); at > mono.Time(min(e.tick, tickLast)<<tickShift) {
					t.Fatalf("the wheel would sleep until %d, past tick %d of timer %d", at, e.tick, e.timer)
				}
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, timers-1).Draw(t, "timer")
			switch rapid.SampledFrom([]string{"arm", "arm", "arm past", "arm never", "disarm", "cancel", "advance", "advance", "next"}).Draw(t, "op") {
			case "arm":
				at := now.Add(span.Draw(t, "in"))
				w.arm(&r.timers[i], at)
				twin.arm(i, at)
			case "arm past":
				at := now.Add(-span.Draw(t, "ago"))
				w.arm(&r.timers[i], at)
				twin.arm(i, max(at, 1))
			case "arm never":
				w.arm(&r.timers[i], mono.Never)
				twin.cancel(i)
			case "disarm":
				r.timers[i].deadline = 0
				twin.cancel(i)
			case "cancel":
				w.cancel(&r.timers[i])
				twin.cancel(i)
			case "advance":
				now = now.Add(span.Draw(t, "by") / 8)
			case "next":
				if at := w.wakeAt(); at != mono.Never && at < 1<<58 {
					now = max(now, at)
				}
			}
			w.advance(now)
			if got, want := r.take(), twin.advance(now); !slices.Equal(got, want) {
				t.Fatalf("at %d fired %v, want %v", now, got, want)
			} else {
				for _, i := range want {
					again(i, func(at mono.Time) { twin.arm(i, at) })
				}
			}
			mustNotOversleep()
		}
	})
}

func TestTimerArmedLaterIsOnlyStored(t *testing.T) {
	r, w := newRing(1), makeWheel(0)
	tm := &r.timers[0]
	w.arm(tm, mono.Time(time.Second))
	hung := tm.tick
	w.arm(tm, mono.Time(time.Minute))
	if tm.tick != hung {
		t.Errorf("moved from tick %d to %d by a later deadline", hung, tm.tick)
	}
	for now := mono.Time(0); len(r.fired) == 0; now = w.wakeAt() {
		if w.advance(now); len(r.fired) > 0 && (now < mono.Time(time.Minute) || now > mono.Time(time.Minute+tickNanos)) {
			t.Errorf("fired at %v, want within a tick of a minute", time.Duration(now))
		}
	}
}

func TestTimerArmedAgainByItsExpirerFiresOnceAnAdvance(t *testing.T) {
	r, w := newRing(1), makeWheel(0)
	r.then = func(i int) { w.arm(&r.timers[i], 1) }
	w.arm(&r.timers[0], 1)
	for now := mono.Time(time.Second); now < mono.Time(5*time.Second); now = now.Add(time.Second) {
		if w.advance(now); len(r.take()) != 1 {
			t.Fatalf("at %v: a deadline in the past must fire exactly once", time.Duration(now))
		}
	}
}

func TestExpirerCancelsItsNeighbour(t *testing.T) {
	r, w := newRing(3), makeWheel(0)
	r.then = func(i int) {
		for j := range r.timers {
			if j != i {
				w.cancel(&r.timers[j])
			}
		}
	}
	for i := range r.timers {
		w.arm(&r.timers[i], mono.Time(time.Second))
	}
	if w.advance(mono.Time(time.Minute)); len(r.fired) != 1 {
		t.Errorf("fired %v, want one timer, the others having been cancelled by it", r.fired)
	}
	if at := w.wakeAt(); at != mono.Never {
		t.Errorf("wakes at %v, want never: nothing hangs in the wheel", at)
	}
}

func TestIdleTimersCostNoTurn(t *testing.T) {
	const idle = 50_000
	r, w := newRing(idle), makeWheel(0)
	for i := range r.timers {
		w.arm(&r.timers[i], mono.Time(time.Minute)+mono.Time(i)*mono.Time(time.Millisecond))
	}
	wakes := 0
	for now := w.wakeAt(); now < mono.Time(time.Minute); now = w.wakeAt() {
		w.advance(now)
		wakes++
	}
	if len(r.fired) > 0 || wakes > 2*wheelSlots {
		t.Errorf("%d timers of a minute and more made the loop wake %d times in the first (%d fired)", idle, wakes, len(r.fired))
	}
}

func TestArmAllocatesNothing(t *testing.T) {
	r, w := newRing(1), makeWheel(0)
	at := mono.Time(0)
	if n := testing.AllocsPerRun(1000, func() {
		at = at.Add(time.Second)
		w.arm(&r.timers[0], at.Add(time.Minute))
		w.cancel(&r.timers[0])
		w.arm(&r.timers[0], at.Add(time.Minute))
		w.advance(at)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkArm(b *testing.B) {
	b.Run("later", func(b *testing.B) { // every request moves its deadline: a store
		r, w := newRing(1), makeWheel(0)
		b.ReportAllocs()
		at := mono.Time(time.Minute)
		for b.Loop() {
			at++
			w.arm(&r.timers[0], at)
		}
	})
	b.Run("and cancel", func(b *testing.B) {
		r, w := newRing(1024), makeWheel(0)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			t := &r.timers[i&1023]
			w.cancel(t)
			w.arm(t, mono.Time(time.Minute)+mono.Time(i&1023)*mono.Time(time.Second))
			i++
		}
	})
}
