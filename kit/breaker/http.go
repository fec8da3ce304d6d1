package breaker

import (
	"errors"
	"net/http"

	"github.com/yumen-io/yumen/kit/internal/answer"
)

// RoundTripper guards what a client sends through next (nil means http.DefaultTransport) by key (nil means the request's
// host). A call ends when the answer begins. Failures are errors and Config.Statuses. A refusal is an *Error, and nothing was sent.
func (b *Breaker) RoundTripper(next http.RoundTripper, key func(*http.Request) string) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	if key == nil {
		key = func(r *http.Request) string { return r.URL.Host }
	}
	return &roundTripper{b, next, key}
}

type roundTripper struct {
	breaker *Breaker
	next    http.RoundTripper
	key     func(*http.Request) string
}

func (t *roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	c, err := t.breaker.Begin(t.key(r))
	if err != nil {
		if r.Body != nil {
			r.Body.Close() // as a RoundTripper must, also on errors
		}
		return nil, err
	}
	resp, err := t.next.RoundTrip(r)
	switch {
	case err != nil:
		c.EndError(r.Context(), err)
	case c.entry != nil && c.by.settings.failsStatus(resp.StatusCode):
		c.End(Failure)
	default:
		c.End(Success)
	}
	return resp, err
}

// Middleware guards a server's handlers by key; with a nil key all have one breaker. A call ends when the handler returns, and fails if
// its status is one of Config.Statuses or it panics. What a client left does not count. A refusal is 503 with Retry-After.
func (b *Breaker) Middleware(key func(*http.Request) string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			of := ""
			if key != nil {
				of = key(r)
			}
			c, err := b.Begin(of)
			if refusal := (*Error)(nil); errors.As(err, &refusal) {
				refusal.refusal().Write(w)
				return
			}
			if c.entry == nil {
				next.ServeHTTP(w, r)
				return
			}
			at := answer.Of(w)
			returned := false
			defer func() {
				switch {
				case r.Context().Err() != nil:
					c.End(Ignored)
				case !returned || c.by.settings.failsStatus(at.Status()):
					c.End(Failure)
				default:
					c.End(Success)
				}
			}()
			next.ServeHTTP(at, r)
			returned = true
		})
	}
}

// CloseIdleConnections is for http.Client.CloseIdleConnections.
func (t *roundTripper) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
