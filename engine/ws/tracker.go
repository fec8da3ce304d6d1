// Package ws knows WebSocket frames (RFC 6455 5) as far as a gateway must: a WebSocket is a tunnel, but whoever wants to say
// something in it, and be it goodbye, has to know where one frame ends and the next begins. A Tracker watches the bytes of
// one direction pass and knows that; AppendClose writes the goodbye.
//
// The package judges no payload and changes nothing. What it notices of wrong framing it does not refuse either, since that
// is for the two ends to do: it says that the stream is Broken, and then nothing may be put into it.
package ws

import "encoding/binary"

// frameHeaderMax: two bytes, eight of a length, four of a masking key.
const frameHeaderMax = 2 + 8 + 4

// Tracker follows one direction of a WebSocket from its first byte on. The zero value is ready. It is for one direction, is
// not safe for concurrent use, and allocates nothing.
type Tracker struct {
	payload   uint64 // bytes of the frame that are to come
	head      [frameHeaderMax]byte
	have      uint8 // bytes of head, 0 between frames
	closing   bool  // the frame that passes is a Close
	closed    bool  // a whole Close has passed
	broken    bool
	fragments bool // a message has begun and its last frame has not: control frames may come in between
	begun     bool // a frame was seen, so that masked is known
	masked    bool // frames are masked: all in one direction, none in the other
}

// AtBoundary tells whether the stream stands between two frames, or at its beginning, and nothing is wrong with it: a
// control frame may follow here, also within a fragmented message (RFC 6455 5.4).
func (t *Tracker) AtBoundary() bool { return t.have == 0 && t.payload == 0 && !t.broken }

// Closed tells whether a whole Close frame has passed. It stays: nothing may follow it (RFC 6455 5.5.1), so that bytes
// which do make the stream Broken.
func (t *Tracker) Closed() bool { return t.closed }

// Broken tells whether what has passed is not a sequence of frames. That stays, and there are no boundaries any more.
func (t *Tracker) Broken() bool { return t.broken }

// UntilBoundary returns how many bytes are to pass until the stream stands between two frames: 0 if it does. It is not
// known within the header of a frame, nor if the stream is broken.
func (t *Tracker) UntilBoundary() (n int64, known bool) {
	if t.broken || t.have != 0 {
		return 0, false
	}
	return int64(t.payload), true
}

// Pass lets bytes pass, cut in any way.
func (t *Tracker) Pass(b []byte) {
	for len(b) > 0 {
		b = b[t.PassFrame(b):]
	}
}

// PassFrame lets bytes pass up to the end of the frame that they belong to, and returns how many those are: whoever waits
// for a boundary passes with it and asks AtBoundary, and what it did not take comes behind. At a boundary it goes to the
// end of the next frame, and in a broken stream to the end of b. It returns 0 for no bytes alone.
func (t *Tracker) PassFrame(b []byte) (n int) {
	if t.payload == 0 && !t.broken {
		n = t.passHeader(b)
	}
	if t.broken {
		return len(b)
	}
	if t.have > 0 {
		return n
	}
	part := min(t.payload, uint64(len(b)-n))
	t.payload -= part
	if t.payload == 0 {
		t.closed = t.closing
	}
	return n + int(part)
}

// passHeader lets the bytes of a header pass, as many as there are of it, and returns how many those are.
func (t *Tracker) passHeader(b []byte) int {
	if t.have == 0 {
		size := t.header(b) // where it lies: most headers come in one piece
		if size == 0 {
			size = copy(t.head[:], b)
			t.have = uint8(size)
		}
		return size
	}
	before := int(t.have)
	n := copy(t.head[before:], b)
	size := t.header(t.head[:before+n])
	if size == 0 {
		t.have += uint8(n)
		return n
	}
	t.have = 0
	return size - before
}

// Opcodes, RFC 6455 5.2: the upper bit is set in those of control frames.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

// Bits of the first two bytes. The first of the reserved ones says that a message is compressed (RFC 7692 6); no extension
// that is registered uses the others.
const (
	bitFin        = 0x80
	bitCompressed = 0x40
	bitsReserved  = 0x30
	bitMask       = 0x80
)

// controlBytesMax is the most that a control frame can carry (RFC 6455 5.5).
const controlBytesMax = 125

// header reads the header that b begins with (RFC 6455 5.2), takes over what it says, and returns its length: 0 if there is
// more of it to come. What is wrong is noticed when the byte is there that shows it.
func (t *Tracker) header(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	op, fin, control := b[0]&15, b[0]&bitFin != 0, b[0]&8 != 0
	switch {
	case t.closed,
		b[0]&bitsReserved != 0,
		op > opBinary && op < opClose, op > opPong,
		control && (!fin || b[0]&bitCompressed != 0),
		op == opContinuation && (!t.fragments || b[0]&bitCompressed != 0),
		(op == opText || op == opBinary) && t.fragments:
		t.broken = true
		return 0
	}
	if len(b) < 2 {
		return 0
	}
	masked := b[1]&bitMask != 0
	length, size := uint64(b[1]&^bitMask), 2
	if t.begun && masked != t.masked || control && length > controlBytesMax {
		t.broken = true
		return 0
	}
	// The shortest form must be used (RFC 6455 5.2), so that noise is not often taken for a header.
	switch length {
	case 126:
		if size += 2; len(b) < size {
			return 0
		}
		length = uint64(binary.BigEndian.Uint16(b[2:]))
		t.broken = length < 126
	case 127:
		if size += 8; len(b) < size {
			return 0
		}
		length = binary.BigEndian.Uint64(b[2:])
		t.broken = length < 1<<16 || length >= 1<<63
	}
	if masked {
		size += 4
	}
	if t.broken || len(b) < size {
		return 0
	}
	t.begun, t.masked = true, masked
	t.closing = op == opClose
	if !control {
		t.fragments = !fin
	}
	t.payload = length
	return size
}
