package gateway

import (
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/policy/retry"
)

// step is where an attempt stands, which decides what its timer means.
type step uint8

const (
	stepNone    step = iota // no attempt is under way
	stepBackoff             // waiting before the next one
	stepQueue               // waiting for a connection
	stepHead                // the request is on its way; no head came back yet
	stepBody                // the response's body
	stepTunnel              // bytes of another protocol, both ways
	stepFilter              // none yet: a filter waits for a time
)

// Attempt is one try of an exchange against one endpoint. An exchange makes them one after the other, in the same memory.
// Loop-owned.
type Attempt struct {
	// Set at birth of the pooled object.
	x      *Exchange
	timer  loop.Timer
	ticket upstream.Ticket

	// Of the try under way.
	cluster  *upstream.Cluster
	endpoint *upstream.Endpoint
	given    upstream.Given
	stream   *engine.Stream
	response *message.Head // held until it is passed on or given up
	offered  *message.Head // the answer's, while filters are asked whether they have a better one
	began    mono.Time
	headAt   mono.Time // when the response's head came
	step     step
	loaded   bool           // given is to be told the outcome
	reused   bool           // the connection had carried requests before
	fresh    bool           // do not take one of the pool's idle connections
	holds    bool           // the response's head is kept back by the translator
	verdict  health.Outcome // what the answer says of the endpoint, as far as it came
	sentEnd  bool           // the request has been given to the connection in full

	written int64 // of a tunnel that the upstream is slow to read: what it had taken when the timer ran out last
}

func newAttempt(x *Exchange) *Attempt {
	a := &Attempt{x: x}
	a.timer.Init(a)
	a.ticket.Init(a)
	return a
}

// start chooses an endpoint and asks for a connection to it.
func (a *Attempt) start() {
	x := a.x
	if !x.passTimeout() {
		x.fail(deadlineExceeded)
		return
	}
	x.attempts++
	a.cluster = x.cluster.On(x.w.index)
	e, why := a.cluster.Pick(x.w.random(), x.balanceKey(), &x.tried)
	if e == nil {
		a.step = stepNone
		x.fail(pickFailure(why))
		return
	}
	x.tried.Add(e.Addr())
	a.endpoint, a.given, a.loaded = e, e.Start(), true
	a.began, a.headAt, a.sentEnd, a.holds, a.verdict = x.w.now(), 0, false, false, health.OK
	c, err := e.Acquire(&a.ticket, upstream.Request{
		Pipelined: x.bodyEnded && x.held.Len() == 0 && isSafe(x.Request) && x.Request.Upgrade.Len == 0,
		Once:      !retry.Idempotent(x.clientMethod()),
		Fresh:     a.fresh,
	})
	switch {
	case err != nil:
		a.failed(attemptFailure(err, false))
	case c != nil:
		a.ConnReady(c)
	default:
		a.step = stepQueue
		x.w.engine.Loop.Arm(&a.timer, x.w.now().Add(a.cluster.Spec().QueueTimeout()))
	}
}

// isSafe tells of a method that only reads (RFC 9110 9.2.1).
func isSafe(h *message.Head) bool {
	return h.IsMethod("GET") || h.IsMethod("HEAD") || h.IsMethod("OPTIONS")
}

// ConnReady is called with a connection, on which the request begins at once.
func (a *Attempt) ConnReady(c *engine.ClientConn) {
	x := a.x
	a.unqueued()
	a.reused = c.Served() > 0
	if x.raw {
		a.joined(c)
		return
	}
	bodyless := x.bodyEnded && x.held.Len() == 0 && !x.hasTrailers && x.Request.Length <= 0
	s, err := c.Request(x.Request, bodyless, a)
	if err == engine.ErrNoTunnel { // which says nothing about the connection, nor about others on it
		a.failed(noTunnel)
		return
	}
	if err != nil {
		// The connection looked usable and is not: nothing was sent.
		c.Close()
		a.failed(connectFailed)
		return
	}
	a.stream, a.step, a.sentEnd = s, stepHead, bodyless
	x.sentAny = true
	x.w.engine.Loop.Arm(&a.timer, x.w.now().Add(a.headTimeout()))
	if bodyless && x.Route.Hedge != nil {
		x.second.await()
	}
	if !bodyless {
		x.passBody()
		if x.client != nil && !x.bodyEnded && !a.full() {
			x.client.Resume()
		}
	}
}

// headTimeout is how long the head may take, from the last part of the request that was sent.
func (a *Attempt) headTimeout() time.Duration {
	return min(a.x.Route.FirstByte, a.perTry())
}

// perTry is how long the route gives one try. The deadline of the whole exchange has a timer of its own.
func (a *Attempt) perTry() time.Duration {
	return a.x.Route.Retry.TryTimeout(time.Duration(mono.Never))
}

// ConnFailed is called when no connection came about.
func (a *Attempt) ConnFailed(err error) { a.failed(attemptFailure(err, false)) }

// takesBody tells whether the request's body can be sent now.
func (a *Attempt) takesBody() bool { return a.stream != nil && !a.sentEnd }

// full tells whether so much of the request waits to be sent that the client should pause.
func (a *Attempt) full() bool { return a.takesBody() && a.stream.Full() }

// sendBody sends what the exchange holds of the body.
func (a *Attempt) sendBody() {
	x := a.x
	if n := x.held.Len(); n > 0 {
		x.keepForReplay(n)
		x.bodyGiven += int64(n)
		if err := a.sendHeld(n); err != nil {
			a.cancel(clientGone)
			x.refuse(brokenBody)
			return
		}
	}
	if x.socket != nil && x.socket.answered() {
		a.hangUp(tunnelDrained)
		return
	}
	if x.bodyEnded {
		a.sentEnd = true
		var trailers *message.Fields
		if x.hasTrailers {
			trailers = &x.trailers
		}
		if err := a.stream.SendEnd(trailers); err != nil {
			a.cancel(clientGone)
			x.refuse(brokenBody)
			return
		}
	}
	switch a.step {
	case stepHead:
		x.w.engine.Loop.Arm(&a.timer, x.w.now().Add(a.headTimeout()))
	case stepTunnel:
		x.w.engine.Loop.Arm(&a.timer, x.w.now().Add(x.Route.BetweenBytes))
	}
}

func (a *Attempt) sendHeld(n int) error {
	if s := a.x.socket; s != nil {
		s.toUpstream(&a.x.held, n)
		return nil
	}
	return a.stream.SendData(&a.x.held, n)
}

// brokenBody cannot come from a codec of ours, which counts the body's bytes itself.
var brokenBody = &message.Refusal{Status: 400, Reason: "body_length", Text: "the request's body had another length than declared"}

// resume goes on reading the response: the client has room again.
func (a *Attempt) resume() {
	if a.stream != nil && (a.step == stepBody || a.step == stepTunnel) {
		a.stream.Resume()
		a.x.w.engine.Loop.Arm(&a.timer, a.x.w.now().Add(a.x.Route.BetweenBytes))
	}
}

// ReceiveInterim passes 1xx on.
func (a *Attempt) ReceiveInterim(_ *engine.Stream, h *message.Head) {
	x := a.x
	if x.client != nil && !x.second.races {
		x.client.SendInterim(h)
	}
	x.w.engine.Loop.Arm(&a.timer, x.w.now().Add(a.headTimeout()))
}

// ReceiveHead passes the response on, unless its status is one that is tried again.
func (a *Attempt) ReceiveHead(s *engine.Stream, h *message.Head, end bool) {
	x := a.x
	a.headAt = x.w.now()
	a.given.Answered()
	a.given.ReadLoad(&h.Fields)
	if end {
		a.stream = nil
	}
	if x.second.races {
		if a.worthAnother(h, end) {
			status := h.Status
			x.w.engine.Heads.Put(h)
			x.second.leave(a, health.OfStatus(status))
			return
		}
		x.second.won(a)
	}
	if !x.answered && a.worthAnother(h, end) && a.tryAgain(retriableStatus, h, s.Written()) {
		x.w.engine.Heads.Put(h)
		return
	}
	if h.Status >= 400 && x.unwanted(h.Status) && a.offer(h) {
		return
	}
	if x.client.Misleads(h.Status) {
		x.w.engine.Heads.Put(h)
		a.giveUp(health.OK)
		x.fail(noTunnel)
		return
	}
	a.response, a.verdict = h, health.OfStatus(h.Status)
	a.step = stepBody
	if end {
		a.judgeCall(&h.Fields)
	}
	if x.translator != nil {
		if !a.headTranslated(h) {
			return
		}
		if end {
			a.endTranslated(&h.Fields)
			return
		}
		x.w.engine.Loop.Arm(&a.timer, a.headAt.Add(x.Route.BetweenBytes))
		return
	}
	over, err := x.sendHead(h, end)
	switch {
	case err != nil:
		a.spoiled(err)
	case over:
		a.complete()
	case end:
		a.done(a.verdict)
	case h.Status == 101:
		a.tunnel()
		x.openSocket()
	default:
		x.w.engine.Loop.Arm(&a.timer, a.headAt.Add(x.Route.BetweenBytes))
	}
}

// tunnel is what the exchange becomes when the upstream has switched protocols, as the client asked: what each side sends
// goes to the other until both have ended, or nothing has come from either for as long as a response may stop.
//
// How long the whole takes is up to the two ends: the route's limit on that ends here. What is to be said of the endpoint
// is said now; that it carries the tunnel stays on its load until the end.
func (a *Attempt) tunnel() {
	x := a.x
	x.tunnel, x.bodyEnded, a.sentEnd = true, false, false
	x.releaseStages() // which are for bodies
	if x.slowed() {
		x.valve.release()
	}
	a.step, a.written = stepTunnel, 0
	a.given.Judge(health.OK)
	a.cluster.Counters().AttemptDone(int(health.OK), a.headAt.Sub(a.began))
	x.w.engine.Loop.Disarm(&x.timer)
	x.w.engine.Loop.Arm(&a.timer, a.headAt.Add(x.Route.BetweenBytes))
}

// stuck tells of a tunnel from which nothing came in time whether that is for want of bytes: one end may have more to say
// than the other has taken yet. A client that takes nothing has a deadline of its own; an upstream has this one.
func (a *Attempt) stuck() bool {
	if a.stream.Paused() {
		return false
	}
	before := a.written
	a.written = a.stream.Written()
	return !a.x.client.Paused() || a.written == before
}

// hangUp ends a tunnel that both sides have forgotten, or agreed to end.
func (a *Attempt) hangUp(f *Failure) {
	x := a.x
	x.failure, x.reason = f, f.Reason
	a.cancel(f)
	s := x.client
	x.client = nil
	if err := s.SendEnd(nil); err != nil {
		s.Abort(err)
	}
	x.finish()
}

// ReceiveData passes a part of the response's body on.
func (a *Attempt) ReceiveData(s *engine.Stream, src *buf.Chain, n int, end bool) {
	x := a.x
	if end {
		a.stream = nil
	}
	behind := src.Len() - n
	if x.translator != nil {
		if !a.dataTranslated(src, n) {
			return
		}
	} else if err := x.sendData(src, n); err != nil {
		src.Skip(x.w.engine.Bufs, src.Len()-behind) // what is left must not be taken for the next answer on the connection
		a.spoiled(err)
		return
	}
	if end {
		a.end(nil)
		return
	}
	if x.socket != nil && x.socket.answered() {
		a.hangUp(tunnelDrained)
		return
	}
	x.w.engine.Loop.Arm(&a.timer, x.w.now().Add(x.Route.BetweenBytes))
	if x.full() {
		s.Pause()
	}
}

// ReceiveEnd passes the end of the response on.
func (a *Attempt) ReceiveEnd(_ *engine.Stream, trailers *message.Fields) {
	a.stream = nil
	a.end(trailers)
}

func (a *Attempt) end(trailers *message.Fields) {
	x := a.x
	a.given.ReadLoad(trailers)
	a.judgeCall(trailers)
	if x.translator != nil {
		a.endTranslated(trailers)
		return
	}
	a.sendEnd(trailers)
}

// sendEnd ends the answer. When some of it has yet to leave, the try is over, but not the exchange.
func (a *Attempt) sendEnd(trailers *message.Fields) {
	over, err := a.x.sendEnd(trailers)
	switch {
	case err != nil:
		a.spoiled(err)
	case over:
		a.x.client = nil
		a.complete()
	default:
		a.done(a.verdict)
	}
}

// complete: the response has been passed on to its end.
func (a *Attempt) complete() {
	a.done(a.verdict)
	a.x.finish()
}

// Drained: the upstream took what was waiting for it.
func (a *Attempt) Drained(*engine.Stream) {
	if x := a.x; x.client != nil {
		x.client.Resume()
	}
}

// Failed: the connection to the upstream broke, or what came was no HTTP.
func (a *Attempt) Failed(s *engine.Stream, err error) {
	written := s.Written()
	a.stream = nil
	f := attemptFailure(err, true)
	if f == streamReset && a.x.outOfPatience() {
		f = deadlineExceeded // the upstream was told of it, and its clock was a little quicker
	}
	a.failedAfter(f, written)
}

// Expire is called by the loop.
func (a *Attempt) Expire(*loop.Timer) {
	switch a.step {
	case stepFilter:
		a.x.waited()
	case stepBackoff:
		a.start()
	case stepQueue:
		a.ticket.Leave()
		a.failed(queueTimeout)
	case stepHead:
		if a.awaitsClient() {
			a.x.w.engine.Loop.Arm(&a.timer, a.x.w.now().Add(a.headTimeout()))
			return
		}
		if a.perTry() < a.x.Route.FirstByte {
			a.drop(perTryTimeout)
			return
		}
		a.drop(firstByteTimeout)
	case stepBody:
		if a.awaitsClient() || a.stream != nil && a.stream.Paused() {
			// The client is slow, and has a deadline of its own.
			a.x.w.engine.Loop.Arm(&a.timer, a.x.w.now().Add(a.x.Route.BetweenBytes))
			return
		}
		a.drop(betweenBytesTimeout)
	case stepTunnel:
		if !a.stuck() {
			a.x.w.engine.Loop.Arm(&a.timer, a.x.w.now().Add(a.x.Route.BetweenBytes))
			return
		}
		a.hangUp(tunnelIdle)
	}
}

// awaitsClient tells that the upstream may be silent because the client is slow with its body, which has a deadline of its
// own. A client that was asked to wait, because the upstream takes nothing, or that waits for the upstream's 100 (Continue),
// is not to blame.
func (a *Attempt) awaitsClient() bool { return !a.sentEnd && a.x.client.Owes() }

// drop ends the try under way with a failure that we declare.
func (a *Attempt) drop(f *Failure) {
	var written int64
	if s := a.stream; s != nil {
		written = s.Written()
		a.stream = nil
		s.Abort(f)
	}
	a.failedAfter(f, written)
}

// failed ends a try that sent nothing.
func (a *Attempt) failed(f *Failure) { a.failedAfter(f, 0) }

// failedAfter ends a try: another one follows if that is safe and worth it, or the client is told.
func (a *Attempt) failedAfter(f *Failure, written int64) {
	x := a.x
	switch {
	case x.second.races:
		x.second.leave(a, a.outcomeOf(f))
		return
	case x.answered:
		a.done(f.Outcome)
		x.cutBehind(f)
		return
	case a.holds: // what came of the answer is in the translator, and cannot be taken out again
		a.done(f.Outcome)
		x.fail(f)
		return
	case f == neighbourFailed:
		// Neither this request's failure nor the endpoint's, and safe to be made good: only requests that may be sent twice
		// have neighbours. So it counts neither as an attempt nor in the budget. It happens once: the next try has a
		// connection of its own.
		x.failure = f
		x.attempts--
		a.cluster.Counters().RetryDecided(int(retry.AfterReset))
		a.done(f.Outcome)
		a.next(retry.Verdict{Again: true, Fresh: true})
		return
	}
	if a.again(f, written) {
		return
	}
	x.fail(f)
}

// worthAnother tells whether an answer is one that the route would rather try again.
func (a *Attempt) worthAnother(h *message.Head, end bool) bool {
	r := a.x.Route.Retry
	if r.RetriesStatus(h.Status) {
		return true
	}
	return end && r.RetriesGRPC() && r.RetriesGRPCStatus(grpcStatusOf(&h.Fields))
}

// tryAgain is again for a complete head: what follows of the answer is of no use.
func (a *Attempt) tryAgain(f *Failure, h *message.Head, written int64) bool {
	verdict := a.decide(f, h, written)
	if !verdict.Again {
		a.x.retried = verdict.Why
		return false
	}
	a.dropAnswer(h)
	a.next(verdict)
	return true
}

// again decides whether another try follows, and begins it.
func (a *Attempt) again(f *Failure, written int64) bool {
	verdict := a.decide(f, nil, written)
	a.x.retried = verdict.Why
	a.done(a.outcomeOf(f))
	if verdict.Again {
		a.x.failure = f
		a.next(verdict)
	}
	return verdict.Again
}

// outcomeOf says what a failure means for the endpoint's record. That a kept connection ends before a word of an answer says
// nothing: the upstream may close it at any time, and often closes many at once.
func (a *Attempt) outcomeOf(f *Failure) health.Outcome {
	if f.Kind == retry.Reset && a.reused && a.headAt == 0 {
		return health.Aborted
	}
	return f.Outcome
}

// decide asks the route's policy. h is the answer's head, if there is one.
func (a *Attempt) decide(f *Failure, h *message.Head, written int64) retry.Verdict {
	x := a.x
	status, grpc := 0, grpcOK
	if h != nil {
		status, grpc = h.Status, grpcStatusOf(&h.Fields)
	}
	budget := a.cluster.Budget()
	v := x.Route.Retry.Decide(retry.Facts{
		Attempt:      x.attempts,
		Idempotent:   x.repeatable(),
		RequestBytes: written,
		BodyBytes:    x.bodyGiven,
		Replayable:   x.keepsReplay,
		Failure:      f.Kind,
		Status:       status,
		GRPCStatus:   grpc,
		Reused:       a.reused,
		DeadlineLeft: x.deadlineLeft() - a.cluster.Pace().Quantile(0.5), // until a try has to begin, or it could hardly finish
		BudgetRoom:   budget.HasRoom(x.w.now()),
		Rnd:          x.w.random(),
	})
	a.cluster.Counters().RetryDecided(int(v.Why))
	return v
}

// next begins another try, after a pause if the verdict asks for one.
func (a *Attempt) next(v retry.Verdict) {
	x := a.x
	if v.Spend {
		a.cluster.Budget().Spend(x.w.now())
	}
	a.fresh = v.Fresh
	if x.replay.Len() > 0 { // what was sent goes before what is still held
		x.bodyGiven -= int64(x.replay.Len())
		rest := x.held
		x.held = buf.Chain{}
		x.replay.MoveTo(&x.held)
		rest.MoveTo(&x.held)
	}
	if v.After <= 0 {
		a.start()
		return
	}
	a.step = stepBackoff
	x.w.engine.Loop.Arm(&a.timer, x.w.now().Add(v.After))
}

// cancel ends whatever the attempt is doing, for a reason that is not the endpoint's.
func (a *Attempt) cancel(f *Failure) {
	a.ticket.Leave()
	if s := a.stream; s != nil {
		a.stream = nil
		s.Abort(f)
	}
	a.done(f.Outcome)
}

// outOfTime ends the try because the whole exchange has taken too long. That is the upstream's fault if it has the request and
// has said nothing.
func (a *Attempt) outOfTime() {
	f := requestTimeout
	if a.step == stepHead && a.sentEnd {
		f = firstByteTimeout
	}
	a.cancel(f)
}

// giveUp ends the try because of what its answer turned out to be.
func (a *Attempt) giveUp(o health.Outcome) {
	if s := a.stream; s != nil {
		a.stream = nil
		s.Abort(badResponse)
	}
	a.done(o)
}

// spoiled ends the try, and the exchange, because its answer could not be passed on.
func (a *Attempt) spoiled(err error) {
	f := faultOf(err)
	a.giveUp(f.Outcome)
	a.x.cutBehind(f)
}

// done tells balancer, health and metrics how the try ended. It may be called twice; the first word counts.
func (a *Attempt) done(o health.Outcome) {
	a.unqueued()
	a.step = stepNone
	a.x.w.engine.Loop.Disarm(&a.timer)
	if !a.loaded {
		return
	}
	a.loaded = false
	now := a.x.w.now()
	took := now.Sub(a.began)
	if a.x.tunnel {
		a.given.Done(health.Aborted, took) // it was judged when it began; its end says nothing about the endpoint
		return
	}
	firstByte := time.Duration(-1)
	if a.headAt > 0 {
		took = a.headAt.Sub(a.began)
		firstByte = took
		a.cluster.Pace().Observe(took)
	}
	a.given.Done(o, took)
	a.cluster.Counters().AttemptDone(int(o), firstByte)
}

// unqueued counts a wait for a connection that is over.
func (a *Attempt) unqueued() {
	if a.step == stepQueue {
		a.cluster.Counters().Queued(a.x.w.now().Sub(a.began))
	}
}

// release gives back what the last try holds.
func (a *Attempt) release() {
	if a.response != nil {
		a.x.w.engine.Heads.Put(a.response)
		a.response = nil
	}
	a.offered = nil
	a.stream, a.endpoint, a.cluster, a.fresh, a.headAt, a.holds = nil, nil, nil, false, 0, false
	a.step = stepNone
}
