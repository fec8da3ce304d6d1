package limit

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/yumen-io/yumen/kit/internal/answer"
)

// Middleware limits requests to a handler by key. A refusal is 429, or 503 if nobody could judge, with Retry-After; each
// answer says in RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers) how much is left. With a nil key all requests
// count together; requests with the key "" do among themselves. A LeakyBucket has requests wait; one whose client goes away
// meanwhile is not answered.
func (l *Limiter) Middleware(key func(*http.Request) string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, err := l.Take(r.Context(), keyOf(key, r), 1)
			if refusal := (*Error)(nil); errors.As(err, &refusal) {
				refusal.Decision.fields(w.Header(), l.at.Load().policy)
				refusal.refusal().Write(w)
				return
			} else if err != nil {
				w.WriteHeader(http.StatusServiceUnavailable) // the client is gone, or its time is over
				return
			}
			defer p.Release()
			p.Decision.fields(w.Header(), l.at.Load().policy)
			next.ServeHTTP(w, r)
		})
	}
}

func keyOf(key func(*http.Request) string, r *http.Request) string {
	if key == nil {
		return ""
	}
	return key(r)
}

// policyField is what is the same for all answers.
//
//	RateLimit-Policy: "default";q=200;w=2     200 may pass in 2 s: the quota, and how long it takes to be there again
//	RateLimit: "default";r=131;t=1            131 are left, and all of them will be there again in a second
func (s *settings) policyField() string {
	if s.limit.Counts() {
		return fmt.Sprintf(`"%s";q=%d;qu="concurrent-requests"`, s.cfg.Name, s.limit.Quota())
	}
	return fmt.Sprintf(`"%s";q=%d;w=%d`, s.cfg.Name, s.limit.Quota(), answer.Seconds(s.limit.Window()))
}

// fields adds to the fields of limits further out. In shadow mode clients are told nothing.
func (d *Decision) fields(h http.Header, policy string) {
	if d.Mode == Shadow {
		return
	}
	b := make([]byte, 0, 96)
	b = append(append(append(b, '"'), d.Name...), `";r=`...)
	b = strconv.AppendInt(b, d.Remaining, 10)
	if d.Window > 0 {
		b = strconv.AppendInt(append(b, ";t="...), answer.Seconds(d.Reset), 10)
	}
	const limitName, policyName = "Ratelimit", "Ratelimit-Policy" // as http.Header spells them
	h[policyName] = append(h[policyName], policy)
	h[limitName] = append(h[limitName], string(b))
}

// RoundTripper limits what a client sends through next (nil means http.DefaultTransport) by key (nil means the request's
// host). A refusal is an *Error, and nothing was sent. A place of a Concurrency limit is held until the answer's body was read
// to its end or closed.
func (l *Limiter) RoundTripper(next http.RoundTripper, key func(*http.Request) string) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	if key == nil {
		key = func(r *http.Request) string { return r.URL.Host }
	}
	return &roundTripper{l, next, key}
}

type roundTripper struct {
	limiter *Limiter
	next    http.RoundTripper
	key     func(*http.Request) string
}

func (t *roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	p, err := t.limiter.Take(r.Context(), t.key(r), 1)
	if err != nil {
		if r.Body != nil {
			r.Body.Close() // as a RoundTripper must, also on errors
		}
		return nil, err
	}
	resp, err := t.next.RoundTrip(r)
	switch {
	case p.cell == nil:
	case err != nil:
		p.Release()
	default:
		answer.OnEnd(resp, p.Release)
	}
	return resp, err
}

// CloseIdleConnections is for http.Client.CloseIdleConnections.
func (t *roundTripper) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
