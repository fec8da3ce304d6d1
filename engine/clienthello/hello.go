// Package clienthello reads which host, and which protocols, a TLS connection asks for (SNI, ALPN), without doing TLS: for
// a listener that passes connections on unopened, by name.
//
// Whoever ends the TLS reads the same bytes again and must find the same name, or a client could be let through by one
// name and served under another. So the hello is read whole, across as many records as it comes in (RFC 8446 5.1), and
// whatever two readers could take in two ways is refused: two names, two extensions of a kind, a list that does not end
// where it says.
//
// The name is the one that stands in the clear. With Encrypted ClientHello that is the outer name, the one of the host
// which can decrypt the inner hello, and it is what counts: this package cannot see the inner one and does not look.
//
// The package reads what is needed for that and no more: versions, suites and keys are for the host behind.
package clienthello

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
)

// Limits. A hello is a few hundred bytes, with post-quantum keys under 2 kB, with a large ticket some more.
const (
	// helloBytesMax bounds the handshake message with its 4 bytes of header. 16 kB, the most that one record can hold: what
	// is larger is no hello of any client we know, and is held in memory before we know who asks for whom.
	helloBytesMax = 16 << 10
	// recordsMax bounds the records that it comes in. 64: some clients cut theirs into a handful, on purpose; without a
	// bound each received byte could make us walk over thousands.
	recordsMax = 64
	// extensionsMax bounds the extensions, since each is compared with each. 64: clients send about 20.
	extensionsMax = 64
	// alpnBytesMax bounds the list of protocols, which is copied. 256: about thirty names, where clients send two.
	alpnBytesMax = 256
	// nameBytesMax is the longest DNS name, and labelBytesMax its longest label (RFC 1035 2.3.4, without the lengths).
	nameBytesMax  = 253
	labelBytesMax = 63
)

// BytesMax is how many bytes of a connection always suffice for an answer of Parse.
const BytesMax = helloBytesMax + recordsMax*recordHeader

// Hello is what a client asks for. What it holds is its own: it does not point into the bytes parsed.
type Hello struct {
	// ServerName is a host name in lower case and without a dot at its end; nil if the client named none. It consists of
	// labels of letters, digits, '-' and '_', and is no IP address.
	ServerName []byte
	// ALPN are the protocols that the client offers, in its order, as they came: each of 1 to 255 arbitrary bytes, all
	// together at most 256. Nil if it offers none.
	ALPN [][]byte
}

// Parse reads the ClientHello that the connection begins with, from all bytes that have come so far: incomplete, it is
// neither done nor an error, and BytesMax bytes are always enough. The error is a *message.Refusal; the connection is to be
// closed. Bytes behind the hello change nothing. Until the hello is complete Parse costs a step for each record and nothing
// for each byte; it allocates what it returns.
func Parse(b []byte) (h Hello, done bool, err error) {
	length, refused := measure(b)
	if refused == nil && length == 0 {
		return Hello{}, false, nil
	}
	var p parser
	if refused == nil {
		p.in = reader{rest: b}
		refused = p.hello(length)
	}
	if refused != nil {
		return Hello{}, false, refused
	}
	return p.found(), true, nil
}

// parser reads a hello that is there as a whole. It is small enough for the stack.
type parser struct {
	in       reader
	seen     [extensionsMax]uint16 // types of extensions
	name     [nameBytesMax + 1]byte
	nameLen  int
	alpn     [alpnBytesMax]byte // as on the wire, each name behind its length
	alpnLen  int
	alpnSize int // names in it
}

// found copies what was read.
func (p *parser) found() (h Hello) {
	if p.nameLen > 0 {
		h.ServerName = bytes.Clone(p.name[:p.nameLen])
	}
	if p.alpnSize > 0 {
		h.ALPN = make([][]byte, 0, p.alpnSize)
		list := bytes.Clone(p.alpn[:p.alpnLen])
		for len(list) > 0 {
			n := 1 + int(list[0])
			h.ALPN = append(h.ALPN, list[1:n:n])
			list = list[n:]
		}
	}
	return h
}

// hello reads the message (RFC 8446 4.1.2; RFC 5246 7.4.1.2 is the same).
func (p *parser) hello(end int) *message.Refusal {
	const versionAndRandom = 2 + 32
	if end < messageHeader+versionAndRandom {
		return malformed
	}
	p.in.skip(messageHeader + versionAndRandom)

	session, ok := p.in.vector(1, end)
	if !ok || session-p.in.at > 32 {
		return malformed
	}
	p.in.skip(session - p.in.at)

	suites, ok := p.in.vector(2, end)
	if n := suites - p.in.at; !ok || n == 0 || n%2 != 0 {
		return malformed
	}
	p.in.skip(suites - p.in.at)

	compressions, ok := p.in.vector(1, end)
	if !ok || compressions == p.in.at {
		return malformed
	}
	p.in.skip(compressions - p.in.at)

	if p.in.at == end {
		return nil // extensions came with TLS 1.2, and may be missing altogether
	}
	if extensions, ok := p.in.vector(2, end); !ok || extensions != end {
		return malformed
	}
	return p.extensions(end)
}

// Types of extensions that are read: RFC 6066 3, RFC 7301 3.1.
const (
	typeServerName = 0
	typeALPN       = 16
)

func (p *parser) extensions(end int) *message.Refusal {
	for count := 0; p.in.at < end; count++ {
		if count == extensionsMax {
			return manyExtensions
		}
		if end-p.in.at < 2 {
			return malformed
		}
		kind := uint16(p.in.number(2))
		extension, ok := p.in.vector(2, end)
		if !ok {
			return malformed
		}
		for _, before := range p.seen[:count] {
			switch {
			case before != kind:
			case kind == typeServerName:
				return severalNames
			default:
				return severalExtensions // RFC 8446 4.2: not more than one of a type
			}
		}
		p.seen[count] = kind
		var refused *message.Refusal
		switch kind {
		case typeServerName:
			refused = p.serverName(extension)
		case typeALPN:
			refused = p.protocols(extension)
		default:
			p.in.skip(extension - p.in.at)
		}
		if refused != nil {
			return refused
		}
	}
	return nil
}

// serverName reads a list of names, which can only be one: host names are the one type there is, and each type may be
// there once (RFC 6066 3).
func (p *parser) serverName(end int) *message.Refusal {
	list, ok := p.in.vector(2, end)
	if !ok || list != end || list == p.in.at {
		return malformed
	}
	if p.in.number(1) != 0 {
		return badName
	}
	name, ok := p.in.vector(2, list)
	switch {
	case !ok:
		return malformed
	case name != list:
		return severalNames
	case name-p.in.at > len(p.name):
		return badName
	}
	b := p.name[:name-p.in.at]
	p.in.copy(b)
	if p.nameLen, ok = normalise(b); !ok {
		return badName
	}
	return nil
}

// protocols reads a list of names, each behind a byte of length.
func (p *parser) protocols(end int) *message.Refusal {
	list, ok := p.in.vector(2, end)
	if !ok || list != end || list == p.in.at {
		return malformed
	}
	if list-p.in.at > len(p.alpn) {
		return largeALPN
	}
	b := p.alpn[:list-p.in.at]
	p.in.copy(b)
	p.alpnLen = len(b)
	for len(b) > 0 {
		n := int(b[0])
		if n == 0 || n >= len(b) {
			return malformed
		}
		p.alpnSize++
		b = b[1+n:]
	}
	return nil
}
