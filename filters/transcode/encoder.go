package transcode

import (
	"bytes"
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// nestingMax bounds how deep messages, lists and maps nest, in both directions: deeper than servers in C++ and Java accept,
// which stop at 100, and shallow for a stack.
const nestingMax = 100

// anyNestingMax bounds Any in Any. Each is searched for its @type before it is read, so the cost of a document is its
// length times this.
const anyNestingMax = 8

// encoder writes the wire format of a message while it reads its JSON.
//
// A message's length stands before it and is known after it. So lengths are left out at first and noted as marks; finish
// then moves everything to its place, from the end, so that each byte moves once however deep the message. (Moving the
// content of each message when it ends costs the depth times the length: 0.4 s for a hostile 4 MiB.)
type encoder struct {
	scanner
	types   *types
	discard bool // pass over unknown fields and members of enums

	out   []byte
	marks []mark
	extra int // bytes of the lengths that are still left out

	seen  []uint64 // sets, one on the other, of the fields that each open message has had
	keys  []span   // of the open maps, in out
	depth int
	anys  int
}

type mark struct {
	at   int // where the length is missing
	size int // before shut: extra when it was opened
}

type span struct{ start, end int }

func (e *encoder) begin(dst, in []byte, t *types, discard bool) {
	e.in, e.at, e.out, e.types, e.discard = in, 0, dst, t, discard
	e.marks, e.extra, e.seen, e.keys, e.depth, e.anys = e.marks[:0], 0, e.seen[:0], e.keys[:0], 0, 0
}

// mapEntriesMax bounds the entries of a map, and of those that it is in, in both directions: their keys are noted and sorted, which
// costs up to 64 bytes and a third of a microsecond each, many times what an entry takes in the message.
const mapEntriesMax = 64 << 10

// scratchKeptBytes bounds the scratch that stays after a large message.
const scratchKeptBytes = 64 << 10

// end forgets the caller's memory, and scratch that a large message left.
func (e *encoder) end() {
	e.in, e.out, e.types = nil, nil, nil
	if cap(e.text) > scratchKeptBytes {
		e.text = nil
	}
	if cap(e.marks) > scratchKeptBytes/16 {
		e.marks = nil
	}
	if cap(e.keys) > scratchKeptBytes/16 {
		e.keys = nil
	}
	if cap(e.seen) > scratchKeptBytes/8 {
		e.seen = nil
	}
}

// finish puts the lengths where they belong and returns what was written.
func (e *encoder) finish() []byte {
	if len(e.marks) == 0 {
		return e.out
	}
	end := len(e.out)
	out := slices.Grow(e.out, e.extra)[:end+e.extra]
	to := len(out)
	for i := len(e.marks) - 1; i >= 0; i-- {
		m := e.marks[i]
		to -= end - m.at
		copy(out[to:], out[m.at:end])
		end = m.at
		to -= protowire.SizeVarint(uint64(m.size))
		protowire.AppendVarint(out[:to], uint64(m.size))
	}
	return out
}

func (e *encoder) open() int {
	e.marks = append(e.marks, mark{len(e.out), e.extra})
	return len(e.marks) - 1
}

func (e *encoder) shut(i int) {
	m := &e.marks[i]
	m.size = len(e.out) - m.at + e.extra - m.size
	e.extra += protowire.SizeVarint(uint64(m.size))
}

func (e *encoder) enter() *Fault {
	if e.depth++; e.depth > nestingMax {
		return e.tooDeep()
	}
	return nil
}

// message reads a value of type m, in whichever form it has.
func (e *encoder) message(m *messageType) *Fault {
	switch m.known {
	case plain, knownEmpty:
		return e.object(m, false)
	default:
		return e.knownMessage(m)
	}
}

// object reads an object whose members are the fields of m. embedded: it is the object of an Any, whose @type is known.
func (e *encoder) object(m *messageType, embedded bool) *Fault {
	if e.peek() != '{' {
		return e.unlike("an object (" + m.name + ")")
	}
	if f := e.enter(); f != nil {
		return f
	}
	e.at++
	seen := len(e.seen)
	for range m.words {
		e.seen = append(e.seen, 0)
	}
	types := 0
	for first := true; ; first = false {
		more, f := e.more(first, '}')
		if f != nil {
			return f
		}
		if !more {
			break
		}
		start := e.at
		name, f := e.name()
		if f != nil {
			return f
		}
		i, ok := m.byName[string(name)]
		if !ok {
			if embedded && string(name) == "@type" {
				if types++; types > 1 {
					return e.fault(start, DuplicateField, "the type is given twice").under("@type")
				}
			} else if !e.discard {
				return e.fault(start, UnknownField, "%s has no such field", m.name).underField(name)
			}
			if f := e.skip(nestingMax - e.depth); f != nil {
				return f
			}
			continue
		}
		fd := &m.fields[i]
		if e.mark(seen, i) {
			return e.fault(start, DuplicateField, "the field is given twice").under(fd.name)
		}
		if e.peek() == 'n' && !fd.nullable {
			if f := e.word("null"); f != nil {
				return f.under(fd.name)
			}
			continue
		}
		if fd.oneof >= 0 && e.mark(seen, int32(len(m.fields))+fd.oneof) {
			return e.fault(start, DuplicateField, "another field of the same oneof is given already").under(fd.name)
		}
		if f := e.field(fd); f != nil {
			return f.under(fd.name)
		}
	}
	e.seen = e.seen[:seen]
	e.depth--
	return nil
}

// mark notes bit i of the set that begins at seen and tells whether it was there.
func (e *encoder) mark(seen int, i int32) bool {
	word, bit := &e.seen[seen+int(i>>6)], uint64(1)<<(i&63)
	was := *word&bit != 0
	*word |= bit
	return was
}

// field reads the whole value of a field: a list, a map, or one value.
func (e *encoder) field(fd *fieldType) *Fault {
	switch fd.shape {
	case list:
		return e.list(fd)
	case mapped:
		return e.mapping(fd)
	}
	return e.value(fd)
}

// value reads one value and writes it with its tag.
func (e *encoder) value(fd *fieldType) *Fault {
	switch fd.kind {
	case protoreflect.MessageKind:
		e.out = append(e.out, fd.tag...)
		m := e.open()
		f := e.message(fd.message)
		e.shut(m)
		return f
	case protoreflect.GroupKind:
		e.out = append(e.out, fd.tag...)
		f := e.message(fd.message)
		e.out = protowire.AppendTag(e.out, fd.number, protowire.EndGroupType)
		return f
	}
	return e.scalar(fd, fd.tag)
}

func (e *encoder) list(fd *fieldType) *Fault {
	if e.peek() != '[' {
		return e.unlike("an array of " + fd.typeName())
	}
	if f := e.enter(); f != nil {
		return f
	}
	e.at++
	start, run := len(e.out), -1
	if fd.packed {
		e.out = append(e.out, fd.tag...)
		run = e.open()
	}
	empty := len(e.out)
	for i := 0; ; i++ {
		more, f := e.more(i == 0, ']')
		if f != nil {
			return f.underIndex(i)
		}
		if !more {
			break
		}
		if fd.packed {
			f = e.scalar(fd, nil)
		} else {
			f = e.value(fd)
		}
		if f != nil {
			return f.underIndex(i)
		}
	}
	switch {
	case run < 0:
	case len(e.out) == empty:
		e.out, e.marks = e.out[:start], e.marks[:run]
	default:
		e.shut(run)
	}
	e.depth--
	return nil
}

func (e *encoder) mapping(fd *fieldType) *Fault {
	if e.peek() != '{' {
		return e.unlike("an object, a map to " + fd.value.typeName() + ",")
	}
	if f := e.enter(); f != nil {
		return f
	}
	e.at++
	keys := len(e.keys)
	for first := true; ; first = false {
		more, f := e.more(first, '}')
		if f != nil {
			return f
		}
		if !more {
			break
		}
		undo := len(e.out)
		e.out = append(e.out, fd.tag...)
		entry := e.open()
		start := e.at
		name, f := e.name()
		if f != nil {
			return f
		}
		keyStart := len(e.out)
		if !e.mapKey(fd.key, name) {
			return e.fault(start, WrongType, "a key that is no %s", fd.key.kind).underKey(shown(name))
		}
		key := span{keyStart, len(e.out)}
		valueStart := len(e.out)
		if f := e.value(fd.value); f != nil {
			if fd.key.kind == protoreflect.StringKind {
				// The name itself may be gone: the value may have used its memory.
				name = keyText(e.out[key.start:key.end])
				return f.underKey(shown(name))
			}
			return f.underKey(shown(e.nameAt(start)))
		}
		if len(e.out) == valueStart { // an unknown member of an enum, discarded
			e.out, e.marks = e.out[:undo], e.marks[:entry]
			continue
		}
		e.shut(entry)
		if e.keys = append(e.keys, key); len(e.keys) > mapEntriesMax {
			return e.fault(start, TooManyEntries, "maps of more than %d entries", mapEntriesMax)
		}
	}
	f := e.duplicateKey(fd, e.keys[keys:])
	e.keys = e.keys[:keys]
	e.depth--
	return f
}

// nameAt reads the name at a place again, for a Fault.
func (e *encoder) nameAt(at int) []byte {
	again := scanner{in: e.in, at: at}
	again.peek()
	name, _ := again.name()
	return name
}

// keyText is the text of a string key in wire format.
func keyText(b []byte) []byte {
	_, _, n := protowire.ConsumeTag(b)
	text, _ := protowire.ConsumeBytes(b[n:])
	return text
}

// duplicateKey compares keys as they are on the wire, where each has one form. Their order does not matter any more.
func (e *encoder) duplicateKey(fd *fieldType, keys []span) *Fault {
	if len(keys) < 2 {
		return nil
	}
	compare := func(a, b span) int { return bytes.Compare(e.out[a.start:a.end], e.out[b.start:b.end]) }
	if len(keys) <= 8 {
		for i := range keys {
			for j := range i {
				if compare(keys[i], keys[j]) == 0 {
					return e.sameKey(fd, keys[i])
				}
			}
		}
		return nil
	}
	slices.SortFunc(keys, compare)
	for i := range keys[1:] {
		if compare(keys[i], keys[i+1]) == 0 {
			return e.sameKey(fd, keys[i])
		}
	}
	return nil
}

func (e *encoder) sameKey(fd *fieldType, key span) *Fault {
	f := e.fault(e.at, DuplicateField, "a key is there twice")
	if fd.key.kind == protoreflect.StringKind {
		f.underKey(shown(keyText(e.out[key.start:key.end])))
	}
	return f
}

// mapKey writes a key, which in JSON is always a name. An integer has no other form here than its digits, so that one key
// is one key for everybody.
func (e *encoder) mapKey(fd *fieldType, name []byte) bool {
	switch fd.kind {
	case protoreflect.StringKind:
		e.out = protowire.AppendBytes(append(e.out, fd.tag...), name)
		return true
	case protoreflect.BoolKind:
		if string(name) != "true" && string(name) != "false" {
			return false
		}
		e.appendBits(fd, fd.tag, protowire.EncodeBool(string(name) == "true"))
		return true
	}
	if numberLen(name) != len(name) || bytes.ContainsAny(name, ".eE") {
		return false
	}
	return e.integer(fd, fd.tag, name) == ""
}

// scalar reads one value that is no message, and writes it. tag is empty in a packed run.
func (e *encoder) scalar(fd *fieldType, tag []byte) *Fault {
	c, start := e.peek(), e.at
	switch {
	case c == '"':
		text, f := e.str()
		if f != nil {
			return f
		}
		if fd.kind == protoreflect.BoolKind {
			e.at = start
			return e.unlike("bool")
		}
		if reason, why := e.scalarText(fd, tag, text); why != "" {
			return e.fault(start, reason, "%s", why)
		}
		return nil
	case c == '-' || c >= '0' && c <= '9':
		switch fd.kind {
		case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.BoolKind:
			return e.unlike(fd.typeName())
		}
		token, f := e.number()
		if f != nil {
			return f
		}
		if reason, why := e.numeral(fd, tag, token); why != "" {
			return e.fault(start, reason, "%s", why)
		}
		return nil
	case c == 't' && fd.kind == protoreflect.BoolKind:
		e.appendBits(fd, tag, 1)
		return e.word("true")
	case c == 'f' && fd.kind == protoreflect.BoolKind:
		e.appendBits(fd, tag, 0)
		return e.word("false")
	case c == 'n' && fd.nullable:
		e.appendBits(fd, tag, 0)
		return e.word("null")
	}
	return e.unlike(fd.typeName())
}

// scalarText writes a value that is given as text: in a JSON string, the query or the path. If it cannot, it says why, and
// has written nothing.
func (e *encoder) scalarText(fd *fieldType, tag, text []byte) (Reason, string) {
	switch fd.kind {
	case protoreflect.StringKind:
		if !utf8.Valid(text) {
			return BadEncoding, "the text is not UTF-8"
		}
		e.out = protowire.AppendBytes(append(e.out, tag...), text)
		return "", ""
	case protoreflect.BytesKind:
		return e.base64(tag, text)
	case protoreflect.EnumKind:
		if n, ok := fd.enum.byName[string(text)]; ok {
			e.appendBits(fd, tag, uint64(int64(n)))
			return "", ""
		}
		if e.discard {
			return "", ""
		}
		return BadValue, shown(text) + " is no member of " + fd.enum.name
	case protoreflect.BoolKind:
		switch string(text) {
		case "true":
			e.appendBits(fd, tag, 1)
		case "false":
			e.appendBits(fd, tag, 0)
		default:
			return WrongType, shown(text) + " is neither true nor false"
		}
		return "", ""
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		switch string(text) {
		case "NaN":
			e.float(fd, tag, math.NaN())
			return "", ""
		case "Infinity":
			e.float(fd, tag, math.Inf(1))
			return "", ""
		case "-Infinity":
			e.float(fd, tag, math.Inf(-1))
			return "", ""
		}
	}
	if len(text) == 0 || numberLen(text) != len(text) {
		return WrongType, shown(text) + " is no " + fd.typeName()
	}
	return e.numeral(fd, tag, text)
}

// numeral writes a value that is given as a number.
func (e *encoder) numeral(fd *fieldType, tag, token []byte) (Reason, string) {
	switch fd.kind {
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		width := 64
		if fd.kind == protoreflect.FloatKind {
			width = 32
		}
		v, err := strconv.ParseFloat(string(token), width)
		if err != nil {
			return OutOfRange, shown(token) + " is out of the range of " + fd.typeName()
		}
		e.float(fd, tag, v)
		return "", ""
	}
	reason := e.integer(fd, tag, token)
	switch reason {
	case OutOfRange:
		return reason, shown(token) + " is out of the range of " + fd.typeName()
	case WrongType:
		return reason, shown(token) + " is no integer, where " + fd.typeName() + " is wanted"
	}
	return "", ""
}

// integer writes an integer or a member of an enum, or says why it is none.
func (e *encoder) integer(fd *fieldType, tag, token []byte) Reason {
	negative, magnitude, whole, overflow := integer(token)
	switch {
	case !whole:
		return WrongType
	case overflow:
		return OutOfRange
	}
	switch fd.kind {
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		width := 64
		if fd.kind == protoreflect.Uint32Kind || fd.kind == protoreflect.Fixed32Kind {
			width = 32
		}
		if !fitsUnsigned(negative, magnitude, width) {
			return OutOfRange
		}
		e.appendBits(fd, tag, magnitude)
		return ""
	}
	width := 32
	switch fd.kind {
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		width = 64
	}
	v, ok := fitsSigned(negative, magnitude, width)
	if !ok {
		return OutOfRange
	}
	if fd.kind == protoreflect.Sint32Kind || fd.kind == protoreflect.Sint64Kind {
		e.appendBits(fd, tag, protowire.EncodeZigZag(v))
	} else {
		e.appendBits(fd, tag, uint64(v))
	}
	return ""
}

func (e *encoder) float(fd *fieldType, tag []byte, v float64) {
	if fd.kind == protoreflect.FloatKind {
		e.appendBits(fd, tag, uint64(math.Float32bits(float32(v))))
	} else {
		e.appendBits(fd, tag, math.Float64bits(v))
	}
}

// appendBits writes a value of a kind that is not of bytes.
func (e *encoder) appendBits(fd *fieldType, tag []byte, v uint64) {
	e.out = append(e.out, tag...)
	switch fd.wire {
	case protowire.Fixed32Type:
		e.out = protowire.AppendFixed32(e.out, uint32(v))
	case protowire.Fixed64Type:
		e.out = protowire.AppendFixed64(e.out, v)
	default:
		e.out = protowire.AppendVarint(e.out, v)
	}
}

// base64 writes bytes, given in either alphabet, padded or not.
func (e *encoder) base64(tag, text []byte) (Reason, string) {
	encoding := base64.StdEncoding
	padded := len(text)%4 == 0
	switch url := bytes.ContainsAny(text, "-_"); {
	case url && padded:
		encoding = base64.URLEncoding
	case url:
		encoding = base64.RawURLEncoding
	case !padded:
		encoding = base64.RawStdEncoding
	}
	start := len(e.out)
	e.out = append(e.out, tag...)
	m := e.open()
	out, err := encoding.AppendDecode(e.out, text)
	e.out = out
	if err != nil {
		e.out, e.marks = out[:start], e.marks[:m]
		return BadValue, "the text is not base64"
	}
	e.shut(m)
	return "", ""
}
