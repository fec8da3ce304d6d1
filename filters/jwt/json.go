package jwt

import (
	"bytes"
	"unicode/utf8"
)

// Bounds on JSON that came from outside. What is above them is no token or key set that anybody issues, and each would let
// a small text cost much.
const (
	// depthMax is how deep objects and lists may lie in one another; Keycloak's roles lie three deep.
	depthMax = 8
	// namesMax is how many members all objects of a text may have together. Comparing each with its neighbours, for
	// duplicates, takes some 20 us at this number.
	namesMax = 256
	// pathBytesMax is how long the path of a claim may be that can be asked for; what lies at longer ones is read and left out.
	pathBytesMax = 256
	// numberBytesMax is how long a number may be written. No date, count or identifier needs more; one that is longer is
	// either cut or rounded by some reader down the line.
	numberBytesMax = 32
	// elementsMax is how many elements all lists of a text may have together: groups and roles.
	elementsMax = 1024
)

// kindOf says what a value is.
type kindOf uint8

const (
	isString kindOf = iota
	isNumber
	isBool
	isList
	isNull
	isObject
)

// span is a piece of the reader's text. Offsets survive its growth.
type span struct{ off, len uint32 }

// value is what lies at a path.
type value struct {
	path, text span
	kind       kindOf
	depth      uint8
	plain      bool // a list: every element is a string, number or boolean, and none has a comma
	from, to   uint32
}

// reader reads one JSON object strictly: valid UTF-8, no name twice in an object, bounded in all directions, nothing after
// it. It notes what lies at each path. Reading again reuses the memory; the zero value is ready. Not for two goroutines.
type reader struct {
	in   []byte
	at   int
	deep int

	// Of the result.
	text     []byte // paths and values, unescaped
	values   []value
	elements []span

	// Of the objects that are being read.
	path     []byte
	names    []nameHash
	nameText []byte
	members  int
}

// nameHash is a name of an object that is being read.
type nameHash struct {
	hash uint64
	name span // of nameText
}

// read reads in, which must be one object. It returns false if it is not, or is over a bound.
func (r *reader) read(in []byte) bool {
	r.in, r.at, r.deep, r.members = in, 0, 0, 0
	r.text, r.values, r.elements = r.text[:0], r.values[:0], r.elements[:0]
	r.path, r.names, r.nameText = r.path[:0], r.names[:0], r.nameText[:0]
	if !utf8.Valid(in) {
		return false
	}
	r.space()
	if !r.object(true) {
		return false
	}
	r.space()
	return r.at == len(in)
}

// space skips white space (RFC 8259 section 2).
func (r *reader) space() {
	for r.at < len(r.in) {
		switch r.in[r.at] {
		case ' ', '\t', '\r', '\n':
			r.at++
		default:
			return
		}
	}
}

// take takes one byte if it is c.
func (r *reader) take(c byte) bool {
	if r.at < len(r.in) && r.in[r.at] == c {
		r.at++
		return true
	}
	return false
}

// object reads an object. recorded: what is in it has a path.
func (r *reader) object(recorded bool) bool {
	if !r.take('{') || r.deep == depthMax {
		return false
	}
	r.deep++
	firstName, nameText, path := len(r.names), len(r.nameText), len(r.path)
	r.space()
	for more := !r.take('}'); more; {
		r.space()
		if r.members++; r.members > namesMax || !r.name(firstName) {
			return false
		}
		r.space()
		if !r.take(':') {
			return false
		}
		known := recorded
		if recorded {
			if path > 0 {
				r.path = append(r.path, '.')
			}
			name := r.names[len(r.names)-1].name
			r.path = append(r.path, r.nameText[name.off:name.off+name.len]...)
			known = len(r.path) <= pathBytesMax
		}
		r.space()
		if !r.value(known) {
			return false
		}
		r.path = r.path[:path]
		r.space()
		switch {
		case r.take(','):
		case r.take('}'):
			more = false
		default:
			return false
		}
	}
	r.names, r.nameText = r.names[:firstName], r.nameText[:nameText]
	r.deep--
	return true
}

// name reads the name of a member and refuses one that the object has already: two readers could take one each.
func (r *reader) name(first int) bool {
	from := len(r.nameText)
	var ok bool
	if r.nameText, ok = r.str(r.nameText); !ok {
		return false
	}
	text := r.nameText[from:]
	hash := uint64(14695981039346656037) // FNV-1a: what it lets through is compared byte by byte
	for _, c := range text {
		hash = (hash ^ uint64(c)) * 1099511628211
	}
	for i := first; i < len(r.names); i++ {
		if n := &r.names[i]; n.hash == hash && bytes.Equal(r.nameText[n.name.off:n.name.off+n.name.len], text) {
			return false
		}
	}
	r.names = append(r.names, nameHash{hash, span{uint32(from), uint32(len(text))}})
	return true
}

// value reads a value of any kind, and notes it if it is recorded.
func (r *reader) value(recorded bool) bool {
	if r.at >= len(r.in) {
		return false
	}
	switch r.in[r.at] {
	case '{':
		if recorded {
			r.note(value{kind: isObject})
		}
		return r.object(recorded)
	case '[':
		return r.list(recorded)
	}
	from := len(r.text)
	kind, ok := r.scalar()
	if !ok || !recorded {
		r.text = r.text[:from]
		return ok
	}
	r.note(value{text: span{uint32(from), uint32(len(r.text) - from)}, kind: kind})
	return true
}

// note keeps what lies at the current path.
func (r *reader) note(v value) {
	v.path = span{uint32(len(r.text)), uint32(len(r.path))}
	v.depth = uint8(r.deep)
	r.text = append(r.text, r.path...)
	r.values = append(r.values, v)
}

// scalar appends the text of a string, a number or a word to r.text; that of null is empty.
func (r *reader) scalar() (kind kindOf, ok bool) {
	switch c := r.in[r.at]; {
	case c == '"':
		r.text, ok = r.str(r.text)
		return isString, ok
	case c == '-' || '0' <= c && c <= '9':
		from := r.at
		ok = r.number()
		r.text = append(r.text, r.in[from:r.at]...)
		return isNumber, ok
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if len(r.in)-r.at >= len(word) && string(r.in[r.at:r.at+len(word)]) == word {
			r.at += len(word)
			if word == "null" {
				return isNull, true
			}
			r.text = append(r.text, word...)
			return isBool, true
		}
	}
	return 0, false
}

// list reads a list. Its elements are noted one by one, and its text has them with commas between.
func (r *reader) list(recorded bool) bool {
	if !r.take('[') || r.deep == depthMax {
		return false
	}
	r.deep++
	from, first, plain := len(r.text), len(r.elements), true
	r.space()
	for more := !r.take(']'); more; {
		r.space()
		if r.at >= len(r.in) || len(r.elements) == elementsMax {
			return false
		}
		if c := r.in[r.at]; c == '{' || c == '[' {
			// What lies in lists of objects has no path: there is no saying which of them is meant.
			plain = false
			if c == '{' && !r.object(false) || c == '[' && !r.list(false) {
				return false
			}
			r.elements = append(r.elements, span{}) // counted, and equal to nothing that can be asked for
		} else if !r.element(from, &plain) {
			return false
		}
		r.space()
		switch {
		case r.take(','):
		case r.take(']'):
			more = false
		default:
			return false
		}
	}
	r.deep--
	if !recorded {
		r.text, r.elements = r.text[:from], r.elements[:first]
		return true
	}
	r.note(value{text: span{uint32(from), uint32(len(r.text) - from)}, kind: isList, plain: plain, from: uint32(first), to: uint32(len(r.elements))})
	return true
}

func (r *reader) element(from int, plain *bool) bool {
	if len(r.text) > from {
		r.text = append(r.text, ',')
	}
	start := len(r.text)
	_, ok := r.scalar()
	text := r.text[start:]
	if len(text) == 0 || bytes.IndexByte(text, ',') >= 0 {
		*plain = false
	}
	r.elements = append(r.elements, span{uint32(start), uint32(len(text))})
	return ok
}

// number reads a number (RFC 8259 section 6) of bounded length.
func (r *reader) number() bool {
	from := r.at
	r.take('-')
	switch digits := r.digits(); {
	case digits == 0, digits > 1 && r.in[r.at-digits] == '0':
		return false
	}
	if r.take('.') && r.digits() == 0 {
		return false
	}
	if r.take('e') || r.take('E') {
		if !r.take('-') {
			r.take('+')
		}
		// 1e999 is short and no number of anybody: three digits say more than a float holds.
		if n := r.digits(); n == 0 || n > 2 {
			return false
		}
	}
	return r.at-from <= numberBytesMax
}

func (r *reader) digits() int {
	from := r.at
	for r.at < len(r.in) && '0' <= r.in[r.at] && r.in[r.at] <= '9' {
		r.at++
	}
	return r.at - from
}

// str appends a string (RFC 8259 section 7), unescaped. The text is UTF-8 already; half a surrogate pair is refused, since
// readers disagree on what it is.
func (r *reader) str(to []byte) ([]byte, bool) {
	if !r.take('"') {
		return to, false
	}
	for from := r.at; r.at < len(r.in); {
		switch c := r.in[r.at]; {
		case c == '"':
			to = append(to, r.in[from:r.at]...)
			r.at++
			return to, true
		case c < ' ':
			return to, false
		case c == '\\':
			to = append(to, r.in[from:r.at]...)
			r.at++
			var ok bool
			if to, ok = r.escape(to); !ok {
				return to, false
			}
			from = r.at
		default:
			r.at++
		}
	}
	return to, false
}

func (r *reader) escape(to []byte) ([]byte, bool) {
	if r.at >= len(r.in) {
		return to, false
	}
	c := r.in[r.at]
	r.at++
	switch c {
	case '"', '\\', '/':
		return append(to, c), true
	case 'b':
		return append(to, '\b'), true
	case 'f':
		return append(to, '\f'), true
	case 'n':
		return append(to, '\n'), true
	case 'r':
		return append(to, '\r'), true
	case 't':
		return append(to, '\t'), true
	case 'u':
	default:
		return to, false
	}
	u, ok := r.hex4()
	switch {
	case !ok, 0xDC00 <= u && u < 0xE000:
		return to, false
	case 0xD800 <= u && u < 0xDC00:
		if !r.take('\\') || !r.take('u') {
			return to, false
		}
		low, ok := r.hex4()
		if !ok || low < 0xDC00 || low >= 0xE000 {
			return to, false
		}
		u = 0x10000 + (u-0xD800)<<10 + (low - 0xDC00)
	}
	return utf8.AppendRune(to, u), true
}

func (r *reader) hex4() (u rune, ok bool) {
	if len(r.in)-r.at < 4 {
		return 0, false
	}
	for _, c := range r.in[r.at : r.at+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		u = u<<4 | rune(c)
	}
	r.at += 4
	return u, true
}

// bytes returns a piece of the result.
func (r *reader) bytes(s span) []byte { return r.text[s.off : s.off+s.len] }

// member returns what lies at a path, the literal name of a member before a path of the same spelling.
func (r *reader) member(path string) *value {
	var best *value
	for i := range r.values {
		if v := &r.values[i]; string(r.bytes(v.path)) == path && (best == nil || v.depth < best.depth) {
			best = v
		}
	}
	return best
}
