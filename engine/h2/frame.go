package h2

import (
	"encoding/binary"

	"github.com/yumen-io/yumen/engine/buf"
)

// Types of frame (RFC 9113 6, RFC 9218 7.1).
const (
	typeData           = 0x0
	typeHeaders        = 0x1
	typePriority       = 0x2
	typeReset          = 0x3
	typeSettings       = 0x4
	typePushPromise    = 0x5
	typePing           = 0x6
	typeGoAway         = 0x7
	typeWindowUpdate   = 0x8
	typeContinuation   = 0x9
	typePriorityUpdate = 0x10
)

// Flags. Some share a bit: which is meant, the type says.
const (
	flagEndStream  = 0x1 // DATA, HEADERS
	flagAck        = 0x1 // SETTINGS, PING
	flagEndHeaders = 0x4 // HEADERS, CONTINUATION
	flagPadded     = 0x8 // DATA, HEADERS
	flagPriority   = 0x20
)

// frameHeadLen is the length of what every frame begins with (RFC 9113 4.1).
const frameHeadLen = 9

// frame is the head of a frame.
type frame struct {
	length int // of the payload, padding included
	stream uint32
	kind   uint8
	flags  uint8
}

func (f frame) has(flag uint8) bool { return f.flags&flag != 0 }

// parseFrame parses the first frameHeadLen bytes of b. The reserved bit before the stream is ignored.
func parseFrame(b []byte) frame {
	_ = b[frameHeadLen-1]
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   b[3],
		flags:  b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & idMax,
	}
}

// put writes the head into the first frameHeadLen bytes of b.
func (f frame) put(b []byte) {
	_ = b[frameHeadLen-1]
	b[0], b[1], b[2], b[3], b[4] = byte(f.length>>16), byte(f.length>>8), byte(f.length), f.kind, f.flags
	binary.BigEndian.PutUint32(b[5:], f.stream)
}

// appendFrame appends the head of a frame and returns room for the payload behind it, which the caller fills.
func (c *conn) appendFrame(out *buf.Chain, p *buf.Pool, f frame) []byte {
	room := out.Room(p, frameHeadLen+f.length)
	f.put(room)
	out.Fill(frameHeadLen)
	c.appended += uint64(frameHeadLen + f.length)
	return room[frameHeadLen:]
}

// append32 appends a frame whose payload is one number of 32 bits.
func (c *conn) append32(out *buf.Chain, p *buf.Pool, kind uint8, stream, v uint32) {
	binary.BigEndian.PutUint32(c.appendFrame(out, p, frame{length: 4, kind: kind, stream: stream}), v)
	out.Fill(4)
}
