package h2

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// Client is the codec of a connection to an upstream: what Server is on the other side. Its streams are numbered 1, 3, 5 and
// so on.
type Client struct{ conn }

// Init makes the codec ready for a new connection. scheme is what requests say they came by: "http" or "https".
func (c *Client) Init(l *Limits, scheme string) {
	c.init(l, false)
	c.writer.Scheme = scheme
}

// Start sends the preface and our SETTINGS, and opens the connection's window. Requests may follow at once.
func (c *Client) Start(out *buf.Chain, p *buf.Pool) {
	out.AppendString(p, preface)
	c.appended += uint64(len(preface))
	c.start(out, p, setting{enablePush, 0})
}

// Room returns how many further requests may be opened now: what the upstream allows less those that are open, and none
// once either side has said goodbye or the numbers are used up. Before its SETTINGS came, it is taken to allow 100.
func (c *Client) Room() int {
	if c.broken() || c.leaving || c.peer.leaving || c.lastPeer >= idMax {
		return 0
	}
	left := int64(idMax-c.lastPeer) / 2
	if c.lastPeer == 0 {
		left++
	}
	return int(max(0, min(int64(c.peer.streams)-int64(c.streams.n), left)))
}

// Outstanding returns the number of requests that are open: not sent whole, or without a complete response.
func (c *Client) Outstanding() int { return c.streams.n }

// Unserved tells that the upstream's GOAWAY left a request out: it has not been looked at.
func (c *Client) Unserved(stream uint32) bool { return c.peer.leaving && stream > c.peer.lastServed }

// Switches tells whether the upstream has said that it knows the extended CONNECT (RFC 8441 3). Before its SETTINGS came
// it has not.
func (c *Client) Switches() bool { return c.peer.connect }

// Open sends the head of a request on a new stream, whose number it returns. end says that no body follows. If h has an
// Upgrade, the request asks for a tunnel, whose bytes are the body of both sides. Nothing is sent if an error is returned:
// ErrBusy if there is no Room, ErrShortBody if h declares a body that end denies, ErrSwitch if h asks for another protocol
// than websocket, has an end, or the upstream does not know how.
func (c *Client) Open(out *buf.Chain, p *buf.Pool, h *message.Head, end bool) (stream uint32, err error) {
	asks := h.Upgrade.Len > 0
	switch {
	case c.Room() == 0:
		return 0, ErrBusy
	case asks && (!c.peer.connect || end || !message.EqualFold(h.Bytes(h.Upgrade), websocket)):
		return 0, ErrSwitch
	case end && h.Length > 0:
		return 0, ErrShortBody
	}
	if c.lastPeer == 0 {
		c.lastPeer = 1
	} else {
		c.lastPeer += 2
	}
	s := c.conn.open(c.lastPeer)
	s.reported, s.headSent = true, true
	s.isHead, s.asks = h.IsMethod("HEAD"), asks
	if s.sendLeft = h.Length; asks {
		s.sendLeft = message.UnknownLength
	}
	c.appendHead(out, p, s, h, end)
	if end {
		s.ending = true
		c.sentEnd(out, p, s)
	}
	return s.id, nil
}

var websocket = []byte("websocket")

// AppendData is Server.AppendData for a request.
func (c *Client) AppendData(out *buf.Chain, p *buf.Pool, stream uint32, src *buf.Chain, n int) error {
	return c.appendBody(out, p, stream, src, n)
}

// AppendEnd is Server.AppendEnd for a request.
func (c *Client) AppendEnd(out *buf.Chain, p *buf.Pool, stream uint32, trailers *message.Fields) error {
	return c.appendEnd(out, p, stream, trailers)
}

// Next reads on in the upstream's bytes as Server.Next does in a client's. An interim response is GotInterim and may be
// followed by others; the final one is GotHead, whose h.Length is the declared length even of a response without a body
// (to HEAD, 304). A response that accepts a tunnel has Status 101 and the Upgrade. GOAWAY is told of by a GotReset with
// RefusedStream for each stream that the upstream has not touched, and then by GotGoAway; the others go on.
func (c *Client) Next(in, out *buf.Chain, p *buf.Pool, h *message.Head) (message.Event, error) {
	return c.next(in, out, p, h)
}

// admitResponse decides what a HEADERS frame from an upstream is: a response, trailers, or wrong on a stream that is open.
func (c *conn) admitResponse(out *buf.Chain, p *buf.Pool) (wrong, f *fault) {
	id := c.frame.stream
	s := c.streams.get(id)
	switch {
	case s != nil && s.peerEnded:
		return halfClosed, nil
	case s != nil && !s.peerHead:
		c.block.purpose = forResponse
		return nil, nil
	case s != nil && !c.block.endStream:
		return endlessTrailers, nil
	case s != nil:
		c.block.purpose = forTrailers
		return nil, nil
	case c.idle(id):
		return nil, idleStream
	}
	switch c.graves.how(id) {
	case byUs:
		return nil, c.spend(useless, 1)
	case byPeer:
		return nil, c.refuseFrame(out, p, id, halfClosed)
	}
	return nil, closedStream
}

// gotResponse takes the head of a response, or gives the stream up.
func (c *conn) gotResponse(out *buf.Chain, p *buf.Pool, h *message.Head, s *stream, refusal *message.Refusal) (
	message.Event, *fault,
) {
	if refusal != nil {
		return c.giveUp(out, p, s, &fault{refusal, ProtocolError})
	}
	end := c.block.endStream
	e := message.Event{Kind: message.GotHead, Stream: s.id, End: end}
	switch {
	case h.Status < 200:
		if end {
			return c.giveUp(out, p, s, badInterim)
		}
		if s.interims++; int(s.interims) > c.limits.InterimMax {
			return c.giveUp(out, p, s, manyInterim)
		}
		e.Kind = message.GotInterim
		return e, nil
	case s.asks && h.Status < 300:
		if h.Length > 0 {
			return c.giveUp(out, p, s, unknownSwitch)
		}
		h.Status, h.Upgrade = 101, h.Store(websocket)
		h.Length = message.UnknownLength
	case s.isHead || h.Status == 204 || h.Status == 304:
		s.bodyless = true
	case end && h.Length > 0:
		return c.giveUp(out, p, s, otherLength)
	case end:
		h.Length = 0
	}
	c.purse.earnHead()
	s.peerHead = true
	s.length = h.Length
	if end {
		c.peerEnd(p, s)
	}
	return e, nil
}
