package engine

import (
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/mono"
)

// h1Client is a connection to an upstream that speaks HTTP/1. It carries one request at a time, or, where its owner opens
// more, several whose answers come in order. Or it is bytes only, for one stream. Loop-owned.
type h1Client struct {
	ClientConn
	codec h1.Client

	head        *message.Head // being received
	first, last *Stream       // open requests, oldest first
	voided      int           // bytes thrown away of answers nobody waits for
	paused      bool          // the answer under way was paused
	tunnel      bool          // the upstream switched protocols for the one request there is
	halved      bool          // and our side of it has ended
}

func (c *h1Client) start(mono.Time) { c.owner.Connected(&c.ClientConn) }

func (c *h1Client) usable() bool { return c.codec.Reusable() }

func (c *h1Client) room() int {
	if !c.codec.Reusable() {
		return 0
	}
	return 1
}

func (c *h1Client) oldestSince() mono.Time { return max(c.first.began, c.idleSince) }

func (c *h1Client) held() bool {
	return c.first != nil && (c.first.paused || c.first.receiver == nil)
}

func (c *h1Client) request(h *message.Head, end bool, r Receiver) (*Stream, error) {
	at := c.sent + int64(c.out.Len())
	id := uint32(1)
	if h == nil {
		c.codec.InitTunnel()
		c.tunnel = true
	} else {
		if h.Upgrade.Len > 0 {
			addHandshakeKey(h)
		}
		var err error
		if id, err = c.codec.AppendHead(&c.out, c.w.Bufs, h, end); err != nil {
			return nil, err
		}
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
	c.begun(s)
	return s, nil
}

func (c *h1Client) appendData(s *Stream, src *buf.Chain, n int) error {
	if err := c.codec.AppendData(&c.out, c.w.Bufs, s.id, src, n); err != nil {
		return err
	}
	c.flushLater()
	return nil
}

func (c *h1Client) appendEnd(s *Stream, trailers *message.Fields) error {
	if err := c.codec.AppendEnd(&c.out, c.w.Bufs, s.id, trailers); err != nil {
		return err
	}
	s.complete = true
	c.flushLater()
	return nil
}

func (c *h1Client) outFull(*Stream) bool { return c.full() }

func (c *h1Client) resumed(*Stream) { c.resume() }

// What is done for requests behind one that is given up, or whose answer its client does not take: the answer is thrown
// away, if it is not longer than voidMax; and if it is still in the way after neighbourPatience, they are sent elsewhere.
const (
	voidMax           = 64 << 10
	neighbourPatience = 250 * time.Millisecond
)

// abort gives up a request. Its answer, if it comes, must not be taken for another's: the connection goes with it, unless
// others share it. A client that goes away must not be able to break the requests of others.
func (c *h1Client) abort(s *Stream, err error) {
	s.receiver = nil
	if c.open > 1 && s.complete {
		s.paused = false
		c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(neighbourPatience))
		c.resume()
		return
	}
	c.gone(err, ErrNeighbour)
}

func (c *h1Client) lastOf(*Stream) {}

// pausing lets those behind a client that does not read wait for it a moment, no longer.
func (c *h1Client) pausing(*Stream) {
	c.paused = true
	if c.open > 1 {
		c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(neighbourPatience))
	}
}

// makeWay is called when neighbours have waited long enough for an answer that is in their way.
func (c *h1Client) makeWay() {
	switch {
	case c.first.receiver == nil:
		c.gone(nil, ErrNeighbour)
	case c.first.paused && c.open > 1:
		c.shed()
	}
}

// shed sends all but the oldest request elsewhere; the connection ends with that one's answer.
func (c *h1Client) shed() {
	s := c.first.next
	c.first.next, c.last, c.open, c.leaving = nil, c.first, 1, true
	c.failAll(s, ErrNeighbour)
}

func (c *h1Client) hungry() bool { return c.first == nil || !c.first.paused }

func (c *h1Client) received() {
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

func (c *h1Client) take(ev message.Event) {
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
func (c *h1Client) void(s *Stream, ev message.Event) {
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
func (c *h1Client) closeStream(s *Stream) {
	c.first = s.next
	if c.first == nil {
		c.last = nil
	}
	c.open--
	s.received = true
}

// settle frees a stream that is closed and tells the owner what the connection can do now.
func (c *h1Client) settle(s *Stream, closed bool) {
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
	if c.paused {
		c.took, c.paused = -1, false
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
		c.owner.Answered(&c.ClientConn)
	}
}

func (c *h1Client) endOfInput() {
	if c.first == nil {
		c.gone(nil, nil)
		return
	}
	if c.head == nil {
		c.head = c.w.Heads.Get()
	}
	ev, err := c.codec.EOF(&c.in)
	if err != nil || ev.Kind != message.GotEnd || c.cut && !c.tunnel {
		c.gone(ErrUpstreamClosed, ErrUpstreamClosed)
		return
	}
	c.take(ev)
}

func (c *h1Client) flushed() {
	if !c.low() {
		return
	}
	if c.tunnel && c.unsent() == 0 && c.first.complete {
		// The client's end of a tunnel goes on to the upstream, which may still have something to say.
		if c.halved || !c.tookLeave() {
			return
		}
		c.halved = true // once: what may be flushed later is TLS's own, and the upstream may have closed by then
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
func (c *h1Client) Expire(*loop.Timer) {
	switch {
	case c.open == 0:
		c.gone(nil, nil)
	default:
		c.makeWay()
	}
}

// unsendable is called by the wire. An upstream that answers before it has read the whole request, and closes, resets the
// connection with what is still on its way: its answer may be here already, and is read before the connection is given up.
func (c *h1Client) unsendable(err error) {
	if c.first == nil {
		c.fail(err)
		return
	}
	c.mute()
}

func (c *h1Client) broken(err error) { c.gone(err, err) }

// gone closes the connection, fails the oldest request on it with failed and the others as its neighbours, and tells the
// owner err. Only the oldest can have been what the upstream broke the connection over, and one broken connection is one
// failure, however many shared it.
func (c *h1Client) gone(err, failed error) {
	if c.owner == nil {
		return
	}
	owner := c.owner
	c.owner = nil
	c.close()
	c.freeHead()
	s := c.first
	c.first, c.last, c.open = nil, nil, 0
	owner.Gone(&c.ClientConn, err)
	c.failAll(s, failed)
}

// failAll fails s with err, and those behind it as its neighbours.
func (c *h1Client) failAll(s *Stream, err error) {
	for s != nil {
		next := s.next
		if s.receiver != nil {
			s.receiver.Failed(s, err)
		}
		c.w.freeStream(s)
		s, err = next, ErrNeighbour
	}
}

func (c *h1Client) freeHead() {
	if c.head != nil {
		c.w.Heads.Put(c.head)
		c.head = nil
	}
}

// addHandshakeKey gives a WebSocket handshake that came in another version of HTTP the key that HTTP/1 has it prove itself
// by (RFC 6455 4.1).
func addHandshakeKey(h *message.Head) {
	if _, at := h.NextField("sec-websocket-key", 0); at >= 0 {
		return
	}
	var nonce [16]byte
	rand.Read(nonce[:]) // never fails
	var key [24]byte
	base64.StdEncoding.Encode(key[:], nonce[:])
	h.Add([]byte("Sec-WebSocket-Key"), key[:])
}
