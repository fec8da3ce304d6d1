package grpcweb

import "encoding/binary"

// frameHeadBytes is what stands before a message: a flag and the length.
const frameHeadBytes = 5

// lastFrame is the flag of a frame that holds trailers (PROTOCOL-WEB: the most significant bit).
const lastFrame = 0x80

// beginFrame begins the last frame in the memory of b; lines are appended, and endFrame tells how many bytes they are.
func beginFrame(b []byte) []byte { return append(b[:0], lastFrame, 0, 0, 0, 0) }

func endFrame(b []byte) { binary.BigEndian.PutUint32(b[1:], uint32(len(b)-frameHeadBytes)) }

// frameWalk knows where in a body messages end, without looking into them: a frame may be added there and nowhere else.
type frameWalk struct {
	head [frameHeadBytes]byte
	have int    // bytes of the head
	left uint32 // of the message
}

// between tells that the body is at no message.
func (w *frameWalk) between() bool { return w.have == 0 && w.left == 0 }

// walk reads on.
func (w *frameWalk) walk(b []byte) {
	for len(b) > 0 {
		if w.left > 0 {
			n := min(int64(w.left), int64(len(b)))
			w.left -= uint32(n)
			b = b[n:]
			continue
		}
		n := copy(w.head[w.have:], b)
		w.have += n
		b = b[n:]
		if w.have == frameHeadBytes {
			w.have, w.left = 0, binary.BigEndian.Uint32(w.head[1:])
		}
	}
}
