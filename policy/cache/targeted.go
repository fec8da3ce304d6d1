package cache

import "github.com/yumen-io/yumen/engine/message"

// ReadTargeted reads the first of the fields in names (in lower case, most specific first) that is there and not empty, by RFC
// 9213: its directives stand in the place of Cache-Control and Expires. ok is false if there is none, or if the field breaks
// the rules of a dictionary of RFC 8941, in which case it has to be ignored as a whole (RFC 9213 2.1).
func ReadTargeted(f *message.Fields, names []string) (c Control, ok bool) {
	for _, name := range names {
		var lines int
		var read Control
		valid := true
		for v, next := f.NextField(name, 0); next >= 0; v, next = f.NextField(name, next) {
			if v = trim(v); len(v) > 0 {
				lines++
				valid = valid && read.readDictionary(v)
			}
		}
		if lines > 0 && valid {
			return read, true
		}
	}
	return Control{}, false
}

// readDictionary reads a line of a structured field. Of a key that comes twice the last counts (RFC 8941 4.2.2), and a directive
// with a value of the wrong type is ignored (RFC 9213 2.1).
func (c *Control) readDictionary(b []byte) bool {
	for {
		key := keyLen(b)
		if key == 0 {
			return false
		}
		d := directive{name: b[:key]}
		b = b[key:]
		kind := itemTrue
		if len(b) > 0 && b[0] == '=' {
			var n int
			if kind, n = item(b[1:]); n == 0 {
				return false
			}
			d.value, d.hasValue = b[1:1+n], kind != itemTrue
			b = b[1+n:]
		}
		rest, ok := skipParameters(b)
		if !ok {
			return false
		}
		c.takeItem(d, kind)
		if b = trimLeft(rest); len(b) == 0 {
			return true
		}
		if b[0] != ',' {
			return false
		}
		if b = trimLeft(b[1:]); len(b) == 0 { // a comma at the end
			return false
		}
	}
}

// takeItem notes a directive if its value is of its type: true for flags, an integer for seconds.
func (c *Control) takeItem(d directive, kind itemKind) {
	var read Control
	read.take(d)
	numbers := HasMaxAge | HasSMaxAge | HasStaleWhileRevalidate | HasStaleIfError
	switch {
	case kind == itemTrue && read.Has&numbers == 0, kind == itemInteger && read.Has&numbers != 0:
	case kind == itemString && read.Has&(NoCacheFields|PrivateFields) != 0:
		// Names of fields are a string here. Which field is meant is not looked into: the whole is, which errs on the safe side.
		c.Has |= map[bool]Directive{true: NoCache, false: Private}[read.Has&NoCacheFields != 0]
		return
	default:
		return
	}
	c.Has = c.Has&^(read.Has&numbers) | read.Has
	switch read.Has {
	case HasMaxAge:
		c.MaxAge = read.MaxAge
	case HasSMaxAge:
		c.SMaxAge = read.SMaxAge
	case HasStaleWhileRevalidate:
		c.StaleWhileRevalidate = read.StaleWhileRevalidate
	case HasStaleIfError:
		c.StaleIfError = read.StaleIfError
	}
}

type itemKind uint8

const (
	itemTrue itemKind = iota
	itemInteger
	itemString
	itemOther // a valid item that no directive has
)

// item returns the kind and the length of the bare item that b begins with; 0: none.
func item(b []byte) (itemKind, int) {
	if len(b) == 0 {
		return itemOther, 0
	}
	switch c := b[0]; {
	case c == '?':
		if len(b) > 1 && b[1] == '1' {
			return itemTrue, 2
		}
		if len(b) > 1 && b[1] == '0' {
			return itemOther, 2
		}
	case c-'0' <= 9, c == '-':
		n := 1
		for n < len(b) && (b[n]-'0' <= 9 || b[n] == '.') {
			n++
		}
		for _, d := range b[:n] {
			if d-'0' > 9 {
				return itemOther, n
			}
		}
		return itemInteger, n
	case c == '"':
		for i := 1; i < len(b); i++ {
			switch {
			case b[i] == '\\':
				i++
			case b[i] == '"':
				return itemString, i + 1
			case b[i] < ' ' || b[i] > '~':
				return itemOther, 0
			}
		}
	case 'a' <= message.Lower(c) && message.Lower(c) <= 'z', c == '*':
		n := 1
		for n < len(b) && (isKeyByte(message.Lower(b[n])) || b[n] == ':' || b[n] == '/') {
			n++
		}
		return itemOther, n
	}
	return itemOther, 0
}

// skipParameters returns what follows the parameters that b begins with.
func skipParameters(b []byte) (rest []byte, ok bool) {
	for len(b) > 0 && b[0] == ';' {
		b = trimLeft(b[1:])
		n := keyLen(b)
		if n == 0 {
			return nil, false
		}
		if b = b[n:]; len(b) > 0 && b[0] == '=' {
			if _, n = item(b[1:]); n == 0 {
				return nil, false
			}
			b = b[1+n:]
		}
	}
	return b, true
}

// keyLen returns the length of the key that b begins with (RFC 8941 3.1.2).
func keyLen(b []byte) int {
	n := 0
	for n < len(b) && isKeyByte(b[n]) {
		n++
	}
	if n > 0 && (b[0]-'a' < 26 || b[0] == '*') {
		return n
	}
	return 0
}

func isKeyByte(c byte) bool {
	return c-'a' < 26 || c-'0' <= 9 || c == '_' || c == '-' || c == '.' || c == '*'
}
