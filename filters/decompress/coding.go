package decompress

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
)

// Coding is a content coding (RFC 9110 8.4.1).
type Coding uint8

// The codings that this package decodes.
const (
	Gzip Coding = iota
	Deflate
	Brotli
	Zstd
	codings
)

var codingNames = [codings]string{Gzip: "gzip", Deflate: "deflate", Brotli: "br", Zstd: "zstd"}

// String returns the coding's name in Content-Encoding.
func (c Coding) String() string { return codingNames[c] }

// CodingNamed returns the coding of that name.
func CodingNamed(name string) (Coding, bool) {
	for c, n := range codingNames {
		if n == name {
			return Coding(c), true
		}
	}
	return Gzip, false
}

// codingsMax bounds the codings upon each other. Two are rare already, and each further one multiplies what a byte can become.
const codingsMax = 2

// applied is the codings of a body in the order in which they are taken off.
type applied struct {
	list  [codingsMax]Coding
	count int
}

// appliedTo reads every Content-Encoding of a request.
func appliedTo(h *message.Fields, accepted *[codings]bool) (a applied, refusal *refusal) {
	for value, at := h.NextField("content-encoding", 0); at >= 0; value, at = h.NextField("content-encoding", at) {
		for len(value) > 0 {
			var name []byte
			name, value, _ = bytes.Cut(value, []byte{','})
			name = bytes.Trim(name, " \t")
			if len(name) == 0 || message.EqualFold(name, []byte("identity")) {
				continue
			}
			c, ok := codingOf(name)
			switch {
			case !ok || !accepted[c]:
				return a, unsupported
			case a.count == codingsMax:
				return a, tooManyCodings
			}
			a.list[a.count] = c
			a.count++
		}
	}
	if a.count == 2 { // they are named in the order in which they were applied
		a.list[0], a.list[1] = a.list[1], a.list[0]
	}
	return a, nil
}

// codingOf reads a name without regard to case; x-gzip is what HTTP/1.0 called gzip (RFC 9110 8.4.1.3).
func codingOf(name []byte) (Coding, bool) {
	for c, n := range codingNames {
		if message.EqualFold(name, []byte(n)) {
			return Coding(c), true
		}
	}
	return Gzip, message.EqualFold(name, []byte("x-gzip"))
}
