package transcode

import (
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Descriptors are written here as .proto files are, a line a field:
//
//	field("repeated string tags = 3")
//	messageOf("Book", "string name = 1", "map<string, int64> counts = 2", "optional int32 size = 3", "kind: Text text = 4")
//
// where "kind: " puts the field into the oneof kind.

var scalarTypes = map[string]descriptorpb.FieldDescriptorProto_Type{
	"double": descriptorpb.FieldDescriptorProto_TYPE_DOUBLE, "float": descriptorpb.FieldDescriptorProto_TYPE_FLOAT,
	"int64": descriptorpb.FieldDescriptorProto_TYPE_INT64, "uint64": descriptorpb.FieldDescriptorProto_TYPE_UINT64,
	"int32": descriptorpb.FieldDescriptorProto_TYPE_INT32, "fixed64": descriptorpb.FieldDescriptorProto_TYPE_FIXED64,
	"fixed32": descriptorpb.FieldDescriptorProto_TYPE_FIXED32, "bool": descriptorpb.FieldDescriptorProto_TYPE_BOOL,
	"string": descriptorpb.FieldDescriptorProto_TYPE_STRING, "bytes": descriptorpb.FieldDescriptorProto_TYPE_BYTES,
	"uint32": descriptorpb.FieldDescriptorProto_TYPE_UINT32, "sfixed32": descriptorpb.FieldDescriptorProto_TYPE_SFIXED32,
	"sfixed64": descriptorpb.FieldDescriptorProto_TYPE_SFIXED64, "sint32": descriptorpb.FieldDescriptorProto_TYPE_SINT32,
	"sint64": descriptorpb.FieldDescriptorProto_TYPE_SINT64,
}

func setType(f *descriptorpb.FieldDescriptorProto, name string) {
	if t, ok := scalarTypes[name]; ok {
		f.Type = t.Enum()
		return
	}
	if enum, ok := strings.CutPrefix(name, "enum:"); ok {
		f.Type, name = descriptorpb.FieldDescriptorProto_TYPE_ENUM.Enum(), enum
	} else {
		f.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
	}
	f.TypeName = proto.String("." + name)
}

func messageOf(name string, fields ...string) *descriptorpb.DescriptorProto {
	m := &descriptorpb.DescriptorProto{Name: proto.String(name)}
	var optional []*descriptorpb.FieldDescriptorProto
	oneofs := map[string]int32{}
	for _, text := range fields {
		f := &descriptorpb.FieldDescriptorProto{Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
		m.Field = append(m.Field, f)
		if group, rest, ok := strings.Cut(text, ": "); ok {
			if _, there := oneofs[group]; !there {
				oneofs[group] = int32(len(m.OneofDecl))
				m.OneofDecl = append(m.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: proto.String(group)})
			}
			f.OneofIndex, text = proto.Int32(oneofs[group]), rest
		}
		declared, number, _ := strings.Cut(text, " = ")
		n := int32(0)
		for _, c := range number {
			n = n*10 + c - '0'
		}
		f.Number = proto.Int32(n)
		space := strings.LastIndexByte(declared, ' ')
		typeName := declared[:space]
		f.Name = proto.String(declared[space+1:])
		if t, ok := strings.CutPrefix(typeName, "repeated "); ok {
			f.Label, typeName = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum(), t
		}
		if t, ok := strings.CutPrefix(typeName, "optional "); ok {
			f.Proto3Optional, typeName = proto.Bool(true), t
			optional = append(optional, f)
		}
		if t, ok := strings.CutPrefix(typeName, "map<"); ok {
			key, value, _ := strings.Cut(strings.TrimSuffix(t, ">"), ", ")
			entry := messageOf(entryName(f.GetName()), key+" key = 1", value+" value = 2")
			entry.Options = &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)}
			m.NestedType = append(m.NestedType, entry)
			f.Label, typeName = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum(), "test."+name+"."+entry.GetName()
		}
		setType(f, typeName)
	}
	for _, f := range optional { // their oneofs come last
		f.OneofIndex = proto.Int32(int32(len(m.OneofDecl)))
		m.OneofDecl = append(m.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: proto.String("_" + f.GetName())})
	}
	return m
}

func entryName(field string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(field, "_") {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String() + "Entry"
}

func enum(name string, values ...string) *descriptorpb.EnumDescriptorProto {
	e := &descriptorpb.EnumDescriptorProto{Name: proto.String(name)}
	for i, v := range values {
		e.Value = append(e.Value, &descriptorpb.EnumValueDescriptorProto{Name: proto.String(v), Number: proto.Int32(int32(i))})
	}
	return e
}

// method is an RPC; rule is nil, or its google.api.http. "stream " before a type is what it is in a .proto file.
func method(name, input, output string, rule *annotations.HttpRule) *descriptorpb.MethodDescriptorProto {
	m := &descriptorpb.MethodDescriptorProto{Name: proto.String(name)}
	if t, ok := strings.CutPrefix(input, "stream "); ok {
		m.ClientStreaming, input = proto.Bool(true), t
	}
	if t, ok := strings.CutPrefix(output, "stream "); ok {
		m.ServerStreaming, output = proto.Bool(true), t
	}
	m.InputType, m.OutputType = proto.String("."+input), proto.String("."+output)
	if rule != nil {
		m.Options = &descriptorpb.MethodOptions{}
		proto.SetExtension(m.Options, annotations.E_Http, rule)
	}
	return m
}

// rule is "GET /v1/things", with body and response_body behind it: "POST /v1/things body=*".
func rule(text string, additional ...string) *annotations.HttpRule {
	parts := strings.Fields(text)
	r := &annotations.HttpRule{}
	switch parts[0] {
	case "GET":
		r.Pattern = &annotations.HttpRule_Get{Get: parts[1]}
	case "PUT":
		r.Pattern = &annotations.HttpRule_Put{Put: parts[1]}
	case "POST":
		r.Pattern = &annotations.HttpRule_Post{Post: parts[1]}
	case "DELETE":
		r.Pattern = &annotations.HttpRule_Delete{Delete: parts[1]}
	case "PATCH":
		r.Pattern = &annotations.HttpRule_Patch{Patch: parts[1]}
	default:
		r.Pattern = &annotations.HttpRule_Custom{Custom: &annotations.CustomHttpPattern{Kind: parts[0], Path: parts[1]}}
	}
	for _, part := range parts[2:] {
		switch key, value, _ := strings.Cut(part, "="); key {
		case "body":
			r.Body = value
		case "response":
			r.ResponseBody = value
		}
	}
	for _, a := range additional {
		r.AdditionalBindings = append(r.AdditionalBindings, rule(a))
	}
	return r
}

func service(name string, methods ...*descriptorpb.MethodDescriptorProto) *descriptorpb.ServiceDescriptorProto {
	return &descriptorpb.ServiceDescriptorProto{Name: proto.String(name), Method: methods}
}

// testFile is test.proto with these parts. It imports all that people leave out of sets.
func testFile(parts ...any) *descriptorpb.FileDescriptorProto {
	f := &descriptorpb.FileDescriptorProto{
		Name: proto.String("test.proto"), Package: proto.String("test"), Syntax: proto.String("proto3"),
	}
	for _, common := range commonFiles() {
		f.Dependency = append(f.Dependency, common.Path())
	}
	for _, part := range parts {
		switch part := part.(type) {
		case *descriptorpb.DescriptorProto:
			f.MessageType = append(f.MessageType, part)
		case *descriptorpb.EnumDescriptorProto:
			f.EnumType = append(f.EnumType, part)
		case *descriptorpb.ServiceDescriptorProto:
			f.Service = append(f.Service, part)
		}
	}
	return f
}

func setOf(t testing.TB, files ...*descriptorpb.FileDescriptorProto) []byte {
	t.Helper()
	b, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: files})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func compileTest(t testing.TB, o Options, parts ...any) *Schema {
	t.Helper()
	s, problems := Compile(setOf(t, testFile(parts...)), o)
	for _, p := range problems {
		t.Error(p)
	}
	if s == nil {
		t.FailNow()
	}
	return s
}

// everything has a field of each kind there is.
func everything() []any {
	return []any{
		enum("Color", "COLOR_UNSPECIFIED", "RED", "GREEN"),
		messageOf("Item", "string name = 1", "int32 price = 2", "test.Item inner = 3"),
		messageOf("All",
			"bool a_bool = 1", "int32 an_int32 = 2", "sint32 a_sint32 = 3", "uint32 a_uint32 = 4", "int64 an_int64 = 5",
			"sint64 a_sint64 = 6", "uint64 a_uint64 = 7", "sfixed32 a_sfixed32 = 8", "fixed32 a_fixed32 = 9", "float a_float = 10",
			"sfixed64 a_sfixed64 = 11", "fixed64 a_fixed64 = 12", "double a_double = 13", "string a_string = 14", "bytes a_bytes = 15",
			"enum:test.Color color = 16", "test.Item item = 17", "test.All all = 18",
			"optional int32 maybe = 19", "optional string maybe_text = 20",
			"choice: int32 number = 21", "choice: string text = 22", "choice: test.Item thing = 23",
			"repeated int32 numbers = 30", "repeated sint64 signed = 31", "repeated double doubles = 32", "repeated string tags = 33",
			"repeated enum:test.Color colors = 34", "repeated test.Item items = 35", "repeated bool bools = 36", "repeated bytes blobs = 37",
			"map<string, string> labels = 40", "map<int64, test.Item> by_id = 41", "map<bool, enum:test.Color> by_bool = 42",
			"map<sint32, double> by_sint = 43", "map<fixed64, bytes> by_fixed = 44",
			"google.protobuf.Timestamp time = 50", "google.protobuf.Duration wait = 51", "google.protobuf.FieldMask mask = 52",
			"google.protobuf.Struct object = 53", "google.protobuf.Value value = 54", "google.protobuf.ListValue list = 55",
			"google.protobuf.Any any = 56", "google.protobuf.Empty empty = 57", "enum:google.protobuf.NullValue nothing = 58",
			"google.protobuf.Int64Value boxed_int = 60", "google.protobuf.StringValue boxed_text = 61", "google.protobuf.BoolValue boxed_bool = 62",
			"google.protobuf.BytesValue boxed_bytes = 63", "google.protobuf.DoubleValue boxed_double = 64",
			"repeated google.protobuf.Timestamp times = 70", "repeated google.protobuf.Value values = 71",
			"repeated google.protobuf.StringValue texts = 72", "map<string, google.protobuf.Duration> waits = 73",
			"int32 far = 100000"),
		service("Everything",
			method("Do", "test.All", "test.All", rule("POST /v1/all body=*")),
			method("Ask", "test.All", "test.All", rule("GET /v1/all")),
			method("Put", "test.All", "test.All", rule("PUT /v1/all/{a_string} body=item response=item"))),
	}
}

// everythingSchema comes with the descriptor of test.All, for the twin.
func everythingSchema(t testing.TB, o Options) (*Schema, protoreflect.MessageDescriptor, *dynamicpb.Types) {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{testFile(everything()...)}}
	s := compileTest(t, o, everything()...)
	for _, f := range commonFiles() {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	d, err := files.FindDescriptorByName("test.All")
	if err != nil {
		t.Fatal(err)
	}
	return s, d.(protoreflect.MessageDescriptor), dynamicpb.NewTypes(files)
}

func TestProblemsOfSets(t *testing.T) {
	f := func(set []byte, o Options, want ...string) {
		t.Helper()
		s, problems := Compile(set, o)
		if s != nil || len(problems) != len(want) {
			t.Fatalf("got %v, want %d problems", problems, len(want))
		}
		for i, p := range problems {
			if !strings.Contains(p.Error(), want[i]) {
				t.Errorf("got %q\nwant %q", p.Error(), want[i])
			}
		}
	}
	f(nil, Options{}, "the descriptor set is empty")
	f([]byte("{}"), Options{}, "this is no descriptor set")

	missing := testFile(messageOf("A"))
	missing.Dependency = append(missing.Dependency, "other.proto", "third.proto")
	f(setOf(t, missing), Options{}, "other.proto: the file is missing; it is imported by test.proto", "third.proto: the file is missing")

	other := testFile(messageOf("B"))
	f(setOf(t, testFile(messageOf("A")), other), Options{}, "test.proto: the file is in the descriptor set twice")

	other = testFile(messageOf("A"))
	other.Name = proto.String("other.proto")
	f(setOf(t, testFile(messageOf("A")), other), Options{}, "other.proto: ")

	a, b := testFile(), testFile()
	a.Name, b.Name = proto.String("a.proto"), proto.String("b.proto")
	a.Dependency, b.Dependency = []string{"b.proto"}, []string{"a.proto"}
	f(setOf(t, a, b), Options{}, "a.proto: the file imports itself")

	f(setOf(t, testFile(messageOf("A", "test.Nothing x = 1"))), Options{}, "test.Nothing")
	f(setOf(t, testFile(messageOf("A"), service("S", method("M", "test.A", "test.A", nil)))), Options{}, "none of test.S has an HTTP rule")
	f(setOf(t, testFile(everything()...)), Options{Services: []string{"test.Everything", "test.Other"}},
		"test.Other: the descriptor set has no such service; it has test.Everything")

	fake := testFile(messageOf("Timestamp", "string text = 1"), messageOf("A"), service("S", method("M", "test.A", "test.A", rule("GET /a"))))
	fake.Package, fake.Dependency = proto.String("google.protobuf"), []string{"google/api/annotations.proto"}
	for _, m := range fake.Service[0].Method {
		m.InputType, m.OutputType = proto.String(".google.protobuf.A"), proto.String(".google.protobuf.A")
	}
	f(setOf(t, fake), Options{}, "google.protobuf.Timestamp: the message is not what its name promises")
}

func TestProblemsOfRules(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		parts := append(everything(), service("S", method("M", "test.All", "test.All", rule(text))))
		_, problems := Compile(setOf(t, testFile(parts...)), Options{})
		if len(problems) != len(want) {
			t.Fatalf("%s: %v", text, problems)
		}
		for i, p := range problems {
			if !strings.HasPrefix(p.Binding, "test.S.M") || !strings.Contains(p.Error(), want[i]) {
				t.Errorf("%s: got %q\nwant %q", text, p.Error(), want[i])
			}
		}
	}
	f("GET /v2/{absent}", "the variable absent: test.All has no field absent")
	f("GET /v2/{aString}", "the variable aString: test.All has no field aString")
	f("GET /v2/{item.absent}", "test.Item has no field absent")
	f("GET /v2/{a_string.length}", "aString is string, which has no fields here")
	f("GET /v2/{tags}", "tags is repeated")
	f("GET /v2/{labels}", "labels is repeated")
	f("GET /v2/{items.name}", "items is repeated")
	f("GET /v2/{item}", "item is a message (test.Item)")
	f("GET /v2/{value}", "value is a message (google.protobuf.Value)")
	f("POST /v2/a body=absent", "the body: test.All has no field absent")
	f("POST /v2/a body=item.name", "the body: test.All has no field item.name")
	f("GET /v2/a response=absent", "the response_body: test.All has no field absent")
	f("GET v2/a", "a path begins with '/'")
	f("GET /v2/{a_string", "a '{' without its '}'")
	f("GET /v2/**/a", "** is not the last segment")
	f("get /v2/a", `"get" is no HTTP method`)
	f("POST /v1/all body=*", "test.Everything.Do: POST /v1/all takes the same requests")
	f("GET /v2/{absent}/{tags} body=none", "no field absent", "tags is repeated", "no field none")

	nested := rule("GET /v2/a", "GET /v2/b")
	nested.AdditionalBindings[0].AdditionalBindings = []*annotations.HttpRule{rule("GET /v2/c")}
	for _, p := range []*annotations.HttpRule{nested, {}} {
		parts := append(everything(), service("S", method("M", "test.All", "test.All", p)))
		if _, problems := Compile(setOf(t, testFile(parts...)), Options{}); len(problems) != 1 {
			t.Errorf("%v: %v", p, problems)
		}
	}
}

func TestTwoNamesOfOneShapeAreOneBinding(t *testing.T) {
	parts := append(everything(), service("S",
		method("M", "test.All", "test.All", rule("GET /v2/{a_string}:go")),
		method("N", "test.All", "test.All", rule("GET /v2/{text=*}:go", "GET /v2/{text}", "PUT /v2/{text}:go"))))
	_, problems := Compile(setOf(t, testFile(parts...)), Options{})
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "test.S.M: GET /v2/{a_string}:go takes the same requests") {
		t.Error(problems)
	}
}

// A set that somebody compiled without the annotations has the rule in it as bytes nobody knows. Compile decodes the set by
// itself, so it can only meet that where the option is not what it believes; httpRule is asked directly.
func TestARuleIsFoundInUnknownBytes(t *testing.T) {
	b, err := proto.Marshal(rule("POST /v1/x body=*", "GET /v1/y"))
	if err != nil {
		t.Fatal(err)
	}
	file := testFile(messageOf("A"), service("S", method("M", "test.A", "test.A", nil), method("N", "test.A", "test.A", nil)))
	o := &descriptorpb.MethodOptions{}
	o.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, httpRuleNumber, protowire.BytesType), b))
	file.Service[0].Method[0].Options = o
	file.Dependency = nil
	fd, err := protodesc.NewFile(file, &protoregistry.Files{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := httpRule(fd.Services().Get(0).Methods().Get(0))
	if err != nil || !proto.Equal(r, rule("POST /v1/x body=*", "GET /v1/y")) {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := httpRule(fd.Services().Get(0).Methods().Get(1)); r != nil || err != nil {
		t.Errorf("a method without a rule: %v, %v", r, err)
	}
}

func TestAutoMappingServesMethodsWithoutARule(t *testing.T) {
	parts := append(everything(), service("S", method("M", "test.Item", "test.Item", nil)))
	for _, auto := range []bool{false, true} {
		s := compileTest(t, Options{AutoMapping: auto}, parts...)
		var c Captures
		b, _ := s.Match([]byte("POST"), []byte("/test.S/M"), &c)
		if (b != nil) != auto {
			t.Errorf("auto mapping %v: %v", auto, b)
		}
		if auto && (b.RPC != "/test.S/M" || b.String() != "POST /test.S/M -> test.S/M" || !b.HasBody()) {
			t.Error(b)
		}
	}
}

func TestServicesAreChosen(t *testing.T) {
	parts := append(everything(), service("S", method("M", "test.Item", "test.Item", rule("GET /v2/a"))))
	s := compileTest(t, Options{Services: []string{"test.S"}}, parts...)
	if len(s.Bindings()) != 1 || s.Bindings()[0].RPC != "/test.S/M" {
		t.Error(s.Bindings())
	}
}
