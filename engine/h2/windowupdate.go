package h2

import (
	"encoding/binary"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// WINDOW_UPDATE (RFC 9113 6.9): 31 bits, the increment.

const windowUpdateLen = 4

func parseWindowUpdate(b []byte) (increment uint32) { return binary.BigEndian.Uint32(b) & windowMax }

func (c *conn) gotWindowUpdate(out *buf.Chain, p *buf.Pool, b []byte) (message.Event, *fault) {
	if f := c.spend(windowUpdates, 1); f != nil {
		return message.Event{}, f
	}
	n := int64(parseWindowUpdate(b))
	id := c.frame.stream
	if id == 0 {
		if n == 0 {
			return message.Event{}, emptyIncrement
		}
		if c.sendWindow += n; c.sendWindow > windowMax {
			return message.Event{}, largeWindow
		}
		return message.Event{}, nil
	}
	s := c.streams.get(id)
	if s == nil {
		if c.idle(id) {
			return message.Event{}, idleStream
		}
		return message.Event{}, nil // sent before the peer knew that the stream is closed
	}
	if n == 0 {
		return c.giveUp(out, p, s, emptyStreamStep)
	}
	if s.sendWindow += n; s.sendWindow > windowMax {
		return c.giveUp(out, p, s, largeStreamStep)
	}
	c.wake(s)
	return message.Event{}, nil
}
