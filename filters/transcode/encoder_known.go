package transcode

import (
	"bytes"

	"google.golang.org/protobuf/encoding/protowire"
)

// knownMessage reads a message with a JSON form of its own and writes its fields.
func (e *encoder) knownMessage(m *messageType) *Fault {
	switch m.known {
	case knownAny:
		return e.any(m)
	case knownWrapper:
		return e.scalar(&m.fields[0], m.fields[0].tag)
	case knownStruct:
		return e.mapping(&m.fields[0])
	case knownListValue:
		return e.list(&m.fields[0])
	case knownValue:
		return e.dynamic(m)
	}
	if e.peek() != '"' {
		return e.unlike("a string (" + m.name + ")")
	}
	start := e.at
	text, f := e.str()
	if f != nil {
		return f
	}
	if reason, why := e.knownText(m, text); why != "" {
		return e.fault(start, reason, "%s", why)
	}
	return nil
}

// knownText writes the fields of a message whose form is a string.
func (e *encoder) knownText(m *messageType, text []byte) (Reason, string) {
	switch m.known {
	case knownTimestamp:
		seconds, nanos, ok := parseTimestamp(text)
		if !ok {
			return BadValue, shown(text) + " is no time of RFC 3339 between the years 1 and 9999"
		}
		e.moment(seconds, nanos)
	case knownDuration:
		seconds, nanos, ok := parseDuration(text)
		if !ok {
			return BadValue, shown(text) + " is no duration, such as \"1.5s\", of at most 315576000000 seconds"
		}
		e.moment(seconds, nanos)
	case knownFieldMask:
		return e.fieldMask(text, false)
	}
	return "", ""
}

// moment writes the fields of a Timestamp or Duration.
func (e *encoder) moment(seconds int64, nanos int32) {
	if seconds != 0 {
		e.out = protowire.AppendVarint(protowire.AppendTag(e.out, 1, protowire.VarintType), uint64(seconds))
	}
	if nanos != 0 {
		e.out = protowire.AppendVarint(protowire.AppendTag(e.out, 2, protowire.VarintType), uint64(int64(nanos)))
	}
}

// fieldMask writes paths that are separated by commas. In JSON they are in lowerCamelCase; snake: as in the .proto file is
// good too.
func (e *encoder) fieldMask(text []byte, snake bool) (Reason, string) {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return "", ""
	}
	for start := 0; start <= len(text); {
		path := text[start:]
		if comma := bytes.IndexByte(path, ','); comma >= 0 {
			path = path[:comma]
		}
		start += len(path) + 1
		undo := len(e.out)
		e.out = protowire.AppendTag(e.out, 1, protowire.BytesType)
		m := e.open()
		from := len(e.out)
		e.out = appendSnake(e.out, path)
		if !snake && bytes.IndexByte(path, '_') >= 0 || !isFieldPath(e.out[from:]) {
			e.out, e.marks = e.out[:undo], e.marks[:m]
			return BadValue, shown(path) + " is no path of fields in lowerCamelCase"
		}
		e.shut(m)
	}
	return "", ""
}

// The fields of google.protobuf.Value.
const (
	valueNull   = 1
	valueNumber = 2
	valueString = 3
	valueBool   = 4
	valueStruct = 5
	valueList   = 6
)

// dynamic reads any JSON at all, as a google.protobuf.Value.
func (e *encoder) dynamic(m *messageType) *Fault {
	number := protowire.Number(valueNull)
	switch c := e.peek(); {
	case c == '{':
		number = valueStruct
	case c == '[':
		number = valueList
	case c == '"':
		number = valueString
	case c == 't' || c == 'f':
		number = valueBool
	case c == '-' || c >= '0' && c <= '9':
		number = valueNumber
	case c != 'n':
		return e.unlike("any value")
	}
	return e.value(&m.fields[m.index(number)])
}

// any reads an object with the type's URL in it. Where the type has a form of its own, that is the member "value".
func (e *encoder) any(m *messageType) *Fault {
	if e.peek() != '{' {
		return e.unlike("an object (" + m.name + ")")
	}
	if e.anys++; e.anys > anyNestingMax {
		return e.fault(e.at, NestingTooDeep, "more than %d levels of google.protobuf.Any", anyNestingMax)
	}
	if f := e.enter(); f != nil { // with the object that follows it counts twice, as for the printer
		return f
	}
	start := e.at
	url, members, f := e.findType()
	if f != nil {
		return f
	}
	if len(url) == 0 {
		if members > 0 && !e.discard {
			return e.fault(start, BadValue, "a google.protobuf.Any without its type").under("@type")
		}
		e.anys--
		e.depth--
		return e.skip(nestingMax - e.depth)
	}
	name := url[bytes.LastIndexByte(url, '/')+1:]
	t := e.types.messages[string(name)]
	if t == nil {
		return e.fault(start, UnknownType, "the service does not know the type %s", shown(url)).under("@type")
	}
	e.out = protowire.AppendBytes(protowire.AppendTag(e.out, 1, protowire.BytesType), url)
	e.out = protowire.AppendTag(e.out, 2, protowire.BytesType)
	content := e.open()
	if t.known == plain {
		f = e.object(t, true)
	} else {
		f = e.embeddedValue(t)
	}
	e.shut(content)
	e.anys--
	e.depth--
	return f
}

// findType looks for the member @type of the object that begins here, and goes back to its beginning. The URL is valid until the next string.
func (e *encoder) findType() (url []byte, members int, f *Fault) {
	begin := e.at
	e.at++
	for first := true; ; first = false {
		more, f := e.more(first, '}')
		if f != nil {
			return nil, 0, f
		}
		if !more {
			e.at = begin
			return nil, members, nil
		}
		members++
		name, f := e.name()
		if f != nil {
			return nil, 0, f
		}
		if string(name) == "@type" {
			break
		}
		if f := e.skip(nestingMax - e.depth); f != nil {
			return nil, 0, f
		}
	}
	if e.peek() != '"' {
		return nil, 0, e.unlike("a string").under("@type")
	}
	start := e.at
	url, f = e.str()
	if f == nil && len(url) == 0 {
		f = e.fault(start, BadValue, "the type is empty")
	}
	if f != nil {
		return nil, 0, f.under("@type")
	}
	e.at = begin
	return url, members, nil
}

// embeddedValue reads the object of an Any whose content is the member "value".
func (e *encoder) embeddedValue(t *messageType) *Fault {
	if f := e.enter(); f != nil {
		return f
	}
	start := e.at
	e.at++
	types, values := 0, 0
	for first := true; ; first = false {
		more, f := e.more(first, '}')
		if f != nil {
			return f
		}
		if !more {
			break
		}
		at := e.at
		name, f := e.name()
		if f != nil {
			return f
		}
		switch {
		case string(name) == "@type":
			if types++; types > 1 {
				return e.fault(at, DuplicateField, "the type is given twice").under("@type")
			}
			f = e.skip(nestingMax - e.depth)
		case string(name) == "value":
			if values++; values > 1 {
				return e.fault(at, DuplicateField, "the field is given twice").under("value")
			}
			if f = e.message(t); f != nil {
				f.under("value")
			}
		case e.discard:
			f = e.skip(nestingMax - e.depth)
		default:
			return e.fault(at, UnknownField, "%s in a google.protobuf.Any has no fields but value", t.name).underField(name)
		}
		if f != nil {
			return f
		}
	}
	// Some write nothing for an Empty.
	if values == 0 && t.known != knownEmpty {
		return e.fault(start, BadValue, "%s in a google.protobuf.Any needs a value", t.name).under("value")
	}
	e.depth--
	return nil
}
