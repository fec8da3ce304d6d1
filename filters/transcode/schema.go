package transcode

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Options say what is transcoded and how. The zero value is every annotated method of every service, strictly.
type Options struct {
	// Services are the full names of those to serve; empty: all.
	Services []string
	// AutoMapping serves methods without an annotation as POST /package.Service/Method with the whole message as body.
	AutoMapping bool

	// DiscardUnknownFields passes over fields in JSON that the message does not have, and members that an enum does not.
	DiscardUnknownFields bool
	// DiscardUnknownParameters passes over query parameters that are no fields, or fields that are bound otherwise.
	DiscardUnknownParameters bool

	// AlwaysPrintFields prints zeros and empty lists and maps too; absent messages and optional fields stay absent.
	AlwaysPrintFields bool
	// PreserveProtoNames prints names as in the .proto file, display_name for displayName. Both are always read.
	PreserveProtoNames bool
	EnumsAsNumbers     bool

	// MessageBytesMax bounds a gRPC message and a JSON body, each in itself. 0: 4 MiB, gRPC's own default for a receiver.
	MessageBytesMax int
	// JSONBytesMax bounds the JSON of one message, which can be much longer than the message. 0: four times MessageBytesMax.
	JSONBytesMax int
}

// Defaults and bounds of Options.
const (
	messageBytesMaxDefault = 4 << 20
	messageBytesMaxLimit   = 1 << 30 // places in a message are 32 bits wide
)

// Problem is one thing wrong with a descriptor set or its rules.
type Problem struct {
	// Field is the setting that it is about where that is not the descriptors: "services".
	Field string
	// Binding is what it is about: "library.v1.Library.GetShelf: GET /v1/{name=shelves/*}", or a file or service.
	Binding string
	Cause   string
	Fix     string
}

// Error says it in one line.
func (p Problem) Error() string {
	var b strings.Builder
	if p.Binding != "" {
		b.WriteString(p.Binding)
		b.WriteString(": ")
	}
	b.WriteString(p.Cause)
	if p.Fix != "" {
		b.WriteString("; ")
		b.WriteString(p.Fix)
	}
	return b.String()
}

// Schema is a compiled descriptor set. It is frozen: any number of loops share it.
type Schema struct {
	options  Options
	types    types
	table    table
	bindings []*Binding
	methods  map[string]string // names, so that Match needs no strings of its own
	verbs    map[string]string
}

// Binding is one way to call a method over HTTP. It is frozen.
type Binding struct {
	Method          string // of HTTP; "*" is any
	Template        string // "/v1/{name=shelves/*}"
	RPC             string // the path of the gRPC request: "/library.v1.Library/GetShelf"
	ServerStreaming bool

	schema       *Schema
	template     *template
	variables    []variable
	input        *messageType
	output       *messageType
	bodyAll      bool
	body         *fieldType // if not bodyAll; nil: there is no body
	responseBody *fieldType // nil: the whole message
	rawRequest   bool       // the body is a google.api.HttpBody, and so the field body, or else the input
	rawResponse  bool
	refusal      *Fault
}

// variable is where a capture goes.
type variable struct {
	capture
	path    []*fieldType
	key     []byte
	several bool
}

// Refusal is why calls of this binding cannot be transcoded at all, to be answered before anything is read; nil if they can.
func (b *Binding) Refusal() *Fault { return b.refusal }

// HasBody tells whether the request's body is part of the message.
func (b *Binding) HasBody() bool { return b.bodyAll || b.body != nil }

// Bindings are all, in the order of the descriptors. The caller must not change them.
func (s *Schema) Bindings() []*Binding { return s.bindings }

// Compile makes a Schema of a serialised google.protobuf.FileDescriptorSet, or says everything that is wrong with it. It
// takes milliseconds for hundreds of messages: not for a loop. set is not kept.
func Compile(set []byte, o Options) (*Schema, []Problem) {
	c := &compiler{schema: &Schema{
		options: o.withDefaults(), methods: map[string]string{}, verbs: map[string]string{},
		types: types{messages: map[string]*messageType{}, enums: map[protoreflect.FullName]*enumType{}},
	}}
	files, problems := readSet(set)
	if problems != nil {
		return nil, problems
	}
	c.addTypes(files)
	c.addServices(files)
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	return c.schema, nil
}

func (o Options) withDefaults() Options {
	if o.MessageBytesMax <= 0 {
		o.MessageBytesMax = messageBytesMaxDefault
	}
	o.MessageBytesMax = min(o.MessageBytesMax, messageBytesMaxLimit)
	if o.JSONBytesMax <= 0 {
		o.JSONBytesMax = 4 * o.MessageBytesMax
	}
	o.Services = slices.Clone(o.Services)
	return o
}

// compiler gathers a Schema and what is wrong with it.
type compiler struct {
	schema   *Schema
	problems []Problem
	shapes   map[string]string // method and shape, to the binding that has them
}

func (c *compiler) report(binding, fix, format string, args ...any) {
	c.problems = append(c.problems, Problem{Binding: binding, Cause: fmt.Sprintf(format, args...), Fix: fix})
}

func (c *compiler) addTypes(files []protoreflect.FileDescriptor) {
	t := &c.schema.types
	for _, f := range files {
		t.addFile(f)
	}
	for _, f := range files {
		t.addExtensions(f.Extensions())
		t.addNestedExtensions(f.Messages())
	}
	for _, name := range t.fakes {
		c.report(name, "compile the set with the .proto file that comes with protoc", "the message is not what its name promises")
	}
	// Servers send these in the details of an error, and few descriptor sets have them. The set's own go first.
	t.addFile(errdetails.File_google_rpc_error_details_proto)
}

func (c *compiler) addServices(files []protoreflect.FileDescriptor) {
	c.shapes = map[string]string{}
	var names []string
	for _, f := range files {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			names = append(names, string(s.FullName()))
			if wanted := c.schema.options.Services; len(wanted) > 0 && !slices.Contains(wanted, string(s.FullName())) {
				continue
			}
			for j := range s.Methods().Len() {
				c.addMethod(s.Methods().Get(j))
			}
		}
	}
	for _, name := range c.schema.options.Services {
		if !slices.Contains(names, name) {
			c.report(name, "", "the descriptor set has no such service; it has %s", listed(names))
			c.problems[len(c.problems)-1].Field = "services"
		}
	}
	if len(c.schema.bindings) == 0 && len(c.problems) == 0 {
		c.report("", "annotate methods with google.api.http, or set auto_mapping", "no method can be called: none of %s has an HTTP rule", listed(names))
	}
}

// listed names some of many.
func listed(names []string) string {
	if len(names) == 0 {
		return "no services"
	}
	if len(names) > 8 {
		return strings.Join(names[:8], ", ") + fmt.Sprintf(" and %d more", len(names)-8)
	}
	return strings.Join(names, ", ")
}

var clientStreaming = &Fault{
	Status: 501, Code: codes.Unimplemented, Reason: ClientStreaming,
	Text: "the method takes a stream of messages, which HTTP/JSON cannot send: call it over gRPC",
}
