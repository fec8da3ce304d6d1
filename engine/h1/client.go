package h1

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/invariant"
)

// Client is the codec of a connection to an upstream. Several requests may be outstanding (RFC 9112 9.3.2); responses are
// matched to them in order. Requests are numbered 1, 2, 3, and so on.
type Client struct {
	in  reader
	out writer

	// The requests that were sent and not answered: sent-answered of them.
	sent, answered uint32
	heads          uint64 // bit n%64: request n is a HEAD

	interims uint16 // interim responses to the request that is being answered
	closing  bool   // no request after those sent: the upstream announced the close, or bytes came that nobody asked for
	last     bool   // the response being read ends the connection

	// What the upstream has to answer if it switches protocols; nil unless the request sent last asks for that and is not
	// answered. A pointer, because few connections ever need it.
	accept *[acceptLen]byte
}

// Init makes the codec ready for a new connection.
func (c *Client) Init(l *Limits) { *c = Client{in: reader{limits: l}} }

// InitTunnel makes the codec of a new connection one that frames nothing: a tunnel from the first byte on, as behind a 101.
// It counts as its one request.
func (c *Client) InitTunnel() {
	c.in.state, c.out = untilClose, writer{delimiter: byClose}
	c.sent, c.last, c.closing = 1, true, true
}

// AppendHead sends the head of a request: origin-form (or "*"), Host first, and the framing that h.Length asks for. end
// says that no body follows. It returns the request's number, ErrBusy if the connection takes no further request now,
// ErrShortBody if h declares a body that end denies; nothing is sent then.
//
// If h has an Upgrade and the key that goes with it, the request asks for the switch. It is alone on its connection: it
// waits for those before it (ErrBusy), and no other follows until it has been refused by an ordinary response. Once the
// upstream has switched, the connection is a tunnel: AppendData sends bytes as they are, Next says GotData until the end.
func (c *Client) AppendHead(out *buf.Chain, p *buf.Pool, h *message.Head, end bool) (uint32, error) {
	if !c.Reusable() {
		return 0, ErrBusy
	}
	if end && h.Length > 0 {
		return 0, ErrShortBody
	}
	if end && fold(h.Bytes(h.Upgrade), protocol) {
		if key := handshakeKey(h); key != nil { // else a filter took it away, and there is nothing to know the 101 by
			if c.Outstanding() > 0 {
				return 0, ErrBusy
			}
			c.accept = acceptOf(key)
		}
	}
	length := h.Length
	switch {
	case end:
		length = 0
		c.out = writer{}
	case length >= 0 && !trails(h):
		c.out = writer{delimiter: byLength, left: length}
	default:
		length = message.UnknownLength
		c.out = writer{delimiter: byChunks}
	}
	c.sent++
	bit := uint64(1) << (c.sent % outstandingMax)
	c.heads &^= bit
	if h.IsMethod("HEAD") {
		c.heads |= bit
	}
	appendTo(out, p, headRoom(&h.Fields), func(b []byte) []byte {
		b = append(b, h.MethodBytes()...)
		b = append(b, ' ')
		b = append(b, h.PathBytes()...)
		if h.HasQuery {
			b = append(b, '?')
			b = append(b, h.QueryBytes()...)
		}
		b = append(b, " HTTP/1.1\r\nHost: "...)
		b = append(b, h.AuthorityBytes()...)
		b = append(b, "\r\n"...)
		if c.accept != nil {
			b = append(b, upgradeLines...)
		}
		b = appendFields(b, &h.Fields)
		switch {
		case length > 0 || length == 0 && impliesContent(h):
			b = appendLength(b, length)
		case length < 0:
			b = append(b, chunkedLine...)
		}
		return append(b, "\r\n"...)
	})
	return c.sent, nil
}

// impliesContent tells of a request without a body whether its method lets one expect, so that the length has to be said
// (RFC 9110 8.6).
func impliesContent(h *message.Head) bool {
	switch string(h.MethodBytes()) {
	case "GET", "HEAD", "OPTIONS", "DELETE", "TRACE":
		return false
	}
	return true
}

// AppendData sends the first n bytes of src, which must hold them, as the body of the request sent last and takes them
// from src. ErrLongBody: the body is longer than its head declared; nothing was taken.
func (c *Client) AppendData(out *buf.Chain, p *buf.Pool, stream uint32, src *buf.Chain, n int) error {
	invariant.Check(stream == c.sent, "only the request sent last can have more body")
	return c.out.data(out, p, src, n)
}

// AppendEnd ends the body of the request sent last, with trailers if they are not nil and the body goes out in chunks.
// ErrShortBody: the body is shorter than its head declared, and the connection has to be closed.
func (c *Client) AppendEnd(out *buf.Chain, p *buf.Pool, stream uint32, trailers *message.Fields) error {
	invariant.Check(stream == c.sent, "only the request sent last can be ended")
	return c.out.end(out, p, trailers)
}

// Next reads on in the upstream's bytes, as Server.Next does in a client's; Event.Stream is the request they answer. An
// interim response is GotInterim and may be followed by others; the final one is GotHead. h.Length is the declared length
// even of a response without a body (to HEAD, 304), where Event.End says that none follows.
func (c *Client) Next(in *buf.Chain, p *buf.Pool, h *message.Head) (message.Event, error) {
	e, err := c.next(in, p, h)
	if err != nil {
		c.closing = true
		return e, err
	}
	if e.Kind == message.None {
		return e, nil
	}
	e.Stream = c.answered + 1
	if e.End {
		c.finish(in.Len() > e.N)
	}
	return e, nil
}

func (c *Client) next(in *buf.Chain, p *buf.Pool, h *message.Head) (message.Event, error) {
	switch {
	case c.in.state == broken:
		return message.Event{}, afterRefusal
	case in.Len() == 0:
		return message.Event{}, nil
	case c.in.state > inFields:
		return c.in.body(in, p, h)
	}
	if c.in.state == atStart {
		if c.Outstanding() == 0 || c.last {
			return c.in.fail(unasked)
		}
		h.Reset()
		c.in.begin()
		c.in.state = inStartLine
	}
	switch whole, err := c.in.head(in, p, h, c.lines); {
	case err != nil:
		return c.in.fail(err)
	case whole:
		return c.gotHead(h)
	}
	return message.Event{}, nil
}

// lines parses the head that b begins with, from where it stopped before, and returns its length when it is complete, 0
// until then.
func (c *Client) lines(b []byte, h *message.Head) (int, *message.Refusal) {
	most := c.in.limits.HeadBytesMax
	if c.in.state == inStartLine {
		n, err := c.in.statusLine(b, h)
		switch {
		case err != nil:
			return 0, err
		case n > most || n == 0 && len(b) > most:
			return 0, largeHead
		case n == 0:
			return 0, nil
		}
		c.in.lines = uint32(n)
		c.in.state = inFields
	}
	return c.in.fieldLines(b, &h.Fields, most, largeHead)
}

// gotHead judges a head that is complete and decides how its body ends (RFC 9112 6.3).
func (c *Client) gotHead(h *message.Head) (message.Event, error) {
	fr, err := hopFields(h)
	if err != nil {
		return c.in.fail(err)
	}
	h.Length = message.UnknownLength
	if fr.hasLength {
		h.Length = fr.length
	}
	switch {
	case h.Status == 101:
		return c.gotSwitch(h, &fr)
	case h.Status < 200:
		return c.gotInterim(h, &fr)
	}
	c.last = !fr.persists(h.Proto)
	switch {
	case h.Status == 204:
		// A length of 0 is forbidden too (RFC 9110 8.6), but can only be read in one way, and servers send it.
		if fr.chunked || fr.length > 0 {
			return c.in.fail(bodyForbidden)
		}
		h.Length = 0
		c.in.state = complete
	case h.Status == 304 || c.toHead():
		c.in.state = complete
	case !fr.chunked && !fr.hasLength:
		c.in.state = untilClose
		c.last = true
	default:
		c.in.beginBody(h.Length)
	}
	c.closing = c.closing || c.last
	return message.Event{Kind: message.GotHead, End: c.in.state == complete}, nil
}

// gotSwitch takes a 101 only from an upstream that was asked for it and has shown that it read the question; by nothing
// else could it be told from one that was left on the connection for somebody else (RFC 6455 4.1).
func (c *Client) gotSwitch(h *message.Head, fr *framing) (message.Event, error) {
	if c.accept == nil {
		return c.in.fail(unaskedSwitch)
	}
	if fr.chunked || fr.length > 0 {
		return c.in.fail(bodyForbidden)
	}
	accept, ok := only(&h.Fields, "sec-websocket-accept")
	if !ok || string(accept) != string(c.accept[:]) || !fr.namesProtocol(h) || h.Proto != message.HTTP11 {
		return c.in.fail(badSwitch)
	}
	h.Length, h.Upgrade = message.UnknownLength, fr.upgrade
	c.in.state = untilClose
	c.out = writer{delimiter: byClose}
	c.last, c.closing = true, true
	return message.Event{Kind: message.GotHead}, nil
}

func (c *Client) gotInterim(h *message.Head, fr *framing) (message.Event, error) {
	if fr.chunked || fr.length > 0 {
		return c.in.fail(bodyForbidden)
	}
	if c.interims++; int(c.interims) > c.in.limits.InterimMax {
		return c.in.fail(manyInterim)
	}
	h.Length = 0
	c.in.state = atStart
	return message.Event{Kind: message.GotInterim}, nil
}

// toHead tells whether the request that is being answered is a HEAD.
func (c *Client) toHead() bool { return c.heads>>((c.answered+1)%outstandingMax)&1 != 0 }

// finish ends the response that is being read. Bytes behind the last one that was asked for poison the connection: they
// would become the answer to whatever is sent next.
func (c *Client) finish(stray bool) {
	c.answered++
	c.interims, c.accept = 0, nil
	c.in.state = atStart
	if stray && (c.Outstanding() == 0 || c.last) {
		c.closing = true
	}
}

// EOF says what it means that the upstream has closed the connection, once Next has returned None: the end of a body that
// ends so (GotEnd); nothing (None) if no request is unanswered; else an error, NoResponse if nothing of the response had come.
// Requests behind the one it is about are lost likewise: see Outstanding.
func (c *Client) EOF(in *buf.Chain) (message.Event, error) {
	stream := c.answered + 1
	c.closing = true
	switch {
	case c.in.state == untilClose:
		c.finish(false)
		return message.Event{Kind: message.GotEnd, End: true, Stream: stream}, nil
	case c.in.state == atStart && c.Outstanding() == 0:
		return message.Event{}, nil
	case c.in.state == broken:
		return message.Event{}, afterRefusal
	case in.Len() == 0 && c.in.fresh():
		if c.interims > 0 {
			return message.Event{}, truncatedHead
		}
		return message.Event{}, NoResponse
	case c.in.state <= inFields:
		return message.Event{}, truncatedHead
	}
	return message.Event{}, truncatedBody
}

// Outstanding returns the number of requests without a complete response.
func (c *Client) Outstanding() int { return int(c.sent - c.answered) }

// Reusable tells whether a further request may be sent: every request so far was sent whole, no close was announced, no
// stray bytes came, none waits for a switch of protocols, and not too many are unanswered. For a connection that waits idle,
// Outstanding is 0 as well.
func (c *Client) Reusable() bool {
	return !c.closing && c.accept == nil && c.in.state != broken && c.out.delimiter == sentAll && c.Outstanding() < outstandingMax
}
