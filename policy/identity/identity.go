package identity

import "fmt"

// Attribute is something known of a consumer beside its name.
type Attribute struct{ Name, Value string }

// Limits on what is said of a consumer: its bytes are put into header fields, keys of limits and records.
const (
	NameBytesMax  = 128 // name_too_long
	ValueBytesMax = 256 // attribute_too_long
	AttributesMax = 16  // attributes_max
)

// NameClaim is the claim that a consumer's name is, under the word that tokens have for it (RFC 7519 4.1.2).
const NameClaim = "sub"

// Identity is a consumer. It is frozen, and shared by all loops.
type Identity struct {
	name       string
	nameBytes  []byte
	attributes []attribute
}

type attribute struct {
	name  string
	value []byte
}

// New makes an identity. The error says what is wrong with it, without the place.
func New(name string, attributes []Attribute) (*Identity, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if len(attributes) > AttributesMax {
		return nil, fmt.Errorf("%q has more than %d attributes", name, AttributesMax)
	}
	id := &Identity{name: name, nameBytes: []byte(name)}
	for _, a := range attributes {
		switch {
		case !isAttributeName(a.Name):
			return nil, fmt.Errorf("%q is not the name of an attribute: write letters, digits, dashes and underscores", clip(a.Name))
		case a.Name == NameClaim:
			return nil, fmt.Errorf("the attribute %q is the consumer's own name already", a.Name)
		case id.has(a.Name):
			return nil, fmt.Errorf("the attribute %q is there twice", a.Name)
		case len(a.Value) > ValueBytesMax:
			return nil, fmt.Errorf("the attribute %q is longer than %d bytes", a.Name, ValueBytesMax)
		case !FieldValue([]byte(a.Value)):
			return nil, fmt.Errorf("the attribute %q holds what a header field cannot", a.Name)
		}
		id.attributes = append(id.attributes, attribute{a.Name, []byte(a.Value)})
	}
	return id, nil
}

// CheckName says what is wrong with the name of a consumer: names are written into fields, lists and logs as they are.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a consumer has no name")
	case len(name) > NameBytesMax:
		return fmt.Errorf("the consumer's name %q... is longer than %d bytes", clip(name), NameBytesMax)
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] >= 0x7f {
			return fmt.Errorf("the consumer's name %q holds a space, a control character or a letter beyond ASCII", name)
		}
	}
	return nil
}

func isAttributeName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// clip keeps what is quoted in an error short.
func clip(s string) string { return s[:min(len(s), 64)] }

func (id *Identity) has(name string) bool {
	for i := range id.attributes {
		if id.attributes[i].name == name {
			return true
		}
	}
	return false
}

// Name is the consumer's name.
func (id *Identity) Name() string { return id.name }

// Claim returns the consumer's name under NameClaim, and its attributes under theirs. The bytes must not be changed.
func (id *Identity) Claim(name string) ([]byte, bool) {
	if name == NameClaim {
		return id.nameBytes, true
	}
	for i := range id.attributes { // a few: a map would cost more
		if a := &id.attributes[i]; a.name == name {
			return a.value, true
		}
	}
	return nil, false
}
