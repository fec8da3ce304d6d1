package gateway

import (
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/policy/retry"
)

// An answer whose status a filter takes for a failure is offered to the filters before its client hears of it: when the retries of
// the route are used up, and before any Response hook. Whoever takes over, with another cluster or an answer of the gateway's own,
// drops it; else it goes its way as if nobody had asked. For the endpoint's record and the metrics it is what it was.

// unwantedStatuses are the failures that answers with the statuses from 400 to 599 are.
type unwantedStatuses [200]Failure

func newUnwantedStatuses() *unwantedStatuses {
	list := new(unwantedStatuses)
	for i := range list {
		list[i] = Failure{Upstream, 400 + i, ReasonStatus, "the upstream answered with a status that is taken for a failure",
			health.OfStatus(400 + i), retry.BadStatus}
	}
	return list
}

// unwanted tells whether a filter that the request has come past takes an answer with that status for a failure.
func (x *Exchange) unwanted(status int) bool {
	if status > 599 || x.client == nil {
		return false
	}
	for i := range x.reached {
		if f := &x.Route.Filters[i]; f.Unwanted != nil && f.Unwanted(status) {
			return true
		}
	}
	return false
}

// offer asks the filters whether they have something better than an answer whose head has come. It returns false if they have not.
func (a *Attempt) offer(h *message.Head) bool {
	x := a.x
	before := x.failure
	a.offered, x.failure = h, &x.w.gateway.unwanted[h.Status-400]
	if x.takenOver(x.reached, x.failure) {
		return true
	}
	a.offered, x.failure = nil, before
	return false
}

// takeOffer drops the answer that is on offer, if one is, for another.
func (x *Exchange) takeOffer() {
	a := x.attempt
	h := a.offered
	if h == nil {
		return
	}
	x.endLeg()
	a.offered = nil
	a.dropAnswer(h)
	x.w.engine.Heads.Put(h)
}

// dropAnswer ends a try whose answer is of no use but for what its status says.
func (a *Attempt) dropAnswer(h *message.Head) {
	if s := a.stream; s != nil {
		a.stream = nil
		a.throwAway(s, h)
	}
	a.done(health.OfStatus(h.Status))
}

// leg is a part of an exchange that ended when a filter took over.
type leg struct {
	by      int // the filter, by its place
	outcome Outcome
}

// endLeg notes how the exchange went until now.
func (x *Exchange) endLeg() {
	o := x.outcome()
	if h := x.attempt.offered; h != nil {
		o.Status, o.Health = h.Status, health.OfStatus(h.Status)
	} else if f := x.failure; f != nil {
		o.Status, o.Reason, o.Failure, o.Health = f.Status, f.Reason, f, f.Outcome
	}
	x.legs = append(x.legs, leg{x.calling, o})
}
