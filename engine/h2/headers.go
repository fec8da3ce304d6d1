package h2

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h2/block"
	"github.com/yumen-io/yumen/engine/message"
)

// HEADERS (RFC 9113 6.2): the length of the padding and a priority, if there are any, a fragment of a header block, padding.
// CONTINUATION (6.10): another fragment.

// purpose is what a header block is for.
type purpose uint8

const (
	forNobody purpose = iota // decoded to keep the compression in step, and dropped
	forRequest
	forResponse
	forTrailers
)

// headerBlock is a header block that is being read.
type headerBlock struct {
	open      bool
	endStream bool
	purpose   purpose
	frames    int // of CONTINUATION
	bytes     int // as it is encoded
	stream    uint32
}

// beginHeaders judges a HEADERS frame by what stands before its fragment.
func (c *conn) beginHeaders(in, out *buf.Chain, p *buf.Pool, h *message.Head) (e message.Event, more bool, f *fault) {
	prefix := 0
	if c.frame.has(flagPadded) {
		prefix++
	}
	if c.frame.has(flagPriority) {
		prefix += priorityLen
	}
	switch {
	case c.unread < prefix:
		return e, false, badFrameSize
	case in.Len() < prefix:
		return e, true, nil
	}
	dependsOnItself := false
	if prefix > 0 {
		b := in.Pull(p, prefix)
		f = c.padded(b)
		if c.frame.has(flagPriority) {
			dependsOnItself = parsePriority(b[prefix-priorityLen:]) == c.frame.stream
		}
		c.skip(in, p, prefix)
		if c.unread -= c.pad; c.unread < 0 {
			return e, false, badPadding
		}
		if f != nil {
			return e, false, f
		}
	}
	c.block = headerBlock{open: true, endStream: c.frame.has(flagEndStream), stream: c.frame.stream, bytes: c.unread}
	c.state = inBlock
	var wrong *fault // with the stream
	if c.server {
		wrong, f = c.admitRequest(out, p)
	} else {
		wrong, f = c.admitResponse(out, p)
	}
	if f != nil {
		return e, false, f
	}
	if s := c.streams.get(c.frame.stream); s != nil {
		if wrong == nil && dependsOnItself {
			wrong = selfDependent
		}
		if wrong != nil {
			if e, f = c.giveUp(out, p, s, wrong); f != nil {
				return e, false, f
			}
			c.block.purpose = forNobody
		}
	}
	switch c.block.purpose {
	case forResponse:
		c.reader.Begin(block.Response, h)
	case forTrailers:
		c.reader.Begin(block.Trailers, h)
	default:
		c.reader.Begin(block.Request, h)
	}
	return e, false, nil
}

// continueBlock judges a CONTINUATION, whose stream is the right one.
func (c *conn) continueBlock() *fault {
	c.block.frames++
	c.block.bytes += c.frame.length
	switch {
	case c.block.frames > c.limits.ContinuationsMax:
		return manyContinuations
	case c.block.bytes > c.limits.BlockBytesMax:
		return largeBlock
	}
	return nil
}

// readBlock decodes what has come of a fragment.
func (c *conn) readBlock(in, out *buf.Chain, p *buf.Pool, h *message.Head) (e message.Event, more bool, f *fault) {
	for c.unread > 0 {
		b := in.Front()
		if len(b) == 0 {
			return e, true, nil
		}
		b = b[:min(c.unread, len(b))]
		if r := c.reader.Write(b); r != nil {
			return e, false, ofBlock(r)
		}
		c.skip(in, p, len(b))
	}
	c.state = inRest
	if !c.frame.has(flagEndHeaders) {
		return e, false, nil
	}
	c.block.open = false
	refusal, connection := c.reader.End()
	if connection != nil {
		return e, false, ofBlock(connection)
	}
	s := c.streams.get(c.block.stream)
	if s == nil {
		return e, false, nil // it was given up meanwhile
	}
	switch c.block.purpose {
	case forRequest:
		e, f = c.gotRequest(h, s, refusal)
	case forResponse:
		e, f = c.gotResponse(out, p, h, s, refusal)
	case forTrailers:
		e, f = c.gotTrailers(out, p, s, refusal)
	}
	return e, false, f
}

// ofBlock is the fault that a refusal of a header block is, which the compression does not survive (RFC 9113 4.3).
func ofBlock(r *message.Refusal) *fault {
	if r.Status == 431 {
		return &fault{r, EnhanceYourCalm}
	}
	return &fault{r, CompressionError}
}

// gotTrailers judges a trailer section that is complete; admitted were only those that end their stream.
func (c *conn) gotTrailers(out *buf.Chain, p *buf.Pool, s *stream, refusal *message.Refusal) (message.Event, *fault) {
	switch {
	case refusal != nil:
		return c.giveUp(out, p, s, &fault{refusal, ProtocolError})
	case s.length > s.received && !s.bodyless:
		return c.giveUp(out, p, s, otherLength)
	}
	e := message.Event{Kind: message.GotTrailers, End: true, Stream: s.id}
	c.peerEnd(p, s)
	return e, nil
}

// blockRoom is an upper bound of what most header blocks take: raw bytes hold names, values and separators, and no field
// that is sent literally takes more than four bytes beside its own.
func blockRoom(f *message.Fields) int { return f.RawLen() + 8*len(f.All()) + 160 }

// appendHead sends a header block with the head h.
func (c *conn) appendHead(out *buf.Chain, p *buf.Pool, s *stream, h *message.Head, end bool) {
	room := out.Room(p, frameHeadLen+blockRoom(&h.Fields))
	behind := room[frameHeadLen:frameHeadLen]
	if c.server {
		behind = c.writer.AppendResponse(behind, h)
	} else {
		behind = c.writer.AppendRequest(behind, h)
	}
	c.appendBlock(out, p, s, room, behind, end)
}

// appendTrailers sends a header block with trailers, which ends the stream.
func (c *conn) appendTrailers(out *buf.Chain, p *buf.Pool, s *stream, f *message.Fields) {
	room := out.Room(p, frameHeadLen+blockRoom(f))
	c.appendBlock(out, p, s, room, c.writer.AppendTrailers(room[frameHeadLen:frameHeadLen], f), true)
}

// appendBlock sends a header block that was encoded into room, behind the place of a frame's head: where it is, if it
// fitted there and into one frame, else copied.
func (c *conn) appendBlock(out *buf.Chain, p *buf.Pool, s *stream, room, encoded []byte, end bool) {
	f := frame{length: len(encoded), kind: typeHeaders, flags: flagEndHeaders, stream: s.id}
	if end {
		f.flags |= flagEndStream
	}
	if len(encoded) <= frameSend && len(encoded) <= len(room)-frameHeadLen {
		f.put(room)
		out.Fill(frameHeadLen + len(encoded))
		c.appended += uint64(frameHeadLen + len(encoded))
		c.last = lastFrame{flags: &room[4], stream: s.id, outLen: out.Len(), appended: c.appended}
		return
	}
	if len(encoded) <= len(room)-frameHeadLen {
		encoded = bytes.Clone(encoded) // it lies where its frames will
	}
	for first := true; first || len(encoded) > 0; first = false {
		part := encoded[:min(len(encoded), frameSend)]
		encoded = encoded[len(part):]
		f.length = len(part)
		if len(encoded) > 0 {
			f.flags &^= flagEndHeaders
		} else {
			f.flags |= flagEndHeaders
		}
		out.Fill(copy(c.appendFrame(out, p, f), part))
		f.kind, f.flags = typeContinuation, 0
	}
}
