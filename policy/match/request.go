package match

// Request is what a rule may see of one request. Its owner keeps it from request to request and sets the fields anew:
// the buffer in which escaped query values are decoded stays and grows to the longest seen. The slices are only read,
// and only during a call. A Request is used by one goroutine at a time.
type Request struct {
	// Listener is the name of the listener that took the connection.
	Listener string
	// Host is the authority without port, lower-cased; an IPv6 address keeps its brackets. Empty if none was sent.
	Host []byte
	// Method as sent: methods are case-sensitive (RFC 9110 section 9.1).
	Method []byte
	// Path in its normal form, the one that is also forwarded. It begins with '/'.
	Path []byte
	// Query without the '?', as sent.
	Query []byte
	// Fields of the head; nil stands for none.
	Fields Fields

	decoded []byte
}

// Fields are the header fields of a head in their order. The gateway's head is one, the example requests of
// policy/route another.
type Fields interface {
	// NextField returns the value of the first field at or after position from whose name equals name, which is in lower
	// case, without regard to ASCII case; and the position to continue from. There is none if next is negative. The
	// value carries no blanks around it (RFC 9110 section 5.5).
	//
	// Positions are the callee's own; the walk begins at 0. A callback would be the more usual shape, but the closure
	// would escape through the interface and cost an allocation per predicate.
	NextField(name string, from int) (value []byte, next int)
}
