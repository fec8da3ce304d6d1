package jwt

import (
	"bytes"
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
)

// rules are what a token must be, compiled from the settings. Frozen.
type rules struct {
	methods       []*method
	issuers       []string
	audiences     []string
	types         []string // in lower case, without application/; empty: any or none
	skew          int64    // seconds
	expiryMay     bool     // a token without exp is accepted
	tokenBytesMax int
	scopes        []string
	claims        []Requirement
}

// desk is a loop's room for reading tokens. Not for two goroutines.
type desk struct {
	header, claims reader
	decoded        []byte
}

// token is one in the compact form of RFC 7515 section 7.1, read and not yet verified. It points into the request and into
// the desk, and is good until the next one is read.
type token struct {
	signed    []byte // what the signature is of
	signature []byte
	method    *method
	kid       []byte
	hasKid    bool
	// Unix seconds, between which it is valid, skew included.
	from, until int64
}

// foreverSeconds is the expiry of a token that has none: cached ones have another bound.
const foreverSeconds = math.MaxInt64

// dateMax is the last second of the year 9999 (RFC 3339 can write no later one). A date after it is a number that somebody
// took for milliseconds, or an attempt at an overflow.
const dateMax = 253402300799

// read reads all of a token that can be judged without its key: that is cheap, and a flood of bad tokens ends here. The order
// is that in which a token's faults are told.
func (d *desk) read(text []byte, now int64, r *rules) (token, *refusal) {
	var t token
	if len(text) > r.tokenBytesMax {
		return t, tooLarge
	}
	// Counting first: five parts are an encrypted token (RFC 7516 section 9), which is worth a word of its own.
	switch bytes.Count(text, dot) {
	case 2:
	case 4:
		return t, unsupported
	default:
		return t, malformed
	}
	first, last := bytes.IndexByte(text, '.'), bytes.LastIndexByte(text, '.')
	t.signed = text[:last]
	d.decoded = d.decoded[:0]
	headerText, ok1 := d.decode(text[:first])
	payload, ok2 := d.decode(text[first+1 : last])
	var ok3 bool
	t.signature, ok3 = d.decode(text[last+1:])
	if !ok1 || !ok2 || !ok3 || !d.header.read(headerText) {
		return t, malformed
	}
	if refused := d.readHeader(&t, r); refused != nil {
		return t, refused
	}
	if len(t.signature) == 0 || !d.claims.read(payload) {
		return t, malformed
	}
	return t, d.readClaims(&t, now, r)
}

var dot = []byte{'.'}

// decode decodes base64url without padding (RFC 7515 section 2). Strictly: no line ends, which the library skips, and no
// bits left over, so that a token has one spelling.
func (d *desk) decode(text []byte) ([]byte, bool) {
	if bytes.IndexByte(text, '\n') >= 0 || bytes.IndexByte(text, '\r') >= 0 {
		return nil, false
	}
	from := len(d.decoded)
	var err error
	d.decoded, err = base64url.AppendDecode(d.decoded, text)
	return d.decoded[from:], err == nil
}

var base64url = base64.RawURLEncoding.Strict()

// readHeader reads the JOSE header (RFC 7515 section 4.1). Keys and their addresses that it holds are not looked at.
func (d *desk) readHeader(t *token, r *rules) *refusal {
	h := &d.header
	if h.member("enc") != nil || h.member("crit") != nil || h.member("b64") != nil {
		return unsupported
	}
	alg := h.member("alg")
	if alg == nil || alg.kind != isString {
		return malformed
	}
	for _, m := range r.methods {
		if string(h.bytes(alg.text)) == string(m.name) {
			t.method = m
		}
	}
	if t.method == nil {
		return algorithm
	}
	if kid := h.member("kid"); kid != nil {
		if kid.kind != isString || kid.text.len > kidBytesMax {
			return malformed
		}
		t.kid, t.hasKid = h.bytes(kid.text), true
	}
	if len(r.types) > 0 {
		typ := h.member("typ")
		if typ == nil || typ.kind != isString || !slices.Contains(r.types, mediaType(string(h.bytes(typ.text)))) {
			return badType
		}
	}
	return nil
}

// mediaType is how types are compared (RFC 7515 section 4.1.9): without regard to case, and application/ may be left out.
func mediaType(s string) string {
	s = strings.ToLower(s)
	if rest, ok := strings.CutPrefix(s, "application/"); ok && !strings.Contains(rest, "/") {
		return rest
	}
	return s
}

// readClaims judges the registered claims (RFC 7519 section 4.1).
func (d *desk) readClaims(t *token, now int64, r *rules) *refusal {
	c := &d.claims
	iss := c.member("iss")
	if iss == nil || iss.kind != isString || !slices.ContainsFunc(r.issuers, func(s string) bool { return string(c.bytes(iss.text)) == s }) {
		return issuer
	}
	if !d.isMeantFor(r.audiences) {
		return audience
	}
	t.from, t.until = math.MinInt64, foreverSeconds
	exp, has, ok := c.date("exp", math.Floor)
	switch {
	case !ok, !has && !r.expiryMay:
		return malformed
	case has:
		if t.until = exp + r.skew; now >= t.until {
			return expired
		}
	}
	for _, name := range [...]string{"nbf", "iat"} {
		at, has, ok := c.date(name, math.Ceil)
		switch {
		case !ok:
			return malformed
		case has:
			if t.from = max(t.from, at-r.skew); now < t.from {
				return notYet
			}
		}
	}
	return nil
}

// isMeantFor tells whether one of the audiences is named (RFC 7519 section 4.1.3): aud is one, or a list.
func (d *desk) isMeantFor(audiences []string) bool {
	c := &d.claims
	aud := c.member("aud")
	if aud == nil || aud.kind != isString && aud.kind != isList {
		return false
	}
	is := func(s span) bool {
		return slices.ContainsFunc(audiences, func(a string) bool { return string(c.bytes(s)) == a })
	}
	if aud.kind == isString {
		return is(aud.text)
	}
	return slices.ContainsFunc(c.elements[aud.from:aud.to], is)
}

// date reads a NumericDate (RFC 7519 section 2) in whole seconds. ok is false if it is there and is none.
func (r *reader) date(name string, round func(float64) float64) (at int64, has, ok bool) {
	v := r.member(name)
	if v == nil {
		return 0, false, true
	}
	if v.kind != isNumber {
		return 0, true, false
	}
	f, err := strconv.ParseFloat(string(r.bytes(v.text)), 64)
	if err != nil || f < 0 || f > dateMax {
		return 0, true, false
	}
	return int64(round(f)), true, true
}
