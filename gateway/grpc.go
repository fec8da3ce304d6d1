package gateway

import (
	"math"
	"strconv"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/policy/retry"
)

// What a gateway owes to calls of gRPC beyond passing them on (the protocol is doc/PROTOCOL-HTTP2.md of grpc): a deadline that
// the client names is kept, and the upstream told what is left of it; and what goes wrong here is said as a status of the
// call, not of HTTP.

// Statuses of gRPC that the gateway speaks of.
const (
	grpcOK                = retry.GRPCStatus(0)
	grpcUnknown           = retry.GRPCStatus(2)
	grpcDeadlineExceeded  = retry.GRPCStatus(4)
	grpcPermissionDenied  = retry.GRPCStatus(7)
	grpcResourceExhausted = retry.GRPCStatus(8)
	grpcUnimplemented     = retry.GRPCStatus(12)
	grpcInternal          = retry.GRPCStatus(13)
	grpcUnavailable       = retry.GRPCStatus(14)
	grpcUnauthenticated   = retry.GRPCStatus(16)
)

// Fields of a call, in lower case, as NextField wants them.
const (
	grpcStatusField  = "grpc-status"
	grpcMessageField = "grpc-message"
	grpcTimeoutField = "grpc-timeout"
	pushbackField    = "Grpc-Retry-Pushback-Ms" // sent only
)

// readGRPC finds out whether the request is a call, and how long its client waits for it.
func (x *Exchange) readGRPC() {
	h := x.Request
	if !h.IsMethod("POST") {
		return
	}
	value, _ := h.Get(message.ContentType)
	if !isGRPC(value) {
		return
	}
	x.BecomeCall()
}

// BecomeCall makes the request a call: its deadline is kept and passed on, and how it ends is read as calls end. It is also for
// a filter that has turned a request of another kind into one, whose translator then says failures in the client's words.
func (x *Exchange) BecomeCall() {
	x.grpc = true
	if value, at := x.Request.NextField(grpcTimeoutField, 0); at >= 0 {
		x.patience = parseTimeout(value)
	}
}

// isGRPC tells whether a content type is that of a call.
func isGRPC(contentType []byte) bool {
	const prefix = "application/grpc"
	if len(contentType) < len(prefix) || !message.EqualFold(contentType[:len(prefix)], []byte(prefix)) {
		return false
	}
	rest := contentType[len(prefix):]
	return len(rest) == 0 || rest[0] == '+' || rest[0] == ';'
}

// timeoutUnits are the units of grpc-timeout, in the order of size.
var timeoutUnits = [...]struct {
	letter byte
	unit   time.Duration
}{
	{'n', time.Nanosecond}, {'u', time.Microsecond}, {'m', time.Millisecond}, {'S', time.Second}, {'M', time.Minute}, {'H', time.Hour},
}

// parseTimeout reads a grpc-timeout: at most eight digits and a unit. 0 if it is none, or asks for nothing: a call whose
// client does not wait at all is not told from one whose client does not say; the upstream judges it.
func parseTimeout(b []byte) time.Duration {
	if len(b) < 2 || len(b) > 9 {
		return 0
	}
	var n int64
	for _, c := range b[:len(b)-1] {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	for _, u := range timeoutUnits {
		if u.letter == b[len(b)-1] {
			if n > math.MaxInt64/int64(u.unit) {
				return math.MaxInt64
			}
			return time.Duration(n) * u.unit
		}
	}
	return 0
}

// appendTimeout appends d, which is above zero, in the finest unit that eight digits hold. It is rounded down, so that the
// upstream never waits longer than its client.
func appendTimeout(b []byte, d time.Duration) []byte {
	for _, u := range timeoutUnits {
		if n := int64(d / u.unit); n < 100_000_000 {
			return append(strconv.AppendInt(b, n, 10), u.letter)
		}
	}
	return append(b, "99999999H"...)
}

// outOfPatience tells that a call's client has stopped to wait, or is about to.
func (x *Exchange) outOfPatience() bool {
	return x.patience > 0 && x.began.Add(x.patience).Sub(x.w.now()) <= x.patience/10
}

// grpcStatusOf returns the status that fields tell, OK if they tell none.
func grpcStatusOf(f *message.Fields) retry.GRPCStatus {
	value, at := f.NextField(grpcStatusField, 0)
	if at < 0 || len(value) == 0 || len(value) > 2 {
		return grpcOK
	}
	n := 0
	for _, c := range value {
		if c < '0' || c > '9' {
			return grpcUnknown
		}
		n = n*10 + int(c-'0')
	}
	return retry.GRPCStatus(n)
}

// callStatus says in the words of gRPC what a status of HTTP means that the gateway answers with.
func callStatus(status int, reason string) retry.GRPCStatus {
	switch status {
	case 400, 431:
		return grpcInternal
	case 401:
		return grpcUnauthenticated
	case 403:
		return grpcPermissionDenied
	case 404, 405, 501:
		return grpcUnimplemented
	case 413, 429:
		return grpcResourceExhausted
	case 408:
		return grpcDeadlineExceeded
	case 504:
		if reason == connectTimeout.Reason { // nothing was sent
			return grpcUnavailable
		}
		return grpcDeadlineExceeded
	case 502, 503:
		return grpcUnavailable
	}
	return grpcUnknown
}

// sayGRPC answers a call with a status and a sentence, and no message ("Trailers-Only"): what is in the head are its trailers. A client
// with a policy for retries waits as long as grpc-retry-pushback-ms says (gRFC A6); Retry-After is for people.
func (x *Exchange) sayGRPC(e *Explanation) {
	h := x.w.newAnswer(200, e.Reason, x.requestID)
	h.AddString("Content-Type", "application/grpc")
	x.addCallStatus(&h.Fields, e.Code, e.Reason, e.Text)
	e.addTo(h)
	if e.RetryAfter > 0 {
		x.w.scratch = e.Pushback(x.w.scratch[:0])
		h.Add([]byte(pushbackField), x.w.scratch)
	}
	x.send(h, nil)
}

// endWithStatus ends an answer that began and cannot be completed with a status that says so.
func (x *Exchange) endWithStatus(s *engine.Stream, f *Failure) error {
	var trailers message.Fields
	x.addCallStatus(&trailers, callStatus(f.Status, f.Reason), f.Reason, f.Text)
	return s.SendEnd(&trailers)
}

func (x *Exchange) addCallStatus(f *message.Fields, status retry.GRPCStatus, reason, text string) {
	b := strconv.AppendInt(x.w.scratch[:0], int64(status), 10)
	f.Add([]byte("Grpc-Status"), b)
	b = AppendCallMessage(b[:0], text)
	b = append(b, " ("...)
	b = append(b, reason...)
	f.Add([]byte("Grpc-Message"), append(b, ')'))
	x.w.scratch = b
}

// AppendCallMessage appends a message in the percent-encoding of gRPC.
func AppendCallMessage(b []byte, text string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(text) {
		if c := text[i]; c >= ' ' && c <= '~' && c != '%' {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}

// judgeCall reads the end of a call, in trailers or in a head that is all there is: a server that calls itself unavailable is
// taken at its word.
func (a *Attempt) judgeCall(f *message.Fields) {
	if !a.x.grpc || f == nil {
		return
	}
	a.x.callStatus = int(grpcStatusOf(f))
	if a.verdict == health.OK && a.x.callStatus == int(grpcUnavailable) {
		a.verdict = health.OfStatus(503)
	}
}
