package engine

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h2"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
)

// h2Client is a connection to an upstream that speaks HTTP/2: many requests at once, each answered when it is ready.
// Loop-owned.
type h2Client struct {
	ClientConn
	codec h2.Client

	head    *message.Head // being received
	streams map[uint32]*Stream
	waking  []*Stream // to be handed what they hold, in the next turn
}

func (c *h2Client) start() {
	c.mux = c
	c.streams = make(map[uint32]*Stream)
	c.codec.Start(&c.out, c.w.Bufs)
	c.flushLater()
}

func (c *h2Client) usable() bool { return c.codec.Room() > 0 }

func (c *h2Client) room() int { return c.codec.Room() }

// Ready is called by the loop.
func (c *h2Client) Ready(ev loop.Events) {
	c.wake()
	c.wire.Ready(ev)
}

func (c *h2Client) request(h *message.Head, end bool, r Receiver) (*Stream, error) {
	at := c.sent + int64(c.out.Len())
	tunnels := h.Upgrade.Len > 0
	if tunnels {
		h.RemoveField([]byte("sec-websocket-key")) // HTTP/1's (RFC 8441 5.1)
	}
	id, err := c.codec.Open(&c.out, c.w.Bufs, h, end && !tunnels)
	if err != nil {
		return nil, err
	}
	s := c.w.newLaned(c, id)
	s.at, s.receiver, s.complete, s.began = at, r, end, c.w.Loop.Now()
	c.streams[id] = s
	c.begun(s)
	return s, nil
}

func (c *h2Client) appendData(s *Stream, src *buf.Chain, n int) error {
	if err := c.codec.AppendData(&c.out, c.w.Bufs, s.id, src, n); err != nil {
		return err
	}
	c.flushLater()
	return nil
}

func (c *h2Client) appendEnd(s *Stream, trailers *message.Fields) error {
	if err := c.codec.AppendEnd(&c.out, c.w.Bufs, s.id, trailers); err != nil {
		return err
	}
	s.complete = true
	c.flushLater()
	return nil
}

func (c *h2Client) outFull(s *Stream) bool {
	return c.codec.Queued(s.id) >= outHigh
}

func (c *h2Client) pausing(*Stream) {}

func (c *h2Client) resumed(s *Stream) {
	if s.lane.wants() {
		c.waking = append(c.waking, s)
		c.w.Loop.ReadyLater(&c.sock, loop.Readable)
	}
}

// wake hands over what streams hold that take more again.
func (c *h2Client) wake() {
	for i := 0; i < len(c.waking) && !c.dead; i++ {
		s := c.waking[i]
		c.waking[i] = nil
		if s == nil { // given up meanwhile
			continue
		}
		l, id := s.lane, s.id
		ends := l.inEnd
		if ends && !s.paused {
			c.forget(s) // nothing that its receiver does from now on concerns the connection
		}
		n := s.handOver()
		if n > 0 && !c.dead {
			c.codec.Took(&c.out, c.w.Bufs, id, n)
			c.flushLater()
		}
		if ends && !l.inEnd {
			c.settle(s)
		}
	}
	c.waking = c.waking[:0]
}

// abort gives up a request; the connection and the others on it go on.
func (c *h2Client) abort(s *Stream, _ error) {
	s.receiver = nil
	if c.dead || c.streams[s.id] != s {
		return
	}
	c.codec.Reset(&c.out, c.w.Bufs, s.id, h2.Cancel)
	c.flushLater()
	c.forget(s)
	c.settle(s)
}

func (c *h2Client) hungry() bool { return c.unsent() < 2*outHigh }

func (c *h2Client) received() {
	for !c.dead && c.in.Len() > 0 && c.hungry() {
		if c.head == nil {
			c.head = c.w.Heads.Get()
		}
		ev, err := c.codec.Next(&c.in, &c.out, c.w.Bufs, c.head)
		if err != nil {
			c.Flush() // the upstream is told why
			c.gone(err, err)
			return
		}
		if ev.Kind == message.None {
			break
		}
		c.take(ev)
	}
	if c.dead {
		return
	}
	if !c.codec.InBlock() {
		c.freeHead()
	}
	c.flushLater()
}

func (c *h2Client) take(ev message.Event) {
	if ev.Kind == message.GotGoAway {
		c.goneAway()
		return
	}
	s := c.streams[ev.Stream]
	if s == nil { // given up by us
		if ev.Kind == message.GotData {
			c.in.Skip(c.w.Bufs, ev.N)
			c.codec.Took(&c.out, c.w.Bufs, ev.Stream, ev.N)
		}
		return
	}
	switch ev.Kind {
	case message.GotInterim:
		s.receiver.ReceiveInterim(s, c.head)
		if !c.dead && c.head != nil {
			c.head.Reset()
		}
	case message.GotHead:
		h := c.head
		c.head = nil
		if h.Status == 101 {
			s.complete = false // our direction, which the request's end had closed, is open
		}
		if ev.End {
			c.forget(s)
		}
		s.receiver.ReceiveHead(s, h, ev.End)
		if ev.End {
			c.settle(s)
		}
	case message.GotData:
		c.gotData(s, ev)
	case message.GotEnd:
		c.gotEnd(s, nil)
	case message.GotTrailers:
		c.gotEnd(s, &c.head.Fields)
	case message.GotReset:
		c.forget(s)
		err := ErrStreamReset
		if ev.N == h2.RefusedStream {
			err = ErrUnprocessed
		}
		s.receiver.Failed(s, err)
		c.settle(s)
	}
}

func (c *h2Client) gotData(s *Stream, ev message.Event) {
	l := s.lane
	if s.paused || l.inbox.Len() > 0 {
		l.inbox.Take(c.w.Bufs, &c.in, ev.N)
		l.inEnd = ev.End
		return // its window is given back when somebody takes it
	}
	if ev.End {
		c.forget(s)
	}
	s.receiver.ReceiveData(s, &c.in, ev.N, ev.End)
	if !c.dead {
		c.codec.Took(&c.out, c.w.Bufs, ev.Stream, ev.N)
	}
	if ev.End {
		c.settle(s)
	}
}

func (c *h2Client) gotEnd(s *Stream, trailers *message.Fields) {
	l := s.lane
	if s.paused || l.inbox.Len() > 0 {
		l.inEnd = true
		if trailers != nil {
			l.trailers = new(message.Fields)
			trailers.CopyTo(l.trailers)
		}
		return
	}
	c.forget(s)
	s.receiver.ReceiveEnd(s, trailers)
	c.settle(s)
}

// forget takes a stream off the connection: its answer is complete, or nobody waits for it, and nothing that its receiver
// does from now on concerns the connection. One whose request is not is broken off: nobody will read the rest.
func (c *h2Client) forget(s *Stream) {
	if n := s.lane.inbox.Len(); n > 0 && s.receiver == nil {
		s.lane.inbox.Release(c.w.Bufs)
		c.codec.Took(&c.out, c.w.Bufs, s.id, n)
	}
	delete(c.streams, s.id)
	c.open--
	s.received = true
	if s.lane.waking {
		for i, w := range c.waking {
			if w == s {
				c.waking[i] = nil
			}
		}
	}
}

// settle frees a stream that is off the connection and tells the owner what the connection can do now.
func (c *h2Client) settle(s *Stream) {
	id, cut := s.id, !s.complete
	c.w.freeStream(s)
	if c.dead {
		return
	}
	if cut {
		c.codec.Reset(&c.out, c.w.Bufs, id, h2.NoError)
		c.flushLater()
	}
	c.idleSince = c.w.Loop.Now()
	if c.open == 0 && (c.leaving || c.ended || c.codec.Room() == 0) {
		c.gone(nil, nil)
		return
	}
	c.owner.Answered(&c.ClientConn)
}

// goneAway: the upstream takes no further requests. Those it has go on.
func (c *h2Client) goneAway() {
	if c.open == 0 {
		c.gone(nil, nil)
	}
}

func (c *h2Client) fill() { c.codec.Flush(&c.out, c.w.Bufs, outHigh) }

func (c *h2Client) flushed() {
	for {
		id, ok := c.codec.NextDrained()
		if !ok {
			break
		}
		if s := c.streams[id]; s != nil && s.wasFull && s.receiver != nil {
			s.wasFull = false
			s.receiver.Drained(s)
		}
	}
	if c.unsent() < outLow {
		c.resume()
	}
}

func (c *h2Client) endOfInput() {
	if c.open == 0 {
		c.gone(nil, nil)
		return
	}
	c.gone(ErrUpstreamClosed, ErrUpstreamClosed)
}

// Expire is called by the loop: the connection was idle for long enough.
func (c *h2Client) Expire(*loop.Timer) {
	if c.open == 0 {
		c.codec.GoAway(&c.out, c.w.Bufs, true)
		c.Flush()
		c.gone(nil, nil)
	}
}

// unsendable is called by the wire: see the same of HTTP/1.
func (c *h2Client) unsendable(err error) {
	if c.open == 0 {
		c.fail(err)
		return
	}
	c.out.Release(c.w.Bufs)
	c.blocked, c.hungUp, c.readable = true, true, true
	c.resume()
}

func (c *h2Client) broken(err error) { c.gone(err, err) }

// gone closes the connection and tells the owner err. One of the requests on it fails with failed, the others as lost with
// it: one broken connection is one failure, however many shared it.
func (c *h2Client) gone(err, failed error) {
	if c.owner == nil {
		return
	}
	owner := c.owner
	c.owner = nil
	c.close()
	c.freeHead()
	c.codec.Release(c.w.Bufs)
	streams := c.streams
	c.streams, c.open = nil, 0
	owner.Gone(&c.ClientConn, err)
	for _, s := range streams {
		if s.receiver != nil {
			s.receiver.Failed(s, failed)
		}
		c.w.freeStream(s)
		if failed != ErrNeighbour {
			failed = ErrLostTogether
		}
	}
}

func (c *h2Client) freeHead() {
	if c.head != nil {
		c.w.Heads.Put(c.head)
		c.head = nil
	}
}
