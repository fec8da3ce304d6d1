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
	marks    []mark  // of their paths
	elements []span
}

// mark is what two paths of one token seldom share: the length, and three bytes. One after the other, as they lie in memory, they are
// looked through faster than paths are halved by comparing, for as many as a token can have.
type mark uint32

func markOf[T string | []byte](path T) mark {
	n := len(path)
	if n == 0 {
		return 0
	}
	return mark(n)<<24 | mark(path[0])<<16 | mark(path[n/2])<<8 | mark(path[n-1])
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
	c.marks = make([]mark, len(c.values))
	for i := range c.values {
		c.marks[i] = markOf(c.bytes(c.values[i].path))
	}
	return c
}

func (c *Claims) bytes(s span) []byte { return c.text[s.off : s.off+s.len : s.off+s.len] }

func (c *Claims) find(name string) *value {
	want := markOf(name)
	for i, m := range c.marks {
		if m == want && string(c.bytes(c.values[i].path)) == name {
			return &c.values[i]
		}
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
