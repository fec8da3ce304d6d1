package transcode

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads JSON (RFC 8259) strictly: one token after the other, each judged where it stands.
type scanner struct {
	in   []byte
	at   int
	text []byte // the last string, if it had escapes
}

// fault is a Fault of the body, at a place in it.
func (s *scanner) fault(at int, reason Reason, format string, args ...any) *Fault {
	f := badRequest(InBody, reason, format, args...)
	before := s.in[:min(at, len(s.in))]
	f.Line = bytes.Count(before, []byte{'\n'}) + 1
	f.Column = utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return f
}

// peek passes over white space and returns the byte that a token begins with, 0 at the end.
func (s *scanner) peek() byte {
	for s.at < len(s.in) {
		switch c := s.in[s.at]; c {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return c
		}
	}
	return 0
}

// found describes what stands at the place where something else is wanted.
func (s *scanner) found() string {
	switch c := s.peek(); {
	case s.at == len(s.in):
		return "the end"
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == '"':
		return "a string"
	case c == '-' || c >= '0' && c <= '9':
		return "a number"
	case c == 't' || c == 'f':
		return "a boolean"
	case c == 'n':
		return "null"
	default:
		return shown(s.in[s.at : s.at+1])
	}
}

// unlike is the Fault of a value of another type. What begins no value at all is bad JSON.
func (s *scanner) unlike(want string) *Fault {
	c := s.peek()
	switch {
	case c == 0, bytes.IndexByte([]byte(`{["-0123456789tfn`), c) < 0:
		return s.fault(s.at, BadJSON, "%s where a value is wanted", s.found())
	}
	return s.fault(s.at, WrongType, "%s where %s is wanted", s.found(), want)
}

// punctuation passes c, which must be next.
func (s *scanner) punctuation(c byte) *Fault {
	if s.peek() != c {
		return s.fault(s.at, BadJSON, "%s where %q is wanted", s.found(), c)
	}
	s.at++
	return nil
}

// more passes what stands before the next member of an object or array, whose opening is passed: nothing before the
// first, a comma before others. false: it passed the closing.
func (s *scanner) more(first bool, closing byte) (bool, *Fault) {
	c := s.peek()
	switch {
	case c == closing && s.at < len(s.in):
		s.at++
		return false, nil
	case first:
		return true, nil
	case c != ',':
		return false, s.fault(s.at, BadJSON, "%s where ',' or %q is wanted", s.found(), closing)
	}
	s.at++
	if s.peek() == closing {
		return false, s.fault(s.at, BadJSON, "a comma before %q", closing)
	}
	return true, nil
}

// name reads the name of a member and its colon. The bytes are valid until the next string.
func (s *scanner) name() ([]byte, *Fault) {
	if s.peek() != '"' {
		return nil, s.fault(s.at, BadJSON, "%s where a name in quotes is wanted", s.found())
	}
	b, f := s.str()
	if f != nil {
		return nil, f
	}
	return b, s.punctuation(':')
}

// str reads a string, at whose quote it stands. The bytes are valid until the next string.
func (s *scanner) str() ([]byte, *Fault) {
	start := s.at
	s.at++
	ascii := true
	for i := s.at; i < len(s.in); i++ {
		switch c := s.in[i]; {
		case c == '"':
			b := s.in[s.at:i]
			if !ascii && !utf8.Valid(b) {
				return nil, s.fault(start, BadJSON, "a string that is not UTF-8")
			}
			s.at = i + 1
			return b, nil
		case c == '\\':
			return s.unescape(start, i)
		case c < ' ':
			return nil, s.fault(i, BadJSON, "a control character in a string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, s.fault(start, BadJSON, "a string without an end")
}

// unescape is str for a string whose first escape is at i.
func (s *scanner) unescape(start, i int) ([]byte, *Fault) {
	s.text = append(s.text[:0], s.in[s.at:i]...)
	for i < len(s.in) {
		c := s.in[i]
		switch {
		case c == '"':
			if !utf8.Valid(s.text) {
				return nil, s.fault(start, BadJSON, "a string that is not UTF-8")
			}
			s.at = i + 1
			return s.text, nil
		case c < ' ':
			return nil, s.fault(i, BadJSON, "a control character in a string")
		case c != '\\':
			s.text = append(s.text, c)
			i++
			continue
		}
		rest := s.in[i+1:]
		if len(rest) == 0 {
			break
		}
		n := 2
		switch rest[0] {
		case '"', '\\', '/':
			s.text = append(s.text, rest[0])
		case 'b':
			s.text = append(s.text, '\b')
		case 'f':
			s.text = append(s.text, '\f')
		case 'n':
			s.text = append(s.text, '\n')
		case 'r':
			s.text = append(s.text, '\r')
		case 't':
			s.text = append(s.text, '\t')
		case 'u':
			r, ok := hex4(rest[1:])
			n = 6
			if ok && utf16.IsSurrogate(r) {
				// RFC 8259 8.2: half a pair is no character, and cannot be written in UTF-8.
				low, half := rune(0), false
				if len(rest) >= 11 && rest[5] == '\\' && rest[6] == 'u' {
					low, half = hex4(rest[7:])
				}
				r = utf16.DecodeRune(r, low)
				ok, n = half && r != utf8.RuneError, 12
			}
			if !ok {
				return nil, s.fault(i, BadJSON, "a \\u escape that is no character")
			}
			s.text = utf8.AppendRune(s.text, r)
		default:
			return nil, s.fault(i, BadJSON, "an escape that JSON does not have")
		}
		i += n
	}
	return nil, s.fault(start, BadJSON, "a string without an end")
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		d, ok := hexDigit(c)
		if !ok {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// number reads a number, at whose first byte it stands.
func (s *scanner) number() ([]byte, *Fault) {
	n := numberLen(s.in[s.at:])
	if n == 0 {
		return nil, s.fault(s.at, BadJSON, "a malformed number")
	}
	b := s.in[s.at : s.at+n]
	s.at += n
	// "01" and "1x" are one malformed number, not a number and something else.
	if s.at < len(s.in) && (isNameByte(s.in[s.at]) || s.in[s.at] == '.' || s.in[s.at] == '+') {
		return nil, s.fault(s.at, BadJSON, "a malformed number")
	}
	return b, nil
}

// numberLen is the length of the JSON number that b begins with, 0 if there is none.
func numberLen(b []byte) int {
	digits := func(i int) int {
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i
	}
	i := 0
	if i < len(b) && b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
	case i < len(b) && b[i] >= '1' && b[i] <= '9':
		i = digits(i)
	default:
		return 0
	}
	if i < len(b) && b[i] == '.' {
		j := digits(i + 1)
		if j == i+1 {
			return 0
		}
		i = j
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		j := i + 1
		if j < len(b) && (b[j] == '+' || b[j] == '-') {
			j++
		}
		k := digits(j)
		if k == j {
			return 0
		}
		i = k
	}
	return i
}

// word passes true, false or null.
func (s *scanner) word(w string) *Fault {
	end := s.at + len(w)
	if end > len(s.in) || string(s.in[s.at:end]) != w || end < len(s.in) && isNameByte(s.in[end]) {
		return s.fault(s.at, BadJSON, "an unknown word, where %s may be meant", w)
	}
	s.at = end
	return nil
}

// skip passes over a value of any kind, judging its syntax. depth is what is left of nestingMax.
func (s *scanner) skip(depth int) *Fault {
	open := s.peek()
	switch {
	case open == '"':
		_, f := s.str()
		return f
	case open == 't':
		return s.word("true")
	case open == 'f':
		return s.word("false")
	case open == 'n':
		return s.word("null")
	case open == '-' || open >= '0' && open <= '9':
		_, f := s.number()
		return f
	case open != '{' && open != '[':
		return s.fault(s.at, BadJSON, "%s where a value is wanted", s.found())
	}
	if depth <= 0 {
		return s.tooDeep()
	}
	s.at++
	for first := true; ; first = false {
		if more, f := s.more(first, open+2); f != nil || !more { // ']' and '}' stand two behind '[' and '{'
			return f
		}
		if open == '{' {
			if _, f := s.name(); f != nil {
				return f
			}
		}
		if f := s.skip(depth - 1); f != nil {
			return f
		}
	}
}

func (s *scanner) tooDeep() *Fault {
	return s.fault(s.at, NestingTooDeep, "more than %d levels of nesting", nestingMax)
}
