package identity

import (
	"fmt"
	"strconv"

	"github.com/yumen-io/yumen/engine/message"
)

// Field says that the upstream is told a claim in a header field.
type Field struct{ Name, Claim string }

// Forward is how an upstream is told who asks. It is frozen. The zero value tells nothing.
type Forward struct {
	fields  []field
	lengths uint64 // of the names: the bit of each length, by 64
	rules   string
}

type field struct {
	name, claim string
	bytes       []byte // of name
	key         string // the name as lookalikes are compared: lower case, '-' for '_'
}

// NewForward checks the fields. The error says which is wrong.
func NewForward(fields []Field) (Forward, error) {
	var f Forward
	for _, one := range fields {
		if !isToken(one.Name) {
			return Forward{}, fmt.Errorf("%q is not the name of a header field", clip(one.Name))
		}
		if one.Claim == "" {
			return Forward{}, fmt.Errorf("the field %q has no claim", one.Name)
		}
		f.fields = append(f.fields, field{one.Name, one.Claim, []byte(one.Name), fold(one.Name)})
		f.lengths |= 1 << (len(one.Name) % 64)
		f.rules += strconv.Quote(one.Name) + strconv.Quote(one.Claim)
	}
	return f, nil
}

// Rules is a text that is the same for all that tell the same: what one made of somebody, another of equal rules can repeat.
func (f *Forward) Rules() string { return f.rules }

// Told is what an upstream is told of somebody, made once for requests that come again and again. It is frozen, and holds bytes
// of its own.
type Told struct{ lines message.Fields }

// Tell makes what Apply would add to a head.
func (f *Forward) Tell(claim func(name string) ([]byte, bool)) *Told {
	t := new(Told)
	for i := range f.fields {
		if v, ok := claim(f.fields[i].claim); ok && FieldValue(v) {
			t.lines.Add(f.fields[i].bytes, v)
		}
	}
	return t
}

// Len is how many bytes of lines it holds.
func (t *Told) Len() int { return t.lines.RawLen() }

// Repeat is Apply with what a Forward of the same Rules has made of somebody before. The lines are copied at once, and no claim
// is looked up.
func (f *Forward) Repeat(h *message.Head, t *Told) {
	if len(f.fields) == 0 {
		return
	}
	f.drop(h)
	at := h.Store(t.lines.Bytes(message.Span{Len: uint32(t.lines.RawLen())})).Off
	for _, l := range t.lines.All() {
		h.AddSpan(message.Span{Off: at + l.Name.Off, Len: l.Name.Len}, message.Span{Off: at + l.Value.Off, Len: l.Value.Len}, l.ID)
	}
}

// isToken is RFC 9110 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9':
		case c == '!' || c == '#' || c == '$' || c == '%' || c == '&' || c == '\'' || c == '*' || c == '+' || c == '-' || c == '.' ||
			c == '^' || c == '_' || c == '`' || c == '|' || c == '~':
		default:
			return false
		}
	}
	return s != ""
}

func fold(name string) string {
	b := []byte(name)
	for i, c := range b {
		b[i] = foldByte(c)
	}
	return string(b)
}

// foldByte makes one of the bytes of names that servers who turn '-' into '_' (CGI and its heirs) take for the same.
func foldByte(c byte) byte {
	if c == '_' {
		return '-'
	}
	return message.Lower(c)
}

// Any tells whether there is anything to be told.
func (f *Forward) Any() bool { return len(f.fields) > 0 }

// Apply drops what the client says in the fields itself, in every spelling that a server could take for them, and says what
// is known instead. A claim that is not there, or that no field can hold, leaves its field out: an upstream that trusts the
// field must not find somebody else's word in it.
func (f *Forward) Apply(h *message.Head, claim func(name string) ([]byte, bool)) {
	if len(f.fields) == 0 {
		return
	}
	f.drop(h)
	for i := range f.fields {
		if v, ok := claim(f.fields[i].claim); ok && FieldValue(v) {
			h.Add(f.fields[i].bytes, v)
		}
	}
}

// drop marks what the client says in the fields itself. The lengths of names are looked at first: most fields have another.
func (f *Forward) drop(h *message.Head) {
	all := h.All()
	for i := range all {
		l := &all[i]
		if f.lengths>>(l.Name.Len%64)&1 != 0 && !l.Gone && f.isOne(h.Bytes(l.Name)) {
			l.Gone = true
		}
	}
}

func (f *Forward) isOne(name []byte) bool {
	for i := range f.fields {
		if equalFold(name, f.fields[i].key) {
			return true
		}
	}
	return false
}

func equalFold(name []byte, key string) bool {
	if len(name) != len(key) {
		return false
	}
	for i, c := range name {
		if foldByte(c) != key[i] {
			return false
		}
	}
	return true
}

// FieldValue tells whether bytes can be the value of a field that is read alike by all: visible ASCII, with spaces inside.
func FieldValue(v []byte) bool {
	for _, c := range v {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return len(v) == 0 || v[0] != ' ' && v[len(v)-1] != ' '
}
