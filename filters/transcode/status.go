package transcode

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
)

// Status is how a call ended, as trailers say it.
type Status struct {
	Code    codes.Code
	Message string
	// Details is a serialised google.rpc.Status, of which only the details are used; empty: there are none.
	Details []byte
}

// ParseStatus reads the trailers grpc-status, grpc-message and grpc-status-details-bin; empty is absent. A status that
// is absent or no number is Unknown. A message is decoded as far as it can be, and made UTF-8.
func ParseStatus(status, message, details []byte) Status {
	s := Status{Code: codes.Unknown}
	if n, err := strconv.ParseUint(string(status), 10, 32); err == nil {
		s.Code = codes.Code(n)
	}
	s.Message = string(appendMessage(nil, message))
	// gRPC over HTTP/2: padded or not, both must be read.
	for len(details) > 0 && details[len(details)-1] == '=' {
		details = details[:len(details)-1]
	}
	if b, err := base64.RawStdEncoding.AppendDecode(nil, details); err == nil {
		s.Details = b
	}
	return s
}

// appendMessage decodes the percent-encoding of grpc-message. What is malformed stays as it is: the specification asks to
// lose no message over it.
func appendMessage(dst, text []byte) []byte {
	start := len(dst)
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			high, ok1 := hexDigit(text[i+1])
			low, ok2 := hexDigit(text[i+2])
			if ok1 && ok2 {
				dst = append(dst, high<<4|low)
				i += 2
				continue
			}
		}
		dst = append(dst, text[i])
	}
	if !utf8.Valid(dst[start:]) {
		valid := []rune(string(dst[start:])) // what is none becomes U+FFFD
		dst = append(dst[:start], string(valid)...)
	}
	return dst
}

// HTTPStatus is the HTTP status of a code, as google/rpc/code.proto has them.
func HTTPStatus(code codes.Code) int {
	switch code {
	case codes.OK:
		return 200
	case codes.Canceled:
		return 499
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return 400
	case codes.DeadlineExceeded:
		return 504
	case codes.NotFound:
		return 404
	case codes.AlreadyExists, codes.Aborted:
		return 409
	case codes.PermissionDenied:
		return 403
	case codes.Unauthenticated:
		return 401
	case codes.ResourceExhausted:
		return 429
	case codes.Unimplemented:
		return 501
	case codes.Unavailable:
		return 503
	}
	return 500 // Unknown, Internal, DataLoss, and codes to come
}

// CodeOfHTTP is the code of an answer that has no grpc-status, by its HTTP status (gRPC, http-grpc-status-mapping.md).
func CodeOfHTTP(status int) codes.Code {
	switch status {
	case 400:
		return codes.Internal
	case 401:
		return codes.Unauthenticated
	case 403:
		return codes.PermissionDenied
	case 404:
		return codes.Unimplemented
	case 429, 502, 503, 504:
		return codes.Unavailable
	}
	return codes.Unknown
}

// Error appends the JSON of a status: {"code":5,"message":"...","details":[]}. A detail whose type the schema does not know,
// or that has no form in JSON, is {"@type":"...","value":"<base64>"}. s may be nil where there is no schema; then all
// details have that form.
func (c *Converter) Error(dst []byte, s *Schema, status Status) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendUint(dst, uint64(status.Code), 10)
	dst = append(dst, `,"message":`...)
	dst = appendText(dst, status.Message)
	dst = append(dst, `,"details":[`...)
	for b, count := status.Details, 0; len(b) > 0; {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			break
		}
		v := protowire.ConsumeFieldValue(number, wire, b[n:])
		if v < 0 {
			break
		}
		value := b[n : n+v]
		b = b[n+v:]
		if number != 3 || wire != protowire.BytesType {
			continue
		}
		if count++; count > 1 {
			dst = append(dst, ',')
		}
		detail, _ := protowire.ConsumeBytes(value)
		dst = c.detail(dst, s, detail)
	}
	return append(dst, "]}"...)
}

// detail appends a google.protobuf.Any, of which only the wire format is known to be good.
func (c *Converter) detail(dst []byte, s *Schema, b []byte) []byte {
	var url, content []byte
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			break
		}
		v := protowire.ConsumeFieldValue(number, wire, b[n:])
		if v < 0 {
			break
		}
		if wire == protowire.BytesType {
			switch value, _ := protowire.ConsumeBytes(b[n:]); number {
			case 1:
				url = value
			case 2:
				content = value
			}
		}
		b = b[n+v:]
	}
	if s != nil && len(url) > 0 {
		p := &c.printer
		p.begin(dst, nil, &s.types, &s.options)
		f := p.any(nil, url, content)
		out := p.json
		p.end()
		if f == nil {
			return out
		}
	}
	dst = append(dst, `{"@type":`...)
	dst = appendText(dst, string(url))
	dst = append(dst, `,"value":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, content)
	return append(dst, `"}`...)
}

// appendText writes text that may be no UTF-8.
func appendText(dst []byte, text string) []byte {
	out, ok := appendString(dst, text)
	if !ok {
		out, _ = appendString(dst, string([]rune(text)))
	}
	return out
}

// FaultBody appends the JSON of a fault. The place is in the message, and as a google.rpc.BadRequest in the details where it is
// the client's.
func FaultBody(dst []byte, f *Fault) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendUint(dst, uint64(f.Code), 10)
	dst = append(dst, `,"message":`...)
	dst = appendText(dst, f.Error())
	dst = append(dst, `,"details":[`...)
	if f.Path != "" && f.Status == 400 {
		dst = append(dst, `{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":`...)
		dst = appendText(dst, f.Path)
		dst = append(dst, `,"description":`...)
		dst = appendText(dst, f.Text)
		dst = append(dst, "}]}"...)
	}
	return append(dst, "]}"...)
}

// EventError appends the end of a stream that failed after its beginning, when the HTTP status is gone already. body is the
// JSON of the error: in lines {"error":body}, and an event named error.
func EventError(dst []byte, format Format, body []byte) []byte {
	if format == Events {
		dst = append(dst, "event: error\ndata: "...)
		dst = append(dst, body...)
	} else {
		dst = append(dst, `{"error":`...)
		dst = append(dst, body...)
		dst = append(dst, '}')
	}
	return appendEventEnd(dst, format)
}
