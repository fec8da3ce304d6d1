package identity

import (
	"fmt"

	"github.com/yumen-io/yumen/engine/message"
)

// Field says that the upstream is told a claim in a header field.
type Field struct{ Name, Claim string }

// Forward is how an upstream is told who asks. It is frozen. The zero value tells nothing.
type Forward struct{ fields []field }

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
	}
	return f, nil
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
	all := h.All()
	for i := range all {
		if !all[i].Gone && f.isOne(h.Bytes(all[i].Name)) {
			all[i].Gone = true
		}
	}
	for i := range f.fields {
		if v, ok := claim(f.fields[i].claim); ok && FieldValue(v) {
			h.Add(f.fields[i].bytes, v)
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
