package ws

import (
	"unicode/utf8"

	"github.com/yumen-io/yumen/internal/invariant"
)

// Codes of a Close frame that a gateway has use for (RFC 6455 7.4.1).
const (
	// GoingAway: this end goes down, as in a drain.
	GoingAway = 1001
	// InternalError: something went wrong on this end.
	InternalError = 1011
	// TryAgainLater: this end is overloaded. It is not in the RFC, but in the registry that it began.
	TryAgainLater = 1013
)

// AppendClose appends a Close frame to b (RFC 6455 5.5.1). What goes to a server must be masked, with a key that the one
// who wrote what is masked cannot foresee (5.3), and what goes to a client must not be; without mask, key is not used. Of
// the reason, which must be UTF-8, go 123 bytes at most, cut between two characters. With code 0 the frame carries neither.
func AppendClose(b []byte, code uint16, reason string, mask bool, key [4]byte) []byte {
	invariant.Check(code == 0 || code >= 1000 && code < 5000, "ws: a Close frame with a code that is none (RFC 6455 7.4.2)")
	const reasonBytesMax = controlBytesMax - 2
	if len(reason) > reasonBytesMax {
		end := reasonBytesMax
		for end > 0 && !utf8.RuneStart(reason[end]) {
			end--
		}
		reason = reason[:end]
	}
	length := 2 + len(reason)
	if code == 0 {
		length, reason = 0, ""
	}
	if mask {
		b = append(b, bitFin|opClose, bitMask|byte(length))
		b = append(b, key[:]...)
	} else {
		b = append(b, bitFin|opClose, byte(length))
	}
	from := len(b)
	if code != 0 {
		b = append(b, byte(code>>8), byte(code))
	}
	b = append(b, reason...)
	if mask {
		for i := range b[from:] {
			b[from+i] ^= key[i&3]
		}
	}
	return b
}
