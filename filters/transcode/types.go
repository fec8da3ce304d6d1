package transcode

import (
	"encoding/json"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// messageType is what encoder and printer know of a message. Tables refer to one another as the messages do, in circles too.
type messageType struct {
	name   string // in full
	known  known
	fields []fieldType // as declared; extensions after them
	byName map[string]int32
	// Numbers below len(dense) are found there (index+1), the others in sparse.
	dense  []int32
	sparse map[protowire.Number]int32
	oneofs int // without those that protoc made for optional fields
	words  int // of the set in which the encoder notes what it has seen: fields, then oneofs
}

// known is a message with a JSON form of its own.
type known uint8

const (
	plain known = iota
	knownAny
	knownTimestamp
	knownDuration
	knownFieldMask
	knownStruct
	knownValue
	knownListValue
	knownWrapper
	knownEmpty
)

var knownTypes = map[protoreflect.FullName]known{
	"google.protobuf.Any":         knownAny,
	"google.protobuf.Timestamp":   knownTimestamp,
	"google.protobuf.Duration":    knownDuration,
	"google.protobuf.FieldMask":   knownFieldMask,
	"google.protobuf.Struct":      knownStruct,
	"google.protobuf.Value":       knownValue,
	"google.protobuf.ListValue":   knownListValue,
	"google.protobuf.Empty":       knownEmpty,
	"google.protobuf.BoolValue":   knownWrapper,
	"google.protobuf.Int32Value":  knownWrapper,
	"google.protobuf.Int64Value":  knownWrapper,
	"google.protobuf.UInt32Value": knownWrapper,
	"google.protobuf.UInt64Value": knownWrapper,
	"google.protobuf.FloatValue":  knownWrapper,
	"google.protobuf.DoubleValue": knownWrapper,
	"google.protobuf.StringValue": knownWrapper,
	"google.protobuf.BytesValue":  knownWrapper,
}

// knownFields are the fields that the known forms are written and read by. A file that gives the name to something else
// is refused, because everything here goes by these numbers.
var knownFields = map[known][]protoreflect.Kind{
	knownAny:       {protoreflect.StringKind, protoreflect.BytesKind},
	knownTimestamp: {protoreflect.Int64Kind, protoreflect.Int32Kind},
	knownDuration:  {protoreflect.Int64Kind, protoreflect.Int32Kind},
	knownFieldMask: {protoreflect.StringKind},
	knownStruct:    {protoreflect.MessageKind},
	knownListValue: {protoreflect.MessageKind},
	knownValue: {protoreflect.EnumKind, protoreflect.DoubleKind, protoreflect.StringKind, protoreflect.BoolKind,
		protoreflect.MessageKind, protoreflect.MessageKind},
}

// asKnown tells whether d has the fields that its name promises.
func asKnown(d protoreflect.MessageDescriptor) bool {
	want := knownFields[knownTypes[d.FullName()]]
	if knownTypes[d.FullName()] == knownWrapper {
		f := d.Fields().ByNumber(1)
		return d.Fields().Len() == 1 && f != nil && f.Message() == nil && f.Cardinality() != protoreflect.Repeated
	}
	if d.Fields().Len() != len(want) {
		return false
	}
	for i, kind := range want {
		f := d.Fields().ByNumber(protowire.Number(i + 1))
		if f == nil || f.Kind() != kind {
			return false
		}
	}
	return true
}

// shape is how often a field's value stands in a message.
type shape uint8

const (
	single shape = iota
	list
	mapped
)

type fieldType struct {
	name     string // in JSON
	original string // in the .proto file
	jsonKey  string // `"name":`
	protoKey string // `"original":`
	number   protowire.Number
	index    int32
	kind     protoreflect.Kind
	wire     protowire.Type // of one value, not packed
	shape    shape
	packed   bool
	presence bool   // a zero that is set differs from none
	nullable bool   // null is a value and not the absence of one
	oneof    int32  // -1: in none
	tag      []byte // of one value; of the run if packed
	message  *messageType
	enum     *enumType
	key      *fieldType // of a map's entries
	value    *fieldType
}

type enumType struct {
	name    string
	byName  map[string]int32
	names   map[int32]string // of aliases, the first
	nothing bool             // google.protobuf.NullValue
}

// types is every message of a descriptor set, by its full name.
type types struct {
	messages map[string]*messageType
	enums    map[protoreflect.FullName]*enumType
	fakes    []string // messages that bear the name of a known one and are not
}

func (t *types) addFile(fd protoreflect.FileDescriptor) {
	t.addMessages(fd.Messages())
}

func (t *types) addMessages(all protoreflect.MessageDescriptors) {
	for i := range all.Len() {
		d := all.Get(i)
		t.message(d)
		t.addMessages(d.Messages())
	}
}

// addExtensions comes when all messages are there.
func (t *types) addExtensions(all protoreflect.ExtensionDescriptors) {
	for i := range all.Len() {
		d := all.Get(i)
		m := t.message(d.ContainingMessage())
		if m.index(d.Number()) >= 0 || m.known != plain {
			continue
		}
		m.add(t.field(d), "["+string(d.FullName())+"]")
		m.finish()
	}
}

func (t *types) addNestedExtensions(all protoreflect.MessageDescriptors) {
	for i := range all.Len() {
		t.addExtensions(all.Get(i).Extensions())
		t.addNestedExtensions(all.Get(i).Messages())
	}
}

func (t *types) message(d protoreflect.MessageDescriptor) *messageType {
	name := string(d.FullName())
	if m := t.messages[name]; m != nil {
		return m
	}
	m := &messageType{name: name, known: knownTypes[d.FullName()], byName: map[string]int32{}}
	t.messages[name] = m // before the fields: one of them may be of this type
	if m.known != plain && !asKnown(d) {
		t.fakes = append(t.fakes, name)
		m.known = plain
	}
	for i := range d.Oneofs().Len() {
		if !d.Oneofs().Get(i).IsSynthetic() {
			m.oneofs++
		}
	}
	for i := range d.Fields().Len() {
		fd := d.Fields().Get(i)
		m.add(t.field(fd), fd.JSONName(), fd.TextName())
	}
	m.finish()
	return m
}

func (m *messageType) add(f fieldType, names ...string) {
	f.index = int32(len(m.fields))
	f.name, f.original = names[0], names[len(names)-1]
	f.jsonKey, f.protoKey = quotedKey(f.name), quotedKey(f.original)
	m.fields = append(m.fields, f)
	for i, name := range names {
		// A JSON name counts before another field's name in the file.
		if _, taken := m.byName[name]; !taken || i == 0 {
			m.byName[name] = f.index
		}
	}
}

func quotedKey(name string) string {
	b, err := json.Marshal(name)
	if err != nil {
		return `"":` // a string always has a form
	}
	return string(b) + ":"
}

// finish makes the indexes of the fields that are there.
func (m *messageType) finish() {
	m.words = (len(m.fields) + m.oneofs + 63) / 64
	most := 0
	for i := range m.fields {
		if n := int(m.fields[i].number); n <= 4*len(m.fields)+16 {
			most = max(most, n)
		}
	}
	m.dense, m.sparse = make([]int32, most+1), nil
	for i := range m.fields {
		n := m.fields[i].number
		if int(n) <= most {
			m.dense[n] = int32(i) + 1
			continue
		}
		if m.sparse == nil {
			m.sparse = map[protowire.Number]int32{}
		}
		m.sparse[n] = int32(i) + 1
	}
}

// index is the place of the field with this number in fields, -1 if there is none.
func (m *messageType) index(n protowire.Number) int32 {
	if n >= 0 && int(n) < len(m.dense) {
		return m.dense[n] - 1
	}
	return m.sparse[n] - 1
}

// lookup finds a field by either of its names; nil if there is none.
func (m *messageType) lookup(name string) *fieldType {
	if i, ok := m.byName[name]; ok {
		return &m.fields[i]
	}
	return nil
}

func (t *types) field(d protoreflect.FieldDescriptor) fieldType {
	f := fieldType{
		number: d.Number(), kind: d.Kind(), wire: wireTypes[d.Kind()], presence: d.HasPresence(), packed: d.IsPacked(), oneof: -1,
	}
	tagType := f.wire
	if f.packed {
		tagType = protowire.BytesType
	}
	f.tag = protowire.AppendTag(nil, f.number, tagType)
	if o := d.ContainingOneof(); o != nil && !o.IsSynthetic() {
		// Real oneofs are declared before the synthetic ones, so their indexes are dense.
		f.oneof = int32(o.Index())
	}
	switch {
	case d.IsMap():
		f.shape = mapped
		key, value := t.field(d.MapKey()), t.field(d.MapValue())
		f.key, f.value = &key, &value
		return f
	case d.IsList():
		f.shape = list
	}
	if md := d.Message(); md != nil {
		f.message = t.message(md)
		f.nullable = f.message.known == knownValue
	}
	if ed := d.Enum(); ed != nil {
		f.enum = t.enum(ed)
		f.nullable = f.enum.nothing
	}
	return f
}

func (t *types) enum(d protoreflect.EnumDescriptor) *enumType {
	if e := t.enums[d.FullName()]; e != nil {
		return e
	}
	e := &enumType{
		name: string(d.FullName()), byName: map[string]int32{}, names: map[int32]string{},
		nothing: d.FullName() == "google.protobuf.NullValue",
	}
	t.enums[d.FullName()] = e
	for i := range d.Values().Len() {
		v := d.Values().Get(i)
		e.byName[string(v.Name())] = int32(v.Number())
		if _, alias := e.names[int32(v.Number())]; !alias {
			e.names[int32(v.Number())] = string(v.Name())
		}
	}
	return e
}

var wireTypes = map[protoreflect.Kind]protowire.Type{
	protoreflect.BoolKind:     protowire.VarintType,
	protoreflect.EnumKind:     protowire.VarintType,
	protoreflect.Int32Kind:    protowire.VarintType,
	protoreflect.Sint32Kind:   protowire.VarintType,
	protoreflect.Uint32Kind:   protowire.VarintType,
	protoreflect.Int64Kind:    protowire.VarintType,
	protoreflect.Sint64Kind:   protowire.VarintType,
	protoreflect.Uint64Kind:   protowire.VarintType,
	protoreflect.Sfixed32Kind: protowire.Fixed32Type,
	protoreflect.Fixed32Kind:  protowire.Fixed32Type,
	protoreflect.FloatKind:    protowire.Fixed32Type,
	protoreflect.Sfixed64Kind: protowire.Fixed64Type,
	protoreflect.Fixed64Kind:  protowire.Fixed64Type,
	protoreflect.DoubleKind:   protowire.Fixed64Type,
	protoreflect.StringKind:   protowire.BytesType,
	protoreflect.BytesKind:    protowire.BytesType,
	protoreflect.MessageKind:  protowire.BytesType,
	protoreflect.GroupKind:    protowire.StartGroupType,
}

// typeName is what a Fault calls the type of one value of f.
func (f *fieldType) typeName() string {
	switch {
	case f.shape == mapped:
		return "a map"
	case f.message != nil:
		return f.message.name
	case f.enum != nil:
		return f.enum.name
	}
	return f.kind.String()
}
