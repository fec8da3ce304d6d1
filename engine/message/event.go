package message

// Kind says what a codec found.
type Kind uint8

// Kinds of event.
const (
	// None: nothing complete is there; more bytes are needed.
	None Kind = iota
	// GotHead: the head of a request or of a final response is complete.
	GotHead
	// GotInterim: the head of an interim response (1xx, not 101) is complete.
	GotInterim
	// GotData: the next N bytes of the chain are body. The receiver takes or skips all of them before it asks on.
	GotData
	// GotTrailers: the body is over and had trailers, which the Head's Fields hold.
	GotTrailers
	// GotEnd: the body is over, without trailers.
	GotEnd
	// GotReset: the peer gave the stream up, or broke its rules and was told so. Nothing follows on it in either direction. N is
	// the protocol's error code.
	GotReset
	// GotRefusal: a request on a stream of its own that is none, while the connection is sound. It can be answered, once.
	GotRefusal
	// GotGoAway: the peer opens no further streams, or takes none. Those that are open go on. N is the error code.
	GotGoAway
)

// Event is one step in the life of a stream.
type Event struct {
	Kind   Kind
	End    bool   // nothing follows on this stream in this direction
	Stream uint32 // which request of the connection this belongs to, counted as the protocol counts
	N      int    // body bytes of GotData; error code of GotReset and GotGoAway
}
