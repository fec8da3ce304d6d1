package chain

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Deadline is how long calls may take. A client says it in X-Request-Timeout (a number with the unit ms or s: 250ms, 1.5s) or in
// grpc-timeout, as to the gateway, which passes on what is left. It is the context's deadline from the beginning; a call whose time
// is over is refused before anybody works for it.
type Deadline struct {
	// Off leaves X-Request-Timeout alone, and there is no Max. gRPC keeps its own.
	Off bool
	// Max is the time that the service itself gives the handler of a request or unary call. It counts inside the breaker: a
	// service that is too slow has failed, a client in a hurry has not. Streams of gRPC have none but Method.Timeout. 0: 30 s,
	// longer than anybody waits at a screen; Never: none.
	Max time.Duration
}

const (
	timeoutDefault = 30 * time.Second
	timeoutField   = "X-Request-Timeout"
	// timeoutBytesMax is that of the gateway: no number of sense is longer.
	timeoutBytesMax = 16
)

func (c *Chain) readDeadline() error {
	d := &c.cfg.Deadline
	switch {
	case d.Off && d.Max != 0:
		return bad("Deadline: it is Off, and there is a Max")
	case d.Off:
		d.Max = Never
	case d.Max == 0:
		d.Max = timeoutDefault
	case d.Max < 0 && d.Max != Never:
		return bad("Deadline.Max: %v is below 0 and not Never", d.Max)
	}
	return nil
}

// parseTimeout reads an X-Request-Timeout. Text of another form says nothing. 0 is said by who has no time left.
func parseTimeout(text string) (d time.Duration, said bool) {
	n := len(text)
	if n < 2 || n > timeoutBytesMax || text[n-1] != 's' {
		return 0, false
	}
	unit := time.Second
	n--
	if text[n-1] == 'm' {
		unit = time.Millisecond
		n--
	}
	const most = int64(1) << 40 // of thousandths of a unit: 34 years of seconds, and far from an overflow
	var value, scale int64 = 0, 1
	point := false
	for i := range n {
		switch ch := text[i]; {
		case ch == '.' && !point && i > 0 && i < n-1:
			point = true
			continue
		case ch < '0' || ch > '9':
			return 0, false
		case value >= most || point && scale >= 1000:
			continue // longer, or finer, than anything that is measured
		}
		value = value*10 + int64(text[i]-'0')
		if point {
			scale *= 10
		}
		said = true
	}
	if !said {
		return 0, false
	}
	if value >= most {
		return time.Duration(1<<63 - 1), true
	}
	if value > (1<<63-1)/int64(unit) {
		return time.Duration(1<<63 - 1), true
	}
	return time.Duration(value) * unit / time.Duration(scale), true
}

// clientDeadline puts the client's time into s, whose cancel the caller runs at the end. It returns a refusal if there is none left.
func (c *Chain) clientDeadline(s *state, r *http.Request) (cancel context.CancelFunc, over *Refusal) {
	if c.cfg.Deadline.Off {
		return nil, nil
	}
	if values := r.Header[timeoutField]; len(values) > 0 {
		if left, said := parseTimeout(values[0]); said {
			if left <= 0 {
				return nil, overdue
			}
			s.Context, cancel = context.WithTimeout(s.Context, min(left, timeoutMost))
		}
	}
	return cancel, expired(s.Context)
}

// timeoutMost keeps the runtime's clock from an overflow.
const timeoutMost = 10 * 365 * 24 * time.Hour

// expired refuses what is too late already.
func expired(ctx context.Context) *Refusal {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return overdue
	}
	return nil
}

// within gives ctx the service's own time, unless it ends sooner anyhow. cancel is nil then.
func within(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	if most == Never {
		return ctx, nil
	}
	if at, ok := ctx.Deadline(); ok && time.Until(at) <= most {
		return ctx, nil
	}
	return context.WithTimeout(ctx, most)
}

// ownTime is the stage of Deadline.Max for HTTP, inside the breaker.
func (c *Chain) ownTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := stateOf(r.Context())
		ctx, cancel := within(r.Context(), s.call.rule.Timeout)
		if cancel == nil {
			next.ServeHTTP(w, r)
			return
		}
		inner := r.WithContext(ctx)
		defer func() {
			cancel()
			keepRouted(r, inner)
		}()
		next.ServeHTTP(w, inner)
		if s.at.Status() == 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) && r.Context().Err() == nil {
			s.call.refused(StageDeadline, ReasonTimeout, nil)
			tookTooLong.write(w, nil)
		}
	})
}

// keepRouted tells who stands outside what was found out about a copy of the request.
func keepRouted(outer, inner *http.Request) {
	if inner.Pattern != "" {
		outer.Pattern = inner.Pattern
	}
	if inner.MultipartForm != nil {
		outer.MultipartForm = inner.MultipartForm // the server removes the files of the request that it knows
	}
}
