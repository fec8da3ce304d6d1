package engine

import (
	"errors"
	"net/netip"
	"syscall"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/mono"
)

// Errors of connections to upstreams, told apart because what may be done about them differs.
var (
	// ErrConnectTimeout: the connection was not established in time. Nothing was sent.
	ErrConnectTimeout = errors.New("connecting took too long")
	// ErrUpstreamClosed: the upstream closed the connection before its answer was complete.
	ErrUpstreamClosed = errors.New("the upstream closed the connection")
	// ErrNeighbour: the connection ended for reasons of another request on it. This one was not answered, and is to be sent
	// elsewhere: nothing speaks against it, nor, for its sake, against the upstream.
	ErrNeighbour = errors.New("the connection was closed because of another request on it")
)

// ClientOwner is who keeps a connection to an upstream: a pool. All calls come on the connection's loop.
type ClientOwner interface {
	// Connected: the connection is established.
	Connected(c *ClientConn)
	// Answered: a response is complete, and the connection can take another request.
	Answered(c *ClientConn)
	// Gone: the connection is closed; err is nil if nothing went wrong with it. What is open on it fails right after.
	Gone(c *ClientConn, err error)
}

// ClientConn is a connection to an upstream. It carries one request at a time, or, where its owner opens more, several
// whose answers come in order. Loop-owned.
type ClientConn struct {
	wire

	// Set at birth.
	codec h1.Client
	owner ClientOwner
	addr  netip.AddrPort

	// Loop-owned.
	head        *message.Head // being received
	first, last *Stream       // open requests, oldest first
	open        int
	served      int
	began       mono.Time // when the connection was established, or begun while it is not
	idleSince   mono.Time
	took        time.Duration // of the last answer
	voided      int           // bytes thrown away of answers nobody waits for
	held        bool          // the answer under way was paused
	tunnel      bool          // the upstream switched protocols for the one request there is
	connected   bool
	leaving     bool        // no further request: it ends with the last open one
	Next        *ClientConn // in the owner's list; the owner's to use
	OwnerMark   int32       // the owner's to use
}

// Dial begins a connection. The owner is told when it stands, or, within the deadline, that it does not. It fails at once
// only for want of our own resources.
func (w *Worker) Dial(addr netip.AddrPort, limits *h1.Limits, owner ClientOwner, deadline mono.Time) (*ClientConn, error) {
	fd, err := loop.Dial(addr, loop.DialOptions{})
	if err != nil {
		return nil, err
	}
	c := &ClientConn{owner: owner, addr: addr, began: w.Loop.Now()}
	c.w, c.user = w, c
	c.codec.Init(limits)
	c.timer.Init(c)
	if err := w.Loop.Adopt(&c.sock, fd, c); err != nil {
		return nil, err
	}
	c.blocked = true // until it is writable, that is, connected
	w.Loop.Arm(&c.timer, deadline)
	return c, nil
}

// Addr returns the upstream's address.
func (c *ClientConn) Addr() netip.AddrPort { return c.addr }

// Connected tells whether the connection is established.
func (c *ClientConn) Connected() bool { return c.connected }

// Open returns the number of requests without a complete answer.
func (c *ClientConn) Open() int { return c.open }

// Served returns the number of requests ever begun.
func (c *ClientConn) Served() int { return c.served }

// Began returns when the connection was established.
func (c *ClientConn) Began() mono.Time { return c.began }

// IdleSince returns when the last answer was complete.
func (c *ClientConn) IdleSince() mono.Time { return c.idleSince }

// Fresh tells whether an idle connection can be trusted with a request that must not be sent twice: it asks the
// socket, for what the loop has not heard yet.
func (c *ClientConn) Fresh() bool { return !c.dead && !c.readable && c.sock.Alive() }

// Usable tells whether a further request may be opened.
func (c *ClientConn) Usable() bool { return !c.dead && !c.leaving && !c.ended && c.codec.Reusable() }

// OldestSince returns since when the upstream owes the next answer: since that request was sent, or the answer before it
// was complete. There must be one.
func (c *ClientConn) OldestSince() mono.Time { return max(c.first.began, c.idleSince) }

// Took returns how long the last complete answer took, counted like OldestSince; negative if its client was what took long.
func (c *ClientConn) Took() time.Duration { return c.took }

// Held tells that the next answer is in the way of those behind it, for want of somebody to take it.
func (c *ClientConn) Held() bool {
	return c.first != nil && (c.first.paused || c.first.receiver == nil)
}

// CloseAfter lets no further request begin; the connection ends when the open ones have their answers.
func (c *ClientConn) CloseAfter() {
	c.leaving = true
	if c.open == 0 {
		c.Close()
	}
}

// Close closes the connection. Requests open on it fail; the owner is told Gone.
func (c *ClientConn) Close() { c.gone(nil, ErrNeighbour) }

// IdleUntil lets an idle connection close itself at a time.
func (c *ClientConn) IdleUntil(t mono.Time) { c.w.Loop.Arm(&c.timer, t) }

// Ready is called by the loop.
func (c *ClientConn) Ready(ev loop.Events) {
	if !c.connected && !c.dead {
		if ev&(loop.Writable|loop.Hangup) == 0 {
			return
		}
		if err := c.sock.ConnectResult(); err != nil {
			c.fail(err)
			return
		}
		c.connected, c.began = true, c.w.Loop.Now()
		c.w.Loop.Disarm(&c.timer)
		c.owner.Connected(c)
	}
	c.wire.Ready(ev)
}

// Request begins a request. The connection must be Connected and Usable.
func (c *ClientConn) Request(h *message.Head, end bool, r Receiver) (*Stream, error) {
	at := c.sent + int64(c.out.Len())
	id, err := c.codec.AppendHead(&c.out, c.w.Bufs, h, end)
	if err != nil {
		return nil, err
	}
	s := c.w.newStream(c, id)
	s.at = at
	s.receiver, s.complete, s.began = r, end, c.w.Loop.Now()
	if c.last == nil {
		c.first = s
	} else {
		c.last.next = s
	}
	c.last = s
	if c.open == 0 {
		c.w.Loop.Disarm(&c.timer)
	}
	c.open++
	c.served++
	c.flushLater()
	return s, nil
}

// Written returns how many bytes of a request to an upstream the socket has taken: the question on which sending it
// again turns. It may be asked while Failed runs.
func (s *Stream) Written() int64 { return max(0, s.conn.(*ClientConn).sent-s.at) }

func (c *ClientConn) appendData(s *Stream, src *buf.Chain, n int) error {
	if err := c.codec.AppendData(&c.out, c.w.Bufs, s.id, src, n); err != nil {
		return err
	}
	c.flushLater()
	return nil
}

func (c *ClientConn) appendEnd(s *Stream, trailers *message.Fields) error {
	if err := c.codec.AppendEnd(&c.out, c.w.Bufs, s.id, trailers); err != nil {
		return err
	}
	s.complete = true
	c.flushLater()
	return nil
}

func (c *ClientConn) outFull() bool { return c.full() }

func (c *ClientConn) resumed() { c.resume() }

// What is done for requests behind one that is given up, or whose answer its client does not take: the answer is thrown
// away, if it is not longer than voidMax; and if it is still in the way after neighbourPatience, they are sent elsewhere.
const (
	voidMax           = 64 << 10
	neighbourPatience = 250 * time.Millisecond
)

// abort gives up a request. Its answer, if it comes, must not be taken for another's: the connection goes with it, unless
// others share it. A client that goes away must not be able to break the requests of others.
func (c *ClientConn) abort(s *Stream, err error) {
	s.receiver = nil
	if c.open > 1 && s.complete {
		s.paused = false
		c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(neighbourPatience))
		c.resume()
		return
	}
	c.gone(err, ErrNeighbour)
}

// pausing lets those behind a client that does not read wait for it a moment, no longer.
func (c *ClientConn) pausing() {
	c.held = true
	if c.open > 1 {
		c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(neighbourPatience))
	}
}

// makeWay is called when neighbours have waited long enough for an answer that is in their way.
func (c *ClientConn) makeWay() {
	switch {
	case c.first.receiver == nil:
		c.gone(nil, ErrNeighbour)
	case c.first.paused && c.open > 1:
		c.shed()
	}
}

// shed sends all but the oldest request elsewhere; the connection ends with that one's answer.
func (c *ClientConn) shed() {
	s := c.first.next
	c.first.next, c.last, c.open, c.leaving = nil, c.first, 1, true
	c.failAll(s, ErrNeighbour)
}

func (c *ClientConn) hungry() bool { return c.first == nil || !c.first.paused }

func (c *ClientConn) received() {
	for !c.dead && c.in.Len() > 0 && c.hungry() {
		if c.head == nil {
			c.head = c.w.Heads.Get()
		}
		ev, err := c.codec.Next(&c.in, c.w.Bufs, c.head)
		if err != nil {
			c.fail(err)
			return
		}
		if ev.Kind == message.None {
			break
		}
		c.take(ev)
	}
	if !c.dead && c.in.Len() == 0 {
		c.freeHead()
	}
}

func (c *ClientConn) take(ev message.Event) {
	s := c.first
	if s.receiver == nil {
		c.void(s, ev)
		return
	}
	switch ev.Kind {
	case message.GotInterim:
		s.receiver.ReceiveInterim(s, c.head)
		if !c.dead {
			c.head.Reset()
		}
	case message.GotHead:
		h := c.head
		c.head = nil
		if h.Status == 101 { // our direction, which the request's end had closed, is open again
			c.tunnel, s.complete = true, false
		}
		if ev.End {
			c.closeStream(s)
		}
		s.receiver.ReceiveHead(s, h, ev.End)
		c.settle(s, ev.End)
	case message.GotData:
		if ev.End {
			c.closeStream(s)
		}
		s.receiver.ReceiveData(s, &c.in, ev.N, ev.End)
		c.settle(s, ev.End)
	case message.GotEnd, message.GotTrailers:
		var trailers *message.Fields
		if ev.Kind == message.GotTrailers {
			trailers = &c.head.Fields
		}
		c.closeStream(s)
		s.receiver.ReceiveEnd(s, trailers)
		c.settle(s, true)
	}
}

// void throws away what comes of an answer that nobody waits for.
func (c *ClientConn) void(s *Stream, ev message.Event) {
	switch ev.Kind {
	case message.GotData:
		c.in.Skip(c.w.Bufs, ev.N)
		c.voided += ev.N
	default:
		c.head.Reset()
	}
	if ev.End {
		c.closeStream(s)
		c.settle(s, true)
		return
	}
	if c.voided > voidMax {
		c.gone(nil, ErrNeighbour)
	}
}

// closeStream takes the oldest request off the list: its answer is complete, and nothing that its receiver does from now
// on concerns the connection.
func (c *ClientConn) closeStream(s *Stream) {
	c.first = s.next
	if c.first == nil {
		c.last = nil
	}
	c.open--
	s.received = true
}

// settle frees a stream that is closed and tells the owner what the connection can do now.
func (c *ClientConn) settle(s *Stream, closed bool) {
	if !closed {
		return
	}
	began, cut := s.began, !s.complete // cut: answered before it was sent, nobody will read the rest as a request
	c.w.freeStream(s)
	if c.dead {
		return
	}
	now := c.w.Loop.Now()
	c.took = now.Sub(max(began, c.idleSince))
	if c.held {
		c.took, c.held = -1, false
	}
	c.idleSince = now
	if c.first != nil && c.first.receiver == nil {
		c.w.Loop.Arm(&c.timer, now.Add(neighbourPatience))
	}
	switch {
	case cut || c.ended || !c.codec.Reusable():
		// Requests behind this one will not be answered here any more.
		c.gone(nil, ErrNeighbour)
	case c.leaving && c.open == 0:
		c.gone(nil, nil)
	default:
		c.owner.Answered(c)
	}
}

func (c *ClientConn) endOfInput() {
	if c.first == nil {
		c.gone(nil, nil)
		return
	}
	if c.head == nil {
		c.head = c.w.Heads.Get()
	}
	ev, err := c.codec.EOF(&c.in)
	if err != nil || ev.Kind != message.GotEnd {
		c.gone(ErrUpstreamClosed, ErrUpstreamClosed)
		return
	}
	c.take(ev)
}

func (c *ClientConn) flushed() {
	if !c.low() {
		return
	}
	if c.tunnel && c.out.Len() == 0 && c.first.complete {
		// The client's end of a tunnel goes on to the upstream, which may still have something to say.
		if err := c.sock.CloseWrite(); err != nil {
			c.fail(err)
		}
		return
	}
	for s := c.first; s != nil; s = s.next {
		if s.wasFull && !s.complete && s.receiver != nil {
			s.wasFull = false
			s.receiver.Drained(s)
			return // only the newest can be incomplete
		}
	}
}

// Expire is called by the loop.
func (c *ClientConn) Expire(*loop.Timer) {
	switch {
	case !c.connected:
		c.gone(ErrConnectTimeout, ErrConnectTimeout)
	case c.open == 0:
		c.gone(nil, nil)
	default:
		c.makeWay()
	}
}

// unsendable is called by the wire. An upstream that answers before it has read the whole request, and closes, resets the
// connection with what is still on its way: its answer may be here already, and is read before the connection is given up.
func (c *ClientConn) unsendable(err error) {
	if c.first == nil {
		c.fail(err)
		return
	}
	c.out.Release(c.w.Bufs)
	c.blocked, c.hungUp, c.readable = true, true, true
	c.resume()
}

func (c *ClientConn) broken(err error) { c.gone(err, err) }

// gone closes the connection, fails the oldest request on it with failed and the others as its neighbours, and tells the
// owner err. Only the oldest can have been what the upstream broke the connection over, and one broken connection is one
// failure, however many shared it.
func (c *ClientConn) gone(err, failed error) {
	if c.owner == nil {
		return
	}
	owner := c.owner
	c.owner = nil
	c.close()
	c.freeHead()
	s := c.first
	c.first, c.last, c.open = nil, nil, 0
	owner.Gone(c, err)
	c.failAll(s, failed)
}

// failAll fails s with err, and those behind it as its neighbours.
func (c *ClientConn) failAll(s *Stream, err error) {
	for s != nil {
		next := s.next
		if s.receiver != nil {
			s.receiver.Failed(s, err)
		}
		c.w.freeStream(s)
		s, err = next, ErrNeighbour
	}
}

func (c *ClientConn) freeHead() {
	if c.head != nil {
		c.w.Heads.Put(c.head)
		c.head = nil
	}
}

// IsOurs tells whether a dial failed for want of something of this machine (descriptors, memory, ports), so that no other
// endpoint would do better.
func IsOurs(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
