package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Instance is one running process of a service, as it is known to callers. Those that a Set holds are shared by all
// readers: nobody changes their Protocols and Metadata.
type Instance struct {
	// Service and ID together name the instance. Both are 1 to 128 of letters, digits, ".", "_", "-", and begin with a
	// letter or digit; an ID may also hold ":" and "@", so that an address can be one.
	Service string
	ID      string
	// Address is where it serves, host:port with a port from 1 to 65535; at most 256 bytes.
	Address string
	// Weight is the base weight, 1 to 10,000; 0 means 100, so that a slower machine can be given less than most.
	Weight uint32
	// Zone, Version and Colour are free words of at most 64 bytes of printable text.
	Zone, Version, Colour string
	// Protocols are the names of what Address speaks, such as "grpc" or "http": at most 16 of at most 32 bytes.
	Protocols []string
	// Metadata is whatever else callers should know: at most 64 entries, keys of at most 64 and values of at most 1024 bytes.
	Metadata map[string]string
	// Started is when the process began, for slow start; zero means that nobody knows, and Register then fills in now.
	Started time.Time
}

// Bounds of what is read from etcd, which anybody who has its password can write. Each is far above what a service
// needs and low enough that a hundred thousand instances fit in memory.
const (
	valueBytesMax    = 16 << 10 // value_too_long
	nameBytesMax     = 128      // bad_name
	addressBytesMax  = 256      // bad_address
	wordBytesMax     = 64       // bad_word
	protocolsMax     = 16       // too_many_protocols
	protocolBytesMax = 32       // bad_protocol
	metadataMax      = 64       // too_much_metadata
	metaKeyBytesMax  = 64       // bad_metadata
	metaBytesMax     = 1024     // bad_metadata
	weightMax        = 10_000   // bad_weight

	weightDefault = 100
	schema        = 1
)

// ErrInvalid is wrapped by each error about an Instance or a name that breaks its bounds.
var ErrInvalid = errors.New("invalid instance")

// malformed is an ErrInvalid with the one word that counts it.
type malformed struct{ word, text string }

func (m *malformed) Error() string { return "registry: " + m.text + " (" + m.word + ")" }
func (m *malformed) Unwrap() error { return ErrInvalid }

func invalid(word, format string, args ...any) error {
	return &malformed{word: word, text: fmt.Sprintf(format, args...)}
}

// value is an Instance as etcd holds it: schema 1, described in docs/kit/registry.md. Fields that are not known are
// ignored, so that a later writer of the same schema may add some.
type value struct {
	Schema    int               `json:"schema"`
	Service   string            `json:"service"`
	ID        string            `json:"id"`
	Address   string            `json:"address"`
	Weight    uint32            `json:"weight,omitempty"`
	Zone      string            `json:"zone,omitempty"`
	Version   string            `json:"version,omitempty"`
	Colour    string            `json:"colour,omitempty"`
	Protocols []string          `json:"protocols,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Started   *time.Time        `json:"started,omitempty"`
}

// encode returns the value of an instance that check has passed.
func encode(i *Instance) ([]byte, error) {
	v := value{Schema: schema, Service: i.Service, ID: i.ID, Address: i.Address, Weight: i.Weight, Zone: i.Zone,
		Version: i.Version, Colour: i.Colour, Protocols: i.Protocols, Metadata: i.Metadata}
	if !i.Started.IsZero() {
		v.Started = &i.Started
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("registry: encode instance: %w", err)
	}
	if len(text) > valueBytesMax {
		return nil, invalid("value_too_long", "instance %s/%s takes %d bytes, at most %d are allowed", i.Service, i.ID, len(text), valueBytesMax)
	}
	return text, nil
}

// decode reads the value found under the key of the service and id given. Its errors wrap ErrInvalid.
func decode(service, id string, text []byte) (Instance, error) {
	if len(text) > valueBytesMax {
		return Instance{}, invalid("value_too_long", "the value takes %d bytes, at most %d are allowed", len(text), valueBytesMax)
	}
	var v value
	if err := json.Unmarshal(text, &v); err != nil {
		return Instance{}, invalid("bad_json", "the value is no JSON of an instance: %v", err)
	}
	if v.Schema != schema {
		return Instance{}, invalid("bad_schema", "the value has schema %d, only %d is known", v.Schema, schema)
	}
	if v.Service != service || v.ID != id {
		return Instance{}, invalid("bad_name", "the value names %q/%q, its key %q/%q", v.Service, v.ID, service, id)
	}
	i := Instance{Service: v.Service, ID: v.ID, Address: v.Address, Weight: v.Weight, Zone: v.Zone, Version: v.Version,
		Colour: v.Colour, Protocols: v.Protocols, Metadata: v.Metadata}
	if v.Started != nil {
		i.Started = *v.Started
	}
	i.fill()
	return i, i.check()
}

// fill puts in the defaults that reading and writing share.
func (i *Instance) fill() {
	if i.Weight == 0 {
		i.Weight = weightDefault
	}
}

// clone is a copy that shares nothing with the caller's.
func (i *Instance) clone() Instance {
	c := *i
	c.Protocols, c.Metadata = slices.Clone(i.Protocols), maps.Clone(i.Metadata)
	return c
}

func (i *Instance) equal(o *Instance) bool {
	return i.Service == o.Service && i.ID == o.ID && i.Address == o.Address && i.Weight == o.Weight && i.Zone == o.Zone &&
		i.Version == o.Version && i.Colour == o.Colour && i.Started.Equal(o.Started) &&
		slices.Equal(i.Protocols, o.Protocols) && maps.Equal(i.Metadata, o.Metadata)
}

// check holds an instance against its bounds.
func (i *Instance) check() error {
	if err := checkService(i.Service); err != nil {
		return err
	}
	if !isName(i.ID, ":@") {
		return invalid("bad_name", "id %q is not 1 to %d of letters, digits and . _ - : @", clip(i.ID), nameBytesMax)
	}
	if err := checkAddress(i.Address); err != nil {
		return err
	}
	if i.Weight < 1 || i.Weight > weightMax {
		return invalid("bad_weight", "weight %d is not between 1 and %d", i.Weight, weightMax)
	}
	for _, w := range [...]struct{ name, text string }{{"zone", i.Zone}, {"version", i.Version}, {"colour", i.Colour}} {
		if !isText(w.text, wordBytesMax) {
			return invalid("bad_word", "%s %q is not printable text of at most %d bytes", w.name, clip(w.text), wordBytesMax)
		}
	}
	if len(i.Protocols) > protocolsMax {
		return invalid("too_many_protocols", "%d protocols, at most %d are allowed", len(i.Protocols), protocolsMax)
	}
	for _, p := range i.Protocols {
		if p == "" || !isText(p, protocolBytesMax) {
			return invalid("bad_protocol", "protocol %q is not 1 to %d bytes of printable text", clip(p), protocolBytesMax)
		}
	}
	if len(i.Metadata) > metadataMax {
		return invalid("too_much_metadata", "%d entries of metadata, at most %d are allowed", len(i.Metadata), metadataMax)
	}
	for k, v := range i.Metadata {
		if k == "" || !isText(k, metaKeyBytesMax) || len(v) > metaBytesMax || !utf8.ValidString(v) {
			return invalid("bad_metadata", "metadata %q is not a key of 1 to %d bytes with UTF-8 of at most %d", clip(k), metaKeyBytesMax, metaBytesMax)
		}
	}
	return nil
}

func checkService(s string) error {
	if !isName(s, "") {
		return invalid("bad_name", "service %q is not 1 to %d of letters, digits and . _ -", clip(s), nameBytesMax)
	}
	return nil
}

func checkAddress(a string) error {
	host, port, err := net.SplitHostPort(a)
	if err == nil && len(a) <= addressBytesMax && host != "" && isText(host, addressBytesMax) && !strings.ContainsAny(host, " /\\@?#%\"'<>") {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			return nil
		}
	}
	return invalid("bad_address", "address %q is not host:port", clip(a))
}

// isName tells whether s may be a part of a key and of a file's name: no slash, and no dot at its beginning.
func isName(s, more string) bool {
	if s == "" || len(s) > nameBytesMax {
		return false
	}
	for n := range len(s) {
		c := s[n]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (n == 0 || !(c == '.' || c == '_' || c == '-' || strings.IndexByte(more, c) >= 0)) {
			return false
		}
	}
	return true
}

func isText(s string, bytesMax int) bool {
	return len(s) <= bytesMax && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// clip shortens what a message repeats of foreign input.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
