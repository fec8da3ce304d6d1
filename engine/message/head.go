// Package message is HTTP without a version: heads with ordered fields, the events a codec finds in a connection's bytes,
// and the refusals it answers malformed ones with. Everything above the codecs speaks in these words only.
//
// It owns no sockets and no buffers, parses nothing and writes nothing: that is what codecs do.
package message

import "strconv"

// Head is the head of a request or of a response: the start line's parts and the fields. It copies what it holds, so
// it outlives the buffer it was read from. Heads are pooled per loop; not safe for concurrent use.
type Head struct {
	Fields

	// Request. Path is the target's path as it will be routed and forwarded, Query what follows '?' without it.
	Method    Span
	Authority Span // host and optional port; empty only in HTTP/1.0 without Host
	Path      Span // begins with '/', or is "*" (OPTIONS)
	Query     Span
	HasQuery  bool // tells "/a?" from "/a"

	// Response.
	Status int
	Reason Span // HTTP/1's phrase, passed on as it came

	// Both.
	Proto  Proto // the version this head was received in
	Length int64 // of the body, in bytes; UnknownLength if only its end will tell; 0 if there is none
	// Upgrade names the protocol that a request asks to go on in, or that a response (101) goes on in: what follows is a
	// tunnel's bytes then. Empty in every other head. A codec sets it only when everything its protocol demands of the
	// handshake is there, so that nobody above has to look at fields again.
	Upgrade Span
}

// UnknownLength is the Length of a body that ends by its framing (chunked, or the close of the connection).
const UnknownLength = -1

// Proto is an HTTP version.
type Proto uint8

// Versions.
const (
	HTTP10 Proto = 10
	HTTP11 Proto = 11
	HTTP2  Proto = 20
	HTTP3  Proto = 30
)

// String returns the name as the Via and Forwarded fields and the access log write it: "1.1", "2".
func (p Proto) String() string {
	switch p {
	case HTTP10:
		return "1.0"
	case HTTP11:
		return "1.1"
	case HTTP2:
		return "2"
	case HTTP3:
		return "3"
	}
	return "unknown version " + strconv.Itoa(int(p))
}

// Reset makes the head empty and keeps its memory for the next message.
func (h *Head) Reset() {
	// Field by field: the copy of a whole Head that shorter code makes was 4 % of the work above system calls.
	h.Fields.Reset()
	h.Method, h.Authority, h.Path, h.Query, h.Reason, h.Upgrade = Span{}, Span{}, Span{}, Span{}, Span{}, Span{}
	h.HasQuery, h.Status, h.Proto, h.Length = false, 0, 0, 0
}

// CopyRequest makes dst an independent copy of a request's head, without what asks for another protocol.
func (h *Head) CopyRequest(dst *Head) {
	dst.Reset()
	h.Fields.CopyTo(&dst.Fields)
	dst.Method, dst.Authority, dst.Path, dst.Query, dst.HasQuery = h.Method, h.Authority, h.Path, h.Query, h.HasQuery
	dst.Proto, dst.Length = h.Proto, h.Length
}

// MethodBytes returns the method.
func (h *Head) MethodBytes() []byte { return h.Bytes(h.Method) }

// PathBytes returns the path.
func (h *Head) PathBytes() []byte { return h.Bytes(h.Path) }

// QueryBytes returns the query without its '?'.
func (h *Head) QueryBytes() []byte { return h.Bytes(h.Query) }

// SetPath makes everything stored from start on, a value of RawLen, the path. It must be in the form that NormalizePath
// leaves: it is neither routed nor judged again. Slices of the path before stay valid.
func (h *Head) SetPath(start int) { h.Path = Span{uint32(start), uint32(len(h.raw) - start)} }

// SetAuthority replaces host and port. They must be valid (RFC 9110 7.2): this is not checked again on the way out.
func (h *Head) SetAuthority(authority string) { h.Authority = h.StoreString(authority) }

// AuthorityBytes returns host and port.
func (h *Head) AuthorityBytes() []byte { return h.Bytes(h.Authority) }

// IsMethod compares the method, which is case-sensitive (RFC 9110 9.1).
func (h *Head) IsMethod(m string) bool { return string(h.Bytes(h.Method)) == m }
