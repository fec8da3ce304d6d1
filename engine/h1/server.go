// Package h1 is the HTTP/1 codec (RFC 9112): bytes of a connection in, message events out, and back. Server speaks to
// a client, Client to an upstream.
//
// It is strict where leniency has let two readers of one message disagree: lines end in CRLF and nothing else, there is
// one length or none, lists of codings, folds and white space around names are refused, a peer's limits are bounded
// before its bytes are stored. Everything that concerns this hop alone (framing, Connection and what it names, upgrades)
// ends here: heads that come out carry what is for forwarding, the rest of their fields is marked Gone, and heads that
// go in get their framing from Length and their host from Authority, never from a field. A switch to WebSocket is the one
// thing of this hop that goes further, as Head.Upgrade; behind the 101 there is nothing to frame.
//
// It performs no I/O, reads no clock, knows no loop, and decides nothing about routes or policies: paths are delivered
// as they came (see message.NormalizePath), Via and X-Forwarded fields are the gateway's. A codec belongs to its
// connection's loop and is not safe for concurrent use.
package h1

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/invariant"
)

// Server is the codec of a connection from a client. It serves one request at a time; a pipelined next one stays in the
// chain until Finished. The life of an exchange: Next until GotHead, Next until End, meanwhile or afterwards
// AppendInterim, AppendHead, AppendData, AppendEnd, and Finished once.
type Server struct {
	in  reader
	out writer

	// The request that is being answered.
	http10   bool
	isHead   bool
	persists bool // the client means to keep the connection
	asks     bool // for a switch of protocols: until the 101 has been sent, what follows the request is another request

	// What proves to the client that its handshake was read, if it asks for a switch: an upstream that speaks another version
	// of HTTP has no such field to pass on. A pointer, because few connections ever need it.
	accept *[acceptLen]byte

	// Its response.
	closing  bool // the connection ends with it
	headSent bool
}

// Init makes the codec ready for a new connection.
func (c *Server) Init(l *Limits) { *c = Server{in: reader{limits: l}} }

// InitTunnel makes the codec of a new connection one that frames nothing: a tunnel from the first byte on, as behind a 101.
func (c *Server) InitTunnel() {
	c.in.state, c.out = untilClose, writer{delimiter: byClose}
	c.headSent, c.closing = true, true
}

// Next reads on in the client's bytes: it consumes what it understood from in and says what that was, None if more bytes
// are needed or the response to the last request is not complete. An incomplete head or trailer section stays in the
// chain whole; until it is complete, the caller adds to the chain, takes nothing from it, and passes the same h. With an
// empty chain there is nothing to keep, and h may be another one or nil.
//
// On GotHead, h holds the request. For the body, the caller passes it again, or an empty one: of a body with trailers, it
// will hold those instead of the fields.
//
// The scheme of an absolute-form target is dropped: it only claims one, and how the request really came the listener knows.
//
// The error is a *message.Refusal: it is to be answered (AppendHead says Connection: close by itself) and nothing more
// is read.
func (c *Server) Next(in *buf.Chain, p *buf.Pool, h *message.Head) (message.Event, error) {
	switch {
	case c.in.state == broken:
		return message.Event{}, afterRefusal
	case in.Len() == 0:
		return message.Event{}, nil
	case c.in.state > inFields:
		return c.in.body(in, p, h)
	}
	if c.in.fresh() {
		h.Reset()
		c.in.begin()
		if c.in.state == atStart {
			ok, err := skipEmptyLine(in, p)
			if err != nil {
				return c.in.fail(err)
			}
			if !ok {
				return message.Event{}, nil
			}
			c.in.state = inStartLine
		}
	}
	switch whole, err := c.in.head(in, p, h, c.lines); {
	case err != nil:
		return c.in.fail(err)
	case whole:
		return c.gotHead(h)
	}
	return message.Event{}, nil
}

// skipEmptyLine skips the one empty line that old clients send behind a body (RFC 9112 2.2) and tells whether it is
// certain that nothing is left of it.
func skipEmptyLine(in *buf.Chain, p *buf.Pool) (bool, *message.Refusal) {
	if in.Front()[0] != '\r' {
		return true, nil
	}
	b := in.Pull(p, min(2, in.Len()))
	if len(b) == 1 {
		return false, nil
	}
	if b[1] != '\n' {
		return false, bareCR
	}
	in.Skip(p, 2)
	return true, nil
}

// lines parses the head that b begins with, from where it stopped before, and returns its length when it is complete, 0
// until then.
func (c *Server) lines(b []byte, h *message.Head) (int, *message.Refusal) {
	most := c.in.limits.HeadBytesMax
	if c.in.state == inStartLine {
		n, err := c.in.requestLine(b, h)
		c.isHead = bytes.HasPrefix(b, []byte("HEAD "))
		switch {
		case err != nil:
			return 0, err
		case n > most || n == 0 && len(b) > most:
			return 0, largeHead
		case n == 0:
			return 0, nil
		}
		c.http10 = h.Proto == message.HTTP10
		c.in.lines = uint32(n)
		c.in.state = inFields
	}
	return c.in.fieldLines(b, &h.Fields, most, largeHead)
}

// gotHead judges a head that is complete.
func (c *Server) gotHead(h *message.Head) (message.Event, error) {
	emptyPath(h)
	if err := c.host(h); err != nil {
		return c.in.fail(err)
	}
	fr, err := hopFields(h)
	if err != nil {
		return c.in.fail(err)
	}
	if err := c.expectations(h); err != nil {
		return c.in.fail(err)
	}
	c.persists = fr.persists(h.Proto)
	h.Length = fr.length
	if fr.chunked {
		h.Length = message.UnknownLength
	}
	if c.asks = asksToSwitch(h, &fr); c.asks {
		h.Upgrade = fr.upgrade
		c.accept = acceptOf(handshakeKey(h))
	}
	c.in.beginBody(h.Length)
	return message.Event{Kind: message.GotHead, End: c.in.state == complete}, nil
}

// host checks the Host field (RFC 9112 3.2) and makes it the Authority, or, of a request in absolute-form, checks that
// both say the same. RFC 9112 3.2.2 would have the target win; an upstream that reads the field would still disagree
// with a rule that reads the target, and honest clients send them equal.
func (c *Server) host(h *message.Head) *message.Refusal {
	all := h.All()
	host := -1
	for i := range all {
		if all[i].ID != message.Host {
			continue
		}
		if host >= 0 {
			return severalHosts
		}
		host = i
		all[i].Gone = true
	}
	if host < 0 {
		if h.Proto == message.HTTP10 {
			return nil
		}
		return missingHost
	}
	value := all[host].Value
	n, err := hostLen(h.Bytes(value))
	if err != nil {
		return err
	}
	if n == 0 {
		return badHost
	}
	value.Len = uint32(n)
	if h.Authority.Len == 0 {
		h.Authority = value
		return nil
	}
	port := 80
	if scheme := h.Bytes(message.Span{Off: h.Authority.Off - 4, Len: 1}); scheme[0]|0x20 == 's' {
		port = 443 // the letter before "://"
	}
	if !sameHost(h.AuthorityBytes(), h.Bytes(value), port) {
		return otherHost
	}
	return nil
}

// expectations refuses all but 100-continue, which is forwarded: the upstream's 100 comes back (RFC 9110 10.1.1). In an
// HTTP/1.0 request it means nothing.
func (c *Server) expectations(h *message.Head) *message.Refusal {
	all := h.All()
	for i := range all {
		if all[i].ID != message.Expect {
			continue
		}
		if !fold(h.Bytes(all[i].Value), "100-continue") {
			return badExpectation
		}
		all[i].Gone = all[i].Gone || c.http10
	}
	return nil
}

// EOF says what it means that the client has closed its side, once Next has returned None: nil if it did so between
// requests, after a whole one (whose response it may still want), or in a tunnel, else a refusal.
func (c *Server) EOF(in *buf.Chain) error {
	switch {
	case c.in.state == complete || c.in.state == untilClose || in.Len() == 0 && c.in.fresh():
		return nil
	case c.in.state == broken:
		return afterRefusal
	case c.in.state <= inFields:
		return truncatedHead
	}
	return truncatedBody
}

// Reading tells that the request's body is not complete yet.
func (c *Server) Reading() bool { return c.in.state > inFields && c.in.state < complete }

// AppendInterim sends an interim response with its fields. It sends nothing to an HTTP/1.0 client, which does not know
// them (RFC 9110 15.2), nothing behind a final head, and never 101, which is final for HTTP: see AppendHead.
func (c *Server) AppendInterim(out *buf.Chain, p *buf.Pool, h *message.Head) {
	if c.http10 || c.headSent || h.Status == 101 {
		return
	}
	appendTo(out, p, headRoom(&h.Fields), func(b []byte) []byte {
		b = appendStatusLine(b, h)
		b = appendFields(b, &h.Fields)
		return append(b, "\r\n"...)
	})
}

// AppendHead sends the head of the final response and decides how its body is delimited: by h.Length if that is known, in
// chunks if it is not, by closing the connection if the client speaks HTTP/1.0 only. end says that no body follows.
// It returns ErrShortBody, and sends nothing, if h declares a body all the same.
//
// Status 101 answers a request whose head had an Upgrade, and makes the connection a tunnel: from now on, and not before,
// Next takes every byte of the client's for data, those that came earlier included, AppendData sends bytes as they are, and
// the connection ends with it. To any other request it is ErrSwitch.
func (c *Server) AppendHead(out *buf.Chain, p *buf.Pool, _ uint32, h *message.Head, end bool) error {
	invariant.Check(!c.headSent, "a response has one final head")
	if h.Status == 101 {
		return c.appendSwitch(out, p, h, end)
	}
	bodyless := c.isHead || h.Status == 204 || h.Status == 304
	if end && h.Length > 0 && !bodyless {
		return ErrShortBody
	}
	length := h.Length
	switch {
	case bodyless:
		c.out = writer{delimiter: noBody}
	case end:
		length = 0
		c.out = writer{delimiter: byLength}
	case length >= 0 && (c.http10 || !trails(h)):
		c.out = writer{delimiter: byLength, left: length}
	case length >= 0:
		length = message.UnknownLength
		c.out = writer{delimiter: byChunks}
	case c.http10:
		c.out = writer{delimiter: byClose}
		c.closing = true
	default:
		c.out = writer{delimiter: byChunks}
	}
	c.closing = c.closing || !c.persists || c.in.state == broken
	c.headSent = true
	if end {
		c.out.delimiter = sentAll
	}
	appendTo(out, p, headRoom(&h.Fields), func(b []byte) []byte {
		b = appendStatusLine(b, h)
		b = appendFields(b, &h.Fields)
		switch {
		case h.Status == 204: // RFC 9110 8.6, RFC 9112 6.1: no length of either kind
		case h.Status == 304 && length == 0: // would say that the 200 has no body, RFC 9110 8.6
		case length >= 0:
			b = appendLength(b, length)
		case c.out.delimiter == byChunks:
			b = append(b, chunkedLine...)
		}
		switch {
		case c.closing:
			b = append(b, "Connection: close\r\n"...)
		case c.http10:
			b = append(b, "Connection: keep-alive\r\n"...)
		}
		return append(b, "\r\n"...)
	})
	return nil
}

// trails tells of a message with a body whether trailers follow it: other versions of HTTP have them behind bodies of a
// declared length, too. Here they need chunks.
func trails(h *message.Head) bool {
	return h.Proto >= message.HTTP2 && (h.Length == 0 || h.Has(message.Trailer))
}

func (c *Server) appendSwitch(out *buf.Chain, p *buf.Pool, h *message.Head, end bool) error {
	if !c.asks || c.in.state != complete || end {
		return ErrSwitch
	}
	c.out = writer{delimiter: byClose}
	c.in.state = untilClose
	c.headSent, c.closing = true, true
	appendTo(out, p, headRoom(&h.Fields), func(b []byte) []byte {
		b = appendStatusLine(b, h)
		b = append(b, upgradeLines...)
		b = appendFields(b, &h.Fields)
		if _, at := h.NextField("sec-websocket-accept", 0); at < 0 {
			b = append(b, "Sec-WebSocket-Accept: "...)
			b = append(b, c.accept[:]...)
			b = append(b, "\r\n"...)
		}
		return append(b, "\r\n"...)
	})
	return nil
}

// AppendData sends the first n bytes of src, which must hold them, as body and takes them from src. Those of a response
// that cannot have a body (to HEAD; 204, 304) are dropped. ErrLongBody: the body is longer than its head declared;
// nothing was taken.
func (c *Server) AppendData(out *buf.Chain, p *buf.Pool, _ uint32, src *buf.Chain, n int) error {
	return c.out.data(out, p, src, n)
}

// AppendEnd ends the body, with trailers if they are not nil and the body goes out in chunks; those that must not be sent
// (RFC 9110 6.5.1) are marked Gone. ErrShortBody: the body is shorter than its head declared, the response cannot be
// completed, and the connection has to be closed.
func (c *Server) AppendEnd(out *buf.Chain, p *buf.Pool, _ uint32, trailers *message.Fields) error {
	return c.out.end(out, p, trailers)
}

// CloseAfter makes this response the connection's last. Its head says so if it has not been sent.
func (c *Server) CloseAfter() { c.closing = true }

// Finished is called once when the response is complete, and tells whether the connection may serve another request; if
// not, it is to be closed when everything has been sent.
func (c *Server) Finished() (again bool) {
	invariant.Check(c.headSent && c.out.delimiter == sentAll, "only a complete response is finished")
	again = c.in.state == complete && !c.closing
	if again {
		*c = Server{in: reader{limits: c.in.limits}}
	}
	return again
}

// EndsByClose tells that the response's body, or the tunnel, ends with the connection: a cut is seen as one only if the
// connection is reset.
func (c *Server) EndsByClose() bool { return c.headSent && c.out.delimiter == byClose }
