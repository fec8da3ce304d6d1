package grpcweb

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
)

// Filter is the bridge. Its zero value is ready; it may serve any number of routes.
type Filter struct {
	calls gateway.PerLoop[calls]
}

// Content types, without what may follow: "+proto" and the like, and parameters.
const (
	typeGRPC = "application/grpc"
	typeWeb  = "application/grpc-web"
	typeText = "application/grpc-web-text"
)

// Request is the request hook: a call of gRPC-Web becomes one of gRPC. Other requests pass untouched.
func (f *Filter) Request(x *gateway.Exchange) gateway.Verdict {
	ask, ok := Rewrite(x.Request)
	if !ok {
		return gateway.GoOn
	}
	x.BecomeCall()
	x.Translate(f.calls.On(x).open(ask))
	return gateway.GoOn
}

// Asked is what the head of a call of gRPC-Web asks for.
type Asked struct {
	TextIn  bool // the request's body is base64
	TextOut bool // the response's shall be
}

// Rewrite makes the head of a call of gRPC-Web that of a call of gRPC, and tells whether it was one.
func Rewrite(h *message.Head) (a Asked, ok bool) {
	a, ok = asked(h)
	if !ok {
		return a, false
	}
	value, _ := h.Get(message.ContentType)
	raw, at := h.BeginLine(message.ContentType)
	raw = append(append(raw, typeGRPC...), subtype(value)...)
	h.Remove(message.ContentType)
	h.EndLine(raw, at, message.ContentType)
	h.Remove(message.Accept)
	h.RemoveField([]byte("x-grpc-web")) // which says what the type has said
	if a.TextIn && h.Length > 0 {
		h.Length = message.UnknownLength
	}
	return a, true
}

// asked reads a head, and tells whether it is that of a call of gRPC-Web.
func asked(h *message.Head) (a Asked, ok bool) {
	if !h.IsMethod("POST") {
		return a, false
	}
	value, _ := h.Get(message.ContentType)
	if a.TextIn, ok = kindOf(value); ok {
		a.TextOut = wantsText(h, a.TextIn)
	}
	return a, ok
}

// Explain is the hook: a guard before the bridge refuses as one behind it does.
func (f *Filter) Explain(x *gateway.Exchange, e gateway.Explanation) *gateway.Respond {
	a, ok := asked(x.Request)
	if !ok {
		return nil
	}
	k := call{asked: a} // somebody is refused, so it may take memory
	return k.Explain(e)
}

// kindOf tells whether a content type is one of gRPC-Web, and whether in base64.
func kindOf(value []byte) (text, ok bool) {
	if hasType(value, typeText) {
		return true, true
	}
	return false, hasType(value, typeWeb)
}

// hasType compares a content type without regard to what may follow the type itself.
func hasType(value []byte, kind string) bool {
	if len(value) < len(kind) || !bytes.EqualFold(value[:len(kind)], []byte(kind)) {
		return false
	}
	rest := value[len(kind):]
	return len(rest) == 0 || rest[0] == '+' || rest[0] == ';' || rest[0] == ' ' || rest[0] == '\t'
}

// subtype is what says how messages are encoded, such as "+proto", nothing if that is left open.
func subtype(contentType []byte) []byte {
	kind, _, _ := bytes.Cut(contentType, []byte{';'})
	plus := bytes.IndexByte(kind, '+')
	if plus < 0 {
		return nil
	}
	return bytes.TrimRight(kind[plus:], " \t")
}

// wantsText reads what the client accepts: the first type of gRPC-Web that it names, else the kind that it sends.
func wantsText(h *message.Head, sendsText bool) (text bool) {
	text = sendsText
	for value, at := h.NextField("accept", 0); at >= 0; value, at = h.NextField("accept", at) {
		for part := range bytes.SplitSeq(value, []byte{','}) {
			if t, ok := kindOf(bytes.TrimSpace(part)); ok {
				return t
			}
		}
	}
	return text
}
