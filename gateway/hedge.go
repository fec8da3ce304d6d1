package gateway

import (
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/policy/retry"
)

// hedge is a second try of an exchange beside the first, which is slow to answer: whichever answers first is the attempt, and
// the other is given up. Only requests that may be sent twice and have no body are tried so, and a try that fails while the
// other runs is forgotten: retries begin when there is no other left. Loop-owned.
type hedge struct {
	x     *Exchange
	timer loop.Timer
	other *Attempt // while they race: the one that is not x.attempt; else memory for the next
	races bool
	armed bool
}

func (s *hedge) init(x *Exchange) {
	s.x = x
	s.timer.Init(s)
}

// await begins to wait for the first try's answer. The second does not begin a third.
func (s *hedge) await() {
	x := s.x
	if x.attempts > 1 || s.races || x.translator != nil || !isSafe(x.Request) && !x.Route.NonIdempotent || x.Request.Upgrade.Len > 0 {
		return
	}
	s.armed = true
	x.w.engine.Loop.Arm(&s.timer, x.w.now().Add(x.Route.Hedge.Delay(x.attempt.cluster.Pace())))
}

// Expire is called by the loop: the first try has had its time.
func (s *hedge) Expire(*loop.Timer) {
	s.armed = false
	x := s.x
	first := x.attempt
	if x.client == nil || x.answered || first.step != stepHead || x.attempts > 1 {
		return
	}
	budget, now := first.cluster.Budget(), x.w.now()
	if !budget.HasRoom(now) {
		first.cluster.Counters().RetryDecided(int(retry.NoBudget))
		return
	}
	if x.hopeless(first.cluster) {
		first.cluster.Counters().RetryDecided(int(retry.NoDeadline))
		return
	}
	e, _ := first.cluster.Pick(x.w.random(), x.balanceKey(), &x.tried)
	if e == nil || e.Addr() == first.endpoint.Addr() {
		return // there is nobody else to ask
	}
	if s.other == nil {
		s.other = newAttempt(x)
	}
	budget.Spend(now)
	first.cluster.Counters().RetryDecided(int(retry.Hedged))
	x.attempts++
	s.races = true
	s.other.beside(first.cluster, e)
}

// beside begins a try of a request that another asks for already.
func (a *Attempt) beside(c *upstream.Cluster, e *upstream.Endpoint) {
	x := a.x
	x.tried.Add(e.Addr())
	a.cluster, a.endpoint, a.given, a.loaded = c, e, e.Start(), true
	a.began, a.headAt, a.sentEnd, a.holds, a.verdict = x.w.now(), 0, false, false, health.OK
	conn, err := e.Acquire(&a.ticket, upstream.Request{Once: !retry.Idempotent(x.clientMethod())})
	switch {
	case err != nil:
		a.failed(attemptFailure(err, false))
	case conn != nil:
		a.ConnReady(conn)
	default:
		a.step = stepQueue
		x.w.engine.Loop.Arm(&a.timer, x.w.now().Add(c.Spec().QueueTimeout()))
	}
}

// leave takes a try that came to nothing out of the race; the other one goes on.
func (s *hedge) leave(a *Attempt, o health.Outcome) {
	a.ticket.Leave()
	if stream := a.stream; stream != nil {
		a.stream = nil
		stream.Abort(hedgeLost)
	}
	a.done(o)
	a.release()
	if s.x.attempt == a {
		s.x.attempt, s.other = s.other, a
	}
	s.races = false
}

// won ends the race: a has answered.
func (s *hedge) won(a *Attempt) {
	loser := s.other
	if loser == a {
		loser = s.x.attempt
	}
	s.leave(loser, health.Aborted)
}

// end ends what is under way beside the attempt, when the exchange is over.
func (s *hedge) end() {
	if s.armed {
		s.armed = false
		s.x.w.engine.Loop.Disarm(&s.timer)
	}
	if s.races {
		s.leave(s.other, health.Aborted)
	}
}

// cancel takes the timers out of the wheel, for an exchange that is not used again.
func (s *hedge) cancel() {
	s.x.w.engine.Loop.Cancel(&s.timer)
	if s.other != nil {
		s.x.w.engine.Loop.Cancel(&s.other.timer)
	}
}

// hopeless tells that half of the cluster's answers take longer to begin than the exchange has left: a try could hardly finish.
func (x *Exchange) hopeless(c *upstream.Cluster) bool {
	left := x.deadlineLeft()
	return left < c.Pace().Quantile(0.5)
}
