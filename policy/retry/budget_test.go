package retry

import (
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"pgregory.net/rapid"
)

const t0 = mono.Time(time.Hour)

// spend retries as long as there is room and says how often.
func spend(b *Budget, now mono.Time) int {
	n := 0
	for b.HasRoom(now) {
		b.Spend(now)
		n++
	}
	return n
}

func TestBudget(t *testing.T) {
	for _, c := range []struct {
		name     string
		cfg      BudgetConfig
		requests int
		after    time.Duration
		want     int
	}{
		{"defaults, quiet", BudgetConfig{}, 0, 0, 30},
		{"defaults", BudgetConfig{}, 1000, 0, 230},
		{"no floor", BudgetConfig{FloorPerSecond: -1}, 1000, 0, 200},
		{"no floor, too few requests", BudgetConfig{FloorPerSecond: -1}, 4, 0, 0},
		{"no ratio", BudgetConfig{Ratio: -1}, 1000, 0, 30},
		{"nothing", BudgetConfig{Ratio: -1, FloorPerSecond: -1}, 1000, 0, 0},
		{"a tenth", BudgetConfig{Ratio: 0.1, FloorPerSecond: 0.1}, 1000, 0, 101},
		{"still in the window", BudgetConfig{FloorPerSecond: -1}, 1000, 9 * time.Second, 200},
		{"out of the window", BudgetConfig{FloorPerSecond: -1}, 1000, 10 * time.Second, 0},
		{"long ago", BudgetConfig{FloorPerSecond: -1}, 1000, time.Hour, 0},
	} {
		b := NewBudget(c.cfg)
		for range c.requests {
			b.Request(t0)
		}
		now := t0.Add(c.after)
		if v := b.View(now); int(v.Allowed) != c.want {
			t.Errorf("%s: the view allows %v, want %d", c.name, v.Allowed, c.want)
		}
		if got := spend(b, now); got != c.want {
			t.Errorf("%s: %d retries, want %d", c.name, got, c.want)
		}
	}
}

func TestBudgetRecoversAsRetriesLeaveTheWindow(t *testing.T) {
	b := NewBudget(BudgetConfig{Ratio: -1, FloorPerSecond: 1})
	if n := spend(b, t0); n != 10 {
		t.Fatalf("%d retries at once, want 10", n)
	}
	if b.HasRoom(t0.Add(9 * time.Second)) {
		t.Error("room while the window is full")
	}
	if n := spend(b, t0.Add(10*time.Second)); n != 10 {
		t.Errorf("%d retries a window later, want 10", n)
	}
}

// The slow twin keeps every event and counts those of the last ten buckets.
func TestBudgetAgreesWithItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ratio := rapid.Float64Range(0.01, 1).Draw(t, "ratio")
		b := NewBudget(BudgetConfig{Ratio: ratio, FloorPerSecond: 0.5})
		var requests, retries []int64 // bucket numbers
		now := t0
		within := func(events []int64) (n int) {
			for _, e := range events {
				if e > int64(now)/1e9-10 {
					n++
				}
			}
			return n
		}
		for range 200 {
			now = now.Add(time.Duration(rapid.SampledFrom([]int64{0, 3e8, 2e9, 9e9, 10e9, 11e9}).Draw(t, "pause")))
			for range rapid.IntRange(0, 5).Draw(t, "requests") {
				b.Request(now)
				requests = append(requests, int64(now)/1e9)
			}
			if v := b.View(now); int(v.Requests) != within(requests) || int(v.Retries) != within(retries) {
				t.Fatalf("counts %+v, want %d and %d", v, within(requests), within(retries))
			}
			want := float64(within(retries)+1) <= ratio*float64(within(requests))+5
			if got := b.HasRoom(now); got != want {
				t.Fatalf("room %v, want %v: %d requests, %d retries", got, want, within(requests), within(retries))
			}
			if want {
				b.Spend(now)
				retries = append(retries, int64(now)/1e9)
			}
		}
	})
}

// Every upstream is sick and every attempt fails: what reaches them is at most 1 + ratio times the requests, and the floor.
func TestRetryAmplificationIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ratio := rapid.SampledFrom([]float64{0.1, 0.2, 0.5}).Draw(t, "ratio")
		p := New(Config{Attempts: rapid.IntRange(2, 10).Draw(t, "attempts"), On: 0x3f, BackoffBase: -1})
		b := NewBudget(BudgetConfig{Ratio: ratio, FloorPerSecond: 1})
		now, requests, sent := t0, 0, 0
		for range rapid.IntRange(1, 60).Draw(t, "bursts") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 3e9).Draw(t, "pause")))
			for range rapid.IntRange(0, 100).Draw(t, "requests") {
				b.Request(now)
				requests++
				for attempt := 1; ; attempt++ {
					sent++
					v := p.Decide(Facts{Attempt: attempt, Idempotent: true, RequestBytes: 1, Failure: Reset, DeadlineLeft: time.Hour, BudgetRoom: b.HasRoom(now)})
					if !v.Again {
						break
					}
					if v.Spend {
						b.Spend(now)
					}
				}
			}
		}
		bound := (1+ratio)*float64(requests) + now.Sub(t0).Seconds() + 11
		if float64(sent) > bound {
			t.Fatalf("%d requests became %d, at most %.0f", requests, sent, bound)
		}
	})
}

func TestHotPathAllocatesNothing(t *testing.T) {
	b, p, now := NewBudget(BudgetConfig{}), New(Config{}), t0
	f := get(nil)
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Millisecond)
		b.Request(now)
		f.BudgetRoom = b.HasRoom(now)
		if p.Decide(f).Spend {
			b.Spend(now)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkBudget(b *testing.B) {
	budget, now := NewBudget(BudgetConfig{}), t0
	b.ReportAllocs()
	for b.Loop() {
		now += 1000
		budget.Request(now)
	}
}

func BenchmarkDecide(b *testing.B) {
	p, f := New(Config{}), get(nil)
	b.ReportAllocs()
	for b.Loop() {
		p.Decide(f)
	}
}
