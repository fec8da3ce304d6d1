package clienthello

import (
	"encoding/binary"

	"github.com/yumen-io/yumen/engine/message"
)

// A record is type 1, version 2, length 2, and a fragment (RFC 8446 5.1). A handshake message is type 1, length 3, and a
// body (RFC 8446 4); its bytes are those of the fragments, one after the other, and it may begin and be cut anywhere.
const (
	recordHeader     = 5
	recordHandshake  = 22
	versionMajor     = 3 // of every TLS and of its forerunner; the minor one says nothing here (RFC 8446 5.1)
	fragmentBytesMax = 1 << 14

	messageHeader = 4
	messageHello  = 1
)

// measure walks over the records of the hello and returns its length with its header, once it is there as a whole; zero
// before. What is refused is so as soon as the byte is there that shows it.
func measure(b []byte) (length int, refused *message.Refusal) {
	var (
		header [messageHeader]byte
		have   int // bytes of the message
	)
	for records := 0; len(b) > 0; records++ {
		if records == recordsMax {
			return 0, manyRecords
		}
		if b[0] != recordHandshake || len(b) > 1 && b[1] != versionMajor {
			if records == 0 {
				return 0, notTLS
			}
			return 0, badRecord
		}
		if len(b) < recordHeader {
			return 0, nil
		}
		size := int(binary.BigEndian.Uint16(b[3:]))
		if size == 0 || size > fragmentBytesMax {
			return 0, badRecord
		}
		before := have
		fragment := b[recordHeader:min(len(b), recordHeader+size)]
		if have < messageHeader {
			copy(header[have:], fragment)
		}
		have += len(fragment)
		if have > 0 && header[0] != messageHello {
			return 0, malformed
		}
		if have >= messageHeader {
			length = messageHeader + int(header[1])<<16 + int(binary.BigEndian.Uint16(header[2:]))
			if length > helloBytesMax {
				return 0, largeHello
			}
			if before+size > length {
				return 0, malformed // a client has nothing more to say before it was answered
			}
			if have == length {
				return length, nil
			}
		}
		if len(fragment) < size {
			return 0, nil
		}
		b = b[recordHeader+size:]
	}
	return 0, nil
}

// reader reads the bytes of a message that measure found to be there. Who reads does not read over its end.
type reader struct {
	fragment []byte // what is left of the record
	rest     []byte // the records behind it
	at       int    // bytes read
}

// turn goes on to the next record.
func (r *reader) turn() {
	end := recordHeader + int(binary.BigEndian.Uint16(r.rest[3:]))
	r.fragment, r.rest = r.rest[recordHeader:end], r.rest[end:]
}

// number reads a number of some bytes.
func (r *reader) number(width int) (n int) {
	r.at += width
	for range width {
		if len(r.fragment) == 0 {
			r.turn()
		}
		n = n<<8 | int(r.fragment[0])
		r.fragment = r.fragment[1:]
	}
	return n
}

func (r *reader) skip(n int) {
	r.at += n
	for n > len(r.fragment) {
		n -= len(r.fragment)
		r.turn()
	}
	r.fragment = r.fragment[n:]
}

func (r *reader) copy(to []byte) {
	r.at += len(to)
	for len(to) > 0 {
		if len(r.fragment) == 0 {
			r.turn()
		}
		n := copy(to, r.fragment)
		to, r.fragment = to[n:], r.fragment[n:]
	}
}

// vector reads a length of some bytes and returns where what has that length ends, if that is not behind a given end.
func (r *reader) vector(width, end int) (vectorEnd int, ok bool) {
	if end-r.at < width {
		return r.at, false
	}
	n := r.number(width)
	return r.at + n, n <= end-r.at
}
