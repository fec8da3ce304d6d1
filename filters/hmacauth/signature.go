package hmacauth

import (
	"bytes"
	"encoding/base64"
	"strconv"
)

// Limits on what a client sends (signature_malformed).
const (
	inputBytesMax  = 2048 // of Signature-Input
	componentsMax  = 32
	nonceBytesMax  = 128
	keyIDBytesMax  = 128
	signaturesMax  = 4  // members of Signature-Input that are looked at
	macBytes       = 32 // hmac-sha256
	digestBytesMax = 64 // sha-512
)

// input is one member of Signature-Input: what is signed, and how (RFC 9421 4.1). Slices are of the field.
type input struct {
	label      []byte
	raw        []byte // from the parenthesis on: it is signed as it stands
	components [componentsMax][]byte
	count      int

	created, expires       int64
	hasCreated, hasExpires bool
	keyID, alg, nonce      []byte
	hasAlg, hasNonce       bool
}

// covers tells whether a component is signed.
func (in *input) covers(name string) bool {
	for _, c := range in.components[:in.count] {
		if string(c) == name {
			return true
		}
	}
	return false
}

// parser reads structured fields (RFC 9651), of which it knows what signatures need. Each method returns false for anything else.
type parser struct{ b []byte }

func (p *parser) spaces() {
	for len(p.b) > 0 && (p.b[0] == ' ' || p.b[0] == '\t') {
		p.b = p.b[1:]
	}
}

func (p *parser) take(c byte) bool {
	if len(p.b) == 0 || p.b[0] != c {
		return false
	}
	p.b = p.b[1:]
	return true
}

// key is RFC 9651 4.2.3.3.
func (p *parser) key() ([]byte, bool) {
	n := 0
	for ; n < len(p.b); n++ {
		c := p.b[n]
		lower := 'a' <= c && c <= 'z' || c == '*'
		if !lower && (n == 0 || !('0' <= c && c <= '9' || c == '_' || c == '-' || c == '.')) {
			break
		}
	}
	k := p.b[:n]
	p.b = p.b[n:]
	return k, n > 0
}

// text is a string (4.2.5) without escapes: none of what is written here needs one.
func (p *parser) text() ([]byte, bool) {
	if !p.take('"') {
		return nil, false
	}
	for n, c := range p.b {
		switch {
		case c == '"':
			s := p.b[:n]
			p.b = p.b[n+1:]
			return s, true
		case c == '\\' || c < ' ' || c >= 0x7f:
			return nil, false
		}
	}
	return nil, false
}

// integer is 4.2.4: up to fifteen digits.
func (p *parser) integer() (int64, bool) {
	n := 0
	if len(p.b) > 0 && p.b[0] == '-' {
		n = 1
	}
	digits := n
	for n < len(p.b) && '0' <= p.b[n] && p.b[n] <= '9' {
		n++
	}
	if n == digits || n-digits > 15 {
		return 0, false
	}
	v, err := strconv.ParseInt(string(p.b[:n]), 10, 64)
	p.b = p.b[n:]
	return v, err == nil
}

// input reads a member of Signature-Input.
func (p *parser) input(in *input) bool {
	*in = input{}
	var ok bool
	if in.label, ok = p.key(); !ok || !p.take('=') {
		return false
	}
	raw := p.b
	if !p.take('(') {
		return false
	}
	for {
		p.spaces()
		if p.take(')') {
			break
		}
		if in.count == componentsMax {
			return false
		}
		name, ok := p.text()
		if !ok || len(name) == 0 || in.covers(string(name)) || len(p.b) == 0 || p.b[0] != ' ' && p.b[0] != ')' {
			return false // a parameter, such as ;sf, changes what is signed, and none is known here
		}
		in.components[in.count] = name
		in.count++
	}
	for p.take(';') {
		p.spaces()
		name, ok := p.key()
		if !ok || !p.parameter(in, string(name)) {
			return false
		}
	}
	in.raw = raw[:len(raw)-len(p.b)]
	return in.hasCreated && len(in.keyID) > 0
}

func (p *parser) parameter(in *input, name string) (ok bool) {
	if !p.take('=') {
		return false
	}
	switch name {
	case "created":
		twice := in.hasCreated
		in.created, ok = p.integer()
		in.hasCreated = true
		return ok && !twice
	case "expires":
		twice := in.hasExpires
		in.expires, ok = p.integer()
		in.hasExpires = true
		return ok && !twice
	case "keyid":
		twice := in.keyID != nil
		in.keyID, ok = p.text()
		return ok && !twice && len(in.keyID) <= keyIDBytesMax
	case "alg":
		twice := in.hasAlg
		in.alg, ok = p.text()
		in.hasAlg = true
		return ok && !twice
	case "nonce":
		twice := in.hasNonce
		in.nonce, ok = p.text()
		in.hasNonce = true
		return ok && !twice && len(in.nonce) > 0 && len(in.nonce) <= nonceBytesMax
	case "tag":
		_, ok = p.text()
		return ok
	}
	return false
}

// next goes on to the next member of a list; false at its end, or where there is something else.
func (p *parser) next() (more, ok bool) {
	p.spaces()
	if len(p.b) == 0 {
		return false, true
	}
	if !p.take(',') {
		return false, false
	}
	p.spaces()
	return len(p.b) > 0, len(p.b) > 0
}

// byteSequence returns the member of a dictionary of byte sequences (RFC 9651 4.2.7) with a key, decoded into space: a member of Signature, or of
// Content-Digest. n is negative if there is none; ok is false if the dictionary cannot be read. The last of two counts, as
// the RFC has it.
func byteSequence(dictionary []byte, key []byte, space []byte) (n int, ok bool) {
	n = -1
	p := parser{dictionary}
	for p.spaces(); len(p.b) > 0; {
		name, isKey := p.key()
		if !isKey || !p.take('=') || !p.take(':') {
			return -1, false
		}
		end := bytes.IndexByte(p.b, ':')
		if end < 0 {
			return -1, false
		}
		text := p.b[:end]
		p.b = p.b[end+1:]
		if bytes.Equal(name, key) {
			if base64.StdEncoding.DecodedLen(len(text)) > len(space) {
				return -1, false
			}
			var err error
			if n, err = base64.StdEncoding.Decode(space, text); err != nil {
				return -1, false
			}
		}
		if more, ok := p.next(); !ok {
			return -1, false
		} else if !more {
			break
		}
	}
	return n, true
}
