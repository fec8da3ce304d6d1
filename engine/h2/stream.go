package h2

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// stream is one request and its response (RFC 9113 5.1). A codec has one for each that is not closed in both directions;
// closed ones go back to its free list.
type stream struct {
	id   uint32
	next *stream // in a ring of the schedule, or in the free list
	prev *stream // in a ring of the schedule

	// From the peer.
	length     int64 // of the body, as its head declares; negative if it does not
	received   int64 // bytes of it
	recvWindow int32 // what the peer may still send
	owed       int32 // what was consumed and has not been given back to the window
	interims   int16
	reported   bool // an event has named it: the caller has to be told of its end
	peerHead   bool // the final head has come, so that the next one are trailers
	peerEnded  bool
	deaf       bool // what still comes is dropped: the request was refused
	bodyless   bool // the response cannot have a body: it answers a HEAD, or is a 204 or 304

	// To the peer.
	sendWindow int64 // negative if the peer made it smaller than what is under way
	sendLeft   int64 // of the body, as its head declares; negative if it does not
	queue      buf.Chain
	trailers   message.Fields // that wait behind the queue, if hasTrailers
	headSent   bool
	drop       bool // the message cannot have a body; what is given as its body is dropped
	ending     bool // END_STREAM stands behind the queue
	trailed    bool // and trailers before it
	ended      bool // END_STREAM was sent
	ready      bool // in a ring of the schedule
	high       bool // the queue was above its mark: to be reported when it is drained
	listed     bool // as drained, and not reported yet

	// What the request is.
	isHead      bool
	asks        bool // for a switch of protocols, RFC 8441
	urgency     uint8
	incremental bool
	refusal     *message.Refusal
}

// start makes a record, new or used, that of a new stream.
func (s *stream) start(id uint32) {
	queue, trailers := s.queue, s.trailers
	*s = stream{id: id, queue: queue, trailers: trailers, length: message.UnknownLength, sendLeft: message.UnknownLength,
		urgency: urgencyStandard, incremental: true}
}

// table finds streams by their number: open addressing, so that neither a lookup nor a change of streams allocates. Streams
// of one peer are numbered in steps of two and live about equally long, so that they lie side by side.
type table struct {
	slots []*stream // a power of two, at most half of them used
	n     int
}

func (t *table) home(id uint32) int { return int(id>>1) & (len(t.slots) - 1) }

func (t *table) get(id uint32) *stream {
	if t.n == 0 {
		return nil
	}
	for i := t.home(id); ; i = (i + 1) & (len(t.slots) - 1) {
		if s := t.slots[i]; s == nil || s.id == id {
			return s
		}
	}
}

func (t *table) add(s *stream) {
	if 2*t.n >= len(t.slots) {
		old := t.slots
		t.slots, t.n = make([]*stream, max(8, 2*len(old))), 0
		for _, s := range old {
			if s != nil {
				t.add(s)
			}
		}
	}
	i := t.home(s.id)
	for t.slots[i] != nil {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = s
	t.n++
}

// remove takes a stream out, which must be there, and closes the gap: those behind it that a lookup would not find any more
// move up.
func (t *table) remove(id uint32) {
	mask := len(t.slots) - 1
	gap := t.home(id)
	for t.slots[gap].id != id {
		gap = (gap + 1) & mask
	}
	t.slots[gap] = nil
	t.n--
	for i := (gap + 1) & mask; t.slots[i] != nil; i = (i + 1) & mask {
		if (i-t.home(t.slots[i].id))&mask >= (i-gap)&mask {
			t.slots[gap], t.slots[i] = t.slots[i], nil
			gap = i
		}
	}
	if t.n == 0 && len(t.slots) > tableKept {
		t.slots = nil
	}
}

// closing says how a stream that is no more came to its end.
type closing uint8

const (
	forgotten closing = iota // long ago, or it was passed over and never opened
	byEnd                    // both sides ended it: RFC 9113 5.1 has nothing more come
	byPeer                   // the peer reset it
	byUs                     // we reset it: what comes was sent before the peer knew
)

// closedKept is how many streams that the peer ended or reset are remembered, resetKept how many that we reset.
const (
	closedKept = 16
	resetKept  = 128
)

// graves remember how recent streams were closed, so that a frame which was under way is told from one that should not
// have been sent. Of streams that we reset and have forgotten, only the highest number is kept: a frame on any below it is
// taken to have been under way, which an honest peer is never hurt by.
type graves struct {
	closed   [closedKept]grave
	reset    []uint32 // a ring; nil until there is one
	closedAt uint8
	resetAt  uint8
	faded    uint32
}

type grave struct {
	id  uint32
	how closing
}

func (g *graves) bury(id uint32, how closing) {
	switch {
	case how != byUs:
		g.closed[g.closedAt%closedKept] = grave{id, how}
		g.closedAt++
	case len(g.reset) < resetKept:
		g.reset = append(g.reset, id)
	default:
		g.faded = max(g.faded, g.reset[g.resetAt%resetKept])
		g.reset[g.resetAt%resetKept] = id
		g.resetAt++
	}
}

func (g *graves) how(id uint32) closing {
	for _, r := range g.reset {
		if r == id {
			return byUs
		}
	}
	for _, c := range g.closed {
		if c.id == id {
			return c.how
		}
	}
	if id <= g.faded {
		return byUs
	}
	return forgotten
}

// open begins a stream.
func (c *conn) open(id uint32) *stream {
	s := c.free
	if s == nil {
		s = new(stream)
	} else {
		c.free = s.next
		c.freeLen--
	}
	s.start(id)
	s.recvWindow = int32(c.limits.StreamWindow)
	s.sendWindow = int64(c.peer.streamWindow)
	c.streams.add(s)
	return s
}

// close ends a stream and frees what it holds.
func (c *conn) close(p *buf.Pool, s *stream, how closing) {
	if s.ready {
		c.schedule.remove(s)
	}
	c.queued -= s.queue.Len()
	s.queue.Release(p)
	s.trailers.Reset()
	if c.body == s {
		c.body = nil
	}
	if c.last.stream == s.id {
		c.last = lastFrame{}
	}
	c.graves.bury(s.id, how)
	c.streams.remove(s.id)
	if c.streams.n > 0 || c.freeLen < freeKept {
		s.next = c.free
		c.free = s
		c.freeLen++
	}
	if c.streams.n == 0 {
		for ; c.freeLen > freeKept; c.freeLen-- {
			c.free = c.free.next
		}
	}
}

// peerEnd notes that the peer ended its side.
func (c *conn) peerEnd(p *buf.Pool, s *stream) {
	s.peerEnded = true
	if s.ended {
		c.complete(p, s)
	}
}

// sentEnd notes that END_STREAM was sent. A refused request is reset behind its answer, for whatever else it sends.
func (c *conn) sentEnd(out *buf.Chain, p *buf.Pool, s *stream) {
	s.ended = true
	switch {
	case s.deaf && (s.refusal.Status == 400 || !s.peerEnded):
		code := uint32(NoError)
		if s.refusal.Status == 400 {
			code = ProtocolError // RFC 9113 8.1.1
		}
		c.append32(out, p, typeReset, s.id, code)
		c.close(p, s, byUs)
	case s.peerEnded:
		c.complete(p, s)
	}
}

func (c *conn) complete(p *buf.Pool, s *stream) {
	c.purse.earn(resets, 1)
	c.close(p, s, byEnd)
}
