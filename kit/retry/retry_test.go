package retry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/yumen-io/yumen/kit/breaker"
	servers "github.com/yumen-io/yumen/kit/internal/servers/health"
	"github.com/yumen-io/yumen/kit/retry"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	background = context.Background()
	errBroken  = errors.New("broken")
)

func must(t testing.TB, cfg retry.Config) *retry.Retrier {
	t.Helper()
	r, err := retry.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// moods is a server that answers with one status after the other, the last for ever; 0 breaks the connection.
func moods(t *testing.T, list ...int) (*httptest.Server, *atomic.Int32, *[]string) {
	t.Helper()
	var asked atomic.Int32
	var mu sync.Mutex
	var bodies []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		mu.Lock()
		bodies = append(bodies, string(text))
		mu.Unlock()
		mood := list[min(int(asked.Add(1)), len(list))-1]
		if mood == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(mood)
		io.WriteString(w, "done")
	}))
	t.Cleanup(s.Close)
	return s, &asked, &bodies
}

// Each line is a request, what the server does, and how often it is asked.
func TestWhatIsTriedAgain(t *testing.T) {
	gateway := retry.Config{Statuses: []int{502, 503, 504}, BackoffBase: retry.Never}
	twice := retry.Config{BackoffBase: retry.Never}
	for _, c := range []struct {
		name   string
		cfg    retry.Config
		method string
		body   string
		field  string
		again  bool // the body can be had again
		moods  []int
		status int // 0: an error
		asked  int32
		reason string
	}{
		{"a status that was asked for", gateway, "GET", "", "", false, []int{503, 200}, 200, 2, "status"},
		{"a status that was not", twice, "GET", "", "", false, []int{503, 200}, 503, 1, ""},
		{"all tries fail", gateway, "GET", "", "", false, []int{503}, 503, 2, "attempts_exhausted"},
		{"a POST", gateway, "POST", "x", "", true, []int{503, 200}, 503, 1, "not_idempotent"},
		{"a POST with a key", gateway, "POST", "x", "Idempotency-Key", true, []int{503, 200}, 200, 2, "status"},
		{"a PUT", gateway, "PUT", "x", "", true, []int{503, 200}, 200, 2, "status"},
		{"a PUT whose body is gone", gateway, "PUT", "x", "", false, []int{503, 200}, 503, 1, "body_gone"},
		{"a broken connection", twice, "PUT", "x", "", true, []int{0, 200}, 200, 2, "reset"},
		{"a broken connection, POST", twice, "POST", "x", "", true, []int{0, 200}, 0, 1, "not_idempotent"},
		{"one try only", retry.Config{Attempts: 1, Statuses: []int{503}}, "GET", "", "", false, []int{503}, 503, 1, "attempts_exhausted"},
		{"no budget", retry.Config{Statuses: []int{503}, BudgetRatio: retry.Never, BudgetFloor: retry.Never}, "GET", "", "", false, []int{503}, 503, 1, "budget_exhausted"},
		{"in shadow", retry.Config{Statuses: []int{503}, Mode: retry.Shadow}, "GET", "", "", false, []int{503, 200}, 503, 1, "status"},
	} {
		s, asked, bodies := moods(t, c.moods...)
		reason := ""
		c.cfg.OnDecision = func(d retry.Decision) {
			if reason == "" || d.Reason != "attempts_exhausted" || c.reason == d.Reason {
				reason = d.Reason
			}
		}
		var body io.Reader
		if c.body != "" {
			body = strings.NewReader(c.body)
			if !c.again {
				body = io.MultiReader(body)
			}
		}
		r, err := http.NewRequest(c.method, s.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		if c.field != "" {
			r.Header.Set(c.field, "k1")
		}
		transport := &http.Transport{DisableKeepAlives: true} // else it repeats by itself
		resp, err := must(t, c.cfg).RoundTripper(transport, nil).RoundTrip(r)
		status := 0
		if err == nil {
			status = resp.StatusCode
			if text, err := io.ReadAll(resp.Body); string(text) != "done" {
				t.Errorf("%s: the answer is %q, %v", c.name, text, err)
			}
			resp.Body.Close()
		}
		if status != c.status || asked.Load() != c.asked || reason != c.reason {
			t.Errorf("%s: %d, asked %d times (%s), want %d, %d (%s); %v", c.name, status, asked.Load(), reason, c.status, c.asked, c.reason, err)
		}
		for _, b := range *bodies {
			if b != c.body {
				t.Errorf("%s: bodies %q", c.name, *bodies)
			}
		}
	}
}

func TestNobodyListens(t *testing.T) {
	s := httptest.NewServer(nil)
	s.Close()
	tries := 0
	r := must(t, retry.Config{Attempts: 3, BackoffBase: retry.Never, OnDecision: func(d retry.Decision) { tries = d.Attempt }})
	c := &http.Client{Transport: r.RoundTripper(nil, nil)}
	if _, err := c.Post(s.URL, "text/plain", strings.NewReader("x")); err == nil || tries != 3 {
		t.Errorf("a POST that reached nobody was tried %d times: %v", tries, err)
	}
}

func TestAnOpenBreakerIsNotTriedAgain(t *testing.T) {
	s, asked, _ := moods(t, 503)
	b, err := breaker.New(breaker.Config{Consecutive: 1})
	if err != nil {
		t.Fatal(err)
	}
	r := must(t, retry.Config{Attempts: 5, Statuses: []int{503}, BackoffBase: retry.Never})
	c := &http.Client{Transport: r.RoundTripper(b.RoundTripper(s.Client().Transport, nil), nil)}
	if _, err := c.Get(s.URL); !errors.Is(err, breaker.ErrOpen) || asked.Load() != 1 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}

func TestWhatTheServerSaysOfTheNextTry(t *testing.T) {
	for _, c := range []struct {
		field  string
		max    time.Duration
		asked  int32
		reason string
	}{
		{"0", 0, 2, "status"}, {"60", 0, 1, "pushback"}, {"nonsense", 0, 2, "status"}, {"99999999999", 0, 1, "pushback"},
		{"Fri, 31 Dec 2100 23:59:59 GMT", 0, 1, "pushback"}, {"Fri, 31 Dec 1999 23:59:59 GMT", 0, 2, "status"},
		{"2", time.Minute, 1, "deadline"},
	} {
		var asked atomic.Int32
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) == 1 {
				w.Header().Set("Retry-After", c.field)
				w.WriteHeader(503)
			}
		}))
		reason := ""
		r := must(t, retry.Config{Statuses: []int{503}, BackoffBase: retry.Never, PushbackMax: c.max, OnDecision: func(d retry.Decision) { reason = d.Reason }})
		ctx, cancel := context.WithCancel(background)
		if c.reason == "deadline" {
			ctx, cancel = context.WithTimeout(background, time.Second)
		}
		req, _ := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
		resp, err := r.RoundTripper(s.Client().Transport, nil).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		cancel()
		s.Close()
		if asked.Load() != c.asked || reason != c.reason {
			t.Errorf("Retry-After: %s: asked %d times (%s)", c.field, asked.Load(), reason)
		}
	}
}

// Everything fails: what is sent in all rises by the budget's share and floor, and no more.
func TestABudgetBoundsTheStorm(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r := must(t, retry.Config{Attempts: 3, BackoffBase: retry.Never, Clock: func() time.Time { return now }})
	sent := 0
	for range 1000 {
		now = now.Add(time.Millisecond)
		retry.Do(background, r, "db", func(context.Context) (int, error) { sent++; return 0, errBroken })
	}
	if most := 1000 + 200 + 30 + 1; sent > most || sent < 1200 {
		t.Errorf("%d tries of 1000 requests, at most %d", sent, most)
	}
	// Another dependency has a budget of its own; and settings change without a budget being forgotten.
	n := 0
	retry.Do(background, r, "other", func(context.Context) (int, error) { n++; return 0, errBroken })
	if err := r.Set(retry.Config{Attempts: 3, BackoffBase: retry.Never, BudgetRatio: 0.1}); err != nil {
		t.Fatal(err)
	}
	sent = 0
	retry.Do(background, r, "db", func(context.Context) (int, error) { sent++; return 0, errBroken })
	if n != 3 || sent != 1 {
		t.Errorf("%d and %d tries", n, sent)
	}
	if st := r.Stats(); st.Requests != 1002 || st.Refused == 0 || st.Keys != 2 {
		t.Errorf("%+v", st)
	}
}

func TestBudgetOverGoroutines(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r := must(t, retry.Config{BackoffBase: retry.Never, BudgetFloor: retry.Never, Clock: func() time.Time { return now }})
	var sent atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				retry.Do(background, r, "db", func(context.Context) (int, error) { sent.Add(1); return 0, errBroken })
			}
		})
	}
	wg.Wait()
	if n := sent.Load(); n > 8000+1600 || n < 8000+1500 {
		t.Errorf("%d tries of 8000 requests, at most 9600", n)
	}
}

func TestKeysUpToABound(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r := must(t, retry.Config{KeysMax: 2, Clock: func() time.Time { return now }})
	ask := func(key string) {
		retry.Do(background, r, key, func(context.Context) (int, error) { return 1, nil })
	}
	for i := range 10 {
		ask(fmt.Sprint(i))
	}
	if n := r.Stats().Keys; n != 2 {
		t.Errorf("%d keys", n)
	}
	now = now.Add(2 * time.Minute)
	ask("new")
	if n := r.Stats().Keys; n != 1 {
		t.Errorf("%d keys", n)
	}
}

func TestTimesOfTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
		begun := time.Now()
		r := must(t, retry.Config{Attempts: 3, PerTry: time.Second, BackoffBase: retry.Never})
		if _, err := retry.Do(background, r, "db", hang); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		// A wait for which the deadline leaves no room is not begun.
		r = must(t, retry.Config{Attempts: 10, BackoffBase: time.Hour, BackoffMax: time.Hour})
		ctx, cancel := context.WithTimeout(background, time.Millisecond)
		defer cancel()
		begun = time.Now()
		if _, err := retry.Do(ctx, r, "db", func(context.Context) (int, error) { return 0, errBroken }); err != errBroken || time.Since(begun) != 0 {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		// Whoever is cancelled while he waits is told at once.
		ctx, cancel = context.WithCancel(background)
		time.AfterFunc(time.Millisecond, cancel)
		begun = time.Now()
		if _, err := retry.Do(ctx, r, "db", func(context.Context) (int, error) { return 0, errBroken }); !errors.Is(err, context.Canceled) || time.Since(begun) != time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

func TestWaitsAreDrawnFromZeroToABoundThatDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var most [3]time.Duration
		r := must(t, retry.Config{Attempts: 4, BackoffBase: 100 * time.Millisecond, BudgetFloor: 1e6, OnDecision: func(d retry.Decision) {
			if d.Again {
				most[d.Attempt-1] = max(most[d.Attempt-1], d.After)
			}
		}})
		for range 200 {
			retry.Do(background, r, "db", func(context.Context) (int, error) { return 0, errBroken })
		}
		for i, bound := range []time.Duration{100, 200, 400} {
			if bound *= time.Millisecond; most[i] > bound || most[i] < bound*8/10 {
				t.Errorf("wait %d is up to %v, want %v", i+1, most[i], bound)
			}
		}
	})
}

func TestErrorsThatAreFinal(t *testing.T) {
	for _, err := range []error{retry.Permanent(errBroken), context.Canceled, &breaker.Error{}} {
		n := 0
		r := must(t, retry.Config{BackoffBase: retry.Never})
		_, got := retry.Do(background, r, "db", func(context.Context) (int, error) { n++; return 0, err })
		if n != 1 || !errors.Is(got, err) {
			t.Errorf("%v: %d tries, %v", err, n, got)
		}
	}
	if retry.Permanent(nil) != nil {
		t.Error("no error is an error")
	}
}

func TestHedges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hedged := retry.Config{Hedge: retry.Hedge{After: 10 * time.Millisecond}, BackoffBase: retry.Never}
		r := must(t, hedged)
		var calls atomic.Int32
		slowFirst := func(ctx context.Context) (int, error) {
			n := calls.Add(1)
			wait := time.Millisecond
			if n == 1 {
				wait = time.Second
			}
			select {
			case <-time.After(wait):
				return int(n), nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		begun := time.Now()
		if n, err := retry.Do(retry.WithIdempotent(background), r, "db", slowFirst); n != 2 || err != nil || time.Since(begun) != 11*time.Millisecond {
			t.Errorf("%d, %v after %v", n, err, time.Since(begun))
		}
		calls.Store(0)
		if n, err := retry.Do(background, r, "db", slowFirst); n != 1 || err != nil {
			t.Errorf("what nobody vouches for: %d, %v", n, err)
		}
		if st := r.Stats(); st.Hedges != 1 || st.HedgesWon != 1 || st.Retries != 0 {
			t.Errorf("%+v", st)
		}
		// The budget is that of retries.
		hedged.BudgetFloor, hedged.BudgetRatio = retry.Never, retry.Never
		r = must(t, hedged)
		calls.Store(0)
		if n, err := retry.Do(retry.WithIdempotent(background), r, "db", slowFirst); n != 1 || err != nil || r.Stats().Refused != 1 {
			t.Errorf("without a budget: %d, %v, %+v", n, err, r.Stats())
		}
		// The quantile of what was seen says when.
		hedged = retry.Config{Hedge: retry.Hedge{Quantile: 0.9, After: time.Millisecond}}
		r = must(t, hedged)
		for range 100 {
			retry.Do(retry.WithIdempotent(background), r, "db", func(context.Context) (int, error) { <-time.After(100 * time.Microsecond); return 0, nil })
		}
		if st := r.Stats(); st.Hedges != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestAHedgedRequestToAServer(t *testing.T) {
	var asked atomic.Int32
	cancelled := make(chan bool, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			<-r.Context().Done()
			cancelled <- true
			return
		}
		io.WriteString(w, "second")
	}))
	defer s.Close()
	r := must(t, retry.Config{Hedge: retry.Hedge{After: time.Millisecond}})
	c := &http.Client{Transport: r.RoundTripper(s.Client().Transport, nil)}
	resp, err := c.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(text) != "second" {
		t.Errorf("%q", text)
	}
	<-cancelled
}

func TestSettingsThatAreWrong(t *testing.T) {
	for _, c := range []struct {
		cfg  retry.Config
		want string
	}{
		{retry.Config{Attempts: 11, Mode: 5}, "retry: Mode: 5 is none\nretry: Attempts: 11 is not between 1 and 10"},
		{retry.Config{Statuses: []int{200}, Codes: []codes.Code{0}}, "retry: Statuses: 200 is not between 400 and 599\nretry: Codes: 0 is none of a failed call"},
		{retry.Config{Hedge: retry.Hedge{Quantile: 0.9}}, "retry: Hedge.After: say how long to wait at least, also while too little is known for a Quantile"},
		{retry.Config{BudgetRatio: 20}, "retry: BudgetRatio: 20 is not between 0 and 10"},
	} {
		if _, err := retry.New(c.cfg); err == nil || err.Error() != c.want {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
	if err := must(t, retry.Config{}).Set(retry.Config{Attempts: -1}); err == nil {
		t.Error("wrong settings were taken")
	}
}

// moody is a server that answers with one status after the other, the last for ever.
func moody(list []codes.Code, pushback string) (m *servers.Server, asked *atomic.Int32) {
	asked = new(atomic.Int32)
	return &servers.Server{OnCheck: func(ctx context.Context) error {
		code := list[min(int(asked.Add(1)), len(list))-1]
		if code != codes.OK && pushback != "" {
			grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", pushback))
		}
		if code == codes.DeadlineExceeded { // it hangs
			<-ctx.Done()
		}
		return status.Error(code, "in a mood") // nil of OK
	}}, asked
}

func TestCallsThatAreTriedAgain(t *testing.T) {
	check := &healthpb.HealthCheckRequest{}
	listed := retry.Config{Codes: []codes.Code{codes.Unavailable}, BackoffBase: retry.Never}
	for _, c := range []struct {
		name     string
		cfg      retry.Config
		vouched  bool
		moods    []codes.Code
		pushback string
		code     codes.Code
		asked    int32
	}{
		{"a code on the list", listed, false, []codes.Code{codes.Unavailable, codes.OK}, "", codes.OK, 2},
		{"a code that is not", listed, false, []codes.Code{codes.Internal, codes.OK}, "", codes.Internal, 1},
		{"no list", retry.Config{BackoffBase: retry.Never}, false, []codes.Code{codes.Unavailable, codes.OK}, "", codes.Unavailable, 1},
		{"no list, vouched for", retry.Config{BackoffBase: retry.Never}, true, []codes.Code{codes.Unavailable, codes.OK}, "", codes.OK, 2},
		{"the server says no", listed, false, []codes.Code{codes.Unavailable, codes.OK}, "-1", codes.Unavailable, 1},
		{"the server says when", listed, false, []codes.Code{codes.Unavailable, codes.OK}, "1", codes.OK, 2},
		{"the server says much later", listed, false, []codes.Code{codes.Unavailable, codes.OK}, "60000", codes.Unavailable, 1},
		{"one that hangs", retry.Config{PerTry: 100 * time.Millisecond, BackoffBase: retry.Never}, true, []codes.Code{codes.DeadlineExceeded, codes.OK}, "", codes.OK, 2},
		{"one that hangs, hedged", retry.Config{Hedge: retry.Hedge{After: time.Millisecond}}, true, []codes.Code{codes.DeadlineExceeded, codes.OK}, "", codes.OK, 2},
	} {
		m, asked := moody(c.moods, c.pushback)
		r := must(t, c.cfg)
		stub := servers.Dial(t, m, nil, grpc.WithUnaryInterceptor(r.UnaryClient(nil)), grpc.WithStreamInterceptor(r.StreamClient(nil)))
		ctx, cancel := context.WithCancel(background)
		if c.vouched {
			ctx = retry.WithIdempotent(ctx)
		}
		resp, err := stub.Check(ctx, check)
		if status.Code(err) != c.code || asked.Load() != c.asked || err == nil && resp.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%s: %v %v, asked %d times", c.name, resp, err, asked.Load())
		}
		stream, err := stub.Watch(ctx, check)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Errorf("%s: a stream ended: %v", c.name, err)
		}
		cancel()
		stream.Recv()
	}
}

// What a request costs that needs no retry.
func BenchmarkDo(b *testing.B) {
	r := must(b, retry.Config{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			retry.Do(background, r, "db", func(context.Context) (int, error) { return 1, nil })
		}
	})
}
