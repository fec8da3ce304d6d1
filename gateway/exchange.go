package gateway

import (
	"crypto/x509"
	"net/netip"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/balance"
	"github.com/yumen-io/yumen/policy/match"
	"github.com/yumen-io/yumen/policy/retry"
	"github.com/yumen-io/yumen/policy/route"
)

// heldMax is how much of a request's body is held while no upstream takes it, before the client is asked to wait.
const heldMax = 64 << 10

// replayMax is how much of a request's body is kept so that it can be sent again. Above it, a request whose body has begun
// to leave is not sent again.
const replayMax = 16 << 10

// Exchange is the passage of one request and its response. Loop-owned, and pooled.
type Exchange struct {
	// Set at birth of the pooled object.
	w     *Worker
	timer loop.Timer // of the whole exchange

	// Set when the exchange begins.
	snapshot   *Snapshot
	listener   *Listener
	client     *engine.Stream // nil once it is gone or complete
	peer       netip.AddrPort
	local      netip.AddrPort    // where the client connected to; of a passage of bytes only
	ClientAddr netip.Addr        // the peer's, or what a trusted peer says of its own client
	clientCert *x509.Certificate // that the client showed on this connection, verified; nil: none
	Request    *message.Head
	method     message.Span // of the request as it came, whatever filters make of it
	path       message.Span // likewise, in its normal form
	query      message.Span // likewise
	began      mono.Time
	requestID  []byte
	raw        bool          // a passage of bytes, and no request
	errand     bool          // the gateway asks for itself
	cancelled  bool          // and wants no answer any more
	hashed     uint64        // what balancing by hash goes by, of an errand
	grpc       bool          // the request is a call
	callStatus int           // that it ended with, from the upstream; below zero: not known
	patience   time.Duration // how long its client waits; 0: it does not say

	// Filters.
	reached  int    // how many of the route's filters the request has come to
	calling  int    // whose hook runs
	kept     []any  // by filters, for themselves
	sampled  bool   // passes of guards are recorded
	guard    *Guard // the last that was not content
	shadowed *Guard // the first that would not have been
	claims   Claims
	// While one of them waits.
	waiting bool
	working bool   // on the loop's work list
	serial  uint64 // of the wait; it goes on over exchanges, so that a late wake wakes nobody else
	then    func(x *Exchange) Verdict

	// Routing.
	Route   *Route
	cluster *upstream.Group // the route's, or another that a filter chose
	match   match.Request
	Params  route.Params
	host    []byte

	// The request's body.
	bodyIn      int64     // bytes received
	bodyGiven   int64     // bytes given to attempts that another would have to send again
	held        buf.Chain // received, not yet given to an attempt
	replay      buf.Chain // given to an attempt, kept for another
	keepsReplay bool
	bodyEnded   bool
	trailers    message.Fields
	hasTrailers bool
	sentAny     bool // an upstream has got some of the request
	bodyBroken  bool // some of it is lost: nobody can have it

	requestStages stages
	// Attempts.
	attempt   *Attempt // the one under way, or the last
	second    hedge    // a try beside it
	attempts  int
	takeovers uint8 // by clusters of filters
	legs      []leg // what was before each of them
	ending    bool  // filters are told that it is over
	// Between the two kinds of message, if there are two.
	translator Translator // nil: both sides speak the same
	translated buf.Chain  // of the response, on its way to the client
	tried      balance.Tried
	retried    retry.Reason
	failure    *Failure // the last one

	// The response.
	status   int
	reason   string // when the gateway made the answer
	bodyOut  int64
	answered bool // a final head went to the client
	whole    bool // its end too
	tunnel   bool // which was a 101
	socket   *webSocket

	answerStages stages
	valve        *valve // nil: never needed yet
	rest         []byte // of a large body of our own that its client has not taken yet
}

// begin is the story of an exchange, up to the first attempt.
func (x *Exchange) begin(l *Listener, s *engine.Stream, c *engine.ServerConn, h *message.Head, end bool) {
	x.snapshot, x.listener, x.client, x.peer, x.Request = x.w.snapshot, l, s, c.Peer(), h
	x.snapshot.Hold()
	x.began, x.bodyEnded = x.w.now(), end
	x.method, x.path, x.query = h.Method, h.Path, h.Query
	x.w.shard.RequestStarted()

	x.readGRPC()
	if !x.grpc {
		x.readTimeout()
	}
	x.identify(l, c)
	if err := message.NormalizePath(h, x.snapshot.Path); err != nil {
		x.refuse(err)
		return
	}
	x.path = h.Path
	if l.BodyBytesMax > 0 && h.Length > l.BodyBytesMax {
		x.fail(bodyTooLarge)
		return
	}
	if h.IsMethod("OPTIONS") && string(h.PathBytes()) == "*" {
		x.answerOptions()
		return
	}
	if answers := x.w.gateway.challenges.Load(); answers != nil && x.answerChallenge(*answers) {
		return
	}
	if !x.findRoute() {
		return
	}
	x.cluster = x.Route.Cluster
	if len(x.Route.Filters) > 0 {
		x.sampled = x.w.takeSample()
	}
	if x.filterRequest() {
		x.dispatch()
	}
}

// dispatch goes on behind the filters.
func (x *Exchange) dispatch() {
	switch r := x.Route; {
	case r.Respond != nil:
		x.respond(r.Respond)
	case r.Redirect != nil:
		x.redirect(r.Redirect)
	case x.translator != nil:
		x.translate()
	default:
		x.proxy()
	}
}

// translate begins with what there is of the request's body: nothing yet, or nothing at all.
func (x *Exchange) translate() {
	if n := x.held.Len(); n > 0 { // came while a filter waited
		var early buf.Chain
		x.held.MoveTo(&early)
		if !x.translateRequest(&early, n, x.bodyEnded) {
			return
		}
		if !x.bodyEnded {
			x.client.Resume()
		}
	} else if x.bodyEnded && !x.translateRequest(&x.translated, 0, true) {
		return
	}
	if !x.translator.Whole() {
		x.proxy()
		return
	}
	x.invite()
	if x.bodyEnded {
		x.wholeCame()
	}
}

// findRoute chooses the route, or answers that there is none.
func (x *Exchange) findRoute() bool {
	h := x.Request
	x.host = AppendHost(x.host[:0], h.AuthorityBytes())
	x.match.Listener, x.match.Host, x.match.Method = x.listener.Name, x.host, h.MethodBytes()
	x.match.Path, x.match.Query, x.match.Fields = h.PathBytes(), h.QueryBytes(), &h.Fields
	found := x.snapshot.Table.Match(&x.match, &x.Params)
	switch {
	case found.Index >= 0:
		x.Route = x.snapshot.Routes[found.Index]
		return true
	case found.Allow != 0:
		x.failWithAllow(found)
	default:
		x.fail(noRoute)
	}
	return false
}

// AppendHost appends the host of an authority as routes are asked for it: in lower case, without its port.
func AppendHost(b, authority []byte) []byte {
	end := len(authority)
	for i := end - 1; i >= 0 && authority[i] != ']'; i-- {
		if authority[i] == ':' {
			end = i
			break
		}
	}
	for _, c := range authority[:end] {
		b = append(b, message.Lower(c))
	}
	return b
}

func (x *Exchange) filterRequest() bool {
	for x.reached < len(x.Route.Filters) {
		i := x.reached
		x.reached++
		if do := x.Route.Filters[i].Request; do != nil {
			x.calling = i
			if do(x) != GoOn {
				return false
			}
		}
	}
	return true
}

// hasFailed tells whether one of the first n filters may have an answer in the place of a failure.
func (x *Exchange) hasFailed(n int) bool {
	for i := range n {
		if x.Route.Filters[i].Failed != nil {
			return true
		}
	}
	return false
}

// takenOver asks the first n filters, the last of them first, whether they answer in the place of a failure.
func (x *Exchange) takenOver(n int, f *Failure) bool {
	for i := n - 1; i >= 0; i-- {
		if do := x.Route.Filters[i].Failed; do != nil {
			x.calling = i
			if do(x, f) != GoOn {
				return true
			}
		}
	}
	return false
}

// filtersDone tells the filters that the exchange is over.
func (x *Exchange) filtersDone() {
	x.ending = true
	for i := x.reached - 1; i >= 0; i-- {
		if do := x.Route.Filters[i].Done; do != nil {
			x.calling = i
			do(x)
		}
	}
}

// proxy makes the first attempt.
func (x *Exchange) proxy() {
	r := x.Route
	if limit := x.limit(); limit > 0 {
		x.w.engine.Loop.Arm(&x.timer, x.began.Add(limit))
	}
	cluster := x.cluster.On(x.w.index)
	cluster.Budget().Request(x.w.now())
	again := !x.raw && r.Retry.Retries() && (x.repeatable() || cluster.Multiplexed() || r.Retry.RetriesGRPC()) ||
		!x.raw && x.repeatable() && x.hasFailed(x.reached)
	x.keepsReplay = again && (!x.bodyEnded || x.held.Len() > 0)
	x.attempt.start()
}

// repeatable tells whether the request may reach an upstream twice.
func (x *Exchange) repeatable() bool {
	return x.Route.NonIdempotent || retry.Idempotent(x.clientMethod())
}

// clientMethod is the method that the client used: it knows what that may do twice.
func (x *Exchange) clientMethod() []byte { return x.Request.Bytes(x.method) }

// limit is how long the whole exchange may take, by the route's word or by its client's; 0: no bound.
func (x *Exchange) limit() time.Duration {
	limit := x.Route.Request
	if x.patience > 0 && (limit == 0 || x.patience < limit) {
		limit = x.patience
	}
	return limit
}

// deadlineLeft returns how much time the whole exchange has left.
func (x *Exchange) deadlineLeft() time.Duration {
	limit := x.limit()
	if limit == 0 {
		return time.Duration(mono.Never)
	}
	return x.began.Add(limit).Sub(x.w.now())
}

// Expire is called by the loop: the exchange as a whole took too long.
func (x *Exchange) Expire(*loop.Timer) {
	x.attempt.outOfTime()
	if x.patience > 0 && x.w.now().Sub(x.began) >= x.patience {
		x.fail(deadlineExceeded)
		return
	}
	x.fail(requestTimeout)
}

// The client's side: x receives what arrives on the client's stream.

// ReceiveHead is not called on a server's stream: the head came with Open.
func (x *Exchange) ReceiveHead(*engine.Stream, *message.Head, bool) {}

// ReceiveInterim is not called on a server's stream.
func (x *Exchange) ReceiveInterim(*engine.Stream, *message.Head) {}

// ReceiveData takes a part of the request's body.
func (x *Exchange) ReceiveData(s *engine.Stream, src *buf.Chain, n int, end bool) {
	x.bodyIn += int64(n)
	x.bodyEnded = end
	if x.deaf() {
		src.Skip(x.w.engine.Bufs, n)
		return
	}
	if most := x.listener.BodyBytesMax; most > 0 && x.bodyIn > most && !x.tunnel {
		src.Skip(x.w.engine.Bufs, n)
		x.bodyBroken = true
		x.attempt.cancel(bodyTooLarge)
		x.fail(bodyTooLarge)
		return
	}
	if x.requestStages.any() {
		if x.stageRequest(src, n, end) {
			x.passStaged()
		}
		return
	}
	if x.translator != nil && !x.waiting {
		if x.translateRequest(src, n, end) {
			x.passTranslated()
		}
		return
	}
	x.held.Take(x.w.engine.Bufs, src, n)
	x.passBody()
}

// passTranslated goes on with what a translator has made of the body so far.
func (x *Exchange) passTranslated() {
	switch {
	case !x.translator.Whole():
		x.passBody()
	case x.bodyEnded:
		x.wholeCame()
	}
}

// ReceiveEnd notes the end of the request's body.
func (x *Exchange) ReceiveEnd(s *engine.Stream, trailers *message.Fields) {
	x.bodyEnded = true
	if x.deaf() {
		return
	}
	if x.requestStages.any() && !x.stageRequest(nil, 0, true) {
		return
	}
	if x.translator != nil && !x.waiting {
		if x.requestStages.any() {
			x.passStaged()
			return
		}
		if x.translateRequest(&x.translated, 0, true) {
			x.passTranslated()
		}
		return
	}
	if trailers != nil {
		trailers.CopyTo(&x.trailers)
		x.hasTrailers = true
	}
	x.passBody()
}

// passStaged goes on with what stages have made of the body so far.
func (x *Exchange) passStaged() {
	if x.translator == nil || x.waiting {
		x.passBody()
		return
	}
	n := x.held.Len()
	if n == 0 && !x.bodyEnded {
		return
	}
	var staged buf.Chain
	x.held.MoveTo(&staged)
	if x.translateRequest(&staged, n, x.bodyEnded) {
		x.passTranslated()
	}
}

// passBody gives what is held of the body to the attempt, if there is one that takes it, and asks the client to wait
// while there is none.
func (x *Exchange) passBody() {
	if x.attempt.takesBody() {
		x.attempt.sendBody()
	}
	if x.client != nil && !x.bodyEnded && (x.held.Len() >= heldMax || x.attempt.full()) {
		x.client.Pause()
	}
}

// keepForReplay copies a part of the body that is about to be sent, or gives up on keeping it.
func (x *Exchange) keepForReplay(n int) {
	if !x.keepsReplay {
		return
	}
	if x.replay.Len()+n > replayMax {
		x.keepsReplay = false
		x.replay.Release(x.w.engine.Bufs)
		return
	}
	x.replay.CopyFrom(x.w.engine.Bufs, &x.held, n)
}

// Drained: the client took what was waiting for it.
func (x *Exchange) Drained(*engine.Stream) {
	switch {
	case x.slowed():
		x.valve.goOn()
	case x.rest != nil:
		x.feed()
	default:
		x.attempt.resume()
	}
}

// Failed: the client is gone, or broke the protocol in the middle of its body.
func (x *Exchange) Failed(s *engine.Stream, err error) {
	if r, ok := err.(*message.Refusal); ok {
		x.attempt.cancel(clientGone)
		x.refuse(r)
		return
	}
	x.client = nil
	x.attempt.cancel(clientGone)
	if x.status == 0 {
		x.status = clientGone.Status
	}
	x.failure, x.reason = clientGone, clientGone.Reason
	x.finish()
}

// The response, from whichever attempt it comes.

// sendHead passes the final head on to the client. It fails if that cannot be an answer. over tells that there is nothing behind
// it, and the client has all.
func (x *Exchange) sendHead(h *message.Head, end bool) (over bool, err error) {
	x.answered = true
	x.tellRequestID(h)
	x.filterResponse(h)
	x.status = h.Status
	if !end {
		return false, x.client.SendHead(h, false)
	}
	over, err = x.sendHeadAlone(h)
	if over {
		x.client = nil
	}
	return over, err
}

func (x *Exchange) filterResponse(h *message.Head) {
	if x.Route == nil {
		return
	}
	for i := len(x.Route.Filters) - 1; i >= 0; i-- {
		if do := x.Route.Filters[i].Response; do != nil {
			x.calling = i
			do(x, h)
		}
	}
}

// sendData passes a part of the response's body on.
func (x *Exchange) sendData(src *buf.Chain, n int) error {
	if x.answerStages.any() {
		return x.stageAnswer(src, n)
	}
	if x.socket != nil {
		x.bodyOut += int64(n)
		x.socket.toClient(src, n)
		return nil
	}
	return x.deliver(src, n)
}

// cut breaks the client's connection: its answer began and cannot be completed, and must not look as if it were.
func (x *Exchange) cut(f *Failure) {
	x.failure, x.reason = f, f.Reason
	if s := x.client; s != nil {
		if x.slowed() {
			x.valve.giveWay()
		}
		x.client = nil
		if !x.breakOff(s, f) {
			s.Abort(f)
		}
	}
	x.finish()
}

// finish is the end of every exchange: what was borrowed goes back, and what happened is told.
func (x *Exchange) finish() {
	w := x.w
	w.engine.Loop.Disarm(&x.timer)
	x.endWait()
	x.serial++ // whoever holds it is late
	if x.reached > 0 {
		x.filtersDone()
	}
	x.report()
	x.releaseStages()
	if x.slowed() {
		x.valve.release()
	}
	x.closeSocket()
	x.held.Release(w.engine.Bufs)
	if x.translator != nil {
		x.translator.Release(w.engine.Bufs)
		x.translator = nil
		x.translated.Release(w.engine.Bufs)
	}
	x.replay.Release(w.engine.Bufs)
	x.second.end()
	x.attempt.release()
	w.engine.Heads.Put(x.Request)
	x.snapshot.Drop()
	w.freeExchange(x)
}

// reset makes a finished exchange ready for the next request. Timers and ticket stay where they are: taking a timer out of
// the wheel and putting it in again for every request would cost more than its firing for nothing now and then.
func (x *Exchange) reset() {
	x.snapshot, x.listener, x.client, x.Request, x.Route, x.clientCert = nil, nil, nil, nil, nil, nil
	x.requestID, x.host = x.requestID[:0], x.host[:0]
	x.match.Fields = nil
	x.method, x.path, x.query = message.Span{}, message.Span{}, message.Span{}
	x.bodyIn, x.bodyGiven, x.bodyOut, x.bodyEnded, x.hasTrailers, x.keepsReplay = 0, 0, 0, false, false, false
	x.raw, x.grpc, x.errand, x.cancelled, x.patience, x.callStatus = false, false, false, false, 0, -1
	x.attempts, x.failure, x.status, x.reason, x.answered, x.tunnel = 0, nil, 0, "", false, false
	x.whole, x.sentAny, x.bodyBroken, x.rest, x.takeovers = false, false, false, nil, 0
	x.reached, x.calling, x.sampled, x.guard, x.shadowed, x.claims, x.cluster = 0, 0, false, nil, nil, nil, nil
	clear(x.legs)
	x.legs, x.ending = x.legs[:0], false
	clear(x.kept)
	x.kept = x.kept[:0]
	x.trailers.Reset()
	x.tried.Reset()
}
