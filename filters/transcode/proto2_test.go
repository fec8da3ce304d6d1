package transcode

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"
)

// oldFile is what proto2 has and proto3 has not: presence everywhere, closed enums, groups, extensions, lists that are not
// packed.
func oldFile() *descriptorpb.FileDescriptorProto {
	group, groups := messageOf("Part", "string text = 1", "test.Old inner = 2"), messageOf("Parts", "string text = 1")
	old := messageOf("Old", "int32 number = 1", "string text = 2", "enum:test.Size size = 3", "repeated enum:test.Size sizes = 4",
		"repeated int32 numbers = 5", "test.Old.Part part = 6", "repeated test.Old.Parts parts = 7", "map<string, enum:test.Size> by_name = 8")
	old.NestedType = append(old.NestedType, group, groups)
	for _, f := range old.Field {
		if strings.HasPrefix(f.GetTypeName(), ".test.Old.Part") {
			f.Type = descriptorpb.FieldDescriptorProto_TYPE_GROUP.Enum()
		}
	}
	old.Field[0].DefaultValue = proto.String("5")
	old.ExtensionRange = []*descriptorpb.DescriptorProto_ExtensionRange{{Start: proto.Int32(100), End: proto.Int32(200)}}
	file := testFile(enum("Size", "SMALL", "LARGE"), old, service("S", method("M", "test.Old", "test.Old", rule("POST /v1/old body=*", "GET /v1/old"))))
	file.Syntax = proto.String("proto2")
	extensions := messageOf("X", "string note = 100", "repeated test.Old more = 101")
	for _, f := range extensions.Field {
		f.Extendee = proto.String(".test.Old")
	}
	file.Extension = extensions.Field
	return file
}

func TestProto2AgreesWithProtojson(t *testing.T) {
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{oldFile()}}
	s, problems := Compile(setOf(t, oldFile()), Options{})
	if problems != nil {
		t.Fatal(problems)
	}
	for _, f := range commonFiles() {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	d, err := files.FindDescriptorByName("test.Old")
	if err != nil {
		t.Fatal(err)
	}
	w := plainWay{d: d.(protoreflect.MessageDescriptor), types: dynamicpb.NewTypes(files)}
	var wires [][]byte
	for _, text := range []string{
		`{}`, `{"number":0,"text":""}`, `{"size":"LARGE","sizes":["SMALL",1],"numbers":[1,2]}`, `{"size":5}`,
		`{"part":{"text":"a","inner":{"part":{"text":"b"}}},"parts":[{},{"text":"c"}]}`, `{"[test.note]":"x","[test.more]":[{"[test.note]":"y"}]}`,
		`{"[test.absent]":1}`, `{"[test.note]":"x","[test.note]":"y"}`, `{"byName":{"a":"LARGE","b":0}}`, `{"part":null}`, `{"Part":{}}`,
	} {
		compareBothWays(t, s, w, []byte(text))
		if wire, err := w.wire([]byte(text)); err == nil {
			wires = append(wires, wire)
			for i := range wire {
				compareJSON(t, s, w, wire[:i])
			}
		}
	}
	// Members that a closed enum does not have.
	wires = append(wires, []byte("\x20\x07"), []byte("\x20\x07\x20\x01"), []byte("\x22\x03\x00\x07\x01"), []byte("\x42\x05\x0a\x01x\x10\x07"), []byte("\x18\x07"))
	rapid.Check(t, func(t *rapid.T) {
		var whole []byte
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(wires)-1), 1, 5).Draw(t, "samples") {
			whole = append(whole, wires[i]...)
		}
		compareJSON(t, s, w, whole)
	})

	_, wire, fault := call(t, s, "GET /v1/old?part.inner.part.text=x&part.text=y", "")
	if fault != nil {
		t.Fatal(fault)
	}
	var c Converter
	out, fault := c.Response(nil, s.bindings[0], wire)
	if want := `{"part":{"text":"y","inner":{"part":{"text":"x"}}}}`; string(out) != want || fault != nil {
		t.Errorf("got %s, %v", out, fault)
	}
}
