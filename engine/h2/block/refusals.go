package block

import "github.com/yumen-io/yumen/engine/message"

func refusal(status int, reason, text string) *message.Refusal {
	return &message.Refusal{Status: status, Reason: reason, Text: text}
}

// Refusals of the connection: nothing that follows on it could be read.
var (
	badCompression = refusal(400, "bad_compression", "a header block cannot be decoded")
	hpackBomb      = refusal(431, "hpack_bomb", "a header block is twice as large and more than any head may be")
)

// Refusals of one message. What HTTP/1 refuses for the same reason has the same word there.
var (
	// Pseudo-fields, RFC 9113 8.3.
	latePseudo      = refusal(400, "late_pseudo", "a pseudo-field stands behind an ordinary field")
	severalPseudo   = refusal(400, "several_pseudo", "a pseudo-field stands there twice")
	unknownPseudo   = refusal(400, "unknown_pseudo", "a pseudo-field is not one of this kind of message")
	trailingPseudo  = refusal(400, "trailing_pseudo", "a pseudo-field stands in a trailer section")
	missingPseudo   = refusal(400, "missing_pseudo", "a pseudo-field that every message of this kind has is not there")
	badMethod       = refusal(400, "bad_method", "the method is not a token")
	longMethod      = refusal(501, "long_method", "no method is that long")
	badScheme       = refusal(400, "bad_scheme", "the scheme is neither http nor https")
	badTarget       = refusal(400, "bad_target", "the request target has a form or a character that is not allowed")
	longTarget      = refusal(414, "long_target", "the request target is too long")
	connectRefused  = refusal(501, "connect", "this is not a forward proxy: CONNECT is not served")
	badProtocol     = refusal(400, "bad_protocol", "a :protocol stands in a request that is no CONNECT")
	unknownProtocol = refusal(501, "unknown_protocol", "no protocol but websocket can be switched to")
	badHandshake    = refusal(400, "bad_handshake", "a WebSocket is asked for in another version than 13, or with a body")
	badStatus       = refusal(502, "bad_status", "the status code is not between 100 and 599")
	badSwitch       = refusal(502, "bad_switch", "the upstream switched protocols otherwise than it was asked to")

	// Fields, RFC 9113 8.2.
	largeHead       = refusal(431, "large_head", "the head is too large")
	largeTrailers   = refusal(431, "large_trailers", "the trailer section is too large")
	manyFields      = refusal(431, "many_fields", "there are too many fields")
	cookieCrumbs    = refusal(431, "cookie_crumbs", "the Cookie comes in too many pieces")
	badFieldName    = refusal(400, "bad_field_name", "a field name is not a token")
	upperCase       = refusal(400, "upper_case", "a field name has an upper-case letter")
	badFieldValue   = refusal(400, "bad_field_value", "a field value holds a control character")
	paddedValue     = refusal(400, "padded_value", "a field value begins or ends with white space")
	connectionField = refusal(400, "connection_field", "a field stands there that HTTP/1 alone has, for its connections")
	badTE           = refusal(400, "bad_te", "TE asks for something else than trailers")

	// What the fields say, RFC 9110 7.2, 8.6, 10.1.1.
	missingHost    = refusal(400, "missing_host", "the request names no host")
	severalHosts   = refusal(400, "several_hosts", "there is more than one Host")
	badHost        = refusal(400, "bad_host", "the host is not a name or address with an optional port")
	otherHost      = refusal(400, "other_host", "the request target names another host than the Host field")
	badLength      = refusal(400, "bad_length", "the Content-Length is not a number of bytes")
	severalLengths = refusal(400, "several_lengths", "there is more than one Content-Length")
	bodyForbidden  = refusal(502, "forbidden_length", "a response that cannot have a body declares one")
	badExpectation = refusal(417, "bad_expectation", "only 100-continue can be expected")
)

// Refusals returns all of them, for the list of reasons. Several words are also among those of HTTP/1.
func Refusals() []*message.Refusal {
	return []*message.Refusal{
		badCompression, hpackBomb,
		latePseudo, severalPseudo, unknownPseudo, trailingPseudo, missingPseudo, badMethod, longMethod, badScheme, badTarget,
		longTarget, connectRefused, badProtocol, unknownProtocol, badHandshake, badStatus, badSwitch,
		largeHead, largeTrailers, manyFields, cookieCrumbs, badFieldName, upperCase, badFieldValue, paddedValue,
		connectionField, badTE,
		missingHost, severalHosts, badHost, otherHost, badLength, severalLengths, bodyForbidden, badExpectation,
	}
}
