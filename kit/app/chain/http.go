package chain

import (
	"net/http"
	"runtime"

	"github.com/yumen-io/yumen/kit/breaker"
	"github.com/yumen-io/yumen/kit/internal/answer"
)

// Handler is next inside of the chain. A request that has passed this chain already passes as it is, so that a service
// may have the chain around its server and in a router.
//
// Each layer is built here, once; a request walks through them with one state, which is also the context of the handler.
func (c *Chain) Handler(next http.Handler) http.Handler {
	inner := c.ownTime(next)
	var before []guard
	for i := len(c.guards) - 1; i >= 0; i-- {
		if g := c.guards[i]; g.before {
			before = append(before, g)
		} else {
			inner = g.handler(inner)
		}
	}
	if len(c.cfg.Auth.Authenticators) > 0 {
		inner = c.authenticated(inner)
	}
	for _, g := range before {
		inner = g.handler(inner)
	}
	var outer http.Handler = &entry{c, next, inner}
	if c.cfg.Observe != nil {
		outer = c.cfg.Observe.HTTP(outer)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s := stateOf(r.Context()); s != nil && s.call.chain == c {
			next.ServeHTTP(w, r)
			return
		}
		outer.ServeHTTP(w, r)
	})
}

// entry is where a request gets its state, and comes back to.
type entry struct {
	chain  *Chain
	next   http.Handler // the service's
	guards http.Handler // and it again, behind the guards
}

func (e *entry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := e.chain
	c.stats.calls.Add(1)
	s := &state{Context: r.Context()}
	s.call = Call{ctx: s.Context, chain: c, request: r, protocol: "http", begun: c.now()}
	if recorder, ok := w.(*answer.Recorder); ok {
		s.at = recorder
	} else {
		s.own.ResponseWriter, s.at = w, &s.own
	}
	if c.cfg.Route != nil {
		s.call.method = c.cfg.Route(r)
	}
	s.named = s.call.method != ""
	if !s.named {
		s.call.method = r.Pattern
	}
	s.call.rule = c.ruleOf(s.call.method)
	cancel, over := c.clientDeadline(s, r)
	inner := r.WithContext(s)
	returned := false
	defer func() {
		// Recovery and the access line are here together, for one deferred call less.
		var panicked any
		if !c.cfg.Recovery.Off && !returned {
			panicked = recover()
		}
		cut := c.endHTTP(s, r, inner, returned, panicked)
		if cancel != nil {
			cancel()
		}
		if cut {
			panic(http.ErrAbortHandler)
		}
	}()
	switch {
	case over != nil:
		s.call.refused(StageDeadline, over.Reason, nil)
		over.write(s.at, nil)
	case s.call.rule.Bare:
		e.next.ServeHTTP(s.at, inner)
	default:
		e.guards.ServeHTTP(s.at, inner)
		if s.at.Status() == 0 && expired(s.Context) != nil {
			s.call.refused(StageDeadline, ReasonDeadline, nil)
			overdue.write(s.at, nil)
		}
	}
	returned = true
}

// endHTTP answers for a handler that panicked, and writes the access line. A panic whose answer had begun already must cut the
// connection, or half an answer would look like a whole one.
func (c *Chain) endHTTP(s *state, r, inner *http.Request, returned bool, panicked any) (cut bool) {
	keepRouted(r, inner)
	if s.named {
		r.Pattern = s.call.method // for metrics: refused requests have no other name, and others should have the same
	} else {
		s.call.method = r.Pattern
	}
	if f := inner.MultipartForm; f != nil {
		_ = f.RemoveAll() // the server knows only the request that it made
	}
	status := s.at.Status()
	switch {
	case panicked == http.ErrAbortHandler:
		s.call.reason, cut = "aborted", true
	case panicked != nil:
		c.panicked(s, &s.call, panicked)
		s.call.reason, cut = ReasonPanic, status != 0
		if !cut {
			writePanic(s.at, s)
		}
		status = http.StatusInternalServerError
	case !returned: // runtime.Goexit, or a panic that goes on
		status = http.StatusInternalServerError
	case status == 0:
		status = http.StatusOK
	}
	if s.call.stage == StageNone && s.call.at != StageNone {
		s.call.stage = s.call.at // whose guard did not let it pass
		if s.call.stage == StageBreaker {
			s.call.reason = breaker.ReasonOpen
		}
	}
	if s.call.stage != StageNone {
		c.stats.refused[s.call.stage].Add(1)
	}
	c.logHTTP(s, r, status)
	return cut
}

// handler is next behind a guard.
func (g guard) handler(next http.Handler) http.Handler {
	around := g.Middleware(func(r *http.Request) string { return g.key(&stateOf(r.Context()).call) })
	passed := around(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stateOf(r.Context()).call.at = StageNone
		next.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stateOf(r.Context()).call.at = g.stage
		passed.ServeHTTP(w, r)
	})
}

// authenticated is the stage of Auth.
func (c *Chain) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := stateOf(r.Context())
		if refusal := c.authenticate(r.Context(), &s.call); refusal != nil {
			refusal.write(w, c.challenge)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// stack is a goroutine's, from the panic up.
func stack() string {
	b := make([]byte, stackBytesMax)
	return string(b[:runtime.Stack(b, false)])
}
