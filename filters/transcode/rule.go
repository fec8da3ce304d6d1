package transcode

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// httpRuleNumber is the extension google.api.http of MethodOptions.
const httpRuleNumber = 72295728

// httpRule finds the rule of a method; nil if it has none. The option may be decoded already, by a registry that knows the
// extension, or still be bytes, by one that does not.
func httpRule(m protoreflect.MethodDescriptor) (*annotations.HttpRule, error) {
	options := m.Options()
	if options == nil || !options.ProtoReflect().IsValid() {
		return nil, nil
	}
	rule := &annotations.HttpRule{}
	found := false
	var err error
	options.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if fd.Number() == httpRuleNumber && fd.Message() != nil && !fd.IsList() {
			// By way of bytes, for it may be of another Go type.
			var b []byte
			if b, err = proto.Marshal(v.Message().Interface()); err == nil {
				err = proto.Unmarshal(b, rule)
			}
			found = true
		}
		return !found
	})
	if found || err != nil {
		return rule, err
	}
	for b := options.ProtoReflect().GetUnknown(); len(b) > 0; {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			break
		}
		v := protowire.ConsumeFieldValue(number, wire, b[n:])
		if v < 0 {
			break
		}
		if number == httpRuleNumber && wire == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(b[n:])
			if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(content, rule); err != nil {
				return nil, err
			}
			found = true
		}
		b = b[n+v:]
	}
	if !found {
		return nil, nil
	}
	return rule, nil
}

// pattern is the HTTP method and the path of a rule; empty if it has none.
func pattern(r *annotations.HttpRule) (method, path string) {
	switch p := r.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return "GET", p.Get
	case *annotations.HttpRule_Put:
		return "PUT", p.Put
	case *annotations.HttpRule_Post:
		return "POST", p.Post
	case *annotations.HttpRule_Delete:
		return "DELETE", p.Delete
	case *annotations.HttpRule_Patch:
		return "PATCH", p.Patch
	case *annotations.HttpRule_Custom:
		return p.Custom.GetKind(), p.Custom.GetPath()
	}
	return "", ""
}

func (c *compiler) addMethod(m protoreflect.MethodDescriptor) {
	rule, err := httpRule(m)
	if err != nil {
		c.report(string(m.FullName()), "", "the option google.api.http is malformed: %v", err)
		return
	}
	if rule == nil {
		if c.schema.options.AutoMapping {
			path := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
			c.addBinding(m, &annotations.HttpRule{Pattern: &annotations.HttpRule_Post{Post: path}, Body: "*"})
		}
		return
	}
	c.addBinding(m, rule)
	for _, additional := range rule.GetAdditionalBindings() {
		if len(additional.GetAdditionalBindings()) > 0 {
			c.report(string(m.FullName()), "write them one beside the other", "an additional binding has additional bindings")
		}
		c.addBinding(m, additional)
	}
}

func (c *compiler) addBinding(m protoreflect.MethodDescriptor, rule *annotations.HttpRule) {
	method, path := pattern(rule)
	name := fmt.Sprintf("%s: %s %s", m.FullName(), method, path)
	if method == "" {
		c.report(string(m.FullName()), "write get: \"/v1/things/{id}\"", "a rule without a method and a path")
		return
	}
	if !isMethod(method) {
		c.report(name, "", "%q is no HTTP method", method)
		return
	}
	t, err := parseTemplate(path)
	if err != nil {
		c.report(name, "", "the path is malformed: %v", err)
		return
	}
	before := len(c.problems)
	types := &c.schema.types
	b := &Binding{
		Method: method, Template: path, RPC: fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()),
		ServerStreaming: m.IsStreamingServer(),
		schema:          c.schema, template: t, input: types.message(m.Input()), output: types.message(m.Output()),
	}
	if m.IsStreamingClient() {
		b.refusal = clientStreaming
	}
	for _, v := range t.variables {
		fields, why := b.input.path(v.field, false)
		if why == "" {
			why = unboundable(fields, false)
		}
		if why != "" {
			c.report(name, "", "the variable %s: %s", v.field, why)
			continue
		}
		b.variables = append(b.variables, variable{v, fields, fieldKey(nil, fields), t.several(v)})
	}
	c.setBodies(b, rule, name)
	shape := method + " " + t.shape()
	if other, taken := c.shapes[shape]; taken {
		c.report(name, "change the path or the method of one of them", "%s takes the same requests", other)
	}
	c.shapes[shape] = name
	if len(c.problems) > before {
		return
	}
	c.schema.bindings = append(c.schema.bindings, b)
	c.schema.methods[method] = method
	if t.verb != "" {
		c.schema.verbs[t.verb] = t.verb
	}
	c.schema.table.add(b)
}

func (c *compiler) setBodies(b *Binding, rule *annotations.HttpRule, name string) {
	const fix = "name a field of the message itself, not one of a field"
	switch body := rule.GetBody(); body {
	case "":
	case "*":
		b.bodyAll = true
		b.rawRequest = b.input.name == httpBodyName
	default:
		if b.body = b.input.lookup(body); b.body == nil {
			c.report(name, fix, "the body: %s has no field %s", b.input.name, body)
			return
		}
		b.rawRequest = b.body.shape == single && b.body.message != nil && b.body.message.name == httpBodyName
	}
	b.rawResponse = b.output.name == httpBodyName
	if field := rule.GetResponseBody(); field != "" && field != "*" {
		if b.responseBody = b.output.lookup(field); b.responseBody == nil {
			c.report(name, fix, "the response_body: %s has no field %s", b.output.name, field)
			return
		}
		b.rawResponse = b.responseBody.shape == single && b.responseBody.message != nil && b.responseBody.message.name == httpBodyName
	}
}

const httpBodyName = "google.api.HttpBody"

func isMethod(s string) bool {
	if s == "*" {
		return true
	}
	for i := range len(s) {
		if c := s[i]; !(c >= 'A' && c <= 'Z' || c == '-' || c == '_') {
			return false
		}
	}
	return s != ""
}

// path resolves names with points between them. why is empty, or says what is wrong.
func (m *messageType) path(names string, json bool) (fields []*fieldType, why string) {
	for rest := names; ; {
		name, after, more := strings.Cut(rest, ".")
		f := m.lookup(name)
		if f == nil || !json && f.original != name {
			return nil, fmt.Sprintf("%s has no field %s", m.name, name)
		}
		fields = append(fields, f)
		if !more {
			return fields, ""
		}
		if why := f.unwalkable(); why != "" {
			return nil, why
		}
		m, rest = f.message, after
	}
}

// unwalkable says why a path cannot go on below f; empty if it can.
func (f *fieldType) unwalkable() string {
	switch {
	case f.shape != single:
		return f.name + " is repeated, so that it has no fields"
	case f.message == nil || f.message.known != plain:
		return f.name + " is " + f.typeName() + ", which has no fields here"
	}
	return ""
}

// unboundable says why a path's field cannot take a text; empty if it can. Repeated ones can in the query.
func unboundable(fields []*fieldType, repeated bool) string {
	f := fields[len(fields)-1]
	switch {
	case f.shape == mapped, f.shape == list && !repeated:
		return f.name + " is repeated, and one text is one value"
	case f.message == nil:
		return ""
	}
	switch f.message.known {
	case knownWrapper, knownTimestamp, knownDuration, knownFieldMask:
		return ""
	}
	return f.name + " is a message (" + f.message.name + "), which has no form as a text"
}

// fieldKey identifies a field below a message: the way to it.
func fieldKey(dst []byte, fields []*fieldType) []byte {
	for _, f := range fields {
		dst = protowire.AppendVarint(dst, uint64(f.number))
	}
	return dst
}
