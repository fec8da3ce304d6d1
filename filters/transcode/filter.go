package transcode

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"google.golang.org/grpc/codes"
)

// Spec is the settings of a filter. Whoever makes one has read the descriptors: nothing here does I/O.
type Spec struct {
	// Descriptors is a serialised google.protobuf.FileDescriptorSet, with all that its files import.
	Descriptors []byte
	Options     Options
	Stream      Stream
}

// Stream is how the messages of a stream are written.
type Stream uint8

// The ways to write a stream. By default the client's Accept field decides.
const (
	ByAccept Stream = iota
	AlwaysLines
	AlwaysEvents
)

// Filter is a compiled filter. It may serve any number of routes and loops.
type Filter struct {
	// Frozen.
	schema *Schema
	stream Stream
	// Each loop's own.
	loops gateway.PerLoop[desk]
}

// NewFilter makes a filter, or says everything that is wrong with its settings. Like Compile, it is not for a loop.
func NewFilter(s Spec) (*Filter, []Problem) {
	schema, problems := Compile(s.Descriptors, s.Options)
	if schema == nil {
		return nil, problems
	}
	return &Filter{schema: schema, stream: s.Stream}, nil
}

// String says for people what the filter does.
func (f *Filter) String() string {
	var services []string
	for _, b := range f.schema.bindings {
		service := strings.TrimPrefix(b.RPC[:strings.LastIndexByte(b.RPC, '/')], "/")
		if !slices.Contains(services, service) {
			services = append(services, service)
		}
	}
	return fmt.Sprintf("HTTP and JSON to gRPC, %d ways to call %s", len(f.schema.bindings), listed(services))
}

// Request is the request hook. A request that is a call of gRPC, or of gRPC-Web, passes untouched; one that a binding takes
// becomes a call; any other is answered.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	if isCall(x.Request) {
		return gateway.GoOn
	}
	k := f.loops.On(x).open(f)
	if fault, allow := k.begin(x.Request); fault != nil {
		k.close()
		return x.Answer(refusal(fault, allow))
	}
	x.BecomeCall()
	x.Translate(k)
	return gateway.GoOn
}

// Explain is the hook: a guard before the filter refuses as one behind it does.
func (f *Filter) Explain(x *gateway.Exchange, e gateway.Explanation) *gateway.Respond {
	if isCall(x.Request) {
		return nil
	}
	return answer(e.Status, explanation(&f.loops.On(x).converter, &e))
}

// Rewrite does to a head what Request does to that of a request that becomes a call. Any other stays as it is.
func (f *Filter) Rewrite(h *message.Head) {
	if !isCall(h) {
		k := &translation{filter: f}
		k.begin(h)
	}
}

func isCall(h *message.Head) bool {
	const kind = "application/grpc"
	value, _ := h.Get(message.ContentType)
	return len(value) >= len(kind) && bytes.EqualFold(value[:len(kind)], []byte(kind))
}

// refusal answers a fault of the request.
func refusal(f *Fault, allow string) *gateway.Respond {
	r := answer(f.Status, FaultBody(nil, f))
	if allow != "" {
		r.Fields = append(r.Fields, gateway.Field{Name: "Allow", Value: allow})
	}
	return r
}

func answer(status int, body []byte) *gateway.Respond {
	return &gateway.Respond{Status: status, Body: body, Fields: []gateway.Field{{Name: "Content-Type", Value: ContentTypeJSON}}}
}

// find finds the binding that a request means, or why there is none. HEAD is GET whose body nobody wants (RFC 9110 9.3.2), but
// for streams: their head has nothing to tell, and nobody would end them.
func (f *Filter) find(h *message.Head, c *Captures) (b *Binding, fault *Fault, allow string) {
	b, methods := f.schema.Match(h.MethodBytes(), h.PathBytes(), c)
	if b == nil && h.IsMethod("HEAD") && slices.Contains(methods, "GET") {
		if b, _ = f.schema.Match([]byte("GET"), h.PathBytes(), c); b.ServerStreaming {
			b = nil
		}
	}
	switch {
	case b != nil && h.Upgrade.Len > 0:
		return nil, &Fault{Status: 501, Code: codes.Unimplemented, Reason: NoCall, Text: "a call goes on in no other protocol: leave out the upgrade"}, ""
	case b != nil:
		return b, b.refusal, ""
	case len(methods) > 0:
		return nil, &Fault{Status: 405, Code: codes.Unimplemented, Reason: NoCall,
			Text: fmt.Sprintf("%s is not a method of %s", shown(h.MethodBytes()), shown(h.PathBytes()))}, strings.Join(methods, ", ")
	}
	return nil, &Fault{Status: 404, Code: codes.NotFound, Reason: NoCall, Text: "no service is called by the path " + shown(h.PathBytes())}, ""
}

// checkBody judges what the head says of the body.
//
// A page of any site can make a browser send a form with the cookies of ours, and JSON in it, but not with the type of JSON: for
// that the browser asks first. So what a browser sends must have that type. It is known by fields that it adds and scripts cannot
// take out. Others may send the type of a form or none, as curl -d does.
func (f *Filter) checkBody(h *message.Head, b *Binding) *Fault {
	if most := f.schema.options.MessageBytesMax; h.Length > int64(most) {
		return tooLarge(most)
	}
	if b.rawRequest { // of any type, which the service is told
		return nil
	}
	if value, ok := h.Get(message.ContentEncoding); ok && h.Length != 0 && !bytes.EqualFold(value, []byte("identity")) {
		return badType("the body is encoded (content-encoding: %s): send it plain", shown(value))
	}
	value, _ := h.Get(message.ContentType)
	if h.Length == 0 && (len(value) == 0 || !h.IsMethod("POST")) {
		return nil
	}
	kind, _, _ := bytes.Cut(value, []byte{';'})
	kind = bytes.TrimSpace(kind)
	form := len(kind) == 0 || bytes.EqualFold(kind, []byte("application/x-www-form-urlencoded"))
	switch {
	case isJSON(kind) || form && !fromBrowser(h):
		return nil
	case len(kind) == 0:
		return badType("the body has no type: say -H 'content-type: %s'", ContentTypeJSON)
	}
	return badType("the body is %s, and has to be JSON that says so: -H 'content-type: %s'", shown(kind), ContentTypeJSON)
}

func isJSON(kind []byte) bool {
	const json, suffix = "application/json", "+json"
	return bytes.EqualFold(kind, []byte(json)) || len(kind) > len(suffix) && bytes.EqualFold(kind[len(kind)-len(suffix):], []byte(suffix))
}

func fromBrowser(h *message.Head) bool {
	_, at := h.NextField("sec-fetch-site", 0)
	return at >= 0 || h.Has(message.Origin)
}

func badType(format string, args ...any) *Fault {
	return &Fault{Status: 415, Code: codes.InvalidArgument, Reason: BadType, Where: InBody, Text: fmt.Sprintf(format, args...)}
}

func tooLarge(bytesMax int) *Fault {
	return &Fault{Status: 413, Code: codes.ResourceExhausted, Reason: BodyTooLarge, Where: InBody,
		Text: fmt.Sprintf("the body is larger than the %d bytes that are allowed", bytesMax)}
}
