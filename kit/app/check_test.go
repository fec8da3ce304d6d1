package app

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// ask asks a health page as an operator would.
func ask(a *App, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	a.probe(w, r, r.URL.Path == "/readyz", true)
	return w
}

// seen is the JSON page.
func seen(t *testing.T, a *App, path string) (p page, code int) {
	t.Helper()
	w := ask(a, path+"?verbose")
	must(t, json.Unmarshal(w.Body.Bytes(), &p))
	return p, w.Code
}

func pass(d time.Duration) { _ = spend(context.Background(), d) }

func TestAProbeStartsNoCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		a, _ := ready(t, Config{Checks: []Check{{Name: "redis", Critical: true, Interval: 10 * time.Second,
			Run: func(context.Context) error { runs.Add(1); return nil }}}})
		for range 1000 {
			if w := ask(a, "/readyz"); w.Code != http.StatusOK {
				t.Fatal(w.Code)
			}
		}
		if n := runs.Load(); n != 1 {
			t.Errorf("the check ran %d times", n)
		}
		pass(100 * time.Second)
		if n := runs.Load(); n < 9 || n > 12 {
			t.Errorf("the check ran %d times in 100 s, and not every 10", n)
		}
	})
}

func TestNotReadyBeforeCriticalChecksHavePassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &diary{}
		began := time.Now()
		opens := func(after time.Duration, name string) func(context.Context) error {
			return func(context.Context) error {
				if time.Since(began) < after {
					return errors.New("refused")
				}
				return nil
			}
		}
		a, ended := run(t, Config{
			Components: d.components("pool"),
			Checks: []Check{
				{Name: "database", Critical: true, Interval: time.Second, Run: opens(20*time.Second, "database")},
				{Name: "redis", Critical: true, Interval: time.Second, Run: opens(10*time.Second, "redis")},
				{Name: "mail", Interval: time.Second, Run: opens(time.Hour, "mail")},
			},
			Register: []Registrar{func(context.Context, Addresses) (Registration, error) {
				d.add("registered after 20s: %t", time.Since(began) >= 20*time.Second)
				return &fakeRegistration{diary: d}, nil
			}},
		})
		synctest.Wait()
		if p, code := seen(t, a, "/readyz"); code != 503 || p.Status != "starting" || p.Phase != "checking" {
			t.Errorf("%d %+v", code, p)
		}
		if p, code := seen(t, a, "/healthz"); code != 200 || p.Status != "starting" {
			t.Errorf("%d %+v", code, p)
		}
		<-a.Ready()
		if p, code := seen(t, a, "/readyz"); code != 200 || p.Status != "degraded" || !p.Checks["database"].OK || p.Checks["mail"].OK || p.Checks["mail"].Error != "refused" {
			t.Errorf("%d %+v", code, p)
		}
		must(t, end(t, a, ended))
		d.is(t, "start pool", "registered after 20s: true", "deregister", "stop pool")
	})
}

// fakeRegistration stands for one in etcd; the real one is in the test with processes.
type fakeRegistration struct {
	diary      *diary
	takes      time.Duration
	fails      error
	deregister func(context.Context) error
}

func (r *fakeRegistration) Wait(context.Context) error { return r.fails }
func (r *fakeRegistration) Deregister(ctx context.Context) error {
	if r.diary != nil {
		r.diary.add("deregister")
	}
	if r.deregister != nil {
		return r.deregister(ctx)
	}
	return spend(ctx, r.takes)
}

func TestACriticalCheckFailsAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		j := &journal{}
		a, _ := ready(t, Config{Logger: j.logger(), Checks: []Check{{Name: "redis", Critical: true, Interval: time.Second, FailAfter: 3,
			Run: func(context.Context) error {
				if broken.Load() {
					return errors.New("LOADING")
				}
				return nil
			}}}})
		pass(10 * time.Second)
		broken.Store(true)
		var first page
		for first.Checks["redis"].Failures == 0 {
			pass(10 * time.Millisecond)
			first, _ = seen(t, a, "/readyz")
		}
		if c := first.Checks["redis"]; !c.OK || c.Error != "LOADING" || first.Status != "ok" || !first.Ready {
			t.Errorf("one failure of three is shown, and counts for nothing: %+v", first)
		}
		pass(3 * time.Second)
		if p, code := seen(t, a, "/readyz"); code != 503 || p.Status != "failing" || p.Phase != "serving" || p.Checks["redis"].Failures < 3 {
			t.Errorf("%d %+v", code, p)
		}
		if p, code := seen(t, a, "/healthz"); code != 200 || p.Status != "failing" {
			t.Errorf("a restart mends no Redis: %d %+v", code, p)
		}
		broken.Store(false)
		pass(2 * time.Second)
		if p, code := seen(t, a, "/readyz"); code != 200 || p.Status != "ok" || p.Checks["redis"].Error != "" {
			t.Errorf("%d %+v", code, p)
		}
		var told []string
		for _, line := range j.all() {
			if strings.Contains(line, "redis") || strings.Contains(line, "ready") {
				told = append(told, line)
			}
		}
		want := []string{
			`level=INFO msg="a check passes" check=redis`,
			`level=INFO msg="the service is ready"`,
			`level=WARN msg="a check fails" check=redis critical=true error=LOADING`,
			`level=WARN msg="the service is not ready any more" failing=[redis]`,
			`level=INFO msg="a check passes" check=redis`,
			`level=INFO msg="the service is ready"`,
		}
		if strings.Join(told, "\n") != strings.Join(want, "\n") {
			t.Errorf("transitions alone are told:\n%s", strings.Join(told, "\n"))
		}
	})
}

func TestACheckThatHangsFailsAndIsNotRunTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs, at atomic.Int64
		a, ended := ready(t, Config{
			Drain: DrainConfig{Wait: -1, Unready: -1},
			Checks: []Check{{Name: "nfs", Critical: true, Interval: time.Second, Timeout: 2 * time.Second, Run: func(context.Context) error {
				if runs.Add(1); runs.Load() < 3 {
					return nil
				}
				at.Add(1)
				defer at.Add(-1)
				pass(time.Hour) // whatever its context says
				return nil
			}}}})
		pass(20 * time.Second)
		if p, code := seen(t, a, "/readyz"); code != 503 || p.Checks["nfs"].OK || !p.Checks["nfs"].Running || !strings.HasPrefix(p.Checks["nfs"].Error, "no answer in 1") {
			t.Errorf("%d %+v", code, p)
		}
		if at.Load() != 1 || runs.Load() != 3 {
			t.Errorf("it runs %d times at once, %d in all", at.Load(), runs.Load())
		}
		pass(2 * time.Hour) // it has returned, and hangs again
		if runs.Load() < 4 {
			t.Error("it was not run again")
		}
		err := end(t, a, ended)
		if cut := (*CutOff)(nil); !errors.As(err, &cut) || len(cut.Checks) != 1 || cut.Checks[0] != "nfs" {
			t.Errorf("the error should name it: %v", err)
		}
		thaw()
	})
}

func TestACheckThatHeedsItsTimeoutOrPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := run(t, Config{Checks: []Check{
			{Name: "slow", Interval: time.Second, Run: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
			{Name: "broken", Interval: time.Second, Run: func(context.Context) error { panic("index out of range") }},
		}})
		pass(10 * time.Second)
		p, code := seen(t, a, "/readyz")
		if code != 200 || p.Status != "degraded" || p.Checks["slow"].Error != "no answer in 2s" || p.Checks["broken"].Error != "panic: index out of range" {
			t.Errorf("%d %+v", code, p)
		}
		if s := a.Stats(); s.ChecksFailing != 2 || !s.Ready || s.Phase != "serving" {
			t.Errorf("%+v", s)
		}
	})
}
