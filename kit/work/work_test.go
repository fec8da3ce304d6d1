package work_test

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
	"testing/synctest"
	"time"

	"github.com/yumen-io/yumen/kit/work"
	"go.opentelemetry.io/otel/baggage"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	background = context.Background()
	errBroken  = errors.New("broken")
	quiet      = slog.New(slog.NewTextHandler(io.Discard, nil))
)

func pool(t testing.TB, cfg work.PoolConfig) *work.Pool {
	t.Helper()
	p, err := work.NewPool(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Shutdown(background) })
	return p
}

// hold keeps a worker until the returned function is called.
func hold(t *testing.T, p *work.Pool) (release func()) {
	t.Helper()
	inside, leave := make(chan bool), make(chan bool)
	if err := p.Submit(background, func(context.Context) error { close(inside); <-leave; return nil }); err != nil {
		t.Fatal(err)
	}
	<-inside
	return sync.OnceFunc(func() { close(leave) })
}

func nothing(context.Context) error { return nil }

// One worker is busy, one place in the queue is taken: what becomes of the next task.
func TestWhenThePoolIsFull(t *testing.T) {
	for _, c := range []struct {
		full  work.Full
		err   error
		inner bool // it ran at once, in the caller
	}{{work.Refuse, work.ErrFull, false}, {work.CallerRuns, nil, true}, {work.Block, context.DeadlineExceeded, false}} {
		synctest.Test(t, func(t *testing.T) {
			p := pool(t, work.PoolConfig{Workers: 1, Queue: 1, Full: c.full})
			release := hold(t, p)
			if err := p.Submit(background, nothing); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(background, time.Second)
			defer cancel()
			ran := false
			if err := p.Submit(ctx, func(context.Context) error { ran = true; return nil }); !errors.Is(err, c.err) || ran != c.inner {
				t.Errorf("%v: %v, ran %v", c.full, err, ran)
			}
			st := p.Stats()
			if st.Running != 1 || st.Queued != 1 || st.Workers != 1 || st.QueueMax != 1 || (st.Refused == 1) != (c.err != nil) || (st.CallerRan == 1) != c.inner {
				t.Errorf("%v: %+v", c.full, st)
			}
			release()
			if err := p.Shutdown(background); err != nil {
				t.Error(err)
			}
			if st := p.Stats(); st.Queued != 0 || st.Running != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestResultsAndPanicsOfTasks(t *testing.T) {
	var told atomic.Pointer[error]
	p := pool(t, work.PoolConfig{Workers: 2, OnError: func(err error) { told.Store(&err) }})
	if err := p.Do(background, func(context.Context) error { return errBroken }); err != errBroken {
		t.Error(err)
	}
	var e *work.PanicError
	if err := p.Do(background, func(context.Context) error { panic(errBroken) }); !errors.As(err, &e) || !errors.Is(err, errBroken) || !strings.Contains(string(e.Stack), "work_test") {
		t.Error(err)
	}
	if err := p.Submit(background, func(context.Context) error { panic("oops") }); err != nil {
		t.Error(err)
	}
	p.Shutdown(background)
	if err := *told.Load(); err.Error() != "work: a task panicked: oops" {
		t.Error(err)
	}
	if st := p.Stats(); st.Done != 3 || st.Failed != 3 || st.Panicked != 2 || st.Submitted != 3 {
		t.Errorf("%+v", st)
	}
	if err := p.Do(background, nothing); err != work.ErrClosed {
		t.Error(err)
	}
}

func TestWaitsAreCountedAndWhoGaveUpIsNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool(t, work.PoolConfig{Workers: 1, Queue: 10})
		release := hold(t, p)
		ctx, cancel := context.WithTimeout(background, 10*time.Millisecond)
		defer cancel()
		ran := false
		if err := p.Do(ctx, func(context.Context) error { ran = true; return nil }); err != context.DeadlineExceeded {
			t.Error(err)
		}
		for range 8 {
			p.Submit(background, nothing)
		}
		<-time.After(90 * time.Millisecond)
		release()
		p.Shutdown(background)
		st := p.Stats()
		if ran || st.Expired != 1 || st.Done != 9 {
			t.Errorf("%+v", st)
		}
		if w := st.Wait(0.5); w < 90*time.Millisecond || w > 180*time.Millisecond {
			t.Errorf("half of them waited up to %v", w)
		}
	})
}

func TestTasksHaveAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool(t, work.PoolConfig{TaskMax: time.Second})
		begun := time.Now()
		err := p.Do(background, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		if err != context.DeadlineExceeded || time.Since(begun) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

func TestShutdownFinishesWhatWasAcceptedUnlessItHasNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool(t, work.PoolConfig{Workers: 1, Queue: 5})
		var ended atomic.Int32
		for range 3 {
			p.Submit(background, func(ctx context.Context) error {
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
				}
				ended.Add(1)
				return ctx.Err()
			})
		}
		ctx, cancel := context.WithTimeout(background, 1500*time.Millisecond)
		defer cancel()
		if err := p.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		if err := p.Shutdown(background); err != nil {
			t.Error(err)
		}
		if st := p.Stats(); ended.Load() != 2 || st.Expired != 1 || st.Failed != 1 {
			t.Errorf("%d ended, %+v", ended.Load(), st)
		}
	})
}

// Whatever goroutines come and go: each task that was taken runs once.
func TestPoolOverGoroutines(t *testing.T) {
	for _, full := range []work.Full{work.Block, work.Refuse, work.CallerRuns} {
		p := pool(t, work.PoolConfig{Workers: 3, Queue: 2, Full: full})
		var taken, ran atomic.Int64
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for range 300 {
					if p.Submit(background, func(context.Context) error { ran.Add(1); return nil }) == nil {
						taken.Add(1)
					}
				}
				if g == 7 {
					p.Shutdown(background)
				}
			})
		}
		wg.Wait()
		p.Shutdown(background)
		if taken.Load() != ran.Load() || taken.Load() < 300 && full != work.Refuse {
			t.Errorf("%v: %d taken, %d ran", full, taken.Load(), ran.Load())
		}
	}
}

// Tasks end after so many ms, with an error if that is below 0.
func TestWhatAFanOutReturns(t *testing.T) {
	for _, c := range []struct {
		cfg   work.FanOut
		tasks []int
		took  int
		want  string // + a value, - an error, . not needed
		err   error
	}{
		{work.FanOut{}, nil, 0, "", nil},
		{work.FanOut{}, []int{10, 20, 30}, 30, "+++", nil},
		{work.FanOut{}, []int{10, -20, 30}, 20, "+-.", errBroken},
		{work.FanOut{Parallel: 1}, []int{10, 20, 30}, 60, "+++", nil},
		{work.FanOut{Parallel: 2}, []int{10, 20, 30}, 40, "+++", nil},
		{work.FanOut{Mode: work.First}, []int{30, 10, 20}, 10, ".+.", nil},
		{work.FanOut{Mode: work.First}, []int{30, -10, 20}, 20, ".-+", nil},
		{work.FanOut{Mode: work.First}, []int{-30, -10}, 30, "--", work.ErrNotEnough},
		{work.FanOut{Mode: work.Quorum}, []int{10, 20, 30}, 20, "++.", nil},
		{work.FanOut{Mode: work.Quorum}, []int{-10, 30, -20}, 20, "-.-", work.ErrNotEnough},
		{work.FanOut{Mode: work.Quorum, Need: 3}, []int{10, 20, 30, 40}, 30, "+++.", nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			var tasks []func(context.Context) (int, error)
			for _, ms := range c.tasks {
				tasks = append(tasks, func(ctx context.Context) (int, error) {
					select {
					case <-time.After(time.Duration(max(ms, -ms)) * time.Millisecond):
					case <-ctx.Done():
						return 0, work.ErrNotRun
					}
					if ms < 0 {
						return 0, errBroken
					}
					return ms, nil
				})
			}
			begun := time.Now()
			results, err := work.Run(background, c.cfg, tasks...)
			took := time.Since(begun)
			got := ""
			for i, r := range results {
				switch {
				case r.Err == nil && r.Value == c.tasks[i]:
					got += "+"
				case errors.Is(r.Err, work.ErrNotRun):
					got += "."
				default:
					got += "-"
				}
			}
			if got != c.want || took != time.Duration(c.took)*time.Millisecond || !errors.Is(err, c.err) {
				t.Errorf("%v of %v: %s after %v, %v", c.cfg.Mode, c.tasks, got, took, err)
			}
			synctest.Wait()
		})
	}
}

func TestTheTimeThatIsLeftIsDivided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		var parts []time.Duration
		var mu sync.Mutex
		hang := func(ctx context.Context) (int, error) {
			deadline, _ := ctx.Deadline()
			mu.Lock()
			parts = append(parts, time.Until(deadline))
			mu.Unlock()
			<-ctx.Done()
			return 0, ctx.Err()
		}
		quick := func(ctx context.Context) (int, error) { return 1, nil }
		begun := time.Now()
		_, err := work.Run(ctx, work.FanOut{Mode: work.Quorum, Need: 1, Parallel: 2, Reserve: 100 * time.Millisecond}, hang, hang, hang, hang, hang, quick)
		if err != nil || time.Since(begun) != 600*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		for i, want := range []time.Duration{300, 300, 300, 300, 300} {
			if i >= len(parts) || parts[i] != want*time.Millisecond {
				t.Fatalf("parts %v", parts)
			}
		}
		ctx, cancel2 := context.WithTimeout(background, 50*time.Millisecond)
		defer cancel2()
		results, err := work.Run(ctx, work.FanOut{Reserve: 100 * time.Millisecond}, quick)
		if !errors.Is(err, context.DeadlineExceeded) || results[0].Took != 0 {
			t.Errorf("no time is left: %v", err)
		}
		synctest.Wait()
	})
}

func TestFanOutsThatPanicOrMakeNoSense(t *testing.T) {
	var e *work.PanicError
	_, err := work.Run(background, work.FanOut{}, func(context.Context) (int, error) { panic("oops") })
	if !errors.As(err, &e) {
		t.Error(err)
	}
	one := func(context.Context) (int, error) { return 1, nil }
	for _, cfg := range []work.FanOut{{Mode: 9}, {Need: 1}, {Mode: work.Quorum, Need: 2}, {Parallel: -1}} {
		if _, err := work.Run(background, cfg, one); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
	ctx, cancel := context.WithCancel(background)
	cancel()
	if _, err := work.Run(ctx, work.FanOut{}, one); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestGoCarriesTraceAndBaggageAndNoDeadline(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	defer provider.Shutdown(background)
	g, err := work.NewGroup(work.GroupConfig{Tracer: provider, Deadline: time.Minute, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	member, _ := baggage.NewMember("tenant", "gold")
	bag, _ := baggage.New(member)
	ctx, cancel := context.WithCancel(baggage.ContextWithBaggage(background, bag))
	ctx, parent := provider.Tracer("test").Start(ctx, "request")
	goOn := make(chan bool)
	task, err := g.Go(ctx, "send receipt", func(ctx context.Context) error {
		<-goOn
		deadline, ok := ctx.Deadline()
		if !ok || time.Until(deadline) < 50*time.Second || ctx.Err() != nil {
			t.Errorf("deadline %v, %v", deadline, ctx.Err())
		}
		if got := baggage.FromContext(ctx).Member("tenant").Value(); got != "gold" {
			t.Errorf("baggage %q", got)
		}
		return errBroken
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	parent.End()
	close(goOn)
	if err := task.Wait(background); err != errBroken {
		t.Error(err)
	}
	if err := g.Shutdown(background); err != nil {
		t.Error(err)
	}
	ended := spans.Ended()
	if len(ended) != 2 || ended[1].Name() != "send receipt" || ended[1].Parent().SpanID() != parent.SpanContext().SpanID() ||
		len(ended[1].Links()) != 1 || ended[1].Status().Description != "broken" {
		t.Errorf("%v", ended)
	}
	if _, err := g.Go(ctx, "late", nothing); err != work.ErrClosed {
		t.Error(err)
	}
}

func TestAGroupHasBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ends []string
		g, err := work.NewGroup(work.GroupConfig{Max: 1, Deadline: time.Second, OnEnd: func(name string, took time.Duration, err error) {
			ends = append(ends, fmt.Sprint(name, " ", took, " ", err))
		}})
		if err != nil {
			t.Fatal(err)
		}
		hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		task, err := g.Go(background, "hangs", hang)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Go(background, "more", hang); err != work.ErrFull {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(background, time.Millisecond)
		defer cancel()
		if err := task.Wait(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		<-task.Done()
		synctest.Wait()
		if _, err := g.Go(background, "panics", func(context.Context) error { panic("oops") }); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := g.Go(background, "is cut off", hang); err != nil || g.Running() != 1 {
			t.Fatal(err)
		}
		ctx, cancel = context.WithTimeout(background, time.Millisecond)
		defer cancel()
		if err := g.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		if err := g.Shutdown(background); err != nil {
			t.Error(err)
		}
		want := "hangs 1s context deadline exceeded; panics 0s work: a task panicked: oops; is cut off 1ms context canceled"
		if got := strings.Join(ends, "; "); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	})
}

func TestSettingsThatAreWrong(t *testing.T) {
	const want = "work: Workers: -1 is not between 1 and 10000\nwork: Queue: -2 is not between 0 and 1000000\nwork: Full: 3 is none\nwork: TaskMax: -1ns is below 0"
	if _, err := work.NewPool(work.PoolConfig{Workers: -1, Queue: -2, Full: 3, TaskMax: -1}); err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if _, err := work.NewGroup(work.GroupConfig{Deadline: -1, Max: -1}); err == nil {
		t.Error("wrong settings were taken")
	}
}

func BenchmarkPool(b *testing.B) {
	p := pool(b, work.PoolConfig{Queue: 1024})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p.Submit(background, nothing)
		}
	})
}
