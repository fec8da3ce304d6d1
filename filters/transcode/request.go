package transcode

import (
	"bytes"
	"encoding/binary"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Converter makes gRPC messages of requests and JSON of responses. The zero value is ready. It is scratch memory and holds
// nothing of a request between two calls, so one serves a loop; it must not be used by two goroutines at a time.
type Converter struct {
	encoder encoder
	printer printer
	text    []byte // decoded from query or path
	params  []byte // the keys of the parameters that were there, each after its length
	fields  []*fieldType
}

// parametersMax bounds the parameters of a query: each is compared with those before it.
const parametersMax = 128

// FrameHeadBytes is what stands before a message in gRPC: a flag and the length.
const FrameHeadBytes = 5

// Request appends to dst the gRPC frame that a request means: what its path captured (c, of the Match that found b), its
// query as it came, and its body. contentType is passed on where the body is a google.api.HttpBody and not looked at else.
// What is appended refers to none of the arguments; on a fault dst is returned as it was.
//
// The body goes first and captures last, so that a field that both have is the path's, which is what was routed by.
func (c *Converter) Request(dst []byte, b *Binding, captures *Captures, query, contentType, body []byte) ([]byte, *Fault) {
	if b.refusal != nil {
		refusal := *b.refusal
		return dst, &refusal
	}
	o := &b.schema.options
	if len(body) > o.MessageBytesMax {
		return dst, &Fault{Status: 413, Code: codes.ResourceExhausted, Reason: BodyTooLarge, Where: InBody, Text: "the body is too large"}
	}
	start := len(dst)
	e := &c.encoder
	e.begin(append(dst, 0, 0, 0, 0, 0), body, &b.schema.types, o.DiscardUnknownFields)
	defer e.end()
	f := c.body(b, contentType, body)
	if f == nil && len(query) > 0 {
		f = c.query(b, query)
	}
	if f == nil {
		f = c.captures(b, captures)
	}
	if f != nil {
		return dst, f
	}
	out := e.finish()
	n := len(out) - start - FrameHeadBytes
	if n > o.MessageBytesMax {
		return dst, &Fault{Status: 413, Code: codes.ResourceExhausted, Reason: BodyTooLarge, Where: InBody, Text: "the message is too large"}
	}
	binary.BigEndian.PutUint32(out[start+1:], uint32(n))
	return out, nil
}

func (c *Converter) body(b *Binding, contentType, body []byte) *Fault {
	e := &c.encoder
	if b.rawRequest {
		if b.body == nil {
			c.rawBody(b.input, contentType, body)
			return nil
		}
		e.out = append(e.out, b.body.tag...)
		m := e.open()
		c.rawBody(b.body.message, contentType, body)
		e.shut(m)
		return nil
	}
	if e.peek(); e.at == len(body) {
		return nil // no body is no field
	}
	var f *Fault
	switch {
	case b.bodyAll:
		f = e.message(b.input)
	case b.body == nil:
		return e.fault(e.at, UnexpectedBody, "the method takes no body: its fields are in path and query")
	case e.peek() == 'n' && !b.body.nullable:
		f = e.word("null")
	default:
		f = e.field(b.body)
	}
	if f != nil {
		return f
	}
	if e.peek(); e.at < len(body) {
		return e.fault(e.at, BadJSON, "%s behind the end of the document", e.found())
	}
	return nil
}

// rawBody writes a google.api.HttpBody: content_type is field 1, data field 2.
func (c *Converter) rawBody(m *messageType, contentType, body []byte) {
	e := &c.encoder
	if len(contentType) > 0 {
		e.out = protowire.AppendBytes(protowire.AppendTag(e.out, 1, protowire.BytesType), bytes.ToValidUTF8(contentType, nil))
	}
	if len(body) > 0 {
		e.out = protowire.AppendBytes(protowire.AppendTag(e.out, 2, protowire.BytesType), body)
	}
}

func (c *Converter) captures(b *Binding, captures *Captures) *Fault {
	for i := range b.variables {
		v := &b.variables[i]
		text, ok := appendUnescaped(c.text[:0], captures.Value(i), false, v.several)
		c.text = text
		if !ok {
			return badRequest(InPath, BadEncoding, "a '%%' without two hexadecimal digits").under(v.field)
		}
		if reason, why := c.encoder.textField(v.path, text); why != "" {
			return badRequest(InPath, reason, "%s", why).under(v.field)
		}
	}
	return nil
}

// query reads parameters, whose names are paths of fields.
func (c *Converter) query(b *Binding, query []byte) *Fault {
	discard := b.schema.options.DiscardUnknownParameters
	c.params = c.params[:0]
	for count := 0; len(query) > 0; {
		pair := query
		if amp := bytes.IndexByte(query, '&'); amp >= 0 {
			pair, query = query[:amp], query[amp+1:]
		} else {
			query = nil
		}
		if len(pair) == 0 {
			continue
		}
		if count++; count > parametersMax {
			return badRequest(InQuery, TooManyParams, "more than %d parameters in the query", parametersMax)
		}
		rawName, rawValue, _ := bytes.Cut(pair, []byte{'='})
		name, ok := appendUnescaped(c.text[:0], rawName, true, false)
		c.text = name
		if !ok {
			return badRequest(InQuery, BadEncoding, "a '%%' without two hexadecimal digits").underField(rawName)
		}
		fault, known := c.parameter(b, name)
		if fault != nil {
			if discard && !known {
				continue
			}
			return fault.underParameter(name)
		}
		value, ok := appendUnescaped(name, rawValue, true, false)
		c.text = value
		name, value = value[:len(name)], value[len(name):]
		if !ok {
			return badRequest(InQuery, BadEncoding, "a '%%' without two hexadecimal digits").underParameter(name)
		}
		if reason, why := c.encoder.textField(c.fields, value); why != "" {
			return badRequest(InQuery, reason, "%s", why).underParameter(name)
		}
	}
	return nil
}

// underParameter is the name as a path, which it is.
func (f *Fault) underParameter(name []byte) *Fault {
	for _, c := range name {
		if !isNameByte(c) && c != '.' {
			return f.under(shown(name))
		}
	}
	if len(name) > shownBytesMax {
		return f.under(shown(name))
	}
	return f.under(string(name))
}

// parameter finds the fields that a parameter's name leads to, and leaves them in c.fields. known: the name does lead to
// a field that may be given here, and something else is wrong.
func (c *Converter) parameter(b *Binding, name []byte) (f *Fault, known bool) {
	if b.bodyAll {
		return badRequest(InQuery, UnknownField, "the method takes its fields from path and body, none from the query"), false
	}
	c.fields = c.fields[:0]
	m := b.input
	for rest := name; ; {
		first, after, more := bytes.Cut(rest, []byte{'.'})
		i, ok := m.byName[string(first)]
		if !ok {
			return badRequest(InQuery, UnknownField, "%s has no field %s", m.name, shown(first)), false
		}
		if len(c.fields) == nestingMax {
			return badRequest(InQuery, NestingTooDeep, "more than %d levels of nesting", nestingMax), true
		}
		fd := &m.fields[i]
		c.fields = append(c.fields, fd)
		if !more {
			break
		}
		if why := fd.unwalkable(); why != "" {
			return badRequest(InQuery, UnknownField, "%s", why), false
		}
		m, rest = fd.message, after
	}
	if c.fields[0] == b.body {
		return badRequest(InQuery, UnknownField, "the field is in the body"), false
	}
	last := c.fields[len(c.fields)-1]
	if why := unboundable(c.fields, true); why != "" {
		return badRequest(InQuery, WrongType, "%s", why), true
	}
	// The key is compared with those of the variables, and of the parameters before.
	start := len(c.params)
	c.params = append(c.params, 0, 0)
	c.params = fieldKey(c.params, c.fields)
	key := c.params[start+2:]
	binary.BigEndian.PutUint16(c.params[start:], uint16(len(key))) // at most nestingMax numbers of at most five bytes
	for i := range b.variables {
		if bytes.Equal(b.variables[i].key, key) {
			return badRequest(InQuery, UnknownField, "the field is in the path"), false
		}
	}
	if last.shape == list {
		return nil, true
	}
	for before := c.params[:start]; len(before) > 0; {
		n := 2 + int(binary.BigEndian.Uint16(before))
		if bytes.Equal(before[2:n], key) {
			return badRequest(InQuery, DuplicateField, "the parameter is given twice"), true
		}
		before = before[n:]
	}
	return nil, true
}

// textField writes a field, and the messages that it is in, of a text.
func (e *encoder) textField(fields []*fieldType, text []byte) (reason Reason, why string) {
	fd := fields[0]
	if len(fields) == 1 {
		return e.textValue(fd, text)
	}
	e.out = append(e.out, fd.tag...)
	if fd.kind == protoreflect.GroupKind {
		reason, why = e.textField(fields[1:], text)
		e.out = protowire.AppendTag(e.out, fd.number, protowire.EndGroupType)
		return reason, why
	}
	m := e.open()
	reason, why = e.textField(fields[1:], text)
	e.shut(m)
	return reason, why
}

// textValue writes one value with its tag.
func (e *encoder) textValue(fd *fieldType, text []byte) (Reason, string) {
	if fd.message == nil {
		if !fd.packed {
			return e.textScalar(fd, fd.tag, text)
		}
		e.out = append(e.out, fd.tag...)
		run := e.open()
		reason, why := e.textScalar(fd, nil, text)
		e.shut(run)
		return reason, why
	}
	e.out = append(e.out, fd.tag...)
	m := e.open()
	var reason Reason
	var why string
	switch fd.message.known {
	case knownWrapper:
		inner := &fd.message.fields[0]
		reason, why = e.textScalar(inner, inner.tag, text)
	case knownFieldMask:
		reason, why = e.fieldMask(text, true)
	default:
		reason, why = e.knownText(fd.message, text)
	}
	e.shut(m)
	return reason, why
}

// textScalar is scalarText, but a member of an enum may be given by its number: outside of JSON there is no other way.
func (e *encoder) textScalar(fd *fieldType, tag, text []byte) (Reason, string) {
	if fd.kind == protoreflect.EnumKind && len(text) > 0 && numberLen(text) == len(text) {
		return e.numeral(fd, tag, text)
	}
	return e.scalarText(fd, tag, text)
}

// appendUnescaped decodes percent-encoding; plus: '+' is a space, as in a query; keepSlash: %2F stays, as the rules ask for
// values of several segments, in which it and '/' differ.
func appendUnescaped(dst, text []byte, plus, keepSlash bool) ([]byte, bool) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '%':
			if i+2 >= len(text) {
				return dst, false
			}
			high, ok1 := hexDigit(text[i+1])
			low, ok2 := hexDigit(text[i+2])
			if !ok1 || !ok2 {
				return dst, false
			}
			if c = high<<4 | low; c == '/' && keepSlash {
				dst = append(dst, text[i:i+3]...)
			} else {
				dst = append(dst, c)
			}
			i += 2
		case c == '+' && plus:
			dst = append(dst, ' ')
		default:
			dst = append(dst, c)
		}
	}
	return dst, true
}
