package transcode

import (
	"encoding/binary"

	"github.com/yumen-io/yumen/engine/buf"
)

// Frames takes the messages out of a gRPC body, which may come cut at any place. The zero value is at the beginning of a body.
// What is not read yet is held in the loop's buffers, and counted there.
type Frames struct {
	chain buf.Chain
	read  int // bytes at its front that the last message was
}

// Take adds the next n bytes of the body from in, all of them.
func (r *Frames) Take(p *buf.Pool, in *buf.Chain, n int) { r.chain.Take(p, in, n) }

// Next returns the next message, which is valid until the next call of any method. ok: there is one. bytesMax bounds
// a message, 0 is 4 MiB. After a fault, which is the upstream's, the body cannot be read on.
func (r *Frames) Next(p *buf.Pool, bytesMax int) (message []byte, ok bool, f *Fault) {
	r.pass(p)
	if r.chain.Len() < FrameHeadBytes {
		return nil, false, nil
	}
	n, f := frameLength(r.chain.Pull(p, FrameHeadBytes), bytesMax)
	if f != nil {
		return nil, false, f
	}
	n += FrameHeadBytes
	if r.chain.Len() < n {
		return nil, false, nil
	}
	r.read = n
	return r.chain.Pull(p, n)[FrameHeadBytes:n:n], true, nil
}

// pass gives up the last message.
func (r *Frames) pass(p *buf.Pool) {
	r.chain.Skip(p, r.read)
	r.read = 0
}

// frameLength judges the head of a frame, and returns the length of its message.
func frameLength(head []byte, bytesMax int) (int, *Fault) {
	if bytesMax <= 0 {
		bytesMax = messageBytesMaxDefault
	}
	length := binary.BigEndian.Uint32(head[1:])
	switch {
	case head[0] == 1:
		return 0, badResponse(CompressedFrame, "a compressed message, though only identity was accepted")
	case head[0] != 0:
		return 0, badResponse(BadFrame, "a message with the unknown flag %#x", head[0])
	case int64(length) > int64(bytesMax):
		return 0, badResponse(MessageTooLarge, "a message of %d bytes, where %d are allowed", length, bytesMax)
	}
	return int(length), nil
}

// End judges the end of a body: in the middle of a message it is a fault.
func (r *Frames) End() *Fault {
	if r.chain.Len() > r.read {
		return badResponse(BadFrame, "the body ends in the middle of a message")
	}
	return nil
}

// Release gives back what is held.
func (r *Frames) Release(p *buf.Pool) {
	r.chain.Release(p)
	r.read = 0
}

// AppendFrame appends a message as gRPC sends it, uncompressed.
func AppendFrame(dst, message []byte) []byte {
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(message)))
	return append(dst, message...)
}
