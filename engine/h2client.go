package engine

import (
	"math"
	"slices"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h2"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/mono"
)

// h2Client is a connection to an upstream that speaks HTTP/2: many requests at once, each answered when it is ready.
// Loop-owned.
type h2Client struct {
	ClientConn
	codec h2.Client

	head    *message.Head // being received
	streams map[uint32]*Stream
	waking  []*Stream // to be handed what they hold, in the next turn
	stands  bool      // the owner has been told

	refilledAt mono.Time // when budgets of the codec were refilled last
	// endedNow is the stream whose end is being handed over by wake.
	endedNow *Stream
}

// start waits for the upstream's SETTINGS before the connection is handed to its owner: only they show that it is HTTP/2 that
// is spoken, how many requests may begin at once, and whether one can be made a tunnel (RFC 9113 3.4, RFC 8441 3). Requests
// that begin before would be refused where there are too many, and lost with a connection that turns out to be none.
func (c *h2Client) start(deadline mono.Time) {
	c.mux = c
	c.streams = make(map[uint32]*Stream)
	c.codec.Start(&c.out, c.w.Bufs)
	c.flushLater()
	c.w.Loop.Arm(&c.timer, deadline)
}

func (c *h2Client) usable() bool { return c.codec.Room() > 0 }

func (c *h2Client) room() int { return c.codec.Room() }

// Ready is called by the loop.
func (c *h2Client) Ready(ev loop.Events) {
	c.wake()
	c.wire.Ready(ev)
}

func (c *h2Client) request(h *message.Head, end bool, r Receiver) (*Stream, error) {
	if h.Upgrade.Len > 0 {
		h.RemoveField([]byte("sec-websocket-key")) // HTTP/1's (RFC 8441 5.1)
		end = false                                // what it would have as a body are the tunnel's bytes
	}
	at := c.sent + int64(c.out.Len())
	id, err := c.codec.Open(&c.out, c.w.Bufs, h, end)
	switch {
	case err == h2.ErrSwitch:
		return nil, ErrNoTunnel
	case err != nil:
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
	if !s.lane.wants() {
		return
	}
	c.waking = append(c.waking, s)
	if c.dead {
		c.w.Loop.Post(c.wake)
		return
	}
	c.w.Loop.ReadyLater(&c.sock, loop.Readable)
}

// wake hands over what streams hold that take more again.
func (c *h2Client) wake() {
	for i := 0; i < len(c.waking); i++ {
		s := c.waking[i]
		c.waking[i] = nil
		if s == nil { // given up meanwhile
			continue
		}
		id, gone := s.id, false
		c.endedNow = nil
		n := s.handOver()
		gone = c.endedNow == s
		if n > 0 && !c.dead {
			c.codec.TookKept(&c.out, c.w.Bufs, id, n)
			c.flushLater()
		}
		if gone {
			c.settle(s)
		}
	}
	c.waking, c.endedNow = c.waking[:0], nil
}

// lastOf takes a stream off the connection: nothing that its receiver does from now on concerns it.
func (c *h2Client) lastOf(s *Stream) {
	c.forget(s)
	c.endedNow = s
}

// abort gives up a request; the connection and the others on it go on.
func (c *h2Client) abort(s *Stream, _ error) {
	s.receiver = nil
	if c.streams[s.id] != s {
		return
	}
	c.codec.Reset(&c.out, c.w.Bufs, s.id, h2.Cancel)
	c.flushLater()
	c.forget(s)
	c.settle(s)
}

// hungry: what may go out of bodies does not count against it, for an upstream's word may be what they wait for.
func (c *h2Client) hungry() bool { return c.roomy() }

func (c *h2Client) received() {
	if now := c.w.Loop.Now(); now.Sub(c.refilledAt) >= lookPause {
		c.refilledAt = now
		c.codec.Refill()
	}
	shut := c.stands && c.codec.Room() == 0
	for !c.dead && c.hungry() { // to the end of events, of which a GOAWAY makes many
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
	switch {
	case !c.stands && c.codec.Settled():
		c.stands = true
		c.w.Loop.Disarm(&c.timer)
		c.owner.Connected(&c.ClientConn)
	case shut && c.codec.Room() > 0:
		c.owner.Answered(&c.ClientConn)
	}
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
		if s.lane.inEnd { // its answer is complete, and held: what is left of the request is not wanted (RFC 9113 8.1)
			s.complete = true
			return
		}
		c.forget(s)
		err := ErrStreamReset
		if ev.N == h2.RefusedStream {
			err = ErrUnprocessed
			if c.codec.Unserved(ev.Stream) {
				s.at = math.MaxInt64 // as if it had not been written: it cost the upstream nothing
			}
		} else if r := c.codec.Refusal(ev.Stream); r != nil { // its answer broke the rules
			err = r
		}
		s.receiver.Failed(s, err)
		c.settle(s)
	}
}

func (c *h2Client) gotData(s *Stream, ev message.Event) {
	l := s.lane
	if s.paused || l.inbox.Len() > 0 {
		// Its window is given back when somebody takes it. The connection's is at once: a client that does not read must not
		// be able to hold up the others.
		l.inbox.Take(c.w.Bufs, &c.in, ev.N)
		l.inEnd = ev.End
		c.codec.Kept(&c.out, c.w.Bufs, ev.N)
		return
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
		if s := c.streams[id]; s != nil {
			s.drained()
		}
	}
	c.readOn()
}

func (c *h2Client) endOfInput() {
	if c.open == 0 {
		c.gone(nil, nil)
		return
	}
	c.gone(ErrUpstreamClosed, ErrUpstreamClosed)
}

// Expire is called by the loop: the connection was idle for long enough, or its upstream did not begin to speak in time.
func (c *h2Client) Expire(*loop.Timer) {
	switch {
	case !c.stands:
		c.gone(ErrConnectTimeout, nil)
	case c.open == 0:
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
	c.mute()
}

func (c *h2Client) broken(err error) { c.gone(err, err) }

// gone closes the connection and tells the owner err. One of the requests on it fails with failed, the others as lost with
// it: one broken connection is one failure, however many shared it. Those whose answers are complete, and held because
// their clients are slow, do not fail: they are handed over as their clients take more.
func (c *h2Client) gone(err, failed error) {
	if c.owner == nil {
		return
	}
	owner := c.owner
	c.owner = nil
	c.close()
	c.freeHead()
	c.codec.Release(c.w.Bufs)
	if !c.stands {
		if err == nil {
			err = ErrUpstreamClosed
		}
		owner.DialFailed(err)
		return
	}
	streams := c.streams
	c.streams, c.open = make(map[uint32]*Stream), 0
	for id, s := range streams {
		if s.lane.inEnd && s.receiver != nil {
			s.complete = true
			c.streams[id] = s
			c.open++
			delete(streams, id)
		}
	}
	c.waking = slices.DeleteFunc(c.waking, func(s *Stream) bool { return s == nil || c.streams[s.id] != s })
	if len(c.waking) > 0 {
		c.w.Loop.Post(c.wake)
	}
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
