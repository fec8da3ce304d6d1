package jwt

import (
	"bytes"
	"slices"
)

// Claims are what a verified token says, made once so that nobody has to walk JSON for each request: the paths in order, in
// one piece of memory. They are frozen, and shared by all requests with that token.
//
// A path is the name of a claim, or the names of objects and a claim in them with dots between: realm_access.tenant. A claim
// whose own name has dots in it (https://example.com/tenant) goes before a path that reads the same.
type Claims struct {
	text     []byte
	values   []value // by path, each once
	elements []span
}

// newClaims keeps what r has read.
func newClaims(r *reader) *Claims {
	c := &Claims{text: bytes.Clone(r.text), values: make([]value, 0, len(r.values)), elements: slices.Clone(r.elements)}
	for _, v := range r.values {
		if v.kind != isNull && v.kind != isObject {
			c.values = append(c.values, v)
		}
	}
	slices.SortFunc(c.values, func(a, b value) int {
		if d := bytes.Compare(c.bytes(a.path), c.bytes(b.path)); d != 0 {
			return d
		}
		return int(a.depth) - int(b.depth)
	})
	c.values = slices.CompactFunc(c.values, func(a, b value) bool { return bytes.Equal(c.bytes(a.path), c.bytes(b.path)) })
	return c
}

func (c *Claims) bytes(s span) []byte { return c.text[s.off : s.off+s.len : s.off+s.len] }

func (c *Claims) find(name string) *value {
	low, high := 0, len(c.values)
	for low < high {
		mid := int(uint(low+high) >> 1)
		if at := c.bytes(c.values[mid].path); string(at) < name {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < len(c.values) && string(c.bytes(c.values[low].path)) == name {
		return &c.values[low]
	}
	return nil
}

// Claim returns a claim as text: a string, a number as the token writes it, true or false, or the elements of a list with
// commas between. An object, a null, and a list of which that text could mean another list, are not there. The bytes must
// not be changed. It implements gateway.Claims, allocates nothing, and may be used from any goroutine.
func (c *Claims) Claim(name string) ([]byte, bool) {
	v := c.find(name)
	if v == nil || v.kind == isList && !v.plain {
		return nil, false
	}
	return c.bytes(v.text), true
}

// holds tells whether a claim is the text, or a list with it as an element.
func (c *Claims) holds(name, text string) bool {
	v := c.find(name)
	if v == nil {
		return false
	}
	return c.isOrHas(v, text)
}

func (c *Claims) isOrHas(v *value, text string) bool {
	if v.kind != isList {
		return string(c.bytes(v.text)) == text
	}
	for _, e := range c.elements[v.from:v.to] {
		if e.len > 0 && string(c.bytes(e)) == text {
			return true
		}
	}
	return false
}

// scope tells whether the token was given for a scope. RFC 8693 section 4.2 and RFC 9068 section 2.2.3 write them in
// scope with spaces between; others in scp, often as a list.
func (c *Claims) scope(want string) bool {
	v := c.find("scope")
	if v == nil {
		v = c.find("scp")
	}
	switch {
	case v == nil:
		return false
	case v.kind == isList:
		return c.isOrHas(v, want)
	}
	for rest := c.bytes(v.text); len(rest) > 0; {
		var one []byte
		one, rest, _ = bytes.Cut(rest, []byte{' '})
		if string(one) == want {
			return true
		}
	}
	return false
}
