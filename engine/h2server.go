package engine

import (
	"slices"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h2"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/mono"
)

// What one connection may ask of a turn, so that its neighbours' requests are not far behind: requests to be begun, and bytes
// of frames that are none and cost work all the same. An honest client seldom has so much to say at once, and then it
// goes on in the next turn.
const (
	turnRequests = 16
	turnBytes    = 4 << 10
)

// queuedMax is how much of all answers together may wait for windows that a client keeps shut, before those who feed them
// are told to pause: a hundred streams must not hold a hundred times what one may. A stream of which nothing waits goes on
// all the same, or a few downloads that their client has stopped would stop the others.
const queuedMax = 256 << 10

// h2Server is a connection from a client that speaks HTTP/2. Loop-owned.
type h2Server struct {
	ServerConn
	codec h2.Server

	head     *message.Head      // being received
	streams  map[uint32]*Stream // those open, and those answered whose last bytes are still queued
	waking   []*Stream          // to be handed what they hold, in the next turn
	requests int
	wasted   int // requests that came to nothing by the client's doing
	leaving  parting
	leftover []*Stream // those answered, whose last bytes wait for windows or for their turn
	crowded  bool      // somebody was told to pause for what the others have queued
	paced    bool      // it had its share of this turn
	ending   bool      // nothing more is read as HTTP: what is to be sent is sent, and the connection ends

	refilledAt mono.Time // when budgets of the codec were refilled last
	timerAt    mono.Time // what the timer is set to; 0: it is not
	quietAt    mono.Time // since when no stream is open
	partAt     mono.Time // when the first step of leaving was taken
	blockAt    mono.Time // since when a header block is incomplete; 0: none is
	seen       int64     // bytes that the socket had taken at the last look
	stalledAt  mono.Time // since when none was taken of those that wait; 0: some were
}

// parting is how far a connection has got in taking its leave.
type parting uint8

const (
	staying  parting = iota
	parted           // the client knows that it is not to open further streams
	partedIn         // and which was the last that is served
)

func (c *h2Server) start() {
	c.mux, c.quietAt = c, c.began
	c.streams = make(map[uint32]*Stream)
	c.codec.Start(&c.out, c.w.Bufs)
	c.codec.Pace(turnBytes)
	c.flushLater()
	c.wind()
	if c.draining() {
		c.drain()
	}
	if c.in.Len() > 0 {
		c.resume()
	}
}

// Ready is called by the loop.
func (c *h2Server) Ready(ev loop.Events) {
	c.paced = false
	c.wake()
	c.wire.Ready(ev)
}

// hungry: everything is read at once, for what the peer says of one stream may let another go on; what a paused stream
// cannot take is held within the windows. Only a client that takes none of our bytes is not read: it would have us collect
// answers to its frames. Bodies alone do not fill so much. And one that had its share of this turn waits for the next.
func (c *h2Server) hungry() bool { return c.ending || !c.paced && c.roomy() }

func (c *h2Server) received() {
	if now := c.w.Loop.Now(); now.Sub(c.refilledAt) >= lookPause {
		c.refilledAt = now
		c.codec.Refill()
	}
	for begun := c.requests; !c.dead && !c.ending && c.in.Len() > 0 && c.hungry(); {
		if c.head == nil {
			c.head = c.w.Heads.Get()
		}
		ev, err := c.codec.Next(&c.in, &c.out, c.w.Bufs, c.head)
		if err != nil {
			c.violated(asRefusal(err))
			break
		}
		if ev.Kind == message.None {
			c.paced = c.codec.Paused()
			break
		}
		c.take(ev)
		c.paced = c.requests-begun >= turnRequests
	}
	if c.paced {
		c.resume()
	}
	switch {
	case c.dead:
		return
	case c.ending:
		c.discard()
		return
	case c.codec.InBlock():
		if c.blockAt == 0 {
			c.blockAt = c.w.Loop.Now()
			c.wind()
		}
	default:
		c.blockAt = 0
		c.freeHead()
	}
	c.flushLater() // the codec may have had something to say
}

func (c *h2Server) take(ev message.Event) {
	switch ev.Kind {
	case message.GotHead, message.GotRefusal:
		c.blockAt = 0
		c.open(ev)
		return
	case message.GotTrailers:
		c.blockAt = 0
	}
	s := c.streams[ev.Stream]
	if s == nil { // given up by us, or the connection's
		if ev.Kind == message.GotData {
			c.in.Skip(c.w.Bufs, ev.N)
			c.codec.Took(&c.out, c.w.Bufs, ev.Stream, ev.N)
		}
		return
	}
	switch ev.Kind {
	case message.GotData:
		c.gotData(s, ev)
	case message.GotEnd:
		c.gotEnd(s, nil)
	case message.GotTrailers:
		c.gotEnd(s, &c.head.Fields)
	case message.GotReset:
		if r := c.codec.Refusal(ev.Stream); r != nil { // it broke the rules of the stream, and was told so
			c.port.handler.Violated(&c.ServerConn, r)
		}
		c.wasted++
		c.failStream(s, errClientGone)
	}
}

func (c *h2Server) open(ev message.Event) {
	if c.w.Bufs.Pressed() {
		// It may be sent again, here or elsewhere (RFC 9113 8.7). What has begun can end.
		c.w.starved.count.Add(1)
		c.codec.Reset(&c.out, c.w.Bufs, ev.Stream, h2.RefusedStream)
		return
	}
	c.requests++
	s := c.w.newLaned(c, ev.Stream)
	c.streams[ev.Stream] = s
	if len(c.streams) == 1 {
		c.wind()
	}
	if ev.Kind == message.GotRefusal {
		c.port.handler.Refuse(s, &c.ServerConn, c.codec.Refusal(ev.Stream))
	} else {
		c.serve(s, ev.End)
	}
	if c.requests == c.config.RequestsMax || c.draining() || c.tooOld() {
		c.drain()
	}
}

func (c *h2Server) serve(s *Stream, end bool) {
	h := c.head
	c.head = nil
	if h.Upgrade.Len > 0 {
		// An extended CONNECT has no body. What its client sends ahead of the answer waits here, for it belongs to a tunnel
		// that does not stand yet (RFC 8441 5). So does its end.
		s.lane.inEnd, s.lane.asks = end, true
		h.Length, end, s.paused = 0, true, true
	}
	s.received, s.remaining, s.expects = end && !s.paused, h.Length, h.Has(message.Expect)
	s.lane.windowAt = c.w.Loop.Now()
	id := s.id
	r := c.port.handler.Open(s, &c.ServerConn, h, end)
	if c.streams[id] == s && !s.complete {
		s.receiver = r
	}
}

func (c *h2Server) gotData(s *Stream, ev message.Event) {
	l := s.lane
	l.window += int64(ev.N)
	s.expects = false
	switch {
	case s.complete:
		c.in.Skip(c.w.Bufs, ev.N)
		s.received = ev.End
	case s.paused || l.inbox.Len() > 0:
		l.inbox.Take(c.w.Bufs, &c.in, ev.N)
		l.inEnd = ev.End
		return // its window is given back when somebody takes it
	default:
		s.received = ev.End
		s.receiver.ReceiveData(s, &c.in, ev.N, ev.End)
	}
	c.codec.Took(&c.out, c.w.Bufs, ev.Stream, ev.N)
}

func (c *h2Server) gotEnd(s *Stream, trailers *message.Fields) {
	l := s.lane
	switch {
	case s.complete:
		s.received = true
	case s.paused || l.inbox.Len() > 0:
		l.inEnd = true
		if trailers != nil {
			l.trailers = new(message.Fields)
			trailers.CopyTo(l.trailers)
		}
	default:
		s.received = true
		s.receiver.ReceiveEnd(s, trailers)
	}
}

func (c *h2Server) resumed(s *Stream) {
	s.lane.window, s.lane.windowAt = 0, c.w.Loop.Now() // the time we did not read is not the client's
	if s.lane.wants() {
		c.waking = append(c.waking, s)
		c.w.Loop.ReadyLater(&c.sock, loop.Readable)
	}
}

// wake hands over what streams hold that take more again.
func (c *h2Server) wake() {
	for i := 0; i < len(c.waking); i++ {
		s := c.waking[i]
		c.waking[i] = nil
		if s == nil { // given up meanwhile
			continue
		}
		id := s.id
		if n := s.handOver(); n > 0 {
			c.codec.Took(&c.out, c.w.Bufs, id, n)
			c.flushLater()
		}
	}
	c.waking = c.waking[:0]
}

func (c *h2Server) lastOf(*Stream) {}

func (c *h2Server) sendInterim(s *Stream, h *message.Head) {
	if h.Status == 100 {
		s.expects = false
		s.lane.window, s.lane.windowAt = 0, c.w.Loop.Now() // the time it waited for us is not the client's
	}
	c.codec.AppendInterim(&c.out, c.w.Bufs, s.id, h)
	c.flushLater()
}

func (c *h2Server) sendHead(s *Stream, h *message.Head, end bool) error {
	if h.Status == 101 {
		h.RemoveField([]byte("sec-websocket-accept")) // HTTP/1's (RFC 8441 5.1)
	}
	if err := c.codec.AppendHead(&c.out, c.w.Bufs, s.id, h, end); err != nil {
		return err
	}
	c.flushLater()
	if h.Status == 101 { // the client's direction is open now
		s.received, s.lane.tunnel = false, true
		s.Resume()
	}
	if end {
		c.answered(s)
	}
	return nil
}

func (c *h2Server) appendData(s *Stream, src *buf.Chain, n int) error {
	if err := c.codec.AppendData(&c.out, c.w.Bufs, s.id, src, n); err != nil {
		return err
	}
	s.lane.given += int64(n)
	c.flushLater()
	return nil
}

func (c *h2Server) appendEnd(s *Stream, trailers *message.Fields) error {
	if err := c.codec.AppendEnd(&c.out, c.w.Bufs, s.id, trailers); err != nil {
		return err
	}
	c.flushLater()
	c.answered(s)
	return nil
}

// answered: nothing more will be given to be sent. The stream stays until what was given has gone. What still comes of the
// request is of no use: its client is told to stop, behind the answer (RFC 9113 8.1).
func (c *h2Server) answered(s *Stream) {
	s.complete, s.receiver = true, nil
	c.emptyInbox(s)
	if c.codec.Queued(s.id) == 0 {
		c.closed(s)
		return
	}
	c.leftover = append(c.leftover, s)
}

func (c *h2Server) emptyInbox(s *Stream) {
	if n := s.lane.inbox.Len(); n > 0 {
		s.lane.inbox.Release(c.w.Bufs)
		c.codec.Took(&c.out, c.w.Bufs, s.id, n)
	}
}

// closed frees a stream that nobody holds.
func (c *h2Server) closed(s *Stream) {
	if !s.received && !s.lane.inEnd {
		c.codec.Reset(&c.out, c.w.Bufs, s.id, h2.NoError)
		c.flushLater()
	}
	c.forget(s)
	c.w.freeStream(s)
	c.quiet()
}

// forget takes a stream off the connection.
func (c *h2Server) forget(s *Stream) {
	c.emptyInbox(s)
	delete(c.streams, s.id)
	if s.complete {
		if i := slices.Index(c.leftover, s); i >= 0 {
			c.leftover = slices.Delete(c.leftover, i, i+1)
		}
	}
	if s.lane.waking {
		for i, w := range c.waking {
			if w == s {
				c.waking[i] = nil
			}
		}
	}
}

// failStream tells whoever holds a stream that it is over.
func (c *h2Server) failStream(s *Stream, err error) {
	c.forget(s)
	if r := s.receiver; r != nil {
		r.Failed(s, err)
	}
	c.w.freeStream(s)
	c.quiet()
}

// quiet is called when a stream has ended: it may have been the last.
func (c *h2Server) quiet() {
	if c.dead || c.ending || len(c.streams) > 0 {
		return
	}
	c.quietAt = c.w.Loop.Now()
	if c.leaving == partedIn {
		c.finish()
	}
}

func (c *h2Server) outFull(s *Stream) bool {
	if c.codec.QueuedTotal() >= queuedMax {
		c.crowded = true
	}
	queued := c.codec.Queued(s.id)
	return queued >= outHigh || c.crowded && queued > 0
}

func (c *h2Server) pausing(*Stream) {}

// abort cuts an answer short: the stream is reset, which no client can take for its end.
func (c *h2Server) abort(s *Stream, _ error) {
	if c.streams[s.id] != s {
		return
	}
	s.receiver = nil
	if c.dead {
		return // in the middle of failAll, which frees it
	}
	c.codec.Reset(&c.out, c.w.Bufs, s.id, h2.InternalError)
	c.flushLater()
	s.received = true
	c.closed(s)
}

// lastAnswer: framing keeps what follows on other streams apart from this one, so there is nothing to distrust.
func (c *h2Server) lastAnswer() {}

// fill moves what streams have to say into the wire's chain, as far as windows and its mark allow.
func (c *h2Server) fill() {
	if !c.ending {
		c.codec.Flush(&c.out, c.w.Bufs, outHigh)
	}
}

func (c *h2Server) flushed() {
	if c.ending {
		if c.unsent() == 0 {
			c.half(false)
		}
		return
	}
	for {
		id, ok := c.codec.NextDrained()
		if !ok {
			break
		}
		if s := c.streams[id]; s != nil && !c.crowded {
			s.drained()
		}
	}
	if c.crowded {
		c.crowded = c.codec.QueuedTotal() > queuedMax/2
		for id, s := range c.streams {
			if n := c.codec.Queued(id); n == 0 || !c.crowded && n <= outLow {
				s.drained()
			}
		}
	}
	for i := len(c.leftover) - 1; i >= 0; i-- {
		if s := c.leftover[i]; c.codec.Queued(s.id) == 0 {
			c.closed(s)
		}
	}
	c.readOn()
	c.wind()
}

// drain tells the client to open no further streams. Which was the last that is served, it is told a moment later.
func (c *h2Server) drain() {
	if c.leaving != staying || c.ending {
		return
	}
	c.leaving, c.partAt = parted, c.w.Loop.Now()
	c.codec.GoAway(&c.out, c.w.Bufs, false)
	c.flushLater()
	c.wind()
}

// part takes the second step of leaving.
func (c *h2Server) part(why CloseReason) {
	c.leaving, c.why = partedIn, why
	c.codec.GoAway(&c.out, c.w.Bufs, true)
	c.flushLater()
	c.quiet()
}

func (c *h2Server) closeIdle() {
	if len(c.streams) == 0 && c.in.Len() == 0 && !c.readable && !c.ending {
		c.part(ClosedByDrain)
	}
}

// violated ends a connection that broke the protocol: the codec has said why.
func (c *h2Server) violated(r *message.Refusal) {
	c.port.handler.Violated(&c.ServerConn, r)
	c.why, c.rude = ClosedByRefusal, true
	wasted := wastedByConn + time.Duration(c.wasted+len(c.streams))*wastedByRequest
	c.w.debts.owe(c.peer.Addr(), wasted, c.config.DebtMax, c.w.Loop.Now())
	c.failAll()
	c.finish()
}

// failAll ends every stream: its client is gone, or as good as that.
func (c *h2Server) failAll() {
	for _, s := range c.streams {
		c.forget(s)
		if r := s.receiver; r != nil {
			r.Failed(s, errClientGone)
		}
		c.w.freeStream(s)
	}
}

// finish ends the connection behind what is still to be sent.
func (c *h2Server) finish() {
	if c.dead || c.ending {
		return
	}
	c.ending = true
	c.in.Release(c.w.Bufs)
	c.freeHead()
	c.w.Loop.Arm(&c.timer, c.w.Loop.Now().Add(c.config.SendTimeout))
	c.flushLater()
}

func (c *h2Server) endOfInput() {
	switch {
	case c.ending:
		if c.unsent() == 0 {
			c.end(c.why)
		}
	case len(c.streams) == 0:
		c.finish()
	default:
		// There is no half-closed connection in HTTP/2: streams have ends of their own.
		c.why = ClosedByClient
		c.failAll()
		c.end(c.why)
	}
}

func (c *h2Server) unsendable(err error) { c.fail(err) }

func (c *h2Server) broken(err error) {
	c.note(err)
	c.codec.Release(c.w.Bufs) // so that nothing is sent by whom the failures reach
	c.failAll()
	c.gone()
}

func (c *h2Server) gone() {
	c.freeHead()
	c.codec.Release(c.w.Bufs)
	c.leave()
}

func (c *h2Server) freeHead() {
	if c.head != nil {
		c.w.Heads.Put(c.head)
		c.head = nil
	}
}
