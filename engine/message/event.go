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
)

// Event is one step in the life of a stream.
type Event struct {
	Kind   Kind
	End    bool   // nothing follows on this stream in this direction
	Stream uint32 // which request of the connection this belongs to, counted as the protocol counts
	N      int    // body bytes, GotData only
}
