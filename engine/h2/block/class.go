package block

import (
	"encoding/binary"

	"github.com/yumen-io/yumen/engine/message"
)

// The classes of bytes are those of HTTP/1: whatever passes here may be written there.

const (
	tokenByte  uint8 = 1 << iota // RFC 9110 5.6.2
	nameByte                     // a token's without upper-case letters: a field name's, RFC 9113 8.2.1
	hostByte                     // a host name's, see hostLen
	targetByte                   // a request target's: visible, and no '#' (RFC 9112 3.2)
)

var classes = func() (t [256]uint8) {
	add := func(class uint8, bytes string) {
		for i := range len(bytes) {
			t[bytes[i]] |= class
		}
	}
	const small, large, digits = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
	add(tokenByte|nameByte, small+digits+"!#$%&'*+-.^_`|~")
	add(tokenByte, large)
	add(hostByte, small+large+digits+"-._~!$&'()*+;=")
	for c := byte('!'); c <= '~'; c++ {
		if c != '#' {
			t[c] |= targetByte
		}
	}
	return t
}()

// prefix returns the length of what s begins with of a class.
func prefix(s string, class uint8) int {
	i := 0
	for i < len(s) && classes[s[i]]&class != 0 {
		i++
	}
	return i
}

// checkName judges a field name, RFC 9113 8.2.1.
func checkName(s string) *message.Refusal {
	switch i := prefix(s, nameByte); {
	case i == len(s) && i > 0:
		return nil
	case i < len(s) && s[i]-'A' < 26 && prefix(s, tokenByte) == len(s):
		return upperCase
	}
	return badFieldName
}

// checkValue judges a field value: HTAB, SP, visible characters and bytes above ASCII (RFC 9110 5.5), no white space at
// either end (RFC 9113 8.2.1).
func checkValue(b []byte) *message.Refusal {
	if len(b) == 0 {
		return nil
	}
	if isSpace(b[0]) || isSpace(b[len(b)-1]) {
		return paddedValue
	}
	// Eight bytes in one word: tops of low are set if one of them is below space, of del if one is DEL. That can be a tab, so
	// whatever is found is looked at again.
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; len(b) >= 8; b = b[8:] {
		w := binary.LittleEndian.Uint64(b)
		del := w ^ 0x7f*ones
		if ((w-0x20*ones)&^w|(del-ones)&^del)&tops != 0 && !isText(b[:8]) {
			return badFieldValue
		}
	}
	if !isText(b) {
		return badFieldValue
	}
	return nil
}

func isText(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// fold compares s with a lower-case word without regard to ASCII case.
func fold[T string | []byte](s T, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		if message.Lower(s[i]) != lower[i] {
			return false
		}
	}
	return true
}

// parseLength parses a Content-Length (RFC 9110 8.6): 1 to 18 digits, which cannot overflow.
func parseLength(s string) (n int64, ok bool) {
	for i := range len(s) {
		if s[i]-'0' > 9 {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
		if i == 18 {
			return 0, false
		}
	}
	return n, len(s) > 0
}
