// Package proxyproto reads and writes the header of the PROXY protocol, versions 1 and 2, as HAProxy's document "The PROXY
// protocol" has it (its sections are named in this package): what a balancer in front sends ahead of a connection's bytes,
// so that whoever stands behind it learns whom the connection comes from.
//
// A header is believed whatever it says, so the reading side must know from whom it may take one: that, and whether a
// header must, may or must not come, is the listener's to decide. The package is strict, because two readers of one header
// must find one client in it. It keeps nothing: what it returns points into the bytes it was given.
package proxyproto

import (
	"net/netip"

	"github.com/yumen-io/yumen/engine/message"
)

// BytesMax bounds a header, so that whoever holds this many bytes of one gets an answer from Parse. 4 kB: one small chunk.
// Addresses take 232 bytes at most and version 1 has 107; the rest leaves room for what balancers put into version 2, of
// which the largest is a client's certificate.
const BytesMax = 4096

// Limits that the document sets.
const (
	// lineBytesMax is the longest version 1 line with its CRLF (2.1).
	lineBytesMax = 107
	// uniqueIDBytesMax is the longest unique id (2.2.5).
	uniqueIDBytesMax = 128
	// authorityBytesMax: the authority is a host name, and a DNS name has at most 253 characters.
	authorityBytesMax = 255
)

// Header is what a balancer says about a connection.
type Header struct {
	Version int // 1 or 2

	// Local says that there is nothing to learn about a client (UNKNOWN, LOCAL, a Unix socket): the addresses are those of
	// the socket, and Source and Destination are not valid.
	Local bool

	// Source is the client, Destination is what it connected to. An IPv4 address that came mapped into IPv6 is unmapped, so
	// that a client has one address whichever way it came. A version 2 header for UDP gives addresses as one for TCP does.
	Source, Destination netip.AddrPort

	// Authority is the host name that the client asked the balancer for, empty if that was not said. It is text without
	// control characters or spaces, of at most 255 bytes, and otherwise as it came. It points into the bytes parsed.
	Authority []byte
	// UniqueID is the balancer's name for the connection, at most 128 arbitrary bytes; empty if it has none. It points into
	// the bytes parsed.
	UniqueID []byte
}

// Parse reads the header that b begins with and returns its length. With n = 0 and no error, more bytes are needed; that
// is never so with BytesMax bytes. The error is a *message.Refusal: the connection is to be closed without a word, since
// the peer is no client yet. Bytes behind the header change nothing.
func Parse(b []byte) (h Header, n int, err error) {
	var refused *message.Refusal
	yes, known := Begins(b)
	switch {
	case !known:
		return Header{}, 0, nil
	case !yes:
		refused = missing
	case b[0] == version1[0]:
		n, refused = h.parseLine(b)
	default:
		n, refused = h.parseBlock(b)
	}
	if refused != nil {
		return Header{}, 0, refused
	}
	return h, n, nil
}

// Begins tells whether a connection begins with a header, which takes a listener where one may be missing. While known is
// false, more bytes are needed to tell; twelve are always enough. No HTTP request and no TLS record begins as a header
// does (5), but a client of another protocol may: where a header may be missing, the peers that may send one must be few.
func Begins(b []byte) (yes, known bool) {
	for _, s := range [...]string{version1, signature} {
		n := min(len(b), len(s))
		if string(b[:n]) == s[:n] {
			return n == len(s), n == len(s)
		}
	}
	return false, true
}

// sides puts two addresses into one family, IPv4 if both are that, mapped or not, and tells whether there are two. Zones
// are meaningless elsewhere and are dropped.
func sides(src, dst netip.AddrPort) (s, d netip.Addr, ok bool) {
	if !src.IsValid() || !dst.IsValid() {
		return s, d, false
	}
	s, d = src.Addr().Unmap().WithZone(""), dst.Addr().Unmap().WithZone("")
	if s.Is4() != d.Is4() {
		s, d = netip.AddrFrom16(s.As16()), netip.AddrFrom16(d.As16())
	}
	return s, d, true
}
