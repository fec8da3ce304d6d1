package engine

import (
	"errors"
	"net/netip"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
)

// ServerConfig are the limits and deadlines of connections from clients. It is frozen: connections share it.
type ServerConfig struct {
	H1 *h1.Limits

	HeadTimeout time.Duration // from a head's first byte (or the accept) to its last
	IdleTimeout time.Duration // between two requests
	SendTimeout time.Duration // without the client taking a single byte of what waits for it
	// BodyRateMin is the least average of body bytes a second, measured over windows of BodyWindow while we are reading.
	// A slow but steady phone passes; a client that dribbles to hold a connection does not. Zero asks for a byte a window.
	BodyRateMin int64
	BodyWindow  time.Duration
	// RequestsMax is how many requests a connection may carry before it is asked to come again; zero is no limit.
	RequestsMax int
}

// lingerTimeout and lingerBytes bound what is read and thrown away after the last answer on a connection whose client
// is still sending: closing at once would make the kernel reset it and take the answer with it. The bytes are more than what
// can be on its way in the buffers of both sides, so that a client has had the chance to look up from its upload.
const (
	lingerTimeout = 2 * time.Second
	lingerBytes   = 8 << 20
)

// Handler is what a listener hands requests to. All calls come on the connection's loop.
type Handler interface {
	// Open is called with the complete head of a request and returns who receives the rest. The handler holds the head from
	// now on. It may answer at once.
	Open(s *Stream, c *ServerConn, h *message.Head, end bool) Receiver
	// Refuse is called when what the client sent is no request; the handler answers on s, after which the connection ends.
	Refuse(s *Stream, c *ServerConn, r *message.Refusal)
	// Opened is called when a connection was accepted.
	Opened(c *ServerConn)
	// Closed is called when the connection is gone.
	Closed(c *ServerConn, why CloseReason)
	// TurnedAway is called when a connection was not taken because of a limit on connections.
	TurnedAway()
}

// CloseReason says why a connection from a client ended.
type CloseReason uint8

// Reasons.
const (
	ClosedByClient CloseReason = iota
	ClosedAfterAnswer
	ClosedByRefusal
	ClosedByHeadTimeout
	ClosedByIdleTimeout
	ClosedByBodyRate
	ClosedBySendTimeout
	ClosedByReset
	ClosedByDrain
	ClosedByAbort
	ClosedAfterTunnel
	closeReasons
)

var closeReasonWords = [closeReasons]string{
	"client", "answered", "refused", "head_timeout", "idle_timeout", "body_rate", "send_timeout", "reset", "drain", "aborted",
	"tunnel",
}

// String returns the word for logs and metrics.
func (r CloseReason) String() string { return closeReasonWords[r] }

// CloseReasons returns the words of all reasons, indexed by CloseReason.
func CloseReasons() []string { return closeReasonWords[:] }

// What a client's deadline is answered with.
var (
	refuseHeadTimeout = &message.Refusal{Status: 408, Reason: "head_timeout", Text: "the request's head did not arrive in time"}
	refuseBodyRate    = &message.Refusal{Status: 408, Reason: "body_rate", Text: "the request's body arrived too slowly"}
)

// Errors a stream fails with.
var (
	errSendTimeout = errors.New("the client took nothing of its answer in time")
	errDrained     = errors.New("the gateway stopped")
	errClientGone  = errors.New("the client closed the connection")
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

// ServerConn is a connection from a client. Loop-owned.
type ServerConn struct {
	wire

	// Set at birth.
	codec  h1.Server
	config *ServerConfig
	port   *port
	peer   netip.AddrPort

	// Loop-owned.
	nextConn, prevConn *ServerConn   // in the worker's list
	head               *message.Head // being received: a request's head, later its trailers
	stream             *Stream       // the open request
	requests           int
	window             int64 // body bytes since the timer was last wound
	phase              phase
	last               bool // no request is served after the present one
	unread             bool // the last request was answered before all of it came
	heldBack           bool // the next request waits until the client takes its answers
	starvedAt          int  // the place among the worker's starved connections, from 1; 0: none
	parsing            bool // received is running: it goes on by itself when the answer is complete
	why                CloseReason
}

func newServerConn(p *port, fd int, peer netip.AddrPort) (*ServerConn, error) {
	c := &ServerConn{config: p.config, port: p, peer: peer}
	w := p.w
	c.w, c.user = w, c
	c.codec.Init(c.config.H1)
	c.timer.Init(c)
	if err := w.Loop.Adopt(&c.sock, fd, c); err != nil {
		return nil, err
	}
	w.servers.add(c)
	c.phase = phaseHead
	c.w.Loop.Arm(&c.timer, w.Loop.Now().Add(c.config.HeadTimeout))
	p.handler.Opened(c)
	return c, nil
}

// Peer returns the client's address, as the socket tells it.
func (c *ServerConn) Peer() netip.AddrPort { return c.peer }

// Listener returns where the connection came in.
func (c *ServerConn) Listener() *Listener { return c.port.listener }

// draining tells that the connection is to end at its next answer.
func (c *ServerConn) draining() bool { return c.w.draining || c.port.closing }

// Ready is called by the loop. A reset is known at once, also while nothing is read: the exchange is of no use any more. A
// mere end of the client's sending is not such: it may be waiting for the answer.
func (c *ServerConn) Ready(ev loop.Events) {
	if ev&loop.Hangup != 0 && !c.dead && !c.hungry() {
		if err := c.sock.ConnectResult(); err != nil {
			c.fail(err)
			return
		}
	}
	c.wire.Ready(ev)
}

func (c *ServerConn) hungry() bool {
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
func (c *ServerConn) mayBegin() bool {
	if c.full() {
		c.heldBack = true
		return false
	}
	if c.w.Bufs.Pressed() {
		c.w.starved.add(c)
		return false
	}
	return true
}

// received takes what the chain holds as far as it is wanted: one request at a time, so that a pipelined next one stays
// in the chain until the present one is answered.
func (c *ServerConn) received() {
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
func (c *ServerConn) awaitMore() {
	if c.phase == phaseIdle && c.in.Len() > 0 {
		c.phase = phaseHead
		c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.HeadTimeout))
	}
}

func (c *ServerConn) take(ev message.Event) {
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

func (c *ServerConn) open(ev message.Event) {
	h := c.head
	c.head = nil
	c.requests++
	if c.requests == c.config.RequestsMax || c.draining() {
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
	r := c.port.handler.Open(s, c, h, ev.End)
	// A receiver that answered at once is done, and may serve another request by now: what still comes of the body is
	// thrown away without asking it.
	if c.stream == s && !s.complete {
		s.receiver = r
	}
}

func (c *ServerConn) bodyEnded() {
	s := c.stream
	s.received = true
	if s.complete {
		c.answered(s)
		return
	}
	c.awaitAnswer()
}

func (c *ServerConn) awaitAnswer() {
	c.phase = phaseAnswer
	if c.out.Len() == 0 {
		c.w.Loop.Disarm(&c.timer)
	}
}

// refuse answers bytes that are no request, or breaks off one whose body is none.
func (c *ServerConn) refuse(r *message.Refusal) {
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
	c.port.handler.Refuse(s, c, r)
}

// SendInterim passes an interim response on to the client.
func (s *Stream) SendInterim(h *message.Head) {
	c := s.conn.(*ServerConn)
	if s.expects && h.Status == 100 {
		s.expects = false
		c.rewindBody() // the time it waited for us is not the client's
	}
	c.codec.AppendInterim(&c.out, c.w.Bufs, h)
	c.toSend()
}

// SendHead answers a client's request. With status 101 the stream becomes a tunnel, if its request asked for that: what
// the client sends is handed over from the next turn on, behind the head that goes out in this one, and so is its end.
func (s *Stream) SendHead(h *message.Head, end bool) error {
	c := s.conn.(*ServerConn)
	if c.draining() || c.last || !s.received && !s.drainable() {
		c.codec.CloseAfter()
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
func (c *ServerConn) tunnel(s *Stream) {
	c.phase, c.last, c.why = phaseTunnel, true, ClosedAfterTunnel
	s.received = false
	c.w.Loop.Disarm(&c.timer)
	c.resume()
}

func (c *ServerConn) appendData(s *Stream, src *buf.Chain, n int) error {
	if err := c.codec.AppendData(&c.out, c.w.Bufs, s.id, src, n); err != nil {
		return err
	}
	c.toSend()
	return nil
}

func (c *ServerConn) appendEnd(s *Stream, trailers *message.Fields) error {
	if err := c.codec.AppendEnd(&c.out, c.w.Bufs, s.id, trailers); err != nil {
		return err
	}
	c.toSend()
	c.answered(s)
	return nil
}

// Last makes the answer to come the connection's last: what the client sends after it is not to be trusted.
func (s *Stream) Last() { s.conn.(*ServerConn).last = true }

func (c *ServerConn) toSend() { c.flushLater() }

// drainMax is how much of an unread body is worth reading and throwing away to keep the connection.
const drainMax = 64 << 10

// drainable tells whether the rest of the body is small and sure to come. A client that waits for 100 (Continue) and gets
// a final answer may leave its body out, so where the next request begins would be a guess (RFC 9110 10.1.1).
func (s *Stream) drainable() bool { return !s.expects && s.remaining >= 0 && s.remaining <= drainMax }

// answered closes the request once both sides are through. The connection serves the next one, or ends.
func (c *ServerConn) answered(s *Stream) {
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

func (c *ServerConn) outFull() bool { return c.full() }

func (c *ServerConn) pausing() {}

func (c *ServerConn) resumed() {
	c.rewindBody() // the time we did not read is not the client's
	c.resume()
}

// rewindBody begins a new window for the rate of a body.
func (c *ServerConn) rewindBody() {
	if c.phase == phaseBody {
		c.window = 0
		c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.BodyWindow))
	}
}

// abort cuts an answer short. What was sent of it still arrives; its framing shows that the rest is missing, unless only
// the connection's end delimits it, which a reset then keeps from looking like one.
func (c *ServerConn) abort(s *Stream, err error) {
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

func (c *ServerConn) endOfInput() {
	switch s := c.stream; {
	case c.phase == phaseLinger:
		if c.out.Len() == 0 { // else when it has been sent: half sees that there is nobody to wait for
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

func (c *ServerConn) flushed() {
	switch {
	case c.out.Len() > 0:
		if c.phase != phaseBody && c.phase != phaseHead { // blocked: the clock starts again with every byte taken
			c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.SendTimeout))
		}
	case c.phase == phaseIdle:
		c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.IdleTimeout))
	case c.phase == phaseLinger:
		c.half()
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
func (c *ServerConn) linger() {
	if c.dead || c.phase == phaseLinger {
		return
	}
	c.phase = phaseLinger
	c.window = 0
	c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.SendTimeout))
	c.flushLater()
}

// half is the second half of linger: everything is sent; the client is told, and given a moment to hear it.
func (c *ServerConn) half() {
	if c.ended || c.why == ClosedAfterAnswer && !c.unread && c.in.Len() == 0 && !c.readable {
		c.end(c.why)
		return
	}
	if err := c.sock.CloseWrite(); err != nil {
		c.end(c.why)
		return
	}
	c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(lingerTimeout))
	c.resume()
}

// discard throws away what a client goes on sending after its last answer.
func (c *ServerConn) discard() {
	c.window += int64(c.in.Len())
	c.in.Release(c.w.Bufs)
	if c.window > lingerBytes {
		c.end(c.why)
	}
}

// Expire is called by the loop.
func (c *ServerConn) Expire(*loop.Timer) {
	switch c.phase {
	case phaseIdle:
		if c.out.Len() > 0 {
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
		if c.out.Len() > 0 {
			c.fail(errSendTimeout)
		}
	case phaseLinger:
		c.end(c.why)
	}
}

func (c *ServerConn) checkRate() {
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
func (c *ServerConn) unsendable(err error) { c.fail(err) }

// broken is called by the wire when the socket failed.
func (c *ServerConn) broken(err error) {
	switch {
	case err == errSendTimeout:
		c.why = ClosedBySendTimeout
	case err == errDrained:
		c.why = ClosedByDrain
	case isReset(err):
		c.why = ClosedByReset
	}
	s := c.stream
	c.gone()
	if s != nil && s.receiver != nil {
		s.receiver.Failed(s, errClientGone)
	}
	if s != nil {
		c.w.freeStream(s)
	}
}

// end closes a connection without an open request.
func (c *ServerConn) end(why CloseReason) {
	c.why = why
	c.gone()
}

// endIdle closes a connection without an open request when its last answer has been taken.
func (c *ServerConn) endIdle(why CloseReason) {
	if c.out.Len() == 0 {
		c.end(why)
		return
	}
	c.why, c.last = why, true
	c.linger()
}

func (c *ServerConn) gone() {
	c.close()
	c.w.starved.remove(c)
	c.freeHead()
	c.stream = nil
	c.w.servers.remove(c)
	c.port.closed(c)
}

func (c *ServerConn) freeHead() {
	if c.head != nil {
		c.w.Heads.Put(c.head)
		c.head = nil
	}
}

func asRefusal(err error) *message.Refusal {
	var r *message.Refusal
	if errors.As(err, &r) {
		return r
	}
	return &message.Refusal{Status: 400, Reason: "malformed", Text: err.Error()}
}

// Refusals returns the refusals of deadlines, for the list of reasons.
func Refusals() []*message.Refusal { return []*message.Refusal{refuseHeadTimeout, refuseBodyRate} }
