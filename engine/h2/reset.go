package h2

import (
	"encoding/binary"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// RST_STREAM (RFC 9113 6.4): the error code.

const resetLen = 4

func (c *conn) gotReset(p *buf.Pool, b []byte) (message.Event, *fault) {
	id := c.frame.stream
	s := c.streams.get(id)
	if s == nil {
		if c.idle(id) {
			return message.Event{}, idleStream
		}
		return message.Event{}, c.spend(useless, 1)
	}
	// A client that has its response, or the beginning of it, has waited for it like any other; what costs nothing to ask
	// for and much to begin is a request that is reset before. An upstream can only reset what it was sent.
	if c.server && !s.headSent {
		if f := c.spend(resets, 1); f != nil {
			return message.Event{}, f
		}
	}
	e := message.Event{}
	if s.reported {
		e = message.Event{Kind: message.GotReset, End: true, Stream: id, N: int(binary.BigEndian.Uint32(b))}
		c.told = nil
	}
	c.close(p, s, byPeer)
	return e, nil
}

// giveUp resets a stream because of a fault of the peer's, who cannot make that happen any more often than it may reset
// streams itself.
func (c *conn) giveUp(out *buf.Chain, p *buf.Pool, s *stream, f *fault) (message.Event, *fault) {
	if flood := c.refuseFrame(out, p, s.id, f); flood != nil {
		return message.Event{}, flood
	}
	e := message.Event{}
	if s.reported {
		e = message.Event{Kind: message.GotReset, End: true, Stream: s.id, N: int(f.code)}
		c.told = f.Refusal
	}
	c.close(p, s, byUs)
	return e, nil
}

// refuseFrame sends RST_STREAM on a stream, which may be gone already, because of a frame on it.
func (c *conn) refuseFrame(out *buf.Chain, p *buf.Pool, id uint32, f *fault) *fault {
	if flood := c.spend(resets, 1); flood != nil {
		return flood
	}
	if flood := c.owe(out, frameHeadLen+resetLen); flood != nil {
		return flood
	}
	c.append32(out, p, typeReset, id, f.code)
	return nil
}

// Reset gives a stream up: what is queued is dropped, RST_STREAM is sent, no event names it any more. A stream that is gone
// already stays so. Bytes of GotData that were not consumed are still to be reported to Took.
func (c *conn) Reset(out *buf.Chain, p *buf.Pool, stream, code uint32) {
	s := c.streams.get(stream)
	if s == nil {
		return
	}
	if !c.broken() {
		c.append32(out, p, typeReset, stream, code)
	}
	c.close(p, s, byUs)
}
