// Package h2 is the HTTP/2 codec (RFC 9113, with extended CONNECT of RFC 8441 and the priorities of RFC 9218): bytes of a
// connection in, message events out, and back. Server speaks to a client, Client to an upstream.
//
// Each type of frame has a file with its wire form and what a connection makes of it; what belongs to a connection as a
// whole is in conn.go, streams in stream.go, windows in flow.go, who sends next in schedule.go, what a hostile peer may
// cost in budget.go. Header blocks are package block's.
//
// It is strict as engine/h1 is: a message that comes out of here has one length or none, its body keeps to it, and its
// head can be written as HTTP/1 without becoming another. Whatever a peer can make us keep, do or answer has a limit with
// a word of its own.
//
// It performs no I/O, reads no clock, knows no loop, and decides nothing about routes or policies. A codec belongs to its
// connection's loop and is not safe for concurrent use.
package h2

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/invariant"
)

// preface is what a client sends first (RFC 9113 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Server is the codec of a connection from a client: Init, Start, and then Next for what comes and the Append methods for
// what goes, for all streams in any order. It must not be copied after Init. The methods that both sides have:
//
//   - Next reads; Took gives windows back as bodies are consumed.
//   - AppendData and AppendEnd send a body: into out at once if everything allows it, else into the stream's queue, from
//     which Flush moves it; Queued, QueuedTotal, Ready and NextDrained tell about the queues.
//   - Reset gives up a stream, GoAway the connection, Release the memory.
//
// Whatever is said about a stream that is gone has no effect, so that nobody need know that the peer has just reset it.
type Server struct{ conn }

// Init makes the codec ready for a new connection.
func (c *Server) Init(l *Limits) {
	c.init(l, true)
	c.state = atPreface
}

// Start sends our SETTINGS and opens the connection's window. It may be called before anything came.
func (c *Server) Start(out *buf.Chain, p *buf.Pool) {
	c.start(out, p, setting{concurrentStreams, uint32(c.limits.StreamsMax)}, setting{enableConnect, 1}, setting{noOldPriorities, 1})
}

// Next reads on in the client's bytes: it consumes what it understood from in and returns one event, None if more bytes are
// needed. What it owes the client for that (acknowledgements, RST_STREAM, GOAWAY) is appended to out.
//
// h is written to from a HEADERS frame to the event that tells of it, or to the end of a header block that is decoded and
// dropped, and nowhere else: as long as InBlock, the caller passes the same h.
//
//   - GotHead: h holds a request.
//   - GotData: the next N bytes of in are body. The caller takes or skips all of them before it asks on, and reports to
//     Took when they have been consumed. On the stream of an extended CONNECT they are the tunnel's, and may come before it
//     was answered.
//   - GotEnd, GotTrailers: the body is over; h.Fields holds the trailers.
//   - GotReset: the client gave the stream up, or was told by RST_STREAM of its fault, which Refusal names.
//   - GotRefusal: the stream's request is none, see Refusal. It may be answered by AppendHead and so on, behind which the codec
//     resets it; or else by Reset. Nothing that follows on it is reported.
//   - GotGoAway: the client opens no further streams.
//
// The error is a *message.Refusal: the connection is over, GOAWAY has been appended, every later call returns the same.
func (c *Server) Next(in, out *buf.Chain, p *buf.Pool, h *message.Head) (message.Event, error) {
	return c.next(in, out, p, h)
}

// readPreface takes as much of the client's preface as has come.
func (c *conn) readPreface(in *buf.Chain, p *buf.Pool) (e message.Event, more bool, f *fault) {
	rest := preface[c.prefaceLen:]
	b := in.Front()
	b = b[:min(len(b), len(rest))]
	switch {
	case string(b) != rest[:len(b)]:
		return e, false, badPreface
	case len(b) == 0:
		return e, true, nil
	case len(b) == len(rest):
		c.state = atFrame
	}
	c.prefaceLen += uint8(len(b))
	in.Skip(p, len(b))
	return e, false, nil
}

// admitRequest decides what a HEADERS frame from a client is (RFC 9113 5.1, 5.1.1, 8.1): the next request, trailers, or
// wrong on a stream that is open.
func (c *conn) admitRequest(out *buf.Chain, p *buf.Pool) (wrong, f *fault) {
	id := c.frame.stream
	if s := c.streams.get(id); s != nil {
		switch {
		case s.deaf && !s.peerEnded:
			s.peerEnded = c.block.endStream
			return nil, nil
		case s.peerEnded:
			return halfClosed, nil
		case !c.block.endStream:
			return endlessTrailers, nil
		}
		c.block.purpose = forTrailers
		return nil, nil
	}
	if id&1 == 0 {
		return nil, badStream
	}
	if id <= c.lastPeer {
		switch c.graves.how(id) {
		case byUs: // to be decoded for nothing
			return nil, c.spend(useless, 1)
		case byPeer:
			return nil, c.refuseFrame(out, p, id, halfClosed)
		case byEnd:
			return nil, closedStream
		}
		return nil, badStream
	}
	c.lastPeer = id // and all below it that were not opened are closed
	if c.left || c.streams.n >= c.limits.StreamsMax {
		return nil, c.refuseStream(out, p, id)
	}
	c.lastServed = id
	c.open(id)
	c.block.purpose = forRequest
	return nil, nil
}

// refuseStream refuses a request for which there is no place. A client that has not read our SETTINGS did not know.
func (c *conn) refuseStream(out *buf.Chain, p *buf.Pool, id uint32) *fault {
	c.graves.bury(id, byUs)
	if c.acked {
		return c.refuseFrame(out, p, id, manyStreams)
	}
	if f := c.spend(useless, 1); f != nil {
		return f
	}
	if f := c.owe(out, frameHeadLen+resetLen); f != nil {
		return f
	}
	c.append32(out, p, typeReset, id, manyStreams.code)
	return nil
}

// gotRequest takes the head of a request, or what refuses it.
func (c *conn) gotRequest(h *message.Head, s *stream, refusal *message.Refusal) (message.Event, *fault) {
	s.reported = true
	e := message.Event{Kind: message.GotHead, Stream: s.id, End: c.block.endStream}
	s.peerEnded = e.End
	if refusal == nil && h.Length > 0 && e.End {
		refusal = otherLength.Refusal
	}
	if refusal != nil {
		if f := c.spend(resets, 1); f != nil {
			return message.Event{}, f
		}
		s.refusal, s.deaf = refusal, true
		e.Kind = message.GotRefusal
		return e, nil
	}
	c.purse.earnHead()
	s.peerHead = true
	s.isHead = h.IsMethod("HEAD")
	switch s.asks = h.Upgrade.Len > 0; {
	case s.asks:
		h.Length = message.UnknownLength
	case e.End:
		h.Length = 0
	}
	s.length = h.Length
	if v, at := h.NextField("priority", 0); at >= 0 {
		s.urgency, s.incremental = parsePriorityField(v)
	}
	return e, nil
}

// AppendInterim sends an interim response with its fields. It sends nothing behind a final head, and never 101, which is
// final for HTTP: see AppendHead.
func (c *Server) AppendInterim(out *buf.Chain, p *buf.Pool, stream uint32, h *message.Head) {
	s := c.streams.get(stream)
	if s == nil || s.headSent || h.Status == 101 || c.broken() {
		return
	}
	c.appendHead(out, p, s, h, false)
	c.last = lastFrame{}
}

// AppendHead sends the head of the final response. end says that no body follows. It returns ErrShortBody, and sends
// nothing, if h declares a body all the same.
//
// Status 101 answers a request whose head had an Upgrade, and makes the stream a tunnel. To any other request it is
// ErrSwitch.
func (c *Server) AppendHead(out *buf.Chain, p *buf.Pool, stream uint32, h *message.Head, end bool) error {
	s := c.streams.get(stream)
	if s == nil || c.broken() {
		return nil
	}
	invariant.Check(!s.headSent, "a response has one final head")
	s.drop = s.isHead || h.Status == 204 || h.Status == 304
	switch {
	case h.Status == 101 && (!s.asks || end):
		return ErrSwitch
	case end && h.Length > 0 && !s.drop:
		return ErrShortBody
	case h.Status != 101:
		s.sendLeft = h.Length
	}
	s.headSent = true
	c.appendHead(out, p, s, h, end)
	if end {
		s.ending = true
		c.sentEnd(out, p, s)
	}
	return nil
}

// AppendData sends the first n bytes of src, which must hold them, as body and takes them from src; what windows or the
// peer's pace do not let go out at once is queued. Those of a response that cannot have a body (to HEAD; 204, 304) are
// dropped. ErrLongBody: the body is longer than its head declared; nothing was taken.
func (c *Server) AppendData(out *buf.Chain, p *buf.Pool, stream uint32, src *buf.Chain, n int) error {
	return c.appendBody(out, p, stream, src, n)
}

// AppendEnd ends the body, with trailers if they are not nil, behind what is queued; they are copied if they have to wait.
// ErrShortBody: the body is shorter than its head declared, and the stream has to be reset.
func (c *Server) AppendEnd(out *buf.Chain, p *buf.Pool, stream uint32, trailers *message.Fields) error {
	return c.appendEnd(out, p, stream, trailers)
}
