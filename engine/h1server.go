package engine

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
)

// phase is what a connection from a client is waiting for, which decides what its one timer means.
type phase uint8

const (
	phaseIdle   phase = iota // a request's first byte
	phaseHead                // the rest of a head
	phaseBody                // the rest of a body
	phaseAnswer              // the handler
	phaseTunnel              // nothing: bytes come and go as they like, and whoever holds the stream has a clock for both sides
	phaseLinger              // the client, to notice that we are done
)

// h1Server is a connection from a client that speaks HTTP/1, one request after the other, or a tunnel from its first byte on.
// Loop-owned.
type h1Server struct {
	ServerConn
	codec h1.Server

	head     *message.Head // being received: a request's head, later its trailers
	stream   *Stream       // the open request
	requests int
	phase    phase
	last     bool // no request is served after the present one
	unread   bool // the last request was answered before all of it came
	heldBack bool // the next request waits until the client takes its answers
	parsing  bool // received is running: it goes on by itself when the answer is complete
}

// Ready is called by the loop. A reset is known at once, also while nothing is read: the exchange is of no use any more. A
// mere end of the client's sending is not such: it may be waiting for the answer.
func (c *h1Server) Ready(ev loop.Events) {
	if ev&loop.Hangup != 0 && !c.dead && !c.hungry() {
		if err := c.sock.ConnectResult(); err != nil {
			c.fail(err)
			return
		}
	}
	c.wire.Ready(ev)
}

func (c *h1Server) hungry() bool {
	switch {
	case c.phase == phaseLinger:
		return true
	case c.stream == nil:
		return !c.last && c.mayBegin()
	default:
		return !c.stream.received && !c.stream.paused
	}
}

// mayBegin tells whether another request may begin now. If not, the connection is resumed later: by flushed, once the
// client has taken what waits for it (else one that sends requests and reads no answers would fill our memory), or by
// the worker, once there is memory again.
func (c *h1Server) mayBegin() bool {
	if c.full() {
		c.heldBack = true
		return false
	}
	return c.ServerConn.mayBegin()
}

// start begins with the wait for the first head, or, of a connection that is bytes only, with the tunnel.
func (c *h1Server) start() {
	c.phase = phaseHead
	c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.HeadTimeout))
	if c.in.Len() > 0 {
		c.resume()
	}
}

// startRaw begins a connection of bytes only. name is what the handler is told of it.
func (c *h1Server) startRaw(name []byte) {
	c.codec.InitTunnel()
	s := c.w.newStream(c, 0)
	c.stream = s
	s.remaining = message.UnknownLength
	c.phase, c.last, c.why = phaseTunnel, true, ClosedAfterTunnel
	if r := c.port.handler.OpenRaw(s, &c.ServerConn, name); c.stream == s {
		s.receiver = r
	}
	c.resume()
}

// closeIdle ends the connection if no request is open, nor was ever a byte of one received.
func (c *h1Server) closeIdle() {
	if c.stream == nil && c.in.Len() == 0 && !c.readable && (c.phase == phaseIdle || c.phase == phaseHead && c.requests == 0) {
		c.endIdle(ClosedByDrain)
	}
}

// drain does nothing: HTTP/1 has a word for it in answers only.
func (c *h1Server) drain() {}

// received takes what the chain holds as far as it is wanted: one request at a time, so that a pipelined next one stays
// in the chain until the present one is answered.
func (c *h1Server) received() {
	if c.phase == phaseLinger {
		c.discard()
		return
	}
	c.parsing = true
	for !c.dead && c.phase != phaseLinger && c.in.Len() > 0 && c.hungry() {
		if c.head == nil && c.phase != phaseTunnel { // a tunnel may stay long, and needs none
			c.head = c.w.Heads.Get()
		}
		ev, err := c.codec.Next(&c.in, c.w.Bufs, c.head)
		if err != nil {
			c.refuse(asRefusal(err))
			break
		}
		if ev.Kind == message.None {
			c.awaitMore()
			break
		}
		c.take(ev)
	}
	c.parsing = false
	if !c.dead && c.stream == nil && c.in.Len() == 0 {
		c.freeHead()
	}
}

// awaitMore starts the clock of a head at its first byte.
func (c *h1Server) awaitMore() {
	if c.phase == phaseIdle && c.in.Len() > 0 {
		c.phase = phaseHead
		c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.HeadTimeout))
	}
}

func (c *h1Server) take(ev message.Event) {
	s := c.stream
	switch ev.Kind {
	case message.GotHead:
		c.open(ev)
	case message.GotData:
		c.window += int64(ev.N)
		s.expects = false
		if s.remaining > 0 {
			s.remaining -= int64(ev.N)
		}
		if s.complete { // what still comes of an answered request is thrown away
			c.in.Skip(c.w.Bufs, ev.N)
			if ev.End {
				c.bodyEnded()
			}
			return
		}
		if ev.End {
			c.bodyEnded()
		}
		s.receiver.ReceiveData(s, &c.in, ev.N, ev.End)
	case message.GotEnd, message.GotTrailers:
		c.bodyEnded()
		if s.complete {
			return
		}
		var trailers *message.Fields
		if ev.Kind == message.GotTrailers {
			trailers = &c.head.Fields
		}
		s.receiver.ReceiveEnd(s, trailers)
	}
}

func (c *h1Server) open(ev message.Event) {
	h := c.head
	c.head = nil
	c.requests++
	if c.requests == c.config.RequestsMax || c.draining() || c.tooOld() {
		c.codec.CloseAfter()
	}
	s := c.w.newStream(c, ev.Stream)
	c.stream = s
	s.received, s.remaining, s.expects = ev.End, h.Length, h.Has(message.Expect)
	if ev.End {
		c.awaitAnswer()
	} else {
		c.phase, c.window = phaseBody, 0
		c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.BodyWindow))
	}
	r := c.port.handler.Open(s, &c.ServerConn, h, ev.End)
	// A receiver that answered at once is done, and may serve another request by now: what still comes of the body is
	// thrown away without asking it.
	if c.stream == s && !s.complete {
		s.receiver = r
	}
}

func (c *h1Server) bodyEnded() {
	s := c.stream
	s.received = true
	if s.complete {
		c.answered(s)
		return
	}
	c.awaitAnswer()
}

func (c *h1Server) awaitAnswer() {
	c.phase = phaseAnswer
	if c.unsent() == 0 {
		c.w.Loop.Disarm(&c.timer)
	}
}

// refuse answers bytes that are no request, or breaks off one whose body is none.
func (c *h1Server) refuse(r *message.Refusal) {
	c.last = true
	c.why = ClosedByRefusal
	c.codec.CloseAfter()
	if s := c.stream; s != nil {
		if s.complete {
			c.stream = nil
			c.w.freeStream(s)
			c.linger()
			return
		}
		s.receiver.Failed(s, r)
		return
	}
	c.freeHead()
	s := c.w.newStream(c, 0)
	c.stream = s
	c.phase = phaseAnswer
	c.port.handler.Refuse(s, &c.ServerConn, r)
}

func (c *h1Server) sendInterim(s *Stream, h *message.Head) {
	if s.expects && h.Status == 100 {
		s.expects = false
		c.rewindBody() // the time it waited for us is not the client's
	}
	c.codec.AppendInterim(&c.out, c.w.Bufs, h)
	c.toSend()
}

func (c *h1Server) sendHead(s *Stream, h *message.Head, end bool) error {
	if c.draining() || c.last || !s.received && !s.drainable() {
		c.codec.CloseAfter()
	}
	if h.Status == 101 {
		h.RemoveField([]byte("sec-websocket-accept")) // the codec knows the one that belongs to this client's key
	}
	if err := c.codec.AppendHead(&c.out, c.w.Bufs, s.id, h, end); err != nil {
		return err
	}
	c.toSend()
	if h.Status == 101 {
		c.tunnel(s)
	}
	if end {
		c.answered(s)
	}
	return nil
}

// tunnel opens the client's direction again: until now, nothing behind the request's head was read, for it could have been
// another request.
func (c *h1Server) tunnel(s *Stream) {
	c.phase, c.last, c.why = phaseTunnel, true, ClosedAfterTunnel
	s.received = false
	c.w.Loop.Disarm(&c.timer)
	c.resume()
}

func (c *h1Server) appendData(s *Stream, src *buf.Chain, n int) error {
	if err := c.codec.AppendData(&c.out, c.w.Bufs, s.id, src, n); err != nil {
		return err
	}
	c.toSend()
	return nil
}

func (c *h1Server) appendEnd(s *Stream, trailers *message.Fields) error {
	if err := c.codec.AppendEnd(&c.out, c.w.Bufs, s.id, trailers); err != nil {
		return err
	}
	c.toSend()
	c.answered(s)
	return nil
}

func (c *h1Server) lastAnswer() { c.last = true }

func (c *h1Server) toSend() { c.flushLater() }

// drainMax is how much of an unread body is worth reading and throwing away to keep the connection.
const drainMax = 64 << 10

// drainable tells whether the rest of the body is small and sure to come. A client that waits for 100 (Continue) and gets
// a final answer may leave its body out, so where the next request begins would be a guess (RFC 9110 10.1.1).
func (s *Stream) drainable() bool { return !s.expects && s.remaining >= 0 && s.remaining <= drainMax }

// answered closes the request once both sides are through. The connection serves the next one, or ends.
func (c *h1Server) answered(s *Stream) {
	s.complete = true
	s.receiver = nil
	if !s.received && !c.last && s.drainable() {
		s.Resume()
		return // bodyEnded comes back here
	}
	c.unread = !s.received
	again := c.codec.Finished() && !c.last && s.received
	c.stream = nil
	c.w.freeStream(s)
	if !again {
		c.last = true
		if c.why == ClosedByClient {
			c.why = ClosedAfterAnswer
		}
		c.linger()
		return
	}
	c.phase = phaseIdle
	c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.IdleTimeout))
	if !c.parsing {
		if c.in.Len() == 0 {
			c.freeHead()
		}
		c.resume()
	}
}

func (c *h1Server) outFull(*Stream) bool { return c.full() }

func (c *h1Server) lastOf(*Stream) {}

func (c *h1Server) pausing(*Stream) {}

func (c *h1Server) resumed(*Stream) {
	c.rewindBody() // the time we did not read is not the client's
	c.resume()
}

// rewindBody begins a new window for the rate of a body.
func (c *h1Server) rewindBody() {
	if c.phase == phaseBody {
		c.window = 0
		c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.BodyWindow))
	}
}

// abort cuts an answer short. What was sent of it still arrives; its framing shows that the rest is missing, unless only
// the connection's end delimits it, which a reset then keeps from looking like one.
func (c *h1Server) abort(s *Stream, err error) {
	c.stream = nil
	c.w.freeStream(s)
	if c.dead {
		return
	}
	c.why, c.last = ClosedByAbort, true
	if c.codec.EndsByClose() {
		c.sock.Reset()
		c.gone()
		return
	}
	c.linger()
}

func (c *h1Server) endOfInput() {
	switch s := c.stream; {
	case c.phase == phaseLinger:
		if c.unsent() == 0 { // else when it has been sent: half sees that there is nobody to wait for
			c.end(c.why)
		}
	case c.phase == phaseTunnel:
		s.received = true
		s.receiver.ReceiveEnd(s, nil)
	case s == nil && c.in.Len() == 0:
		c.endIdle(ClosedByClient)
	case s != nil && s.received:
		// Half closed: the client waits for its answer, and there is no request after it.
		c.last = true
		c.codec.CloseAfter()
	default:
		// In the middle of a head or a body. The codec knows whether that is an end.
		if err := c.codec.EOF(&c.in); err != nil {
			c.refuse(asRefusal(err))
			return
		}
		if s == nil {
			c.endIdle(ClosedByClient)
		}
	}
}

func (c *h1Server) flushed() {
	switch {
	case c.unsent() > 0:
		if c.phase != phaseBody && c.phase != phaseHead { // blocked: the clock starts again with every byte taken
			c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.SendTimeout))
		}
	case c.phase == phaseIdle:
		c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.IdleTimeout))
	case c.phase == phaseLinger:
		c.half(c.why == ClosedAfterAnswer && !c.unread && c.in.Len() == 0 && !c.readable)
		return
	case c.phase == phaseAnswer, c.phase == phaseTunnel:
		c.w.Loop.Disarm(&c.timer)
	}
	if c.heldBack && c.low() {
		c.heldBack = false
		c.resume()
	}
	if s := c.stream; s != nil && s.wasFull && c.low() && s.receiver != nil {
		s.wasFull = false
		s.receiver.Drained(s)
	}
}

// linger ends the connection after what is still to be sent.
func (c *h1Server) linger() {
	if c.dead || c.phase == phaseLinger {
		return
	}
	c.phase = phaseLinger
	c.window = 0
	c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.SendTimeout))
	c.flushLater()
}

// Expire is called by the loop.
func (c *h1Server) Expire(*loop.Timer) {
	switch c.phase {
	case phaseIdle:
		if c.unsent() > 0 {
			c.fail(errSendTimeout)
			return
		}
		c.end(ClosedByIdleTimeout)
	case phaseHead:
		if c.in.Len() == 0 && c.requests == 0 {
			// A connection that never said a word is closed without one.
			c.end(ClosedByHeadTimeout)
			return
		}
		c.refuse(refuseHeadTimeout)
		c.why = ClosedByHeadTimeout
	case phaseBody:
		c.checkRate()
	case phaseAnswer, phaseTunnel:
		if c.unsent() > 0 {
			c.fail(errSendTimeout)
		}
	case phaseLinger:
		c.end(c.why)
	}
}

func (c *h1Server) checkRate() {
	s := c.stream
	least := max(1, c.config.BodyRateMin*c.config.BodyWindow.Milliseconds()/1000)
	if c.window < least && !s.paused && !s.expects {
		c.refuse(refuseBodyRate)
		c.why = ClosedByBodyRate
		return
	}
	c.window = 0
	c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.BodyWindow))
}

// unsendable is called by the wire: the client is gone.
func (c *h1Server) unsendable(err error) { c.fail(err) }

// broken is called by the wire when the socket failed.
func (c *h1Server) broken(err error) {
	c.note(err)
	s := c.stream
	c.gone()
	if s != nil && s.receiver != nil {
		s.receiver.Failed(s, errClientGone)
	}
	if s != nil {
		c.w.freeStream(s)
	}
}

// endIdle closes a connection without an open request when its last answer has been taken.
func (c *h1Server) endIdle(why CloseReason) {
	if c.unsent() == 0 {
		c.end(why)
		return
	}
	c.why, c.last = why, true
	c.linger()
}

func (c *h1Server) gone() {
	c.freeHead()
	c.stream = nil
	c.leave()
}

func (c *h1Server) freeHead() {
	if c.head != nil {
		c.w.Heads.Put(c.head)
		c.head = nil
	}
}
