package transcode

import (
	"bytes"
	"slices"
)

// Format is how a stream of messages is written.
type Format uint8

// Formats.
const (
	// Lines is a JSON document a line (application/x-ndjson).
	Lines Format = iota
	// Events are server-sent events, a document each.
	Events
)

// ContentType is what a stream in this format is.
func (f Format) ContentType() string {
	if f == Events {
		return "text/event-stream"
	}
	return "application/x-ndjson"
}

// ContentTypeJSON is what a single message and an error are.
const ContentTypeJSON = "application/json"

// FormatFor chooses by an Accept field: Events to who asks for text/event-stream, Lines to all others. Weights count only
// where they are zero, which is a no.
func FormatFor(accept []byte) Format {
	for part := range bytes.SplitSeq(accept, []byte{','}) {
		name, params, _ := bytes.Cut(part, []byte{';'})
		if !bytes.EqualFold(bytes.TrimSpace(name), []byte("text/event-stream")) {
			continue
		}
		params = bytes.ReplaceAll(params, []byte{' '}, nil)
		if q, ok := bytes.CutPrefix(params, []byte("q=0")); ok && len(bytes.Trim(q, ".0")) == 0 {
			continue
		}
		return Events
	}
	return Lines
}

// RawResponse tells whether what the method answers is a google.api.HttpBody: Raw takes it apart then, and Response is not
// asked.
func (b *Binding) RawResponse() bool { return b.rawResponse }

// Response appends the JSON of one message. On a fault, which is the upstream's, dst is returned as it was.
func (c *Converter) Response(dst []byte, b *Binding, message []byte) ([]byte, *Fault) {
	p := &c.printer
	o := &b.schema.options
	if len(message) > o.MessageBytesMax {
		return dst, badResponse(MessageTooLarge, "a message of more than %d bytes", o.MessageBytesMax)
	}
	p.begin(dst, message, &b.schema.types, o)
	var f *Fault
	if b.responseBody == nil {
		f = p.message(b.output, message)
	} else {
		f = p.selected(b.output, b.responseBody, message)
	}
	out := p.json
	if f == nil {
		f = p.room()
	}
	p.end()
	if f != nil {
		return dst, f
	}
	return out, nil
}

// selected prints one field of m as if it were all. A message that is absent is empty, or null if it has a form of its own.
func (p *printer) selected(m *messageType, fd *fieldType, b []byte) *Fault {
	first, f := p.scan(m, b)
	if f != nil {
		return f
	}
	at, _ := slices.BinarySearchFunc(p.records[first:], fd.index, func(r record, i int32) int { return int(r.field) - int(i) })
	at += first
	end := at
	for end < len(p.records) && p.records[end].field == fd.index {
		end++
	}
	if at == end && fd.shape == single && (fd.message == nil && fd.presence || fd.message != nil && fd.message.known != plain) {
		p.json = append(p.json, "null"...)
		return nil
	}
	printed, f := p.content(fd, b, at, end, true)
	if f == nil && !printed {
		p.json = append(p.json, "null"...)
	}
	return f
}

// Event appends one message of a stream.
func (c *Converter) Event(dst []byte, b *Binding, format Format, message []byte) ([]byte, *Fault) {
	out := dst
	if format == Events {
		out = append(out, "data: "...)
	}
	out, f := c.Response(out, b, message)
	if f != nil {
		return dst, f
	}
	return appendEventEnd(out, format), nil
}

func appendEventEnd(dst []byte, format Format) []byte {
	if format == Events {
		return append(dst, "\n\n"...)
	}
	return append(dst, '\n')
}

// Raw takes a google.api.HttpBody apart. What it returns are parts of message.
func (c *Converter) Raw(b *Binding, message []byte) (contentType, data []byte, f *Fault) {
	p := &c.printer
	p.begin(nil, message, &b.schema.types, &b.schema.options)
	defer p.end()
	m := b.output
	if fd := b.responseBody; fd != nil {
		first, f := p.scan(m, message)
		if f != nil {
			return nil, nil, f
		}
		records := slices.DeleteFunc(p.records[first:], func(r record) bool { return r.field != fd.index })
		m, message = fd.message, p.merged(fd, message, first, first+len(records))
		p.records = p.records[:first]
	}
	first, f := p.scan(m, message)
	if f != nil {
		return nil, nil, f
	}
	contentType, data = p.bytesOf(m, message, first, 1), p.bytesOf(m, message, first, 2)
	for _, c := range contentType {
		if c < ' ' && c != '\t' || c >= 0x7f {
			return nil, nil, badResponse(BadMessage, "a google.api.HttpBody whose content_type is no field value")
		}
	}
	return contentType, data, nil
}
