package gateway

import (
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/retry"
)

// Errand is a request that the gateway makes for itself on a loop: a copy for another cluster, a question to a service that
// authorises, an answer in a cache that is looked at again. It passes no filters, and is counted and logged as no request of a
// client's; the cluster counts its attempts as all others. Loop-owned.
type Errand struct {
	// Cluster is where it goes.
	Cluster ClusterRef
	// Head is the request's: method, authority, path and fields. It is copied.
	Head *message.Head
	// Body is the request's, whole; its memory may be used again when the errand has begun.
	Body []byte
	// Timeout is how long the whole may take; 0: what the route of the exchange that sends it allows, 15 s at most.
	Timeout time.Duration
	// Retry says when it is tried again; nil: never once an upstream may have acted on it.
	Retry *retry.Policy
	// Answers gets the answer, whatever its status; AnswerFailed gets a *Failure if there is none, or no more of it. It may be
	// called before Send has returned.
	Answers engine.Answers
}

// errandTimeout is the longest that an errand takes which does not say how long.
const errandTimeout = 15 * time.Second

// once is the policy of errands without one.
var once = retry.New(retry.Config{Attempts: 1})

// Sent is an errand under way.
type Sent struct {
	x      *Exchange
	serial uint64
}

// Send begins an errand. The exchange that sends it may end before it does.
func (x *Exchange) Send(e Errand) Sent {
	w := x.w
	n := w.newExchange()
	n.serial++
	n.errand = true
	n.snapshot, n.listener, n.peer, n.ClientAddr = x.snapshot, x.listener, x.peer, x.ClientAddr
	n.snapshot.Hold()
	n.began, n.bodyEnded = w.now(), true
	n.client = engine.NewInner(w.engine.Bufs, e.Answers)
	n.Request = w.engine.Heads.Get()
	e.Head.CopyRequest(n.Request)
	n.Request.Remove(message.Expect)
	n.Request.Length = int64(len(e.Body))
	n.method, n.path, n.query = n.Request.Method, n.Request.Path, n.Request.Query
	n.held.Append(w.engine.Bufs, e.Body)
	n.requestID = append(n.requestID, x.requestID...)
	n.readGRPC()

	r := &Route{Name: x.Route.Name, Index: x.Route.Index, Retry: e.Retry, Request: e.Timeout,
		FirstByte: x.Route.FirstByte, BetweenBytes: x.Route.BetweenBytes, Key: x.Route.Key}
	if r.Retry == nil {
		r.Retry = once
	}
	if r.Request == 0 {
		r.Request = errandTimeout
		if x.Route.Request > 0 {
			r.Request = min(r.Request, x.Route.Request)
		}
	}
	// A route that answers by itself, or never waits, has none.
	if r.FirstByte == 0 {
		r.FirstByte = r.Request
	}
	if r.BetweenBytes == 0 {
		r.BetweenBytes = r.Request
	}
	n.Route, n.cluster = r, x.ClusterAt(e.Cluster)
	if r.Key != nil { // a part of the path is known as long as the exchange that sends it lasts, which may be shorter
		n.hashed = r.Key.Hash(n.Request, &x.Params, x.ClientAddr)
	}
	sent := Sent{n, n.serial}
	n.proxy()
	return sent
}

// Cancel ends the errand, if it is still under way. Its answers are told nothing more from now on. It may be called wherever
// answers are told something, so that the errand itself ends a little later, when nobody is in the middle of it.
func (s Sent) Cancel() {
	x := s.x
	if x == nil || x.serial != s.serial || x.client == nil {
		return
	}
	x.client.Ignore()
	x.cancelled = true
	x.workLater()
}

// giveUp ends an errand that was cancelled.
func (x *Exchange) giveUp() {
	x.cancelled = false
	x.client = nil
	x.attempt.cancel(clientGone)
	x.finish()
}

// failErrand tells whoever sent an errand why nothing came of it.
func (x *Exchange) failErrand(f *Failure) {
	s := x.client
	x.client = nil
	x.attempt.cancel(f)
	if s != nil {
		s.Abort(f)
	}
	x.finish()
}
