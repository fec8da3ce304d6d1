package id

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// hand is a clock that the test moves; waiting moves it too.
type hand struct {
	wall   time.Time
	mono   time.Duration
	waited time.Duration
}

func (h *hand) config(w Worker) Config {
	return Config{
		Worker: w,
		now:    func() (int64, time.Time) { return h.wall.UnixNano(), time.Time{}.Add(h.mono) },
		pause: func(ctx context.Context, d time.Duration) error {
			h.pass(d)
			h.waited += d
			return ctx.Err()
		},
	}
}

func (h *hand) pass(d time.Duration) { h.wall, h.mono = h.wall.Add(d), h.mono+d }

func noon() *hand { return &hand{wall: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)} }

func generator(t *testing.T, cfg Config) *Generator {
	t.Helper()
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// one is a Worker that has the term which the test gives it.
type one struct{ term *Term }

func (w *one) Term() (*Term, error) {
	if w.term == nil {
		return nil, errors.New("none yet")
	}
	return w.term, nil
}

func term(number int, after time.Time) *Term {
	t := NewTerm(number, after)
	t.base = time.Time{}
	return t
}

func TestPartsAreWhatWasAskedFor(t *testing.T) {
	h := noon()
	g := generator(t, h.config(Fixed(9)))
	for sequence := range 3 {
		v, err := g.Next(context.Background(), 3, 14)
		if err != nil {
			t.Fatal(err)
		}
		got, err := g.Layout().Parse(v)
		if want := (Parts{h.wall, 3, 14, 9, sequence}); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
}

func TestAMillisecondIsUsedUp(t *testing.T) {
	h := noon()
	g := generator(t, h.config(Fixed(0)))
	dst := make([]ID, 10_000)
	if n, err := g.Fill(context.Background(), 1, 2, dst); n != len(dst) || err != nil {
		t.Fatal(n, err)
	}
	for i, v := range dst {
		p, err := g.Layout().Parse(v)
		if err != nil || p.Sequence != i%4096 || p.Time.Sub(h.wall.Add(-h.waited)) != time.Duration(i/4096)*time.Millisecond {
			t.Fatalf("id %d is %+v, %v", i, p, err)
		}
	}
	if h.waited != 2*time.Millisecond || g.Stats().Waits != 2 {
		t.Errorf("waited %s in %d waits, want two milliseconds in 2", h.waited, g.Stats().Waits)
	}
	// Other tables still have this millisecond.
	if _, err := g.Next(context.Background(), 1, 3); err != nil || h.waited != 2*time.Millisecond {
		t.Errorf("another table waited: %v", err)
	}
}

func TestASmallStepBackIsWaitedOut(t *testing.T) {
	h := noon()
	g := generator(t, h.config(Fixed(0)))
	first, err := g.Next(context.Background(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	h.wall = h.wall.Add(-10 * time.Millisecond)
	second, err := g.Next(context.Background(), 0, 1) // another table: the clock is everybody's
	if err != nil || h.waited != 10*time.Millisecond || first == second {
		t.Fatalf("%v after %s", err, h.waited)
	}
	if s := g.Stats(); s.ClockWaits != 1 || s.ClockRefusals != 0 {
		t.Errorf("%+v", s)
	}
}

func TestALargeStepBackIsRefusedUntilTheClockHasCaughtUp(t *testing.T) {
	h := noon()
	g := generator(t, h.config(Fixed(0)))
	if _, err := g.Next(context.Background(), 0, 0); err != nil {
		t.Fatal(err)
	}
	h.wall = h.wall.Add(-time.Hour)
	_, err := g.Next(context.Background(), 0, 0)
	var back *ClockError
	if !errors.Is(err, ErrClockBack) || !errors.As(err, &back) || back.Behind != time.Hour || h.waited != 0 {
		t.Fatalf("%v after %s", err, h.waited)
	}
	h.pass(time.Hour)
	if _, err := g.Next(context.Background(), 0, 0); err != nil {
		t.Errorf("caught up: %v", err)
	}
	if s := g.Stats(); s.ClockRefusals != 1 {
		t.Errorf("%+v", s)
	}
}

func TestNothingIsMadeBeforeOrPastTheMarks(t *testing.T) {
	h := noon()
	w := &one{}
	g := generator(t, h.config(w))
	ctx := context.Background()
	if _, err := g.Next(ctx, 0, 0); !errors.Is(err, ErrNoWorker) || !strings.Contains(err.Error(), "none yet") {
		t.Fatalf("without a term: %v", err)
	}
	w.term = term(5, h.wall.Add(5*time.Millisecond))
	if _, err := g.Next(ctx, 0, 0); !errors.Is(err, ErrNoWorker) || h.waited != 6*time.Millisecond {
		t.Fatalf("before the first Extend: %v, waited %s", err, h.waited)
	}
	select {
	case <-w.term.Wake():
	default:
		t.Error("the holder was not told that the mark is reached")
	}
	w.term.Extend(h.wall.Add(time.Second), time.Time{}.Add(h.mono+2*time.Second))
	if _, err := g.Next(ctx, 0, 0); err != nil {
		t.Fatal(err)
	}
	h.pass(time.Second)
	if _, err := g.Next(ctx, 0, 0); err != nil {
		t.Errorf("on the mark: %v", err)
	}
	h.pass(time.Millisecond)
	if _, err := g.Next(ctx, 0, 0); !errors.Is(err, ErrNoWorker) {
		t.Errorf("past the mark: %v", err)
	}
	w.term.Extend(h.wall.Add(time.Hour), time.Time{}.Add(h.mono+time.Second))
	if _, err := g.Next(ctx, 0, 0); err != nil {
		t.Errorf("extended: %v", err)
	}
	h.mono += time.Second // the wall clock stands still: the deadline goes by the other one
	if _, err := g.Next(ctx, 0, 0); !errors.Is(err, ErrNoWorker) {
		t.Errorf("at the deadline: %v", err)
	}
	if n := g.Stats().WorkerRefusals; n != 4 {
		t.Errorf("%d refusals were counted, want 4", n)
	}
}

func TestAnotherTermBeginsAnewAndEndsTheOldOne(t *testing.T) {
	h := noon()
	old := term(5, h.wall.Add(-time.Second))
	old.Extend(h.wall.Add(time.Hour), time.Time{})
	w := &one{old}
	g := generator(t, h.config(w))
	if _, err := g.Next(context.Background(), 0, 0); err != nil {
		t.Fatal(err)
	}
	w.term = term(6, h.wall.Add(-time.Second))
	w.term.Extend(h.wall.Add(time.Hour), time.Time{})
	v, err := g.Next(context.Background(), 0, 0)
	if p, _ := g.Layout().Parse(v); err != nil || p.Worker != 6 || p.Sequence != 0 || !old.Ended() {
		t.Fatalf("%+v, %v, old ended: %t", p, err, old.Ended())
	}
	w.term = old // a goroutine that has been slow
	if _, err := g.Next(context.Background(), 0, 0); !errors.Is(err, ErrNoWorker) {
		t.Errorf("an ended term: %v", err)
	}
}

func TestTwoGeneratorsCannotShareAWorker(t *testing.T) {
	w := Fixed(1)
	generator(t, Config{Worker: w})
	if _, err := New(Config{Worker: w}); !errors.Is(err, ErrShared) {
		t.Errorf("%v, want ErrShared", err)
	}
}

func TestConfigsThatAreRefused(t *testing.T) {
	f := func(cfg Config, want ...string) {
		t.Helper()
		_, err := New(cfg)
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%v, want %q in it", err, w)
			}
		}
	}
	f(Config{StepMax: time.Minute, Layout: Layout{TimeBits: 1}}, "Worker is missing", "StepMax is 1m0s and must be 1ms to 1s", "TimeBits is 1")
	f(Config{Worker: Fixed(0), StepMax: -1}, "StepMax is -1ns")
	f(Config{Worker: Fixed(16)}, "worker is 16 and must be 0 to 15")
	f(Config{Worker: Fixed(-1)}, "worker is -1")
}

func TestWhatTheLayoutHasNoRoomFor(t *testing.T) {
	h := noon()
	g := generator(t, h.config(Fixed(0)))
	for _, c := range [][3]int{{4, 0, 1}, {-1, 0, 1}, {0, 16, 1}, {0, -1, 1}, {0, 0, 0}, {0, 0, -5}} {
		if _, err := g.Reserve(context.Background(), c[0], c[1], c[2]); !errors.Is(err, ErrOutOfRange) {
			t.Errorf("Reserve(%v): %v", c, err)
		}
	}
	h.wall = time.Date(2024, 12, 31, 0, 0, 0, 0, time.UTC)
	if _, err := g.Next(context.Background(), 0, 0); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("before the epoch: %v", err)
	}
	h.wall = g.Layout().Last().Add(time.Millisecond)
	if _, err := g.Next(context.Background(), 0, 0); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("after the last millisecond: %v", err)
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	g := generator(t, Config{Worker: Fixed(0), Layout: Layout{TimeBits: 41, SequenceBits: 1}})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n, err := g.Fill(ctx, 0, 0, make([]ID, 1000))
	if !errors.Is(err, context.Canceled) || n == 0 || n == 1000 {
		t.Errorf("%d ids, %v", n, err)
	}
}

// TestManyGoroutinesShareAGenerator runs on the real clock; under -race it is also the check of the memory order.
func TestManyGoroutinesShareAGenerator(t *testing.T) {
	g := generator(t, Config{Worker: Fixed(2)})
	const goroutines, each = 8, 20_000
	var wg sync.WaitGroup
	all := make([][]ID, goroutines)
	for i := range all {
		wg.Go(func() {
			ids := make([]ID, each)
			for n := 0; n < each; {
				if n%3 == 0 {
					made, err := g.Fill(t.Context(), 0, 1, ids[n:min(n+100, each)])
					if err != nil {
						t.Error(err)
						return
					}
					n += made
					continue
				}
				v, err := g.Next(t.Context(), 0, 1)
				if err != nil {
					t.Error(err)
					return
				}
				ids[n] = v
				n++
			}
			if !slices.IsSorted(ids) {
				t.Error("the ids of one goroutine do not ascend")
			}
			all[i] = ids
		})
	}
	wg.Wait()
	ids := slices.Concat(all...)
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != goroutines*each {
		t.Errorf("%d different ids of %d", n, goroutines*each)
	}
	if s := g.Stats(); s.ClockRefusals+s.WorkerRefusals != 0 || s.Worker != 2 || s.Latest.IsZero() {
		t.Errorf("%+v", s)
	}
}

// TestATermEndsUnderLoad ends terms while ids are made: none may be later than what Last says after End.
func TestATermEndsUnderLoad(t *testing.T) {
	for range 40 {
		now := time.Now()
		w := Fixed(1).(fixed)
		g := generator(t, Config{Worker: w})
		var wg sync.WaitGroup
		latest := make([]ID, 4)
		started := make(chan struct{}, len(latest))
		for i := range latest {
			wg.Go(func() {
				for n := 0; ; n++ {
					v, err := g.Next(t.Context(), 0, 0)
					if n == 0 {
						started <- struct{}{}
					}
					if err != nil {
						return
					}
					latest[i] = v
				}
			})
		}
		for range latest {
			<-started
		}
		w.t.End()
		last := w.t.Last()
		wg.Wait()
		for _, v := range latest {
			if p, _ := g.Layout().Parse(v); p.Time.After(last) || p.Time.Before(now.Add(-time.Second)) {
				t.Fatalf("%+v is later than %s", p, last)
			}
		}
	}
}

func TestNextAndFillDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	g := generator(t, Config{Worker: Fixed(0)})
	ctx := context.Background()
	dst := make([]ID, 64)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := g.Next(ctx, 0, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Fill(ctx, 1, 1, dst); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestBlocks(t *testing.T) {
	var got []ID
	for v := range (Block{First: 40, N: 4}).All() {
		if got = append(got, v); len(got) == 3 {
			break
		}
	}
	if want := []ID{40, 41, 42}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
