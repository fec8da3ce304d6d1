package orca

import "bytes"

// text is what is left of a text of JSON (RFC 8259).
type text []byte

// parseJSON reads an object with the message's fields, by their names in the message or in lowerCamelCase, as the JSON form of
// Protocol Buffers allows. Numbers may be in quotes, which it allows too.
func parseJSON(b []byte) (Report, error) {
	var r Report
	var s seen
	t := text(b)
	err := t.object(func(name []byte) error {
		if what := field(name); what != 0 {
			v, err := t.number()
			if err != nil {
				return err
			}
			return r.say(&s, what, v)
		}
		named := string(name) == "named_metrics" || string(name) == "namedMetrics"
		if t.peek() != '{' {
			return t.scalar()
		}
		return t.object(func(name []byte) error {
			if named && string(name) == latencyMetric {
				v, err := t.number()
				if err != nil {
					return err
				}
				return r.say(&s, seenLatency, v)
			}
			if c := t.peek(); c == '{' || c == '[' {
				return ErrDeep
			}
			return t.scalar()
		})
	})
	if t.peek(); err == nil && len(t) > 0 {
		err = ErrMalformed
	}
	if err != nil {
		return Report{}, err
	}
	return r, nil
}

// peek returns the next byte that is no white space, 0 if there is none.
func (t *text) peek() byte {
	*t = bytes.TrimLeft(*t, " \t\r\n")
	if len(*t) == 0 {
		return 0
	}
	return (*t)[0]
}

// take is peek, and goes over the byte if it is c.
func (t *text) take(c byte) bool {
	if t.peek() != c || c == 0 {
		return false
	}
	*t = (*t)[1:]
	return true
}

// object reads an object; member is called with each name and reads the value.
func (t *text) object(member func(name []byte) error) error {
	if !t.take('{') {
		return ErrMalformed
	}
	if t.take('}') {
		return nil
	}
	for {
		name, ok := t.quoted()
		if !ok || !t.take(':') {
			return ErrMalformed
		}
		if err := member(name); err != nil {
			return err
		}
		switch {
		case t.take('}'):
			return nil
		case !t.take(','):
			return ErrMalformed
		}
	}
}

// quoted reads a string and returns what stands between the quotes. Escapes are left as they are: no name that is known has one.
func (t *text) quoted() (inside []byte, ok bool) {
	if !t.take('"') {
		return nil, false
	}
	for i := 0; i < len(*t); i++ {
		switch c := (*t)[i]; {
		case c == '"':
			inside, *t = (*t)[:i], (*t)[i+1:]
			return inside, true
		case c == '\\':
			i++
		case c < ' ':
			return nil, false
		}
	}
	return nil, false
}

// bare reads a number or a word that stands without quotes.
func (t *text) bare() []byte {
	t.peek()
	n := 0
	for n < len(*t) && (('0' <= (*t)[n] && (*t)[n] <= '9') || ('a' <= (*t)[n]|0x20 && (*t)[n]|0x20 <= 'z') ||
		(*t)[n] == '.' || (*t)[n] == '-' || (*t)[n] == '+') {
		n++
	}
	b := (*t)[:n]
	*t = (*t)[n:]
	return b
}

// number reads a number, in quotes or without.
func (t *text) number() (float64, error) {
	if t.peek() == '"' {
		inside, ok := t.quoted()
		if !ok {
			return 0, ErrMalformed
		}
		return number(inside)
	}
	b := t.bare()
	if len(b) == 0 {
		return 0, ErrMalformed
	}
	return number(b)
}

// scalar reads over what is no object.
func (t *text) scalar() error {
	switch t.peek() {
	case '{', '[':
		return ErrDeep
	case '"':
		if _, ok := t.quoted(); !ok {
			return ErrMalformed
		}
		return nil
	}
	b := t.bare()
	switch string(b) {
	case "true", "false", "null":
		return nil
	case "":
		return ErrMalformed
	}
	_, err := number(bytes.TrimPrefix(b, minus)) // of what is not kept, the sign says nothing
	return err
}

var minus = []byte("-")
