package message

// Span is a piece of a message's raw bytes: an offset and a length. Spans instead of slices make a head plain data,
// without pointers for the garbage collector to follow, and stay right when the raw bytes move to grow.
type Span struct{ Off, Len uint32 }

// Field is one header line.
type Field struct {
	Name, Value Span
	ID          ID
	// Gone marks a field that is not there any more: removed, or meant for the previous hop only (RFC 9110 7.6.1).
	Gone bool
}

// Fields are header or trailer lines in the order they came, over bytes of their own. The zero value is empty; Reset
// keeps the memory for the next message. Slices returned by methods are valid until Reset.
type Fields struct {
	raw  []byte
	list []Field
}

// rawKept and listKept bound what Reset keeps: one message with a huge head should not fatten a pooled head for good.
const (
	rawKept  = 8 << 10
	listKept = 128
)

// Reset empties the fields.
func (f *Fields) Reset() {
	if cap(f.raw) > rawKept {
		f.raw = nil
	}
	if cap(f.list) > listKept {
		f.list = nil
	}
	f.raw, f.list = f.raw[:0], f.list[:0]
}

// Store copies b behind the raw bytes and returns where it lies. A codec stores a whole head at once and then adds
// fields by span; everybody else uses Add and Set.
func (f *Fields) Store(b []byte) Span {
	s := Span{uint32(len(f.raw)), uint32(len(b))}
	f.raw = append(f.raw, b...)
	return s
}

// StoreString is Store for a string.
func (f *Fields) StoreString(b string) Span {
	s := Span{uint32(len(f.raw)), uint32(len(b))}
	f.raw = append(f.raw, b...)
	return s
}

// Bytes returns the bytes of a span.
func (f *Fields) Bytes(s Span) []byte { return f.raw[s.Off : s.Off+s.Len : s.Off+s.Len] }

// RawLen returns the number of raw bytes stored, an upper bound of what the names and values take together.
func (f *Fields) RawLen() int { return len(f.raw) }

// AddSpan appends a field whose name and value are stored already.
func (f *Fields) AddSpan(name, value Span, id ID) {
	f.list = append(f.list, Field{Name: name, Value: value, ID: id})
}

// Add appends a field. Name and value must be valid (RFC 9110 5.1, 5.5): this is not checked again on the way out.
func (f *Fields) Add(name, value []byte) {
	at := len(f.raw)
	f.raw = append(append(f.raw, name...), ": "...)
	f.endLine(append(f.raw, value...), at, len(name), Identify(name))
}

// AddString is Add for strings.
func (f *Fields) AddString(name, value string) {
	at := len(f.raw)
	f.raw = append(append(f.raw, name...), ": "...)
	f.endLine(append(f.raw, value...), at, len(name), Identify(f.raw[at:at+len(name)]))
}

// BeginLine begins a field of a known name and returns the raw bytes, to which the caller appends the value and gives them
// to EndLine, together with the place where the line begins.
func (f *Fields) BeginLine(id ID) (raw []byte, at int) {
	at = len(f.raw)
	f.raw = append(append(f.raw, idNames[id]...), ": "...)
	return f.raw, at
}

// EndLine ends what BeginLine began.
func (f *Fields) EndLine(raw []byte, at int, id ID) { f.endLine(raw, at, len(idNames[id]), id) }

// endLine notes the field whose line begins at at. It lies in memory as HTTP/1 sends it, so that a codec can copy it, and
// those beside it, at once.
func (f *Fields) endLine(raw []byte, at, nameLen int, id ID) {
	value := at + nameLen + 2
	f.list = append(f.list, Field{Name: Span{uint32(at), uint32(nameLen)}, Value: Span{uint32(value), uint32(len(raw) - value)}, ID: id})
	f.raw = append(raw, "\r\n"...)
}

// AddKnown appends a field of a known name.
func (f *Fields) AddKnown(id ID, value []byte) {
	raw, at := f.BeginLine(id)
	f.EndLine(append(raw, value...), at, id)
}

// All returns every field, those that are Gone too; the caller may mark and change them in place.
func (f *Fields) All() []Field { return f.list }

// Get returns the value of the first field of a known name.
func (f *Fields) Get(id ID) ([]byte, bool) {
	for i := range f.list {
		if l := &f.list[i]; l.ID == id && !l.Gone {
			return f.Bytes(l.Value), true
		}
	}
	return nil, false
}

// Has tells whether a field of a known name is there.
func (f *Fields) Has(id ID) bool {
	for i := range f.list {
		if f.list[i].ID == id && !f.list[i].Gone {
			return true
		}
	}
	return false
}

// Remove drops every field of a known name.
func (f *Fields) Remove(id ID) {
	for i := range f.list {
		if f.list[i].ID == id {
			f.list[i].Gone = true
		}
	}
}

// Field returns the value of the first field of a name, compared without regard to ASCII case.
func (f *Fields) Field(name []byte) ([]byte, bool) {
	for i := range f.list {
		if l := &f.list[i]; !l.Gone && EqualFold(f.Bytes(l.Name), name) {
			return f.Bytes(l.Value), true
		}
	}
	return nil, false
}

// EachField calls do with the value of every field of a name, in order, until it returns false.
func (f *Fields) EachField(name []byte, do func(value []byte) bool) {
	for i := range f.list {
		if l := &f.list[i]; !l.Gone && EqualFold(f.Bytes(l.Name), name) && !do(f.Bytes(l.Value)) {
			return
		}
	}
}

// RemoveField drops every field of a name.
func (f *Fields) RemoveField(name []byte) {
	for i := range f.list {
		if l := &f.list[i]; !l.Gone && EqualFold(f.Bytes(l.Name), name) {
			l.Gone = true
		}
	}
}

// SetField replaces every field of a name by one.
func (f *Fields) SetField(name, value []byte) {
	f.RemoveField(name)
	f.Add(name, value)
}

// EqualFold compares two field names without regard to ASCII case.
func EqualFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if Lower(a[i]) != Lower(b[i]) {
			return false
		}
	}
	return true
}

// Lower returns the lower-case form of an ASCII letter and every other byte unchanged.
func Lower(c byte) byte {
	if c-'A' < 26 {
		return c | 0x20
	}
	return c
}

// NextField returns the value of the first field at or after position from whose name equals name, which is in lower case,
// and the position to continue from, negative if there is none. A walk begins at 0.
func (f *Fields) NextField(name string, from int) (value []byte, next int) {
	for i := from; i < len(f.list); i++ {
		if l := &f.list[i]; !l.Gone && int(l.Name.Len) == len(name) && equalLower(f.Bytes(l.Name), name) {
			return f.Bytes(l.Value), i + 1
		}
	}
	return nil, -1
}

func equalLower(b []byte, lower string) bool {
	for i := range b {
		if Lower(b[i]) != lower[i] {
			return false
		}
	}
	return true
}

// CopyTo makes dst an independent copy.
func (f *Fields) CopyTo(dst *Fields) {
	dst.Reset()
	dst.raw = append(dst.raw, f.raw...)
	dst.list = append(dst.list, f.list...)
}
