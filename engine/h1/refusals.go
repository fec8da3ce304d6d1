package h1

import (
	"errors"

	"github.com/yumen-io/yumen/engine/message"
)

// Errors of the sending side: the body did not keep to the length its head declared. The message on the wire is cut then,
// and its connection has to be closed, so that what is cut stays recognisable as cut.
var (
	ErrLongBody  = errors.New("h1: sending a body: it is longer than its head declared")
	ErrShortBody = errors.New("h1: ending a body: it is shorter than its head declared")
	// ErrBusy: the connection cannot take a further request.
	ErrBusy = errors.New("h1: sending a request: the one before is half sent, too many are unanswered, or the connection is closing")
	// ErrSwitch: the response switches protocols, and the request did not ask for that. Nothing was sent.
	ErrSwitch = errors.New("h1: sending a response: it switches protocols, which the request did not ask for")
)

// NoResponse is what Client.EOF returns if requests are unanswered and not one byte of the next response had come: the
// only kind of loss after which an idempotent request may be sent again.
var NoResponse = refusal(502, "no_response", "the upstream closed the connection before it answered")

func refusal(status int, reason, text string) *message.Refusal {
	return &message.Refusal{Status: status, Reason: reason, Text: text}
}

// Refusals, in the order in which a message can earn them.
var (
	// The request line, RFC 9112 3.
	badMethod      = refusal(400, "bad_method", "the method is not a token followed by one space")
	longMethod     = refusal(501, "long_method", "no method is that long")
	badTarget      = refusal(400, "bad_target", "the request target has a form or a character that is not allowed")
	longTarget     = refusal(414, "long_target", "the request target is too long")
	badVersion     = refusal(400, "bad_version", "the request line does not end in HTTP/1.0 or HTTP/1.1")
	unknownVersion = refusal(505, "unknown_version", "only HTTP/1.0 and HTTP/1.1 are spoken here")
	connectRefused = refusal(501, "connect", "this is not a forward proxy: CONNECT is not served")

	// The status line, RFC 9112 4.
	badStatusLine = refusal(502, "bad_status_line", "the response does not begin with an HTTP/1 status line")
	badStatus     = refusal(502, "bad_status", "the status code is not between 100 and 599")
	unasked       = refusal(502, "unasked_bytes", "the upstream sent bytes that answer no request")
	unaskedSwitch = refusal(502, "unasked_switch", "the upstream switched protocols without having been asked to")
	badSwitch     = refusal(502, "bad_switch", "the upstream switched protocols otherwise than it was asked to")
	manyInterim   = refusal(502, "many_interim", "too many interim responses came before the final one")
	bodyForbidden = refusal(502, "forbidden_length", "a response that cannot have a body declares one")

	// Lines, RFC 9112 2.2 and 5.
	bareCR           = refusal(400, "bare_cr", "a CR is not followed by LF")
	bareLF           = refusal(400, "bare_lf", "a line ends in LF without CR")
	largeHead        = refusal(431, "large_head", "the head is too large")
	manyFields       = refusal(431, "many_fields", "there are too many fields")
	largeTrailers    = refusal(431, "large_trailers", "the trailer section is too large")
	foldedField      = refusal(400, "folded_field", "a field line begins with white space")
	spaceBeforeColon = refusal(400, "space_before_colon", "white space stands between a field name and its colon")
	badFieldName     = refusal(400, "bad_field_name", "a field name is not a token")
	badFieldValue    = refusal(400, "bad_field_value", "a field value holds a control character")

	// What the fields say, RFC 9110 7.2, 7.6.1, 10.1.1.
	missingHost    = refusal(400, "missing_host", "an HTTP/1.1 request needs a Host")
	severalHosts   = refusal(400, "several_hosts", "there is more than one Host")
	badHost        = refusal(400, "bad_host", "the host is not a name or address with an optional port")
	otherHost      = refusal(400, "other_host", "the request target names another host than the Host field")
	badConnection  = refusal(400, "bad_connection", "the Connection field is not a short list of tokens")
	badExpectation = refusal(417, "bad_expectation", "only 100-continue can be expected")

	// The body's length, RFC 9112 6.
	badLength        = refusal(400, "bad_length", "the Content-Length is not a number of bytes")
	severalLengths   = refusal(400, "several_lengths", "there is more than one Content-Length")
	lengthAndChunked = refusal(400, "length_and_chunked", "there is a Content-Length and a Transfer-Encoding")
	badCoding        = refusal(400, "bad_coding", "the last transfer coding is not chunked")
	unknownCoding    = refusal(501, "unknown_coding", "no transfer coding but chunked is known here")
	severalCodings   = refusal(400, "several_codings", "there is more than one Transfer-Encoding")
	chunkedHTTP10    = refusal(400, "chunked_http10", "HTTP/1.0 has no Transfer-Encoding")

	// Chunks, RFC 9112 7.1.
	badChunkSize      = refusal(400, "bad_chunk_size", "a chunk size is not a hexadecimal number of at most 16 digits")
	largeChunk        = refusal(413, "large_chunk", "a chunk is larger than anything that can be meant")
	badChunkExtension = refusal(400, "bad_chunk_extension", "a chunk extension is malformed")
	largeExtensions   = refusal(400, "large_extensions", "the chunk extensions are too large")
	badChunkEnd       = refusal(400, "bad_chunk_end", "a chunk's data is not followed by CRLF")

	// The end of the connection.
	truncatedHead = refusal(400, "truncated_head", "the connection was closed within a head")
	truncatedBody = refusal(400, "truncated_body", "the connection was closed within a body")
	afterRefusal  = refusal(400, "after_refusal", "nothing is read after a refusal")
)

// Refusals returns all of them, for the list of reasons.
func Refusals() []*message.Refusal {
	return []*message.Refusal{
		NoResponse,
		badMethod, longMethod, badTarget, longTarget, badVersion, unknownVersion, connectRefused,
		badStatusLine, badStatus, unasked, unaskedSwitch, badSwitch, manyInterim, bodyForbidden,
		bareCR, bareLF, largeHead, manyFields, largeTrailers, foldedField, spaceBeforeColon, badFieldName, badFieldValue,
		missingHost, severalHosts, badHost, otherHost, badConnection, badExpectation,
		badLength, severalLengths, lengthAndChunked, badCoding, unknownCoding, severalCodings, chunkedHTTP10,
		badChunkSize, largeChunk, badChunkExtension, largeExtensions, badChunkEnd,
		truncatedHead, truncatedBody, afterRefusal,
	}
}
