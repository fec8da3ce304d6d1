package h2

// Error codes of RST_STREAM and GOAWAY (RFC 9113 7): N of GotReset and GotGoAway, and what Reset is given.
const (
	NoError            = 0x0
	ProtocolError      = 0x1
	InternalError      = 0x2
	FlowControlError   = 0x3
	SettingsTimeout    = 0x4
	StreamClosed       = 0x5
	FrameSizeError     = 0x6
	RefusedStream      = 0x7 // nothing of the request was processed: it may be sent again whatever its method
	Cancel             = 0x8
	CompressionError   = 0x9
	ConnectError       = 0xa
	EnhanceYourCalm    = 0xb
	InadequateSecurity = 0xc
	HTTP11Required     = 0xd
)
