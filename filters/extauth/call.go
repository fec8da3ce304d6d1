package extauth

import (
	"crypto/x509"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"google.golang.org/protobuf/encoding/protowire"
)

// The question by gRPC: envoy.service.auth.v3.Authorization/Check. The messages are written and read field by field here. Envoy's
// generated types would bring 14 MB into the binary (go-control-plane v1.40.0, with all it links), for a dozen fields.

// answerBytesMax bounds an answer over gRPC: changes of some fields and a body for people. Larger ones are no answer.
const answerBytesMax = 64 << 10

const (
	checkPath    = "/envoy.service.auth.v3.Authorization/Check"
	frameHeadLen = 5 // one byte tells of compression, four of the length
)

// call is what head and trailers of an answer said.
type call struct {
	status int    // of HTTP
	code   string // of gRPC; empty: not said yet
}

func (c *call) head(h *message.Head) {
	c.status = h.Status
	c.take(&h.Fields)
}

func (c *call) take(f *message.Fields) {
	if code, at := f.NextField("grpc-status", 0); at >= 0 {
		c.code = string(code)
	}
}

// askByCall writes the question: its head into the desk's, and the body.
func (f *Filter) askByCall(x *gateway.Exchange, d *desk) []byte {
	h := &d.head
	h.Reset()
	h.Proto = message.HTTP2
	h.Method, h.Path = h.StoreString("POST"), h.StoreString(checkPath)
	h.Authority = h.Store(x.Request.AuthorityBytes())
	if f.spec.Host != "" {
		h.Authority = h.StoreString(f.spec.Host)
	}
	h.AddString("Content-Type", "application/grpc")
	h.AddString("Te", "trailers")
	h.AddString("Grpc-Timeout", strconv.FormatInt(int64(f.spec.Timeout/time.Millisecond), 10)+"m")
	for _, name := range always {
		if v, at := x.Request.NextField(name, 0); at >= 0 {
			h.Add([]byte(name), v)
		}
	}
	if cap(d.body) > keyKept {
		d.body = nil
	}
	q := question{
		client: x.ClientAddr.String(), principal: principal(x.ClientCertificate()), at: x.Wall(), id: string(x.RequestID()),
		method: string(x.Method()), path: string(appendTarget(nil, x.Request)), host: string(x.Request.AuthorityBytes()),
		scheme: string(x.Render(scheme)), size: x.Request.Length, protocol: "HTTP/" + x.Request.Proto.String(),
	}
	for _, name := range f.sends {
		if v, there := joined(x.Request, name); there {
			q.fields = append(q.fields, [2]string{name, v})
		}
	}
	b := append(d.body[:0], make([]byte, frameHeadLen)...)
	b = q.append(b)
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-frameHeadLen))
	d.body = b
	return b
}

// joined returns all lines of a name as one value: cookies as RFC 9113 8.2.3 joins them.
func joined(h *message.Head, name string) (string, bool) {
	var all []string
	for v, at := h.NextField(name, 0); at >= 0; v, at = h.NextField(name, at) {
		all = append(all, string(v))
	}
	between := ","
	if name == "cookie" {
		between = "; "
	}
	return strings.Join(all, between), all != nil
}

// principal is who a client is by its certificate, as Envoy says it: a URI, else a DNS name, else the subject.
func principal(c *x509.Certificate) string {
	switch {
	case c == nil:
		return ""
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	}
	return c.Subject.String()
}

// question is a CheckRequest.
type question struct {
	client, principal                        string
	at                                       time.Time
	id, method, path, host, scheme, protocol string
	size                                     int64
	fields                                   [][2]string
}

// append writes the message:
//
//	CheckRequest.attributes = 1: AttributeContext{source = 1, request = 4}
//	Peer{address = 1: Address{socket_address = 1: {address = 2, port_value = 3}}, principal = 4}
//	Request{time = 1, http = 2: {id = 1, method = 2, headers = 3, path = 4, host = 5, scheme = 6, size = 9, protocol = 10}}
//
// Path has the query, as Envoy's has.
func (q *question) append(b []byte) []byte {
	var http []byte
	http = appendText(http, 1, q.id)
	http = appendText(http, 2, q.method)
	for _, f := range q.fields {
		http = appendMessage(http, 3, appendText(appendText(nil, 1, f[0]), 2, valid(f[1])))
	}
	http = appendText(http, 4, valid(q.path))
	http = appendText(http, 5, q.host)
	http = appendText(http, 6, q.scheme)
	http = protowire.AppendVarint(protowire.AppendTag(http, 9, protowire.VarintType), uint64(q.size)) // -1: not known
	http = appendText(http, 10, q.protocol)

	var at []byte
	at = protowire.AppendVarint(protowire.AppendTag(at, 1, protowire.VarintType), uint64(q.at.Unix()))
	at = protowire.AppendVarint(protowire.AppendTag(at, 2, protowire.VarintType), uint64(q.at.Nanosecond()))
	request := appendMessage(appendMessage(nil, 1, at), 2, http)

	socket := appendText(nil, 2, q.client)
	source := appendMessage(nil, 1, appendMessage(nil, 1, socket))
	source = appendText(source, 4, valid(q.principal))
	return appendMessage(b, 1, appendMessage(appendMessage(nil, 1, source), 4, request))
}

// valid makes text what proto3 takes: a service that gets other bytes refuses the whole question.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func appendText(b []byte, n protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func appendMessage(b []byte, n protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), m)
}

// readCall makes a verdict of an answer over gRPC.
func (f *Filter) readCall(c *call, body []byte, tooLong bool, trailers *message.Fields) *verdict {
	v := &verdict{says: nonsense, status: c.status}
	if trailers != nil {
		c.take(trailers)
	}
	switch {
	case c.status != 200 || tooLong:
		return v
	case c.code == "14", c.code == "4": // UNAVAILABLE, DEADLINE_EXCEEDED
		v.says = nothing
		return v
	case c.code != "0" || len(body) < frameHeadLen || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-frameHeadLen):
		return v
	}
	if said, ok := readCheck(body[frameHeadLen:], f.spec.RefusalBodyMax); ok {
		for _, claim := range f.spec.Claims {
			if text, ok := said.told(claim.Field); ok {
				said.claims = append(said.claims, value{claim.Name, text})
			}
		}
		return said
	}
	return v
}

// told returns what an answer has the upstream told in a field.
func (v *verdict) told(name string) ([]byte, bool) {
	for i := range v.changes {
		if c := &v.changes[i]; c.do != remove && strings.EqualFold(string(c.name), name) {
			return c.value, true
		}
	}
	return nil, false
}
