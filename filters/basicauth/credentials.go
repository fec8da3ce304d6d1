package basicauth

import (
	"bytes"
	"encoding/base64"

	"github.com/yumen-io/yumen/engine/message"
)

// Limits on credentials (credentials_malformed).
const (
	credentialBytesMax = 1024 // of name and password together
	encodedBytesMax    = (credentialBytesMax + 2) / 3 * 4
	decodedBytesMax    = encodedBytesMax / 4 * 3 // with what padding stands for
)

// credentials are a name and a password, in scratch memory.
type credentials struct {
	name, password []byte
}

// found is what a request has of credentials.
type found uint8

const (
	missing found = iota
	malformed
	present
)

// read reads the Authorization field of a request (RFC 7617 section 2) into space. Two fields are malformed: it is not for a guard
// to choose the one that the upstream will not look at.
func read(h *message.Head, space *[decodedBytesMax]byte) (c credentials, is found) {
	first, at := h.NextField("authorization", 0)
	if at < 0 {
		return c, missing
	}
	if _, more := h.NextField("authorization", at); more >= 0 {
		return c, malformed
	}
	scheme, rest, _ := bytes.Cut(first, []byte(" "))
	if !bytes.EqualFold(scheme, []byte("Basic")) {
		return c, missing // of another kind
	}
	rest = bytes.Trim(rest, " ")
	if len(rest) == 0 || len(rest) > encodedBytesMax {
		return c, malformed
	}
	n, err := base64.StdEncoding.Decode(space[:], rest)
	if err != nil || n > credentialBytesMax {
		return c, malformed
	}
	name, password, ok := bytes.Cut(space[:n], []byte(":"))
	if !ok || len(name) == 0 {
		return c, malformed
	}
	// A password can have no control characters (RFC 7617 section 2); bcrypt would stop at a NUL.
	for _, b := range space[:n] {
		if b < ' ' || b == 0x7f {
			return c, malformed
		}
	}
	return credentials{name, password}, present
}
