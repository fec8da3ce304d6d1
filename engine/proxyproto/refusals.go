package proxyproto

import "github.com/yumen-io/yumen/engine/message"

func refusal(reason, text string) *message.Refusal {
	return &message.Refusal{Status: 400, Reason: reason, Text: text}
}

// Refusals. The status is for counting: no answer is sent to a peer that may not speak HTTP at all.
var (
	missing     = refusal("proxy_protocol_missing", "the connection does not begin with a PROXY header")
	malformed   = refusal("proxy_protocol", "the PROXY header is malformed")
	large       = refusal("proxy_protocol_large", "the PROXY header is too large")
	badChecksum = refusal("proxy_protocol_checksum", "the PROXY header does not agree with its checksum")
)

// Refusals returns all of them, for the list of reasons.
func Refusals() []*message.Refusal {
	return []*message.Refusal{missing, malformed, large, badChecksum}
}
