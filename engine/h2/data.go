package h2

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/invariant"
)

// DATA (RFC 9113 6.1): the length of the padding if there is any, data, padding. All of it counts against both windows.

// beginData judges a frame of DATA before any of it is handed out, by its length and its stream.
func (c *conn) beginData(in, out *buf.Chain, p *buf.Pool) (e message.Event, more bool, f *fault) {
	if c.frame.has(flagPadded) {
		if c.unread == 0 {
			return e, false, badFrameSize
		}
		if in.Len() == 0 {
			return e, true, nil
		}
		f := c.padded(in.Front())
		c.skip(in, p, 1)
		if c.unread -= c.pad; c.unread < 0 {
			return e, false, badPadding
		}
		if f != nil {
			return e, false, f
		}
	}
	c.state = inData
	if c.recvWindow -= int32(c.frame.length); c.recvWindow < 0 {
		return e, false, overrun
	}
	c.give(out, p, c.frame.length-c.unread)
	if n := c.unread; n > 0 {
		c.purse.earn(emptyData, 1)
		c.purse.earn(pings, 1)
		c.purse.earn(padding, n)
	} else if !c.frame.has(flagEndStream) {
		if f := c.spend(emptyData, 1); f != nil {
			return e, false, f
		}
	}
	c.body = nil
	s := c.streams.get(c.frame.stream)
	if s == nil {
		return e, false, c.dataNowhere(out, p)
	}
	if s.deaf && !s.peerEnded {
		s.peerEnded = c.frame.has(flagEndStream)
		return e, false, nil
	}
	if f := c.judgeData(s); f != nil {
		e, f = c.giveUp(out, p, s, f)
		return e, false, f
	}
	c.giveStream(out, p, s, c.frame.length-c.unread)
	c.body = s
	if c.unread == 0 && c.frame.has(flagEndStream) {
		e = message.Event{Kind: message.GotEnd, End: true, Stream: s.id}
		c.peerEnd(p, s)
	}
	return e, false, nil
}

// dataNowhere decides about DATA on a stream that is no more, or never was.
func (c *conn) dataNowhere(out *buf.Chain, p *buf.Pool) *fault {
	id := c.frame.stream
	if c.idle(id) {
		return idleStream
	}
	switch c.graves.how(id) {
	case byUs:
		return nil
	case byPeer:
		return c.refuseFrame(out, p, id, halfClosed)
	}
	return closedStream
}

// judgeData takes the frame into the accounts of its stream.
func (c *conn) judgeData(s *stream) *fault {
	end := c.frame.has(flagEndStream)
	switch {
	case s.peerEnded:
		return halfClosed
	case !s.peerHead:
		return dataBeforeHead
	case int32(c.frame.length) > s.recvWindow:
		return streamOverrun
	case s.bodyless && c.unread > 0:
		return bodyForbidden
	}
	s.recvWindow -= int32(c.frame.length)
	s.received += int64(c.unread)
	if s.length >= 0 && !s.bodyless && (s.received > s.length || end && s.received < s.length) {
		return otherLength // RFC 9113 8.1.1
	}
	return nil
}

// readData hands out what has come of the data, or drops it if its stream is gone.
func (c *conn) readData(in, out *buf.Chain, p *buf.Pool) (e message.Event, more bool, f *fault) {
	if c.unread == 0 {
		c.body = nil
		c.state = inRest
		return e, false, nil
	}
	n := min(c.unread, in.Len())
	if n == 0 {
		return e, true, nil
	}
	s := c.body
	if s == nil {
		c.skip(in, p, n)
		c.give(out, p, n)
		return e, false, nil
	}
	c.unread -= n
	e = message.Event{Kind: message.GotData, Stream: s.id, N: n, End: c.unread == 0 && c.frame.has(flagEndStream)}
	if e.End {
		c.peerEnd(p, s)
	}
	return e, false, nil
}

// frameLen is how much of have bytes goes into the next frame of a stream.
func (c *conn) frameLen(s *stream, have int) int {
	return int(min(int64(have), s.sendWindow, c.sendWindow, frameSend))
}

// appendData sends the first n bytes of src as one frame.
func (c *conn) appendData(out *buf.Chain, p *buf.Pool, s *stream, src *buf.Chain, n int, end bool) {
	f := frame{length: n, kind: typeData, stream: s.id}
	if end {
		f.flags = flagEndStream
	}
	// The room that is asked for holds the head alone; flags are its fifth byte.
	room := out.Room(p, frameHeadLen)
	f.put(room)
	out.Fill(frameHeadLen)
	out.Take(p, src, n)
	c.appended += uint64(frameHeadLen + n)
	s.sendWindow -= int64(n)
	c.sendWindow -= int64(n)
	if n >= crumb || s.sendWindow > 0 && c.sendWindow > 0 {
		c.purse.earn(windowUpdates, 2)
		c.purse.earn(pings, 1)
	}
	c.last = lastFrame{flags: &room[4], stream: s.id, outLen: out.Len(), appended: c.appended}
}

// appendBody sends the first n bytes of src, which must hold them, or queues them.
func (c *conn) appendBody(out *buf.Chain, p *buf.Pool, stream uint32, src *buf.Chain, n int) error {
	s := c.streams.get(stream)
	switch {
	case s == nil || s.drop || c.broken():
		src.Skip(p, n)
		return nil
	case n == 0:
		return nil
	case s.ending || s.ended || s.sendLeft >= 0 && int64(n) > s.sendLeft:
		return ErrLongBody
	}
	invariant.Check(s.headSent, "a body follows its head")
	if s.sendLeft >= 0 {
		s.sendLeft -= int64(n)
	}
	if s.queue.Len() == 0 && c.schedule.used == 0 {
		for n > 0 && s.sendWindow > 0 && c.sendWindow > 0 && out.Len() < outDirect {
			k := c.frameLen(s, n)
			c.appendData(out, p, s, src, k, false)
			n -= k
		}
	}
	if n == 0 {
		return nil
	}
	s.queue.Take(p, src, n)
	c.queued += n
	s.high = s.high || s.queue.Len() > queueLow
	c.wake(s)
	return nil
}

// appendEnd ends a body, behind what is queued of it.
func (c *conn) appendEnd(out *buf.Chain, p *buf.Pool, stream uint32, trailers *message.Fields) error {
	s := c.streams.get(stream)
	if s == nil || c.broken() {
		return nil
	}
	invariant.Check(s.headSent && !s.ending && !s.ended, "a body is ended once")
	if s.drop {
		trailers = nil
	} else if s.sendLeft > 0 {
		return ErrShortBody
	}
	s.ending = true
	switch {
	case s.queue.Len() > 0:
		if trailers != nil {
			trailers.CopyTo(&s.trailers)
			s.trailed = true
		}
		return nil
	case trailers != nil:
		c.appendTrailers(out, p, s, trailers)
	case c.last.stream == s.id && c.last.appended == c.appended && c.last.outLen == out.Len():
		*c.last.flags |= flagEndStream
	default:
		c.appendFrame(out, p, frame{kind: typeData, flags: flagEndStream, stream: s.id})
	}
	c.sentEnd(out, p, s)
	return nil
}
