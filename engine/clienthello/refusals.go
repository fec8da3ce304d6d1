package clienthello

import "github.com/yumen-io/yumen/engine/message"

func refusal(reason, text string) *message.Refusal {
	return &message.Refusal{Status: 400, Reason: reason, Text: text}
}

// Refusals. The status is for counting: nobody here could answer in TLS.
var (
	notTLS            = refusal("not_tls", "the connection does not begin with a TLS handshake")
	badRecord         = refusal("bad_tls_record", "a record of the ClientHello is empty, too long or of another type")
	manyRecords       = refusal("many_tls_records", "the ClientHello comes in too many records")
	largeHello        = refusal("large_client_hello", "the ClientHello is too large")
	malformed         = refusal("bad_client_hello", "the ClientHello is malformed, or there is something else in its place")
	manyExtensions    = refusal("many_extensions", "the ClientHello has too many extensions")
	severalExtensions = refusal("several_extensions", "the ClientHello has two extensions of one type")
	severalNames      = refusal("several_server_names", "the ClientHello names more than one server")
	badName           = refusal("bad_server_name", "the server name is not a host name")
	largeALPN         = refusal("large_alpn", "the list of protocols is too large")
)

// Refusals returns all of them, for the list of reasons.
func Refusals() []*message.Refusal {
	return []*message.Refusal{
		notTLS, badRecord, manyRecords, largeHello,
		malformed, manyExtensions, severalExtensions, severalNames, badName, largeALPN,
	}
}
