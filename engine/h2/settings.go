package h2

import (
	"encoding/binary"

	"github.com/yumen-io/yumen/engine/buf"
)

// SETTINGS (RFC 9113 6.5): pairs of a name of 16 bits and a value of 32.

const settingLen = 6

// Names of settings (RFC 9113 6.5.2, RFC 8441 3, RFC 9218 2.1).
const (
	headerTableSize   = 0x1
	enablePush        = 0x2
	concurrentStreams = 0x3
	initialWindowSize = 0x4
	maxFrameSize      = 0x5
	headerListSize    = 0x6
	enableConnect     = 0x8
	noOldPriorities   = 0x9
)

type setting struct {
	name  uint16
	value uint32
}

func parseSetting(b []byte) setting {
	return setting{binary.BigEndian.Uint16(b), binary.BigEndian.Uint32(b[2:])}
}

func (c *conn) appendSettings(out *buf.Chain, p *buf.Pool, list ...setting) {
	b := c.appendFrame(out, p, frame{length: settingLen * len(list), kind: typeSettings})
	for i, s := range list {
		binary.BigEndian.PutUint16(b[settingLen*i:], s.name)
		binary.BigEndian.PutUint32(b[settingLen*i+2:], s.value)
	}
	out.Fill(settingLen * len(list))
}

// peerSettings are the peer's, as far as they matter, and what its GOAWAY said.
type peerSettings struct {
	streams      uint32 // that we may open
	streamWindow uint32
	frameBytes   uint32
	connect      bool // it knows the extended CONNECT

	leaving    bool
	lastServed uint32
	code       uint32
}

// changes are what a SETTINGS frame asks for that is done once, at its end: a frame of 16 kB could otherwise ask for 2730
// walks through all streams.
type changes struct {
	window, tableLeast, tableLast uint32
	hasWindow, hasTable           bool
}

// setting takes one setting of the peer's.
func (c *conn) setting(s setting) *fault {
	switch s.name {
	case headerTableSize:
		// An encoder has to tell of the smallest size between two blocks too (RFC 7541 4.2).
		if !c.changes.hasTable {
			c.changes.hasTable, c.changes.tableLeast = true, s.value
		}
		c.changes.tableLeast, c.changes.tableLast = min(c.changes.tableLeast, s.value), s.value
	case enablePush:
		if s.value > 1 || s.value == 1 && !c.server {
			return badSetting
		}
	case concurrentStreams:
		c.peer.streams = s.value
	case initialWindowSize:
		if s.value > windowMax {
			return largeWindow
		}
		c.changes.hasWindow, c.changes.window = true, s.value
	case maxFrameSize:
		if s.value < frameBytesLeast || s.value > frameBytesMost {
			return badSetting
		}
		c.peer.frameBytes = s.value
	case enableConnect:
		if s.value > 1 || s.value == 0 && c.peer.connect {
			return badSetting // RFC 8441 3: what was offered cannot be taken back
		}
		c.peer.connect = s.value == 1
	case noOldPriorities:
		if s.value > 1 {
			return badSetting
		}
	}
	return nil
}

// beginSettings judges the frame as a whole.
func (c *conn) beginSettings() *fault {
	if c.frame.has(flagAck) {
		if c.unread != 0 {
			return badFrameSize
		}
		if c.acked {
			return c.spend(useless, 1)
		}
		c.acked = true
		c.reader.Acknowledged()
		return nil
	}
	if c.unread%settingLen != 0 {
		return badFrameSize
	}
	c.changes = changes{}
	return c.spend(settings, 1+c.unread/(settingLen*32))
}

// endSettings does what the frame asked for, and says so.
func (c *conn) endSettings(out *buf.Chain, p *buf.Pool) *fault {
	if c.changes.hasTable {
		c.writer.SetTableMax(c.changes.tableLeast)
		c.writer.SetTableMax(c.changes.tableLast)
	}
	if c.changes.hasWindow {
		if f := c.setStreamWindow(c.changes.window); f != nil {
			return f
		}
	}
	if f := c.owe(out, frameHeadLen); f != nil {
		return f
	}
	c.appendFrame(out, p, frame{kind: typeSettings, flags: flagAck})
	c.settled = true
	return nil
}
