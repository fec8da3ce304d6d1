package engine

import (
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/yumen-io/yumen/engine/tlsconn"
)

// Protocols is a set of what a connection may speak.
type Protocols uint8

// What a connection can speak.
const (
	HTTP1 Protocols = 1 << iota
	// HTTP2 is spoken by agreement in TLS (ALPN "h2"), or, without TLS, by those who begin with its preface (RFC 9113 3.3).
	HTTP2
	// Raw are bytes, whatever they mean.
	Raw
	// RawByName are the bytes of a TLS connection that ends behind us, with the server's name its first message asks for.
	RawByName
)

// TLS is what a listener needs to end TLS connections. Frozen.
type TLS struct {
	Config     *tls.Config
	Handshakes *tlsconn.Handshaker // shared by all loops
	Timeout    time.Duration       // of a handshake, from the accept
}

// ProxyProtocol says whose word about the client's address is taken before anything else is read. Frozen.
type ProxyProtocol struct {
	From []netip.Prefix // the peers that may send a header; of others, it is not taken for one
	// Required turns a trusted peer without a header away. Otherwise the first bytes decide, and a trusted peer that sends
	// none is waited for until the time for a head is over, and then turned away too: to go on without would be to take a
	// balancer for the client because its header was late. So where the server is to speak first, a header must be Required,
	// or not be expected.
	Required bool
}

func (p *ProxyProtocol) trusts(peer netip.Addr) bool {
	for _, prefix := range p.From {
		if prefix.Contains(peer) {
			return true
		}
	}
	return false
}
