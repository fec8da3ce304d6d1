package gateway

import (
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/policy/retry"
)

// Hooks are what a compiled filter does at the stations of an exchange. A filter fills in those it needs. Hooks of a
// route's filters run in their order on the way in, and in the reverse order on the way out.
type Hooks struct {
	// Name is the filter's kind.
	Name string
	// Request may change the request's head before an endpoint is chosen, or answer by itself.
	Request func(x *Exchange) Verdict
	// Response may change the response's head before the client gets it. It runs for answers of the gateway's own too, also
	// where the request did not come as far as the filter.
	Response func(x *Exchange, h *message.Head)
	// Failed may answer in the place of a failure that the client was not told of yet, and then returns Answered. Those that the
	// request came past are asked, in the reverse order; of a guard's refusal those before the guard.
	Failed func(x *Exchange, f *Failure) Verdict
	// Unwanted tells whether the filter takes an answer of the upstream with such a status, from 400 to 599, for a failure. The answer
	// is kept back then, when the route's retries are used up, and the Failed hooks are asked as for any failure; it is one of which
	// Failure.Answered is true. If all of them go on, it is passed on as it came. nil: no status is.
	Unwanted func(status int) bool
	// Explain says a refusal in the words of clients that the filter is a bridge for, where the request has not come as far as the
	// filter; nil: the request is of no such client. Behind the filter its Translator does.
	Explain func(x *Exchange, e Explanation) *Respond
	// Done is called once at the end of an exchange whose request came as far as the filter, in the reverse order.
	Done func(x *Exchange)
}

// Verdict is what a request hook wants to happen next.
type Verdict uint8

// Verdicts.
const (
	// GoOn to the next hook.
	GoOn Verdict = iota
	// Answered: the hook has answered, the exchange is over or has begun anew.
	Answered
	// Waiting: the hook has suspended the exchange, and whoever holds its Wake will say how it goes on.
	Waiting
)

// Keep has the filter whose hook runs keep something for its later hooks on this exchange. A pointer costs no memory.
func (x *Exchange) Keep(v any) {
	for len(x.kept) <= x.calling {
		x.kept = append(x.kept, nil)
	}
	x.kept[x.calling] = v
}

// Kept returns what the filter has kept; nil if nothing, or if the request did not come as far as the filter.
func (x *Exchange) Kept() any {
	if x.calling < len(x.kept) {
		return x.kept[x.calling]
	}
	return nil
}

// Outcome is how an exchange ended, for Done.
type Outcome struct {
	Status     int
	Reason     string         // of an answer of the gateway's own
	Failure    *Failure       // what the client was told or cut for; nil: an answer, whatever its status
	Health     health.Outcome // what it says of the upstream: Aborted where it says nothing
	FirstByte  time.Duration  // of the last attempt; below zero if its answer did not begin
	Took       time.Duration  // the whole exchange
	Attempts   int
	ClientGone bool
	GRPC       int // the status that a call of gRPC ended with, as the upstream said; below zero: none
}

// Outcome tells how the exchange ended. It is for Done. Filters behind one that has taken over are told how it ended until then: what
// another cluster makes of the request says nothing of the one that they know. But whether the client is gone they are told as it is.
func (x *Exchange) Outcome() Outcome {
	if x.ending {
		for i := range x.legs {
			if l := &x.legs[i]; l.by < x.calling {
				o := l.outcome
				o.ClientGone = x.reason == clientGone.Reason
				return o
			}
		}
	}
	return x.outcome()
}

func (x *Exchange) outcome() Outcome {
	o := Outcome{Status: x.status, Reason: x.reason, Attempts: x.attempts, Took: x.w.now().Sub(x.began), FirstByte: -1,
		ClientGone: x.reason == clientGone.Reason, GRPC: x.callStatus}
	a := x.attempt
	if a.headAt > 0 && x.attempts > 0 {
		o.FirstByte = a.headAt.Sub(a.began)
	}
	switch {
	case x.reason != "":
		o.Failure, o.Health = x.failure, health.Aborted
		if o.Failure != nil {
			o.Health = o.Failure.Outcome
		}
	case x.attempts > 0:
		o.Health = a.verdict
	default:
		o.Health = health.Aborted
	}
	return o
}

// ClusterRef is a cluster that a filter names.
type ClusterRef struct {
	Name  string
	Index int // in the snapshot
}

// ClusterAt returns a cluster of the exchange's snapshot.
func (x *Exchange) ClusterAt(ref ClusterRef) *upstream.Group { return x.snapshot.Clusters[ref.Index] }

// UseCluster sends the request to another cluster than the route's. It is for request hooks.
func (x *Exchange) UseCluster(ref ClusterRef) { x.cluster = x.ClusterAt(ref) }

// takeoversMax bounds how often an exchange begins anew: more filters with another cluster each are no route, but a circle.
const takeoversMax = 4

// TryCluster begins anew with another cluster, in a Failed hook, which then returns Answered. It returns false if the request
// cannot be sent again, since an upstream may have acted on it, its body is gone or a translator has some of an answer; and
// if hardly an answer could come in the time that is left.
func (x *Exchange) TryCluster(ref ClusterRef) bool {
	sent := x.bodyGiven > int64(x.replay.Len())
	if sent && !x.keepsReplay || x.attempts > 0 && !x.repeatable() && x.sentAny {
		return false
	}
	to := x.ClusterAt(ref)
	if x.bodyBroken || x.attempt.holds || x.takeovers == takeoversMax || x.deadlineLeft() <= 0 || x.hopeless(to.On(x.w.index)) {
		return false
	}
	if x.attempt.offered != nil {
		x.takeOffer()
	} else {
		x.endLeg()
	}
	x.endWait()
	x.takeovers++
	x.cluster = to
	if x.attempts == 0 { // nothing has been translated yet
		if x.translator != nil {
			x.translate()
			return true
		}
		x.proxy()
		return true
	}
	x.attempt.endpoint, x.attempt.headAt = nil, 0
	x.tried.Reset()
	x.attempt.next(retry.Verdict{Again: true, Fresh: false})
	return true
}

// LoopsMax bounds the loops of a gateway: documents can ask for no more.
const LoopsMax = 1024

// PerLoop is memory of a filter that each loop has for itself: scratch, free lists. The zero value is ready. What On returns is
// touched on the loop of its exchange only, so nothing is locked.
type PerLoop[T any] struct{ of [LoopsMax]*T }

// On returns the memory of the exchange's loop, made when it is first asked for.
func (p *PerLoop[T]) On(x *Exchange) *T {
	at := &p.of[x.w.index]
	if *at == nil {
		*at = new(T)
	}
	return *at
}
