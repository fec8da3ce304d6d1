package admission

import (
	"errors"
	"net/http"

	"github.com/yumen-io/yumen/kit/internal/answer"
)

// Middleware has requests enter before the handler gets them. ask says who asks; nil: all are one tenant's, of Normal priority.
// A refusal is 503 with Retry-After. The place is held until the handler returns, panics or takes the connection over. The latency ends
// when the answer begins; answers from 500 on do not count, but for 504, nor what a client left.
func (d *Door) Middleware(ask func(*http.Request) Request) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			place, err := d.Enter(r.Context(), asked(ask, r))
			if refusal := (*Error)(nil); errors.As(err, &refusal) {
				refusal.refusal().Write(w)
				return
			} else if err != nil {
				w.WriteHeader(http.StatusServiceUnavailable) // the client is gone, or its time is over
				return
			}
			at := answer.Of(w)
			at.OnBegin(func(status int) {
				if status == http.StatusSwitchingProtocols {
					place.Leave(Failed) // a request no more: it may last for hours
					return
				}
				place.Began(outcomeOf(status))
			})
			returned := false
			defer func() {
				o := outcomeOf(at.Status())
				if !returned || goneAway(r.Context()) {
					o = Failed
				}
				place.Leave(o)
			}()
			next.ServeHTTP(at, r)
			returned = true
		})
	}
}

func asked(ask func(*http.Request) Request, r *http.Request) Request {
	if ask == nil {
		return Request{}
	}
	return ask(r)
}

// outcomeOf is what an answer says of how busy things are; 0 is that of a handler that has written nothing.
func outcomeOf(status int) Outcome {
	if status < 500 || status == http.StatusGatewayTimeout {
		return Worked
	}
	return Failed
}

// RoundTripper has what a client sends through next (nil means http.DefaultTransport) enter first: the door stands in front of one
// service then, and each service has one of its own. A refusal is an *Error, and nothing was sent. The place is held until
// the answer's body was read to its end or closed.
func (d *Door) RoundTripper(next http.RoundTripper, ask func(*http.Request) Request) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return &roundTripper{d, next, ask}
}

type roundTripper struct {
	door *Door
	next http.RoundTripper
	ask  func(*http.Request) Request
}

func (t *roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	place, err := t.door.Enter(r.Context(), asked(t.ask, r))
	if err != nil {
		if r.Body != nil {
			r.Body.Close() // as a RoundTripper must, also on errors
		}
		return nil, err
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		place.Leave(outcomeOfError(r.Context(), err))
		return resp, err
	}
	o := outcomeOf(resp.StatusCode)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		place.Leave(Failed)
		return resp, nil
	}
	place.Began(o)
	answer.OnEnd(resp, func() { place.Leave(o) })
	return resp, nil
}

// CloseIdleConnections is for http.Client.CloseIdleConnections.
func (t *roundTripper) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
