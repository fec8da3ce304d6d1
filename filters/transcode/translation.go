package transcode

import (
	"bytes"
	"fmt"
	"time"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"google.golang.org/grpc/codes"
)

// desk is what the calls on one loop share: they convert one after the other.
type desk struct {
	converter Converter
	scratch   []byte // what is being converted to
	free      []*translation
}

// callsKept bounds the calls that a loop keeps for those to come: as many as are under way at once on a busy one.
const callsKept = 256

func (d *desk) open(f *Filter) *translation {
	n := len(d.free)
	if n == 0 {
		return &translation{desk: d, filter: f}
	}
	k := d.free[n-1]
	d.free = d.free[:n-1]
	k.filter = f
	return k
}

// keep takes scratch back, unless a large message has grown it.
func (d *desk) keep(b []byte) {
	if d.scratch = b[:0]; cap(b) > scratchKeptBytes {
		d.scratch = nil
	}
}

// translation translates one call. It is its exchange's, and so its loop's.
//
// A request is converted when it is whole, and so is the message that answers it. Messages of a stream are converted as they
// come, and go out at once.
type translation struct {
	desk   *desk
	filter *Filter

	// The request. Captures, query and content type lie in its head.
	binding     *Binding
	captures    Captures
	query       []byte
	contentType []byte
	format      Format    // of a stream that answers it
	in          buf.Chain // the body, until it is whole

	// The response.
	head     *message.Head
	foreign  bool // what came is no call's answer
	told     bool // its status stood in the head, and is in these three, which lie there
	status   []byte
	text     []byte
	details  []byte
	frames   Frames
	messages int
	out      buf.Chain // what the message became that answers a call without a stream; it waits for the status
	started  bool      // something of a stream has left
	fault    *Fault    // for which it was broken off
}

// begin judges a request's head and makes it that of the call. Otherwise it leaves it as it is.
func (k *translation) begin(h *message.Head) (f *Fault, allow string) {
	if k.binding, f, allow = k.filter.find(h, &k.captures); f != nil {
		return f, allow
	}
	if f = k.filter.checkBody(h, k.binding); f != nil {
		return f, ""
	}
	k.query = nil
	if h.HasQuery {
		k.query = h.QueryBytes()
	}
	k.contentType, _ = h.Get(message.ContentType)
	switch accept, _ := h.Get(message.Accept); k.filter.stream {
	case AlwaysEvents:
		k.format = Events
	case AlwaysLines:
		k.format = Lines
	default:
		k.format = FormatFor(accept)
	}
	k.rewrite(h)
	return nil, ""
}

// rewrite makes a head the call's. All fields that are not about this body or this form of an answer go on, as metadata.
func (k *translation) rewrite(h *message.Head) {
	h.Method = h.StoreString("POST")
	start := h.RawLen()
	h.StoreString(k.binding.RPC)
	h.SetPath(start)
	h.HasQuery, h.Query = false, message.Span{}
	h.Remove(message.Accept)
	h.Remove(message.ContentType)
	h.Remove(message.ContentLength)
	h.Remove(message.ContentEncoding)
	for _, name := range unfit {
		h.RemoveField([]byte(name))
	}
	h.AddString("Content-Type", "application/grpc")
	h.AddString("grpc-accept-encoding", "identity")
}

// unfit are fields of a request that would speak of a message that it is not.
var unfit = [...]string{"accept-encoding", "accept-charset", "grpc-encoding", "grpc-accept-encoding"}

// Whole is true: JSON is converted as a whole, and what is wrong with it is found before the upstream hears of the call.
func (*translation) Whole() bool { return true }

// RequestBody collects the body, and converts it when it has ended.
func (k *translation) RequestBody(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool, end bool) *gateway.Respond {
	if most := k.filter.schema.options.MessageBytesMax; k.in.Len()+n > most {
		in.Skip(p, n)
		k.in.Release(p)
		return refusal(tooLarge(most), "")
	}
	k.in.Take(p, in, n)
	if !end {
		return nil
	}
	var body []byte
	if size := k.in.Len(); size > 0 {
		body = k.in.Pull(p, size)
	}
	d := k.desk
	frame, f := d.converter.Request(d.scratch[:0], k.binding, &k.captures, k.query, k.contentType, body)
	k.in.Release(p)
	if f != nil {
		return refusal(f, "")
	}
	out.Append(p, frame)
	d.keep(frame)
	return nil
}

// ResponseHead takes what is the call's out of the head, and keeps it back: only the first message of a stream, or the end of the
// call, tells what status the client gets.
func (k *translation) ResponseHead(h *message.Head) (hold bool, r *gateway.Respond) {
	k.head = h
	kind, _ := h.Get(message.ContentType)
	if h.Status != 200 || !isCall(h) {
		k.foreign = true
		if h.Status < 400 {
			return false, k.fail(badResponse(BadMessage, "the upstream answered %d and %s, which is not gRPC", h.Status, shown(kind)))
		}
	}
	if value, at := h.NextField("grpc-status", 0); at >= 0 {
		k.told, k.status = true, value
		k.text, _ = h.NextField("grpc-message", 0)
		k.details, _ = h.NextField("grpc-status-details-bin", 0)
	}
	for _, name := range ofCall {
		h.RemoveField([]byte(name))
	}
	h.Remove(message.ContentEncoding)
	h.Remove(message.Trailer)
	h.Length = message.UnknownLength
	return true, nil
}

// ofCall are fields of a response that only a client of gRPC understands.
var ofCall = [...]string{"grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding", "grpc-accept-encoding", "content-length"}

// ResponseBody converts the messages that are complete.
func (k *translation) ResponseBody(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) *gateway.Respond {
	if k.foreign {
		in.Skip(p, n)
		return nil
	}
	k.frames.Take(p, in, n)
	for {
		m, ok, f := k.frames.Next(p, k.filter.schema.options.MessageBytesMax)
		if ok {
			f = k.message(m, out, p)
		}
		if f != nil {
			return k.fail(f)
		}
		if !ok {
			return nil
		}
	}
}

// message converts one message of the response.
func (k *translation) message(m []byte, out *buf.Chain, p *buf.Pool) *Fault {
	k.messages++
	d := k.desk
	switch b := k.binding; {
	case !b.ServerStreaming && k.messages > 1:
		return badResponse(BadMessage, "two messages answer a call that is answered with one")
	case b.rawResponse:
		kind, data, f := d.converter.Raw(b, m)
		if f != nil {
			return f
		}
		if k.messages == 1 {
			k.setType(kind)
		}
		if !b.ServerStreaming {
			out = &k.out
		}
		out.Append(p, data)
		k.started = k.started || b.ServerStreaming && len(data) > 0
	case b.ServerStreaming:
		text, f := d.converter.Event(d.scratch[:0], b, k.format, m)
		if f != nil {
			return f
		}
		if k.messages == 1 {
			k.setStreamType()
		}
		out.Append(p, text)
		d.keep(text)
		k.started = true
	default:
		text, f := d.converter.Response(d.scratch[:0], b, m)
		if f != nil {
			return f
		}
		k.out.Append(p, text)
		d.keep(text)
	}
	return nil
}

// setType gives the answer its content type.
func (k *translation) setType(kind []byte) {
	if len(kind) == 0 {
		kind = []byte("application/octet-stream")
	}
	k.head.Remove(message.ContentType)
	k.head.AddKnown(message.ContentType, kind)
}

func (k *translation) setStreamType() {
	k.head.Remove(message.ContentType)
	k.head.AddString("Content-Type", k.format.ContentType())
	if k.format == Events && !k.head.Has(message.CacheControl) {
		k.head.AddString("Cache-Control", "no-cache") // caches on the way would wait for the end
	}
}

// ResponseEnd ends the answer by the call's status.
func (k *translation) ResponseEnd(trailers *message.Fields, out *buf.Chain, p *buf.Pool) (*message.Fields, *gateway.Respond) {
	if f := k.frames.End(); f != nil {
		return nil, k.fail(f)
	}
	if !k.told && trailers != nil {
		k.status, _ = trailers.NextField("grpc-status", 0)
		k.text, _ = trailers.NextField("grpc-message", 0)
		k.details, _ = trailers.NextField("grpc-status-details-bin", 0)
	}
	switch ok := string(k.status) == "0"; {
	case k.foreign && !k.told:
		k.sayForeign(out, p)
	case len(k.status) == 0:
		return nil, k.fail(badResponse(BadMessage, "the upstream's answer ends without a status"))
	case !ok || k.foreign:
		return nil, k.sayStatus(out, p)
	case k.binding.ServerStreaming:
		if k.messages == 0 && !k.binding.rawResponse {
			k.setStreamType()
		}
	case k.messages == 0:
		return nil, k.fail(badResponse(BadMessage, "the upstream's answer has no message"))
	default:
		if !k.binding.rawResponse {
			k.head.Remove(message.ContentType)
			k.head.AddString("Content-Type", ContentTypeJSON)
		}
		k.out.MoveTo(out)
	}
	return nil, nil
}

// sayForeign says what an answer means that is no call's: its status stays, and so do its fields.
func (k *translation) sayForeign(out *buf.Chain, p *buf.Pool) {
	k.say(Status{Code: CodeOfHTTP(k.head.Status), Message: fmt.Sprintf("the upstream answered %d, which is not gRPC", k.head.Status)}, out, p)
}

// sayStatus ends the answer of a call that failed.
func (k *translation) sayStatus(out *buf.Chain, p *buf.Pool) *gateway.Respond {
	s := ParseStatus(k.status, k.text, k.details)
	if s.Code == codes.OK { // "00", or of an answer that is none
		return k.fail(badResponse(BadMessage, "the upstream's answer has the status %s", shown(k.status)))
	}
	if !k.started {
		k.head.Status, k.head.Reason = HTTPStatus(s.Code), message.Span{}
		k.say(s, out, p)
		return nil
	}
	body := k.desk.converter.Error(nil, k.filter.schema, s)
	if k.binding.rawResponse {
		return answer(HTTPStatus(s.Code), body) // which is too late, and so cuts
	}
	out.Append(p, EventError(nil, k.format, body))
	return nil
}

// say makes the body a status.
func (k *translation) say(s Status, out *buf.Chain, p *buf.Pool) {
	k.head.Remove(message.ContentType)
	k.head.AddString("Content-Type", ContentTypeJSON)
	out.Append(p, k.desk.converter.Error(nil, k.filter.schema, s))
}

// fail answers a fault of the upstream's, or notes it for Break.
func (k *translation) fail(f *Fault) *gateway.Respond {
	k.fault = f
	return refusal(f, "")
}

// Explain says a failure in the form of a fault.
func (k *translation) Explain(e gateway.Explanation) *gateway.Respond {
	return answer(e.Status, k.explanation(e))
}

func (k *translation) explanation(e gateway.Explanation) []byte {
	return explanation(&k.desk.converter, &e)
}

// explanation is the JSON of a google.rpc.Status: the code that goes with the status of HTTP, and when to ask again.
func explanation(c *Converter, e *gateway.Explanation) []byte {
	code := codes.Code(e.Code)
	if e.Status == 429 {
		code = codes.ResourceExhausted // of which 429 is the status (google/rpc/code.proto)
	}
	body := c.Error(nil, nil, Status{Code: code, Message: e.Text + " (" + e.Reason + ")"})
	if e.RetryAfter <= 0 {
		return body
	}
	body = bytes.TrimSuffix(body, []byte("]}")) // of no details
	ms := (e.RetryAfter + time.Millisecond - 1) / time.Millisecond
	return fmt.Appendf(body, `{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"%d.%03ds"}]}`, ms/1000, ms%1000)
}

// Break ends a stream of lines or events with an error. A body of other bytes has no place for one.
func (k *translation) Break(e gateway.Explanation, out *buf.Chain, p *buf.Pool) bool {
	if !k.started || k.binding.rawResponse {
		return false
	}
	var body []byte
	if k.fault != nil {
		body = FaultBody(nil, k.fault)
	} else {
		body = k.explanation(e)
	}
	out.Append(p, EventError(nil, k.format, body))
	return true
}

// Release gives back what the call holds, and the call.
func (k *translation) Release(p *buf.Pool) {
	k.in.Release(p)
	k.frames.Release(p)
	k.out.Release(p)
	k.close()
}

func (k *translation) close() {
	d := k.desk
	*k = translation{desk: d}
	if len(d.free) < callsKept {
		d.free = append(d.free, k)
	}
}
