package chain_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/yumen-io/yumen/kit/app/chain"
	"github.com/yumen-io/yumen/kit/breaker"
)

// waits answers nothing until its time is over.
func waits(ctx context.Context) { <-ctx.Done() }

func serveOne(c *chain.Chain, timeout string, h http.HandlerFunc) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	if timeout != "" {
		r.Header.Set("X-Request-Timeout", timeout)
	}
	c.Handler(h).ServeHTTP(w, r)
	return w
}

func callOne(ctx context.Context, c *chain.Chain, h func(context.Context) error) error {
	_, err := c.Unary()(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/a.B/C"}, func(ctx context.Context, _ any) (any, error) { return nil, h(ctx) })
	return err
}

func TestWhoseTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := breaker.New(breaker.Config{Consecutive: 2, Volume: 1_000_000})
		if err != nil {
			t.Fatal(err)
		}
		c := must(t, chain.Config{Deadline: chain.Deadline{Max: time.Second}, Breaker: chain.Breaker{Breaker: b}})
		silent := func(_ http.ResponseWriter, r *http.Request) { waits(r.Context()) }
		for _, one := range []struct {
			timeout string
			want    string
		}{
			{"0s", "504 deadline_exceeded"},    // at once
			{"100ms", "504 deadline_exceeded"}, // the client's own word: no failure of ours, however often
			{"100ms", "504 deadline_exceeded"},
			{"100ms", "504 deadline_exceeded"},
			{"10s", "504 request_timeout"}, // the service's
			{"", "504 request_timeout"},
			{"", "503 breaker_open"},
		} {
			w := serveOne(c, one.timeout, silent)
			if got := fmt.Sprint(w.Code, " ", reasonIn(w.Body.String())); got != one.want {
				t.Errorf("%q: got %s, want %s", one.timeout, got, one.want)
			}
		}
		if s := c.Stats(); s.Deadline != 6 || s.Breaker != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhoseTimeIsOverOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := breaker.New(breaker.Config{Consecutive: 2, Volume: 1_000_000})
		if err != nil {
			t.Fatal(err)
		}
		c := must(t, chain.Config{Deadline: chain.Deadline{Max: time.Second}, Breaker: chain.Breaker{Breaker: b}})
		ran := 0
		silent := func(ctx context.Context) error {
			ran++
			waits(ctx)
			return fmt.Errorf("asking the database: %w", ctx.Err())
		}
		for _, one := range []struct {
			timeout time.Duration // of grpc-timeout, which grpc-go makes the context's
			want    string
			ran     int
		}{
			{0, "DeadlineExceeded deadline_exceeded", 0},
			{100 * time.Millisecond, "DeadlineExceeded ", 1},
			{100 * time.Millisecond, "DeadlineExceeded ", 2},
			{100 * time.Millisecond, "DeadlineExceeded ", 3},
			{10 * time.Second, "DeadlineExceeded request_timeout", 4},
			{time.Hour, "DeadlineExceeded request_timeout", 5},
			{time.Hour, "Unavailable breaker_open", 5},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), one.timeout)
			err := callOne(ctx, c, silent)
			cancel()
			st, _ := status.FromError(err)
			if got := fmt.Sprint(st.Code(), " ", reasonIn(st.Message())); got != one.want || ran != one.ran {
				t.Errorf("%v: got %s, want %s; ran %d", one.timeout, got, one.want, ran)
			}
		}
		if s := c.Stats(); s.Deadline != 6 || s.Breaker != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestTimeOfMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := must(t, chain.Config{Deadline: chain.Deadline{Max: time.Second}, Methods: map[string]chain.Method{
			"/a.B/C": {Timeout: chain.Never}, "/a.B/Slow*": {Timeout: time.Minute},
		}})
		of := func(method string) string {
			out := ""
			c.Unary()(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
				at, ok := ctx.Deadline()
				if out = "never"; ok {
					out = time.Until(at).String()
				}
				return nil, nil
			})
			return out
		}
		for method, want := range map[string]string{"/a.B/C": "never", "/a.B/SlowOne": "1m0s", "/a.B/D": "1s"} {
			if got := of(method); got != want {
				t.Errorf("%s: got %s, want %s", method, got, want)
			}
		}
	})
}

// Streams go on and on, unless a method's own rule says how long.
func TestTimeOfStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := breaker.New(breaker.Config{Consecutive: 1, Volume: 1_000_000})
		if err != nil {
			t.Fatal(err)
		}
		c := must(t, chain.Config{Breaker: chain.Breaker{Breaker: b}, Methods: map[string]chain.Method{"/a.B/Short": {Timeout: time.Second}}})
		run := func(method string) error {
			return c.Stream()(nil, stream{ctx: t.Context()}, &grpc.StreamServerInfo{FullMethod: method}, func(_ any, ss grpc.ServerStream) error {
				if _, ok := ss.Context().Deadline(); ok {
					waits(ss.Context())
				}
				return ss.Context().Err()
			})
		}
		if err := run("/a.B/Long"); err != nil {
			t.Error(err)
		}
		if got := reasonIn(status.Convert(run("/a.B/Short")).Message()); got != "request_timeout" {
			t.Error(got)
		}
		if got := reasonIn(status.Convert(run("/a.B/Short")).Message()); got != "breaker_open" {
			t.Error(got)
		}
	})
}

type stream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s stream) Context() context.Context { return s.ctx }
func (stream) RecvMsg(any) error          { return nil }
func (stream) SetTrailer(metadata.MD)     {}

func TestDeadlineOff(t *testing.T) {
	c := must(t, chain.Config{Deadline: chain.Deadline{Off: true}})
	w := serveOne(c, "0s", func(w http.ResponseWriter, r *http.Request) {
		if _, ok := r.Context().Deadline(); ok {
			t.Error("there is a deadline")
		}
	})
	if w.Code != 200 {
		t.Error(w.Code)
	}
}

// A handler that notices says so itself.
func TestAHandlersOwnAnswerStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := must(t, chain.Config{})
		w := serveOne(c, "100ms", func(w http.ResponseWriter, r *http.Request) {
			waits(r.Context())
			w.WriteHeader(http.StatusTeapot)
		})
		if w.Code != http.StatusTeapot {
			t.Error(w.Code)
		}
		w = serveOne(c, "100ms", func(w http.ResponseWriter, r *http.Request) {
			waits(r.Context())
			chain.Refuse(w, r, fmt.Errorf("asking: %w", r.Context().Err()))
		})
		if w.Code != 504 || reasonIn(w.Body.String()) != "deadline_exceeded" {
			t.Error(w.Code, w.Body)
		}
	})
}
