package decompress

import "github.com/yumen-io/yumen/gateway"

// refusal is one way for a body to be refused.
type refusal = gateway.Failure

func refuse(status int, reason, text string) *refusal {
	side := gateway.Client
	if status >= 500 {
		side = gateway.Self
	}
	return &refusal{Side: side, Status: status, Reason: reason, Text: text}
}

// The refusals. A word each, for header, log and metric.
var (
	unsupported     = refuse(415, "unsupported_encoding", "the request's body has a coding that is not decoded here")
	tooManyCodings  = refuse(415, "too_many_encodings", "the request's body has more than two codings upon each other")
	malformed       = refuse(400, "encoding_malformed", "the request's body is not what its Content-Encoding says")
	truncated       = refuse(400, "encoding_truncated", "the request's body ends before its coding does")
	trailing        = refuse(400, "encoding_trailing", "the request's body goes on behind the end of its coding")
	decodedTooLarge = refuse(413, "decoded_too_large", "the request's body is larger than allowed when it is decoded")
	decodedRatio    = refuse(413, "decoded_ratio", "the request's body grows more than allowed when it is decoded")
	windowTooLarge  = refuse(413, "window_too_large", "decoding the request's body takes more memory than allowed")
	busy            = refuse(503, "decoders_busy", "the decoders have as much memory as they may")
)

var refusals = []*refusal{unsupported, tooManyCodings, malformed, truncated, trailing, decodedTooLarge, decodedRatio, windowTooLarge, busy}

// Reasons are the words that this filter answers with.
func Reasons() []string {
	var list []string
	for _, r := range refusals {
		list = append(list, r.Reason)
	}
	return list
}
