package transcode

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
)

// Fault is why something cannot be transcoded: what to answer, and where in the request the cause is.
type Fault struct {
	Status int        // of the HTTP answer
	Code   codes.Code // the same for gRPC, and in the JSON body
	Reason Reason
	Where  Where
	// Path leads to the fault: "items[2].price" in the body, relative to the document that the client sent, or the name
	// of the query parameter or path variable. Empty: the document as a whole.
	Path string
	// Line and Column, in characters, count from 1 in the body; 0 elsewhere.
	Line, Column int
	Text         string
}

// Reason is one word for a kind of Fault, the same in logs and metrics.
type Reason string

// Reasons. Those of responses are the upstream's fault and answered with 502.
const (
	BadJSON          Reason = "bad_json"
	UnknownField     Reason = "unknown_field"
	DuplicateField   Reason = "duplicate_field"
	WrongType        Reason = "wrong_type"
	OutOfRange       Reason = "out_of_range"
	BadValue         Reason = "bad_value" // the right type, but no date, base64, member of the enum
	BadEncoding      Reason = "bad_encoding"
	UnknownType      Reason = "unknown_type" // an Any of a type that the descriptors do not have
	UnexpectedBody   Reason = "unexpected_body"
	NestingTooDeep   Reason = "nesting_too_deep"
	BodyTooLarge     Reason = "body_too_large"
	TooManyParams    Reason = "too_many_parameters"
	TooManyEntries   Reason = "too_many_entries" // of a map
	ClientStreaming  Reason = "client_streaming"
	NoCall           Reason = "no_call"     // the request means none
	BadType          Reason = "bad_type"    // of the body
	BadMessage       Reason = "bad_message" // of the upstream: no wire format, or what JSON has no form for
	ResponseTooLarge Reason = "response_too_large"
	BadFrame         Reason = "bad_frame"
	CompressedFrame  Reason = "compressed_frame"
	MessageTooLarge  Reason = "message_too_large"
)

// Where is the part of a request that a Fault is in.
type Where string

// Parts. InResponse is what the upstream sent.
const (
	InBody     Where = "body"
	InQuery    Where = "query"
	InPath     Where = "path"
	InResponse Where = "response"
)

// Error says it in one line: "items[2].price: a string where int32 is wanted (line 3, column 14)".
func (f *Fault) Error() string {
	var b strings.Builder
	switch {
	case f.Where == InQuery && f.Path == "":
		b.WriteString("query: ")
	case f.Where == InQuery:
		b.WriteString("query parameter ")
	case f.Where == InPath:
		b.WriteString("path variable ")
	}
	if f.Path != "" {
		b.WriteString(f.Path)
		b.WriteString(": ")
	}
	b.WriteString(f.Text)
	if f.Line > 0 {
		fmt.Fprintf(&b, " (line %d, column %d)", f.Line, f.Column)
	}
	return b.String()
}

// shownBytesMax bounds what a Fault repeats of the request: enough to recognise it, too little to fill a log.
const shownBytesMax = 64

// shown is text of the peer as a Fault may repeat it.
func shown[T string | []byte](s T) string {
	if len(s) > shownBytesMax {
		cut := shownBytesMax
		for cut > shownBytesMax-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
			cut--
		}
		return strconv.Quote(string(s[:cut])) + "..."
	}
	return strconv.Quote(string(s))
}

// under puts an element before the path: the fault was found below it. Paths are built on the way out, so that the way in,
// which nearly every request takes without a fault, pays nothing for them.
func (f *Fault) under(element string) *Fault {
	switch {
	case f.Path == "":
		f.Path = element
	case f.Path[0] == '[':
		f.Path = element + f.Path
	default:
		f.Path = element + "." + f.Path
	}
	return f
}

func (f *Fault) underIndex(i int) *Fault { return f.under("[" + strconv.Itoa(i) + "]") }

func (f *Fault) underKey(key string) *Fault { return f.under("[" + key + "]") }

// underField leaves names that need no quotes as they are.
func (f *Fault) underField(name []byte) *Fault {
	for _, c := range name {
		if !isNameByte(c) {
			return f.underKey(shown(name))
		}
	}
	if len(name) == 0 || len(name) > shownBytesMax {
		return f.underKey(shown(name))
	}
	return f.under(string(name))
}

func isNameByte(c byte) bool {
	return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '@' || c == '-'
}

func badRequest(where Where, reason Reason, format string, args ...any) *Fault {
	return &Fault{Status: 400, Code: codes.InvalidArgument, Reason: reason, Where: where, Text: fmt.Sprintf(format, args...)}
}

func badResponse(reason Reason, format string, args ...any) *Fault {
	return &Fault{Status: 502, Code: codes.Internal, Reason: reason, Where: InResponse, Text: fmt.Sprintf(format, args...)}
}
