package compress

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
)

// Coding is a content coding (RFC 9110 8.4.1).
type Coding uint8

// The codings that this package knows. Identity is none.
const (
	Identity Coding = iota
	Gzip
	Brotli
	Zstd
	codings
)

var codingNames = [codings]string{Identity: "identity", Gzip: "gzip", Brotli: "br", Zstd: "zstd"}

// String returns the coding's name in Accept-Encoding and Content-Encoding.
func (c Coding) String() string { return codingNames[c] }

// CodingNamed returns the coding of that name.
func CodingNamed(name string) (Coding, bool) {
	for c, n := range codingNames {
		if n == name {
			return Coding(c), true
		}
	}
	return Identity, false
}

// codingOf reads a name of Accept-Encoding without regard to case; x-gzip is what HTTP/1.0 called gzip (RFC 9110 8.4.1.3).
func codingOf(name []byte) (Coding, bool) {
	for c, n := range codingNames {
		if message.EqualFold(name, []byte(n)) {
			return Coding(c), true
		}
	}
	return Gzip, message.EqualFold(name, []byte("x-gzip"))
}

// wish is what a client accepts (RFC 9110 12.5.3), in thousandths; unsaid for what it does not name.
type wish struct {
	of   [codings]int16
	rest int16 // of *
}

// unsaid is the weight of what a client does not name.
const unsaid = -1

// wishOf reads every Accept-Encoding of a request. An element that is not well-formed counts for nothing: the answer is then one
// that any client reads. A request without the field accepts everything, but says that mostly because it has not thought of it: it
// gets what it would get if there were no such filter.
func wishOf(h *message.Fields) wish {
	w := wish{rest: unsaid}
	for i := range w.of {
		w.of[i] = unsaid
	}
	for value, at := h.NextField("accept-encoding", 0); at >= 0; value, at = h.NextField("accept-encoding", at) {
		for len(value) > 0 {
			var element []byte
			element, value, _ = bytes.Cut(value, []byte{','})
			w.read(element)
		}
	}
	return w
}

func (w *wish) read(element []byte) {
	name, params, hasParams := bytes.Cut(element, []byte{';'})
	name = bytes.Trim(name, " \t")
	q := int16(1000)
	if hasParams {
		var ok bool
		if q, ok = weight(bytes.Trim(params, " \t")); !ok {
			return
		}
	}
	if string(name) == "*" {
		w.rest = q
		return
	}
	if c, ok := codingOf(name); ok {
		w.of[c] = q
	}
}

// weight reads "q=0.5" (RFC 9110 12.4.2) in thousandths.
func weight(b []byte) (q int16, ok bool) {
	if len(b) < 3 || message.Lower(b[0]) != 'q' || b[1] != '=' || b[2] != '0' && b[2] != '1' || len(b) > 7 {
		return 0, false
	}
	q = int16(b[2]-'0') * 1000
	if len(b) == 3 {
		return q, true
	}
	if b[3] != '.' {
		return 0, false
	}
	for i, unit := 4, int16(100); i < len(b); i, unit = i+1, unit/10 {
		if b[i] < '0' || b[i] > '9' {
			return 0, false
		}
		q += int16(b[i]-'0') * unit
	}
	return q, q <= 1000
}

// choose returns the coding that the client likes best, of equal ones that which the gateway prefers, and whether the client
// refuses an answer without a coding.
func (w *wish) choose(preferred []Coding) (best Coding, refusesIdentity bool) {
	refusesIdentity = w.of[Identity] == 0 || w.of[Identity] == unsaid && w.rest == 0
	most := max(w.of[Identity], 0) // what is not named comes behind what is
	for _, c := range preferred {
		q := w.of[c]
		if q == unsaid {
			q = w.rest
		}
		if q > 0 && (q > most || q == most && best == Identity) {
			best, most = c, q
		}
	}
	return best, refusesIdentity
}
