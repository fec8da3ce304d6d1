package grpcweb

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/retry"
)

// calls keeps the calls of a loop that are over, for those to come.
type calls struct{ free []*call }

// callsKept bounds them: as many as are under way at once on a busy loop.
const callsKept = 256

func (c *calls) open(a Asked) *call {
	n := len(c.free)
	if n == 0 {
		return &call{home: c, asked: a}
	}
	k := c.free[n-1]
	c.free = c.free[:n-1]
	k.asked = a
	return k
}

// call translates one call. It is its exchange's, and so its loop's.
type call struct {
	home  *calls
	asked Asked

	// The request.
	in decoder

	// The response.
	foreign bool            // what came is no call's answer, and passes as it is
	head    *message.Fields // of the answer; its own trailers are others
	frames  frameWalk
	last    []byte    // the last frame
	told    bool      // the status stood in the head, and is in last
	plain   buf.Chain // what is to be encoded
}

// Whole is false: bodies stream.
func (*call) Whole() bool { return false }

// RequestBody passes the body, decoded if need be.
func (k *call) RequestBody(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool, end bool) *gateway.Respond {
	if !k.asked.TextIn {
		out.Take(p, in, n)
		return nil
	}
	if !k.in.decode(in, n, out, p) || end && !k.in.ended() {
		return k.answer(codeInvalid, "the body is not base64, as application/grpc-web-text has to be")
	}
	return nil
}

// codeInvalid is INVALID_ARGUMENT, and codeUnknown UNKNOWN: what a call has that ended without a status.
const (
	codeUnknown = retry.GRPCStatus(2)
	codeInvalid = retry.GRPCStatus(3)
)

// ResponseHead gives the answer its content type.
func (k *call) ResponseHead(h *message.Head) (hold bool, r *gateway.Respond) {
	value, _ := h.Get(message.ContentType)
	if h.Status != 200 || !hasType(value, typeGRPC) {
		k.foreign = true // a page of some server on the way: clients know how to read its status
		return false, nil
	}
	raw, at := h.BeginLine(message.ContentType)
	raw = appendType(raw, k.asked.TextOut, subtype(value))
	h.Remove(message.ContentType)
	h.EndLine(raw, at, message.ContentType)
	h.Remove(message.Trailer)
	h.Length = message.UnknownLength
	k.head = &h.Fields
	k.last = beginFrame(k.last)
	if _, at := h.NextField(statusFields[0], 0); at < 0 {
		return false, nil
	}
	k.told = true
	for _, name := range statusFields {
		if value, at := h.NextField(name, 0); at >= 0 {
			k.last = appendLine(k.last, []byte(name), value)
			h.RemoveField([]byte(name))
		}
	}
	return true, nil
}

// statusFields are what tells how a call ended.
var statusFields = [...]string{"grpc-status", "grpc-message", "grpc-status-details-bin"}

func appendType(b []byte, text bool, subtype []byte) []byte {
	if text {
		b = append(b, typeText...)
	} else {
		b = append(b, typeWeb...)
	}
	if len(subtype) == 0 {
		return append(b, "+proto"...) // what gRPC means by no subtype
	}
	return append(b, subtype...)
}

// ResponseBody passes the body, encoded if need be.
func (k *call) ResponseBody(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) *gateway.Respond {
	if k.foreign {
		out.Take(p, in, n)
		return nil
	}
	to := out
	if k.asked.TextOut {
		to = &k.plain
	}
	for n > 0 {
		b := in.Front()
		if len(b) > n {
			b = b[:n]
		}
		n -= len(b)
		k.frames.walk(b)
		to.Take(p, in, len(b))
	}
	if k.asked.TextOut {
		encode(&k.plain, k.plain.Len(), out, p)
	}
	return nil
}

// ResponseEnd appends the last frame.
func (k *call) ResponseEnd(trailers *message.Fields, out *buf.Chain, p *buf.Pool) (*message.Fields, *gateway.Respond) {
	if k.foreign {
		return nil, nil
	}
	if !k.frames.between() { // the client would take what follows for the rest of the message
		return nil, k.answer(codeUnknown, "the upstream's answer ends in the middle of a message")
	}
	if !k.told {
		status := false
		if trailers != nil && trailers != k.head {
			for _, f := range trailers.All() {
				if name := trailers.Bytes(f.Name); !f.Gone {
					k.last = appendLine(k.last, name, trailers.Bytes(f.Value))
					status = status || message.EqualFold(name, []byte(statusFields[0]))
				}
			}
		}
		if !status {
			k.last = appendStatus(k.last, codeUnknown, "the upstream's answer ends without a status")
		}
	}
	k.appendLast(out, p)
	return nil, nil
}

// appendLast appends the last frame, whose lines are there.
func (k *call) appendLast(out *buf.Chain, p *buf.Pool) {
	endFrame(k.last)
	if !k.asked.TextOut {
		out.Append(p, k.last)
		return
	}
	encodeRun(k.last, out, p)
}

// Explain says a failure as an answer that has nothing but its last frame.
func (k *call) Explain(e gateway.Explanation) *gateway.Respond {
	k.last = appendStatus(beginFrame(k.last), e.Code, e.Text+" ("+e.Reason+")")
	if e.RetryAfter > 0 {
		k.last = appendLine(k.last, []byte("grpc-retry-pushback-ms"), e.Pushback(nil))
		k.last = appendLine(k.last, []byte("retry-after"), e.Seconds(nil))
	}
	for _, f := range e.Fields {
		// The value of a field of HTTP/1 may not have them, and here they would begin another line.
		if !strings.ContainsAny(f.Value, "\r\n") {
			k.last = appendLine(k.last, []byte(f.Name), []byte(f.Value))
		}
	}
	return k.lastAlone()
}

// Break ends an answer with the failure, if the client is not in the middle of a message.
func (k *call) Break(e gateway.Explanation, out *buf.Chain, p *buf.Pool) bool {
	if k.foreign || !k.frames.between() {
		return false
	}
	k.last = appendStatus(beginFrame(k.last), e.Code, e.Text+" ("+e.Reason+")")
	k.appendLast(out, p)
	return true
}

// answer is an answer that has nothing but its last frame. Somebody made a mistake, so it may take memory.
func (k *call) answer(code retry.GRPCStatus, text string) *gateway.Respond {
	k.last = appendStatus(beginFrame(k.last), code, text)
	return k.lastAlone()
}

// lastAlone is an answer of the last frame, whose lines are there.
func (k *call) lastAlone() *gateway.Respond {
	endFrame(k.last)
	body := bytes.Clone(k.last)
	if k.asked.TextOut {
		body = base64.StdEncoding.AppendEncode(nil, k.last)
	}
	return &gateway.Respond{Status: 200, Body: body,
		Fields: []gateway.Field{{Name: "Content-Type", Value: string(appendType(nil, k.asked.TextOut, nil))}}}
}

// Release gives the call back.
func (k *call) Release(p *buf.Pool) {
	k.plain.Release(p)
	home, last := k.home, k.last[:0]
	if cap(last) > lastKeptBytes {
		last = nil
	}
	*k = call{home: home, last: last}
	if len(home.free) < callsKept {
		home.free = append(home.free, k)
	}
}

// lastKeptBytes bounds the memory that a call keeps for the next one's last frame; most have less than a hundred.
const lastKeptBytes = 1 << 10

func appendStatus(b []byte, code retry.GRPCStatus, text string) []byte {
	b = append(b, "grpc-status:"...)
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, "\r\ngrpc-message:"...)
	b = gateway.AppendCallMessage(b, text)
	return append(b, "\r\n"...)
}

// appendLine appends a trailer as a line of HTTP/1, its name in lower case.
func appendLine(b, name, value []byte) []byte {
	for _, c := range name {
		b = append(b, message.Lower(c))
	}
	return append(append(append(b, ':'), value...), "\r\n"...)
}
