package h2

import (
	"bytes"
	"encoding/binary"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// PRIORITY (RFC 9113 6.3), which nobody needs any more: it is checked and has no effect. PRIORITY_UPDATE (RFC 9218 7.1): a
// stream, and the value that its priority field would have.

const (
	priorityLen            = 5
	priorityUpdateLenLeast = 4
)

// parsePriority returns the stream that one is made to depend on.
func parsePriority(b []byte) (dependency uint32) { return binary.BigEndian.Uint32(b) & idMax }

func (c *conn) gotPriority(out *buf.Chain, p *buf.Pool, b []byte) (message.Event, *fault) {
	if f := c.spend(priorities, 1); f != nil {
		return message.Event{}, f
	}
	wrong := badPriority
	if c.frame.length == priorityLen {
		if parsePriority(b) != c.frame.stream {
			return message.Event{}, nil
		}
		wrong = selfDependent
	}
	if s := c.streams.get(c.frame.stream); s != nil {
		return c.giveUp(out, p, s, wrong)
	}
	if c.idle(c.frame.stream) {
		return message.Event{}, wrong // RST_STREAM cannot be sent on a stream that is idle
	}
	return message.Event{}, c.refuseFrame(out, p, c.frame.stream, wrong)
}

// gotPriorityUpdate takes the frame, or as much of it as can matter. Streams that are not open are not remembered.
func (c *conn) gotPriorityUpdate(b []byte) *fault {
	if f := c.spend(priorities, 1); f != nil {
		return f
	}
	id := binary.BigEndian.Uint32(b) & idMax
	if id == 0 {
		return badStream
	}
	if s := c.streams.get(id); s != nil {
		urgency, incremental := parsePriorityField(b[priorityUpdateLenLeast:])
		c.prioritise(s, urgency, incremental)
	}
	return nil
}

var comma, semicolon = []byte{','}, []byte{';'}

// parsePriorityField reads a priority (RFC 9218 4): a dictionary of structured fields, of which u and i have a meaning.
// Whatever is not understood has no effect.
func parsePriorityField(v []byte) (urgency uint8, incremental bool) {
	urgency = urgencyStandard
	if len(v) > priorityBytesMax {
		return urgency, false
	}
	for len(v) > 0 {
		var member []byte
		member, v, _ = bytes.Cut(v, comma)
		member, _, _ = bytes.Cut(member, semicolon)
		switch member = bytes.Trim(member, " \t"); {
		case len(member) == 3 && member[0] == 'u' && member[1] == '=' && member[2]-'0' < urgencies:
			urgency = member[2] - '0'
		case string(member) == "i" || string(member) == "i=?1":
			incremental = true
		case string(member) == "i=?0":
			incremental = false
		}
	}
	return urgency, incremental
}
