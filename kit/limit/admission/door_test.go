package admission_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/kit/limit/admission"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var background = context.Background()

func must(t testing.TB, cfg admission.Config) *admission.Door {
	t.Helper()
	d, err := admission.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func enter(t testing.TB, d *admission.Door, r admission.Request) *admission.Place {
	t.Helper()
	p, err := d.Enter(background, r)
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

// reasonOf is the word of a refusal, or the error.
func reasonOf(err error) string {
	var e *admission.Error
	if errors.As(err, &e) {
		return e.Decision.Reason
	}
	return fmt.Sprint(err)
}

func TestSettingsThatMeanNothing(t *testing.T) {
	for want, cfg := range map[string]admission.Config{
		"Fixed: -1 ":       {Fixed: -1},
		"Min: 1000001 ":    {Min: 1_000_001},
		"Max: 3 is less":   {Min: 4, Max: 3},
		"a number that st": {Fixed: 4, Max: 5},
		"Initial: -2":      {Initial: -2},
		"Queue: 1000001":   {Queue: 1_000_001},
		"WaitMax: 1ns":     {WaitMax: 1},
		"WaitMax: 1h":      {WaitMax: time.Hour},
		"Mode: 7":          {Mode: 7},
	} {
		if _, err := admission.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
		if err := must(t, admission.Config{}).Set(cfg); err == nil {
			t.Errorf("%+v is set", cfg)
		}
	}
	_, err := admission.New(admission.Config{Fixed: -1, Mode: 7})
	if n := strings.Count(err.Error(), "admission: "); n != 2 {
		t.Errorf("%d faults of 2 are named: %v", n, err)
	}
}

func TestWhoWaitsIsNextWhenAPlaceIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := must(t, admission.Config{Fixed: 1})
		first := enter(t, d, admission.Request{})
		var second admission.Place
		done := make(chan error)
		go func() {
			var err error
			second, err = d.Enter(background, admission.Request{})
			done <- err
		}()
		synctest.Wait()
		if st := d.Stats(); st.Inside != 1 || st.Queued != 1 || st.Limit != 1 {
			t.Errorf("%+v", st)
		}
		<-time.After(300 * time.Millisecond)
		first.Leave(admission.Worked)
		first.Leave(admission.Worked) // does nothing
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := second.Decision; !got.Allowed || !got.Delayed || got.Waited != 300*time.Millisecond || got.Service != 300*time.Millisecond {
			t.Errorf("%s", got.String())
		}
		second.Leave(admission.Failed)
		if st := d.Stats(); st.Inside != 0 || st.Allowed != 2 || st.Delayed != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		situation string
		cfg       admission.Config
		deadline  time.Duration
		want      string
	}{
		{"nobody may wait", admission.Config{Fixed: 1, Queue: -1}, 0, admission.ReasonFull},
		{"no place in time", admission.Config{Fixed: 1, WaitMax: 50 * time.Millisecond}, 0, admission.ReasonTimeout},
		{"too little time", admission.Config{Fixed: 1}, 150 * time.Millisecond, admission.ReasonLate},
		{"enough time for the estimate, and none came", admission.Config{Fixed: 1}, 500 * time.Millisecond, "context deadline exceeded"},
	} {
		t.Run(c.situation, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told []admission.Decision
				c.cfg.OnDecision = func(d admission.Decision) { told = append(told, d) }
				d := must(t, c.cfg)
				for range 20 { // requests take 100 ms
					p := enter(t, d, admission.Request{})
					<-time.After(100 * time.Millisecond)
					p.Leave(admission.Worked)
				}
				inside := enter(t, d, admission.Request{})
				ctx, cancel := context.WithCancel(background)
				if c.deadline > 0 {
					ctx, cancel = context.WithTimeout(background, c.deadline)
				}
				defer cancel()
				_, err := d.Enter(ctx, admission.Request{Tenant: "acme"})
				if got := reasonOf(err); got != c.want {
					t.Fatalf("%s: %v", got, err)
				}
				var e *admission.Error
				if errors.As(err, &e) {
					last := told[len(told)-1]
					if !errors.Is(err, limit.ErrRefused) || !e.NotSent() || e.HTTPStatus() != 503 || status.Code(err) != codes.Unavailable ||
						last != e.Decision || last.Tenant != "acme" || last.Inside != 1 || e.RetryAfter() < time.Second || !strings.Contains(err.Error(), c.want) {
						t.Errorf("%v, told %+v", err, last)
					}
				}
				inside.Leave(admission.Worked)
				if st := d.Stats(); st.Inside != 0 || st.Queued != 0 || st.Full+st.Timeout+st.Late+st.Abandoned != 1 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

func TestAClientThatGoesAwayLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := must(t, admission.Config{Fixed: 1})
		inside := enter(t, d, admission.Request{})
		ctx, cancel := context.WithCancel(background)
		done := make(chan error)
		go func() { _, err := d.Enter(ctx, admission.Request{}); done <- err }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if st := d.Stats(); st.Queued != 0 || st.Abandoned != 1 {
			t.Errorf("%+v", st)
		}
		if _, err := d.Enter(ctx, admission.Request{}); !errors.Is(err, context.Canceled) {
			t.Errorf("who is gone already: %v", err)
		}
		inside.Leave(admission.Worked)
	})
}

// Two tenants, one with fifty requests that wait, one with a single one that comes last: it is among the next, by a higher priority
// first of all.
func TestTenantsTakeTurnsAndPrioritiesGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := must(t, admission.Config{Fixed: 1})
		inside := enter(t, d, admission.Request{Tenant: "greedy"})
		var mu sync.Mutex
		var order []string
		var all sync.WaitGroup
		wait := func(name string, r admission.Request) {
			all.Go(func() {
				p, err := d.Enter(background, r)
				if err != nil {
					t.Error(name, err)
					return
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				<-time.After(time.Millisecond)
				p.Leave(admission.Worked)
			})
			synctest.Wait()
		}
		for range 50 {
			wait("greedy", admission.Request{Tenant: "greedy"})
		}
		wait("batch", admission.Request{Tenant: "modest", Priority: limit.Low})
		wait("modest", admission.Request{Tenant: "modest"})
		wait("urgent", admission.Request{Tenant: "greedy", Priority: limit.Critical})
		inside.Leave(admission.Worked)
		all.Wait()
		at := map[string]int{}
		for i, name := range order {
			if _, known := at[name]; !known {
				at[name] = i
			}
		}
		if at["urgent"] != 0 || at["modest"] > 2 || at["batch"] < 15 || at["batch"] > 19 {
			t.Errorf("%v", order)
		}
	})
}

func TestShadowLetsAllIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var would []string
		d := must(t, admission.Config{Fixed: 1, Queue: 1, Mode: limit.Shadow, OnDecision: func(d admission.Decision) {
			would = append(would, fmt.Sprintf("%t %t %s", d.Allowed, d.Delayed, d.Reason))
		}})
		var places []*admission.Place
		for range 3 {
			places = append(places, enter(t, d, admission.Request{}))
		}
		if got := strings.Join(would, ","); got != "true false ,true true ,false false admission_queue_full" {
			t.Error(got)
		}
		for _, p := range places {
			p.Leave(admission.Worked)
		}
		if st := d.Stats(); st.Inside != 0 || st.Shadowed != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestChangedWhileOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := must(t, admission.Config{Fixed: 1})
		first := enter(t, d, admission.Request{})
		done := make(chan error)
		go func() {
			p, err := d.Enter(background, admission.Request{})
			p.Leave(admission.Worked)
			done <- err
		}()
		synctest.Wait()
		if err := d.Set(admission.Config{Fixed: 2}); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("who waited was not let in: %v", err)
		}
		first.Leave(admission.Worked)
	})
}

// service is what is behind the door: so many work at a time, the others wait within.
type service struct{ workers chan bool }

func (s service) work(r *rand.Rand) {
	s.workers <- true
	<-time.After(time.Duration(float64(20*time.Millisecond) * (0.5 + r.Float64())))
	<-s.workers
}

// In virtual time: 400 clients that ask again at once, of a service that works on 32 requests at a time.
func TestTheLimitIsFoundAndFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := service{make(chan bool, 32)}
		d := must(t, admission.Config{WaitMax: 10 * time.Second})
		ctx, stop := context.WithCancel(background)
		var served atomic.Int64
		var all sync.WaitGroup
		for n := range 400 {
			r := rand.New(rand.NewPCG(1, uint64(n)))
			all.Go(func() {
				for ctx.Err() == nil {
					p, err := d.Enter(ctx, admission.Request{})
					if err != nil {
						<-time.After(time.Millisecond)
						continue
					}
					s.work(r)
					served.Add(1)
					p.Leave(admission.Worked)
				}
			})
		}
		<-time.After(15 * time.Second)
		before := served.Load()
		<-time.After(10 * time.Second)
		st := d.Stats()
		rate := float64(served.Load()-before) / 10
		stop()
		all.Wait()
		t.Logf("limit %d of 32, base %v, %.0f requests a second of 1600", st.Limit, st.Base, rate)
		if st.Limit < 20 || st.Limit > 64 || rate < 0.9*1600 || st.Base < 15*time.Millisecond || st.Base > 40*time.Millisecond {
			t.Errorf("limit %d, base %v, %.0f requests a second", st.Limit, st.Base, rate)
		}
		if st := d.Stats(); st.Inside != 0 || st.Queued != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// Entries are used again: a Place that was given back must not give back another's.
func TestAPlaceGivesBackItsOwnOnly(t *testing.T) {
	d := must(t, admission.Config{Fixed: 100})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 2000 {
				p, err := d.Enter(background, admission.Request{})
				if err != nil {
					t.Error(err)
					return
				}
				p.Began(admission.Worked)
				copied := p
				p.Leave(admission.Worked)
				copied.Leave(admission.Worked)
				copied.Began(admission.Failed)
			}
		})
	}
	all.Wait()
	if st := d.Stats(); st.Inside != 0 || st.Allowed != 16000 {
		t.Errorf("%+v", st)
	}
	var none admission.Place
	none.Began(admission.Worked)
	none.Leave(admission.Worked)
}

func TestAHookThatPanicsKeepsNoPlace(t *testing.T) {
	d := must(t, admission.Config{Fixed: 1, OnDecision: func(admission.Decision) { panic("hook") }})
	func() {
		defer func() { recover() }()
		d.Enter(background, admission.Request{})
	}()
	if st := d.Stats(); st.Inside != 0 {
		t.Errorf("%+v", st)
	}
}

// Run with
//
//	go test ./kit/limit/admission -run - -bench . -benchmem -cpu 1,2
func BenchmarkEnter(b *testing.B) {
	for _, c := range []struct {
		name string
		cfg  admission.Config
	}{{"a limit that adapts", admission.Config{Initial: 1000}}, {"a fixed one", admission.Config{Fixed: 1000}}} {
		b.Run(c.name, func(b *testing.B) {
			d := must(b, c.cfg)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					p, err := d.Enter(background, admission.Request{Tenant: "acme"})
					if err != nil {
						b.Error(err)
						return
					}
					p.Leave(admission.Worked)
				}
			})
		})
	}
}
