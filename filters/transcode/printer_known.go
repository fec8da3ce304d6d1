package transcode

import (
	"bytes"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// knownMessage prints a message with a JSON form of its own.
func (p *printer) knownMessage(m *messageType, b []byte) *Fault {
	// A Value is as deep as what is in it, as in JSON.
	nests := m.known != knownValue
	if nests {
		if f := p.enter(); f != nil {
			return f
		}
	}
	first, f := p.scan(m, b)
	if f != nil {
		return f
	}
	switch m.known {
	case knownAny:
		f = p.any(b, p.bytesOf(m, b, first, 1), p.bytesOf(m, b, first, 2))
	case knownTimestamp:
		f = p.timestamp(int64(p.bitsOf(m, b, first, 1)), int64(p.bitsOf(m, b, first, 2)))
	case knownDuration:
		f = p.duration(int64(p.bitsOf(m, b, first, 1)), int64(p.bitsOf(m, b, first, 2)))
	case knownFieldMask:
		f = p.fieldMask(b, first)
	case knownValue:
		f = p.dynamic(m, b, first)
	default: // a wrapper, a Struct or a ListValue is what its one field is
		_, f = p.content(&m.fields[0], b, first, len(p.records), true)
	}
	p.records = p.records[:first]
	if nests {
		p.depth--
	}
	return f
}

// valueOf is the last value of the field with a number, among the records from first on, as on the wire; nil if there is none.
func (p *printer) valueOf(m *messageType, b []byte, first int, number protowire.Number) (value []byte) {
	for _, r := range p.records[first:] {
		if m.fields[r.field].number != number {
			continue
		}
		for run := b[r.start:r.end]; len(run) > 0; {
			_, wire, n := protowire.ConsumeTag(run)
			v := protowire.ConsumeFieldValue(number, wire, run[n:])
			value, run = run[n:n+v], run[n+v:]
		}
	}
	return value
}

func (p *printer) bitsOf(m *messageType, b []byte, first int, number protowire.Number) uint64 {
	return m.fields[m.index(number)].bits(p.valueOf(m, b, first, number))
}

func (p *printer) bytesOf(m *messageType, b []byte, first int, number protowire.Number) []byte {
	value := p.valueOf(m, b, first, number)
	if len(value) == 0 {
		return nil
	}
	content, _ := protowire.ConsumeBytes(value)
	return content
}

func (p *printer) timestamp(seconds, nanos int64) *Fault {
	if seconds < timestampSecondsMin || seconds > timestampSecondsMax || nanos < 0 || nanos > nanosMax {
		return badResponse(BadMessage, "a google.protobuf.Timestamp out of range: %d s and %d ns", seconds, nanos)
	}
	p.json = append(p.json, '"')
	p.json = append(appendTimestamp(p.json, seconds, int32(nanos)), '"')
	return nil
}

func (p *printer) duration(seconds, nanos int64) *Fault {
	if seconds < -durationSecondsMax || seconds > durationSecondsMax || nanos < -nanosMax || nanos > nanosMax ||
		seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0 {
		return badResponse(BadMessage, "a google.protobuf.Duration out of range: %d s and %d ns", seconds, nanos)
	}
	p.json = append(p.json, '"')
	p.json = append(appendDuration(p.json, seconds, int32(nanos)), '"')
	return nil
}

func (p *printer) fieldMask(b []byte, first int) *Fault {
	p.json = append(p.json, '"')
	count := 0
	for _, r := range p.records[first:] {
		for run := b[r.start:r.end]; len(run) > 0; count++ {
			_, _, n := protowire.ConsumeTag(run)
			path, v := protowire.ConsumeBytes(run[n:])
			run = run[n+v:]
			if count > 0 {
				p.json = append(p.json, ',')
			}
			if f := p.room(); f != nil {
				return f
			}
			out, ok := appendCamel(p.json, path)
			if !ok || !isFieldPath(path) {
				return badResponse(BadMessage, "a google.protobuf.FieldMask with the path %s, which has no form in JSON", shown(path))
			}
			p.json = out
		}
	}
	p.json = append(p.json, '"')
	return nil
}

func (p *printer) dynamic(m *messageType, b []byte, first int) *Fault {
	last := len(p.records)
	if first == last {
		return badResponse(BadMessage, "a google.protobuf.Value that is nothing, not even null")
	}
	fd := &m.fields[p.records[last-1].field] // a oneof: there is no other
	if fd.number == valueNumber {
		if v := math.Float64frombits(p.bitsOf(m, b, first, valueNumber)); math.IsNaN(v) || math.IsInf(v, 0) {
			return badResponse(BadMessage, "a google.protobuf.Value with the number %v, which JSON does not have", v)
		}
	}
	_, f := p.content(fd, b, first, last, true)
	return f
}

// any prints a message with its type's URL.
func (p *printer) any(b, url, content []byte) *Fault {
	if len(url) == 0 {
		if len(content) > 0 {
			return badResponse(BadMessage, "a google.protobuf.Any without its type")
		}
		p.json = append(p.json, "{}"...)
		return nil
	}
	t := p.types.messages[string(url[bytes.LastIndexByte(url, '/')+1:])]
	if t == nil {
		return badResponse(UnknownType, "a google.protobuf.Any of the type %s, which the descriptors do not have", shown(url))
	}
	p.json = append(p.json, `{"@type":`...)
	out, ok := appendString(p.json, url)
	if !ok {
		return badResponse(BadMessage, "a type that is not UTF-8")
	}
	p.json = out
	var f *Fault
	if t.known == plain || t.known == knownEmpty {
		f = p.members(t, content)
	} else {
		p.json = append(p.json, `,"value":`...)
		f = p.message(t, content)
	}
	p.json = append(p.json, '}')
	return f
}
