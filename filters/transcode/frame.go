package transcode

import (
	"encoding/binary"
)

// Frames takes the messages out of a gRPC body, which may come cut at any place. The zero value is at the beginning of
// a body. A message that lies in one piece is not copied.
type Frames struct {
	head    [FrameHeadBytes]byte
	headLen int
	body    []byte // of a message that came in pieces
	need    int    // bytes of it that are still to come
	inBody  bool
}

// Next takes the next message from the front of in, and returns what is behind it. ok: there is one, which is valid until the
// next call and as long as in; else in was read to its end. bytesMax bounds a message, 0 is 4 MiB. After a fault, which is
// the upstream's, the body cannot be read on.
func (r *Frames) Next(in []byte, bytesMax int) (message, rest []byte, ok bool, f *Fault) {
	if !r.inBody {
		n := copy(r.head[r.headLen:], in)
		r.headLen += n
		in = in[n:]
		if r.headLen < FrameHeadBytes {
			return nil, nil, false, nil
		}
		if f := r.begin(bytesMax); f != nil {
			return nil, nil, false, f
		}
		if len(in) >= r.need {
			n := r.need
			r.reset()
			return in[:n:n], in[n:], true, nil
		}
	}
	n := min(r.need, len(in))
	r.body = append(r.body, in[:n]...)
	r.need -= n
	if r.need > 0 {
		return nil, nil, false, nil
	}
	message = r.body
	r.reset()
	return message, in[n:], true, nil
}

// begin judges a head that is complete.
func (r *Frames) begin(bytesMax int) *Fault {
	if bytesMax <= 0 {
		bytesMax = messageBytesMaxDefault
	}
	length := binary.BigEndian.Uint32(r.head[1:])
	switch {
	case r.head[0] == 1:
		return badResponse(CompressedFrame, "a compressed message, though only identity was accepted")
	case r.head[0] != 0:
		return badResponse(BadFrame, "a message with the unknown flag %#x", r.head[0])
	case int64(length) > int64(bytesMax):
		return badResponse(MessageTooLarge, "a message of %d bytes, where %d are allowed", length, bytesMax)
	}
	r.inBody, r.need, r.body = true, int(length), r.body[:0]
	return nil
}

func (r *Frames) reset() {
	r.inBody, r.headLen, r.need = false, 0, 0
	if cap(r.body) > scratchKeptBytes {
		r.body = nil // the message that is returned keeps it
	}
}

// End judges the end of a body: in the middle of a message it is a fault.
func (r *Frames) End() *Fault {
	if r.inBody || r.headLen > 0 {
		return badResponse(BadFrame, "the body ends in the middle of a message")
	}
	return nil
}

// AppendFrame appends a message as gRPC sends it, uncompressed.
func AppendFrame(dst, message []byte) []byte {
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(message)))
	return append(dst, message...)
}
