package headers

import (
	"fmt"
	"strings"

	"github.com/yumen-io/yumen/engine/message"
)

// Spec is what a document says.
type Spec struct {
	Request, Response Changes
}

// Changes are those of one direction.
type Changes struct {
	Remove   []string
	Set, Add []Field
}

// Field is a header field.
type Field struct{ Name, Value string }

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string // of the settings: request.set
	Cause string
	Fix   string
}

// Filter is a compiled Spec. It is frozen: any number of loops share it.
type Filter struct {
	request, response []change
}

// change is one field to be dropped, written or both.
type change struct {
	id    message.ID
	name  string
	bytes []byte // of name
	value string
	drop  bool // the fields of that name
	write bool // this value
}

// Compile checks s and makes a filter of it, or says everything that is wrong.
func Compile(s Spec) (*Filter, []Problem) {
	f := &Filter{}
	var problems []Problem
	f.request, problems = compileChanges(s.Request, "request", problems)
	f.response, problems = compileChanges(s.Response, "response", problems)
	if problems == nil && len(f.request)+len(f.response) == 0 {
		problems = append(problems, Problem{Cause: "the filter changes nothing", Fix: "write headers: {request: {set: {x-name: value}}}"})
	}
	if problems != nil {
		return nil, problems
	}
	return f, nil
}

func compileChanges(c Changes, direction string, problems []Problem) ([]change, []Problem) {
	list := make([]change, 0, len(c.Remove)+len(c.Set)+len(c.Add))
	take := func(key, name, value string, drop, write bool) {
		if cause, fix := judge(name, value); cause != "" {
			problems = append(problems, Problem{direction + "." + key, cause, fix})
			return
		}
		list = append(list, change{message.Identify([]byte(name)), name, []byte(name), value, drop, write})
	}
	for _, name := range c.Remove {
		take("remove", name, "", true, false)
	}
	for _, field := range c.Set {
		take("set", field.Name, field.Value, true, true)
	}
	for _, field := range c.Add {
		take("add", field.Name, field.Value, false, true)
	}
	return list, problems
}

// judge says why a field cannot be changed. The parser of documents asks the same; what could split a message is asked
// twice, by whoever reads and by whoever writes.
func judge(name, value string) (cause, fix string) {
	if !isToken(name) {
		return fmt.Sprintf("%q is not the name of a header field", name), "use letters, digits and dashes"
	}
	switch message.Identify([]byte(name)) {
	case message.Connection, message.ContentLength, message.HTTP2Settings, message.KeepAlive, message.ProxyConnection,
		message.TE, message.Trailer, message.TransferEncoding, message.Upgrade:
		return fmt.Sprintf("%q belongs to the connection and is set by the gateway itself", name), "remove it"
	case message.Expect:
		return fmt.Sprintf("%q is part of how a body is sent, which the gateway arranges with each side", name), "remove it"
	case message.Host:
		return fmt.Sprintf("%q is not set as a header field", name), "use the filter rewrite: {host: ...}"
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return fmt.Sprintf("the value of %q holds a line end or a control character", name), "remove it"
	}
	return "", ""
}

// isToken is RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// ChangesRequest and ChangesResponse tell whether there is anything to do in a direction.
func (f *Filter) ChangesRequest() bool { return len(f.request) > 0 }

// ChangesResponse is described at ChangesRequest.
func (f *Filter) ChangesResponse() bool { return len(f.response) > 0 }

// Request changes a request's head. It allocates nothing that the head does not keep for the next message.
func (f *Filter) Request(h *message.Head) { apply(h, f.request) }

// Response changes a response's head, as Request does.
func (f *Filter) Response(h *message.Head) { apply(h, f.response) }

func apply(h *message.Head, changes []change) {
	for i := range changes {
		c := &changes[i]
		switch {
		case !c.drop:
		case c.id == message.OtherField:
			h.RemoveField(c.bytes)
		default:
			h.Remove(c.id)
		}
		if c.write {
			h.AddString(c.name, c.value)
		}
	}
}

// String says what the filter does.
func (f *Filter) String() string {
	var parts []string
	for _, d := range []struct {
		name    string
		changes []change
	}{{"request", f.request}, {"response", f.response}} {
		for _, c := range d.changes {
			switch {
			case !c.write:
				parts = append(parts, d.name+": remove "+c.name)
			case c.drop:
				parts = append(parts, d.name+": set "+c.name)
			default:
				parts = append(parts, d.name+": add "+c.name)
			}
		}
	}
	return strings.Join(parts, ", ")
}
