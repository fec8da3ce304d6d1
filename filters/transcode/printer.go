package transcode

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// printer writes the JSON of a message while it reads its wire format.
//
// Fields may come in any order and any number of times: the last value counts, lists grow, messages merge. So each message
// is read once for the places of its fields (records), which are then sorted, unless they came in order as from nearly
// every server, and printed.
type printer struct {
	types   *types
	options *Options

	in      []byte // the message that is being read; places are in it
	json    []byte
	start   int // where json begins in it
	records []record
	oneofs  []choice
	entries []entry
	depth   int
}

// record is a run of one field's values, tags included, in the message.
type record struct {
	field      int32
	start, end uint32
}

// choice is the field of a oneof that was set last, and where it was set first since another one was.
type choice struct {
	field int32
	since uint32
}

// entry is one key and value of a map.
type entry struct {
	bits       uint64 // of a key that is no string
	key, value []byte
	turn       int32
}

func (p *printer) begin(dst, in []byte, t *types, o *Options) {
	p.types, p.options, p.in, p.json, p.start = t, o, in, dst, len(dst)
	p.records, p.oneofs, p.entries, p.depth = p.records[:0], p.oneofs[:0], p.entries[:0], 0
}

func (p *printer) end() {
	p.types, p.options, p.in, p.json = nil, nil, nil, nil
	if cap(p.records) > scratchKeptBytes/12 {
		p.records = nil
	}
	if len(p.entries) > 0 || cap(p.entries) > scratchKeptBytes/64 {
		p.entries = nil // after a fault, when nobody cleared them
	}
}

func malformed(m *messageType) *Fault {
	return badResponse(BadMessage, "what the upstream sent is no %s", m.name)
}

func (p *printer) enter() *Fault {
	if p.depth++; p.depth > nestingMax {
		return badResponse(NestingTooDeep, "more than %d levels of nesting", nestingMax)
	}
	return p.room()
}

// room is asked once a value: a few bytes of wire format can be many of JSON.
func (p *printer) room() *Fault {
	if len(p.json)-p.start > p.options.JSONBytesMax {
		return badResponse(ResponseTooLarge, "the JSON is longer than %d bytes", p.options.JSONBytesMax)
	}
	return nil
}

// message prints b as a value of type m, in whichever form it has.
func (p *printer) message(m *messageType, b []byte) *Fault {
	if m.known != plain && m.known != knownEmpty {
		return p.knownMessage(m, b)
	}
	p.json = append(p.json, '{')
	if f := p.members(m, b); f != nil {
		return f
	}
	p.json = append(p.json, '}')
	return nil
}

// members prints the fields of m, without braces; a comma first if something other than a brace is before.
func (p *printer) members(m *messageType, b []byte) *Fault {
	if f := p.enter(); f != nil {
		return f
	}
	first, f := p.scan(m, b)
	if f != nil {
		return f
	}
	last := len(p.records)
	at := first
	for i := 0; i < len(m.fields); i++ {
		if at == last && !p.options.AlwaysPrintFields {
			break
		}
		fd := &m.fields[i]
		if !p.options.AlwaysPrintFields && p.records[at].field > fd.index {
			i = int(p.records[at].field)
			fd = &m.fields[i]
		}
		end := at
		for end < last && p.records[end].field == fd.index {
			end++
		}
		if f := p.field(fd, b, at, end); f != nil {
			return f.under(fd.name)
		}
		at = end
	}
	p.records = p.records[:first]
	p.depth--
	return nil
}

// scan notes where the fields of m are in b, sorted by field, and in each field as they came.
func (p *printer) scan(m *messageType, b []byte) (first int, f *Fault) {
	first = len(p.records)
	oneofs := len(p.oneofs)
	for range m.oneofs {
		p.oneofs = append(p.oneofs, choice{field: -1})
	}
	sorted, replaced := true, false
	for at := 0; at < len(b); {
		number, wire, n := protowire.ConsumeTag(b[at:])
		if n < 0 {
			return 0, malformed(m)
		}
		v := protowire.ConsumeFieldValue(number, wire, b[at+n:])
		if v < 0 {
			return 0, malformed(m)
		}
		start := at
		at += n + v
		i := m.index(number)
		if i < 0 || !m.fields[i].accepts(wire) {
			continue
		}
		if fd := &m.fields[i]; fd.oneof >= 0 {
			c := &p.oneofs[oneofs+int(fd.oneof)]
			if c.field != i {
				replaced = replaced || c.field >= 0
				*c = choice{i, uint32(start)}
			}
		}
		if last := len(p.records) - 1; last >= first {
			r := &p.records[last]
			if r.field == i && int(r.end) == start {
				r.end = uint32(at)
				continue
			}
			sorted = sorted && r.field <= i
		}
		p.records = append(p.records, record{i, uint32(start), uint32(at)})
	}
	if replaced {
		kept := slices.DeleteFunc(p.records[first:], func(r record) bool {
			o := m.fields[r.field].oneof
			return o >= 0 && (p.oneofs[oneofs+int(o)].field != r.field || r.start < p.oneofs[oneofs+int(o)].since)
		})
		p.records = p.records[:first+len(kept)]
	}
	if !sorted {
		slices.SortFunc(p.records[first:], func(a, b record) int {
			return cmp.Or(cmp.Compare(a.field, b.field), cmp.Compare(a.start, b.start))
		})
	}
	p.oneofs = p.oneofs[:oneofs]
	return first, nil
}

// accepts tells whether a value of the field may have this wire type; another one is an unknown field.
func (f *fieldType) accepts(wire protowire.Type) bool {
	return wire == f.wire || f.shape == list && wire == protowire.BytesType && f.wire != protowire.StartGroupType
}

// field prints one field, whose values are in records[at:end] of b, with its name.
func (p *printer) field(fd *fieldType, b []byte, at, end int) *Fault {
	if at == end && fd.presence {
		return nil // always_print_fields is about defaults, and a field with presence has none that would print
	}
	undo := len(p.json)
	if undo > 0 && p.json[undo-1] != '{' {
		p.json = append(p.json, ',')
	}
	if p.options.PreserveProtoNames {
		p.json = append(p.json, fd.protoKey...)
	} else {
		p.json = append(p.json, fd.jsonKey...)
	}
	printed, f := p.content(fd, b, at, end, p.options.AlwaysPrintFields)
	if f == nil && !printed {
		p.json = p.json[:undo]
	}
	return f
}

// content prints the value of a field, and says whether it did: zeros and empty lists are printed only if always is set.
func (p *printer) content(fd *fieldType, b []byte, at, end int, always bool) (bool, *Fault) {
	switch fd.shape {
	case list:
		return p.list(fd, b, at, end, always)
	case mapped:
		return p.mapping(fd, b, at, end, always)
	}
	if fd.message != nil {
		content := p.merged(fd, b, at, end)
		return true, p.message(fd.message, content)
	}
	var value []byte
	if at < end {
		r := p.records[end-1]
		for run := b[r.start:r.end]; len(run) > 0; {
			_, _, n := protowire.ConsumeTag(run)
			run = run[n:]
			v := protowire.ConsumeFieldValue(fd.number, fd.wire, run)
			value, run = run[:v], run[v:]
		}
	}
	return p.scalar(fd, value, !always && !fd.presence)
}

// merged is the content of a field that is one message. Where it came in several parts, they are one behind the other what
// the whole would be.
func (p *printer) merged(fd *fieldType, b []byte, at, end int) []byte {
	var content []byte
	parts := 0
	for _, r := range p.records[at:end] {
		for run := b[r.start:r.end]; len(run) > 0; {
			_, _, n := protowire.ConsumeTag(run)
			value, v := fd.consume(run[n:])
			run = run[n+v:]
			if parts++; parts == 2 {
				content = slices.Clone(content) // to grow it in place: there may be very many parts
			}
			if parts == 1 {
				content = value
			} else {
				content = append(content, value...)
			}
		}
	}
	return content
}

// consume takes the content of a message or group, behind its tag. It was looked at before, so that it is well-formed.
func (f *fieldType) consume(b []byte) (content []byte, n int) {
	if f.kind == protoreflect.GroupKind {
		return protowire.ConsumeGroup(f.number, b)
	}
	return protowire.ConsumeBytes(b)
}

func (p *printer) list(fd *fieldType, b []byte, at, end int, always bool) (bool, *Fault) {
	if at == end && !always {
		return false, nil
	}
	p.json = append(p.json, '[')
	count := 0
	next := func() *Fault {
		if count > 0 {
			p.json = append(p.json, ',')
		}
		count++
		return p.room()
	}
	for i := at; i < end; i++ {
		r := p.records[i]
		for run := b[r.start:r.end]; len(run) > 0; {
			_, wire, n := protowire.ConsumeTag(run)
			run = run[n:]
			if fd.message != nil {
				content, n := fd.consume(run)
				run = run[n:]
				f := next()
				if f == nil {
					f = p.message(fd.message, content)
				}
				if f != nil {
					return true, f.underIndex(count - 1)
				}
				continue
			}
			v := protowire.ConsumeFieldValue(fd.number, wire, run)
			values := run[:v]
			run = run[v:]
			packed := wire == protowire.BytesType && fd.wire != protowire.BytesType
			if packed {
				values, _ = protowire.ConsumeBytes(values)
			}
			for len(values) > 0 {
				n := len(values)
				if packed {
					n = protowire.ConsumeFieldValue(fd.number, fd.wire, values)
					if n < 0 {
						return true, badResponse(BadMessage, "a packed list that is none of %s", fd.typeName()).underIndex(count)
					}
				}
				f := next()
				if f == nil {
					_, f = p.scalar(fd, values[:n], false)
				}
				if f != nil {
					return true, f.underIndex(count - 1)
				}
				values = values[n:]
			}
		}
	}
	p.json = append(p.json, ']')
	return count > 0 || always, nil
}

func (p *printer) mapping(fd *fieldType, b []byte, at, end int, always bool) (bool, *Fault) {
	if at == end && !always {
		return false, nil
	}
	first := len(p.entries)
	for _, r := range p.records[at:end] {
		for run := b[r.start:r.end]; len(run) > 0; {
			_, _, n := protowire.ConsumeTag(run)
			content, v := protowire.ConsumeBytes(run[n:])
			run = run[n+v:]
			e, ok := fd.parseEntry(content)
			if !ok {
				return true, badResponse(BadMessage, "a map with a malformed entry")
			}
			e.turn = int32(len(p.entries))
			if p.entries = append(p.entries, e); len(p.entries) > mapEntriesMax {
				return true, badResponse(TooManyEntries, "maps of more than %d entries", mapEntriesMax)
			}
		}
	}
	if len(p.entries) > first+1 {
		// Sorted, because a key that is there twice has the value that came last, and so that one message has one form.
		slices.SortFunc(p.entries[first:], func(a, b entry) int { return cmp.Or(fd.key.compare(a, b), cmp.Compare(a.turn, b.turn)) })
	}
	last := len(p.entries)
	p.json = append(p.json, '{')
	for i := first; i < last; i++ {
		e := p.entries[i]
		if i+1 < last && fd.key.compare(e, p.entries[i+1]) == 0 {
			continue
		}
		if f := p.entry(fd, e); f != nil {
			return true, f
		}
	}
	p.json = append(p.json, '}')
	clear(p.entries[first:]) // they hold the message
	p.entries = p.entries[:first]
	return last > first || always, nil
}

func (p *printer) entry(fd *fieldType, e entry) *Fault {
	if f := p.room(); f != nil {
		return f
	}
	if p.json[len(p.json)-1] != '{' {
		p.json = append(p.json, ',')
	}
	name := len(p.json)
	switch fd.key.kind {
	case protoreflect.StringKind:
		out, ok := appendString(p.json, e.key)
		if !ok {
			return badResponse(BadMessage, "a key that is not UTF-8")
		}
		p.json = out
	default:
		p.json = append(p.json, '"')
		p.json = fd.key.appendKey(p.json, e.bits)
		p.json = append(p.json, '"')
	}
	end := len(p.json)
	p.json = append(p.json, ':')
	var f *Fault
	if fd.value.message != nil {
		f = p.message(fd.value.message, e.value)
	} else {
		_, f = p.scalar(fd.value, e.value, false)
	}
	if f != nil {
		return f.underKey(string(p.json[name:min(end, name+shownBytesMax)]))
	}
	return nil
}

// parseEntry reads key and value of a map's entry, either of which may be missing and then is zero.
func (f *fieldType) parseEntry(b []byte) (e entry, ok bool) {
	parts := 0
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return e, false
		}
		b = b[n:]
		v := protowire.ConsumeFieldValue(number, wire, b)
		if v < 0 {
			return e, false
		}
		value := b[:v]
		b = b[v:]
		switch {
		case number == 1 && wire == f.key.wire:
			if wire == protowire.BytesType {
				e.key, _ = protowire.ConsumeBytes(value)
			} else {
				e.bits = f.key.bits(value)
			}
		case number == 2 && wire == f.value.wire:
			if f.value.message == nil {
				e.value = value
				continue
			}
			content, _ := f.value.consume(value)
			if parts++; parts == 2 {
				e.value = slices.Clone(e.value) // as in merged
			}
			if parts == 1 {
				e.value = content
			} else {
				e.value = append(e.value, content...)
			}
		}
	}
	return e, true
}

// compare orders entries by the key that f is.
func (f *fieldType) compare(a, b entry) int {
	switch f.kind {
	case protoreflect.StringKind:
		return bytes.Compare(a.key, b.key)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind, protoreflect.BoolKind:
		return cmp.Compare(a.bits, b.bits)
	}
	return cmp.Compare(int64(a.bits), int64(b.bits))
}

// bits is one value that is not of bytes, as it is printed: integers extended to 64 bits, the bits of floats. Nothing is zero.
func (f *fieldType) bits(value []byte) uint64 {
	var v uint64
	switch f.wire {
	case protowire.Fixed32Type:
		v32, _ := protowire.ConsumeFixed32(value)
		v = uint64(v32)
	case protowire.Fixed64Type:
		v, _ = protowire.ConsumeFixed64(value)
	default:
		v, _ = protowire.ConsumeVarint(value)
	}
	switch f.kind {
	case protoreflect.BoolKind:
		return protowire.EncodeBool(v != 0)
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind, protoreflect.EnumKind:
		return uint64(int64(int32(v)))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return uint64(uint32(v))
	case protoreflect.Sint32Kind:
		return uint64(int64(int32(protowire.DecodeZigZag(v & math.MaxUint32))))
	case protoreflect.Sint64Kind:
		return uint64(protowire.DecodeZigZag(v))
	}
	return v
}

func (f *fieldType) appendKey(dst []byte, v uint64) []byte {
	switch f.kind {
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, v != 0)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(dst, v, 10)
	}
	return strconv.AppendInt(dst, int64(v), 10)
}

// scalar prints one value, given as on the wire behind its tag; empty is zero. It says whether it did: a zero is passed over
// if omitZero is set.
func (p *printer) scalar(fd *fieldType, value []byte, omitZero bool) (bool, *Fault) {
	switch fd.kind {
	case protoreflect.StringKind, protoreflect.BytesKind:
		var content []byte
		if len(value) > 0 {
			content, _ = protowire.ConsumeBytes(value)
		}
		if len(content) == 0 && omitZero {
			return false, nil
		}
		if fd.kind == protoreflect.BytesKind {
			p.json = append(p.json, '"')
			p.json = base64.StdEncoding.AppendEncode(p.json, content)
			p.json = append(p.json, '"')
			return true, nil
		}
		out, ok := appendString(p.json, content)
		if !ok {
			return true, badResponse(BadMessage, "a string that is not UTF-8")
		}
		p.json = out
		return true, nil
	}
	v := fd.bits(value)
	if v == 0 && omitZero {
		return false, nil
	}
	switch fd.kind {
	case protoreflect.EnumKind:
		p.enum(fd.enum, int32(v))
	case protoreflect.BoolKind:
		p.json = strconv.AppendBool(p.json, v != 0)
	case protoreflect.FloatKind:
		p.json = appendFloat(p.json, float64(math.Float32frombits(uint32(v))), 32)
	case protoreflect.DoubleKind:
		p.json = appendFloat(p.json, math.Float64frombits(v), 64)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		p.json = strconv.AppendInt(p.json, int64(v), 10)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		p.json = strconv.AppendUint(p.json, v, 10)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		p.json = append(p.json, '"') // JavaScript has no integers of 64 bits
		p.json = append(strconv.AppendUint(p.json, v, 10), '"')
	default:
		p.json = append(p.json, '"')
		p.json = append(strconv.AppendInt(p.json, int64(v), 10), '"')
	}
	return true, nil
}

// enum prints a member by its name, and by its number what is none: also of a closed enum, where a parser in other languages
// may hide it.
func (p *printer) enum(e *enumType, n int32) {
	name, ok := e.names[n]
	switch {
	case e.nothing:
		p.json = append(p.json, "null"...)
	case !ok || p.options.EnumsAsNumbers:
		p.json = strconv.AppendInt(p.json, int64(n), 10)
	default:
		p.json = append(append(append(p.json, '"'), name...), '"')
	}
}
