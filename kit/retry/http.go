package retry

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/yumen-io/yumen/kit/internal/answer"
	core "github.com/yumen-io/yumen/policy/retry"
)

// drainMax is how much of an answer that nobody will see is read, so that its connection can be used again.
const drainMax = 4096

// RoundTripper tries again what is sent through next (nil means http.DefaultTransport). key is whose budget it is; nil means the
// request's host. Stand it outside of the round trippers of kit/limit and kit/breaker, so that each try is judged.
//
// http.Transport itself repeats a request whose kept connection turned out dead; such a repeat is not counted here.
func (r *Retrier) RoundTripper(next http.RoundTripper, key func(*http.Request) string) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	if key == nil {
		key = func(r *http.Request) string { return r.URL.Host }
	}
	return &roundTripper{r, next, key}
}

type roundTripper struct {
	retrier *Retrier
	next    http.RoundTripper
	key     func(*http.Request) string
}

// CloseIdleConnections is for http.Client.CloseIdleConnections.
func (t *roundTripper) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (t *roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	body := r.Body != nil && r.Body != http.NoBody
	vouched := isIdempotent(r.Context()) || r.Header["Idempotency-Key"] != nil || r.Header["X-Idempotency-Key"] != nil
	x := &exchange{
		key: t.key(r), idempotent: vouched || core.Idempotent(method), body: body, replayable: !body || r.GetBody != nil,
		drop: func(e ending) {
			if resp, ok := e.result.(*http.Response); ok && resp != nil {
				io.CopyN(io.Discard, resp.Body, drainMax)
				resp.Body.Close()
			}
		},
	}
	x.hedges = x.replayable && (vouched || isSafe(method))
	policy := t.retrier.at.Load().policy
	x.send = func(ctx context.Context, n int) ending {
		try := r.WithContext(ctx)
		if n > 1 && body {
			again, err := r.GetBody()
			if err != nil {
				return ending{err: err, final: true}
			}
			try.Body = again
		}
		if n > 1 {
			try.Header = r.Header.Clone() // the transport before may still be at it
		}
		resp, err := t.next.RoundTrip(try)
		if err != nil {
			return judge(err)
		}
		e := ending{result: resp, ok: !policy.RetriesStatus(resp.StatusCode)}
		if !e.ok {
			e.failure, e.status, e.pushback = core.BadStatus, resp.StatusCode, retryAfter(resp.Header, t.retrier.wall())
		}
		return e
	}
	e := t.retrier.run(r.Context(), x)
	resp, _ := e.result.(*http.Response)
	if resp == nil || e.err != nil {
		e.end()
		return nil, e.err
	}
	answer.OnEnd(resp, e.end)
	return resp, nil
}

// isSafe tells a method that asks for nothing but an answer (RFC 9110 section 9.2.1).
func isSafe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// retryAfter reads the field Retry-After (RFC 9110 section 10.2.3): seconds, or a date. 0 if there is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	} else if errors.Is(err, strconv.ErrRange) && text[0] != '-' {
		return math.MaxInt64
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
