package match

import "bytes"

// Cursor walks over the values found under a predicate's name, all of them, in the order they were sent. It is a struct on
// its user's stack and not an iterator function, whose closure would be allocated.
type Cursor struct {
	r *Request
	p *Predicate

	from    int    // position in the fields of the head
	crumbs  []byte // what is left of the Cookie field under way
	started bool
	query   []byte // what is left of the query
}

// Values returns a cursor before the first of the values the predicate judges.
func (p *Predicate) Values(r *Request) Cursor { return Cursor{r: r, p: p} }

// Next returns the next value. It is valid until the call after it, or until another predicate is asked about the request.
func (c *Cursor) Next() (value []byte, ok bool) {
	switch c.p.place {
	case Header:
		return c.nextField(c.p.name)
	case Query:
		return c.nextParameter()
	}
	return c.nextCookie()
}

func (c *Cursor) nextField(name string) (value []byte, ok bool) {
	if c.r.Fields == nil || c.from < 0 {
		return nil, false
	}
	value, c.from = c.r.Fields.NextField(name, c.from)
	return value, c.from >= 0
}

func (c *Cursor) nextCookie() (value []byte, ok bool) {
	for {
		for len(c.crumbs) > 0 {
			var crumb []byte
			crumb, c.crumbs = cut(c.crumbs, ';')
			name, value := cut(crumb, '=')
			if string(trim(name)) == c.p.name {
				return unquote(trim(value)), true
			}
		}
		if c.crumbs, ok = c.nextField("cookie"); !ok {
			return nil, false
		}
	}
}

func (c *Cursor) nextParameter() (value []byte, ok bool) {
	if !c.started {
		c.started, c.query = true, c.r.Query
	}
	for len(c.query) > 0 {
		var pair []byte
		pair, c.query = cut(c.query, '&')
		name, value := cut(pair, '=')
		if len(pair) > 0 && decodesTo(name, c.p.name) {
			return c.r.decode(value), true
		}
	}
	return nil, false
}

// decode returns the value with its escapes resolved: the value itself if there are none, else in the buffer of r.
func (r *Request) decode(v []byte) []byte {
	if bytes.IndexByte(v, '%') < 0 && bytes.IndexByte(v, '+') < 0 {
		return v
	}
	r.decoded = r.decoded[:0]
	for len(v) > 0 {
		b, n := DecodeByte(v)
		r.decoded = append(r.decoded, b)
		v = v[n:]
	}
	return r.decoded
}

// decodesTo reports whether v, its escapes resolved, is s.
func decodesTo(v []byte, s string) bool {
	for i := range len(s) {
		if len(v) == 0 {
			return false
		}
		b, n := DecodeByte(v)
		if b != s[i] {
			return false
		}
		v = v[n:]
	}
	return len(v) == 0
}

// DecodeByte resolves what v, which is not empty, begins with in a query or a form (%41, +) and says how many bytes that took.
// An escape that is none stands for itself.
func DecodeByte(v []byte) (b byte, n int) {
	switch {
	case v[0] == '+':
		return ' ', 1
	case v[0] == '%' && len(v) > 2:
		if hi, lo := unhex(v[1]), unhex(v[2]); hi|lo < 16 {
			return hi<<4 | lo, 3
		}
	}
	return v[0], 1
}

// unhex returns the value of a hex digit, or 0xff.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}

// cut splits v around the first sep; after is empty if there is none.
func cut(v []byte, sep byte) (before, after []byte) {
	if i := bytes.IndexByte(v, sep); i >= 0 {
		return v[:i], v[i+1:]
	}
	return v, nil
}

// trim takes blanks and tabs off both ends.
func trim(v []byte) []byte {
	for len(v) > 0 && (v[0] == ' ' || v[0] == '\t') {
		v = v[1:]
	}
	for len(v) > 0 && (v[len(v)-1] == ' ' || v[len(v)-1] == '\t') {
		v = v[:len(v)-1]
	}
	return v
}

// unquote takes one pair of double quotes off. Most frameworks do the same; a rule that did not would see another value.
func unquote(v []byte) []byte {
	if len(v) > 1 && v[0] == '"' && v[len(v)-1] == '"' {
		return v[1 : len(v)-1]
	}
	return v
}
