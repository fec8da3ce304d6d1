package gateway

import (
	"net/netip"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/engine/tlsconn"
)

// requestIDMax bounds a request id that is taken over from a trusted peer.
const requestIDMax = 128

// identify makes the fields that speak of the client say what the gateway knows. What a peer that is not trusted says of
// itself is dropped first, in every spelling that a server could take for it; what a trusted one says is extended. It
// runs before routing, so that a rule and the upstream see the same request.
func (x *Exchange) identify(l *Listener, c *engine.ServerConn) {
	peer := x.peer
	addr := peer.Addr().Unmap()
	x.ClientAddr = addr
	if t := c.TLS(); t != nil {
		x.clientCert = t.State().Peer
	}
	trusted := l.Trust.trusts(addr)
	said := dropClaims(x.Request, trusted)
	if trusted && said != 0 {
		if a, ok := lastUntrusted(x.Request, &l.Trust); ok {
			x.ClientAddr = a
		}
	}
	x.takeRequestID(said)
	if l.Trust.XFields {
		x.addXForwarded(l, addr, said)
	}
	if l.Trust.Forwarded {
		x.addForwarded(l, peer, said)
	}
	if l.ClientCert != nil && x.clientCert != nil {
		x.addClientCert(l)
	}
	x.addVia()
}

// addClientCert tells the upstream of the certificate that the client showed. What the request said of one itself is dropped
// by now, unless a trusted proxy said it, which is then believed.
func (x *Exchange) addClientCert(l *Listener) {
	x.Request.Remove(message.XForwardedClientCert)
	raw, at := x.Request.BeginLine(message.XForwardedClientCert)
	x.Request.EndLine(tlsconn.AppendClientCert(raw, x.clientCert, *l.ClientCert), at, message.XForwardedClientCert)
}

// claims is a set of the fields that speak of the client.
type claims uint8

const (
	claimsFor claims = 1 << iota
	claimsHost
	claimsProto
	claimsForwarded
	claimsRequestID
)

// dropClaims walks the fields once. It drops those that speak of the client, unless they come from a trusted peer, in which
// case it returns which are there; and always those that servers who turn '-' into '_' (CGI and its heirs) could not tell
// from them.
func dropClaims(h *message.Head, trusted bool) (said claims) {
	all := h.All()
	for i := range all {
		f := &all[i]
		var claim claims
		switch f.ID {
		case message.OtherField:
			if f.Name.Len >= 9 && lookalike(h.Bytes(f.Name)) {
				f.Gone = true
			}
			continue
		case message.XForwardedFor:
			claim = claimsFor
		case message.XForwardedHost:
			claim = claimsHost
		case message.XForwardedProto:
			claim = claimsProto
		case message.Forwarded:
			claim = claimsForwarded
		case message.XRequestID:
			claim = claimsRequestID
		case message.XForwardedPort, message.XRealIP, message.XForwardedClientCert:
		default:
			continue
		}
		if !trusted {
			f.Gone = true
		} else if !f.Gone {
			said |= claim
		}
	}
	return said
}

// lookalike tells whether a name becomes one of the fields that speak of the client when '_' is read as '-'.
func lookalike(name []byte) bool {
	if message.Lower(name[0]) != 'x' {
		return false // Forwarded has no dash that could be spelled otherwise
	}
	var dashed [len("x-forwarded-client-cert")]byte
	if len(name) > len(dashed) {
		return false
	}
	under := false
	for i, c := range name {
		if c == '_' {
			c, under = '-', true
		}
		dashed[i] = c
	}
	if !under {
		return false
	}
	switch message.Identify(dashed[:len(name)]) {
	case message.XForwardedFor, message.XForwardedHost, message.XForwardedPort, message.XForwardedProto, message.XRealIP,
		message.XRequestID, message.XForwardedClientCert:
		return true
	}
	return false
}

// lastUntrusted returns the client's address according to X-Forwarded-For: the last one that is not a trusted proxy's.
func lastUntrusted(h *message.Head, t *Trust) (netip.Addr, bool) {
	var found netip.Addr
	all := h.All()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].ID != message.XForwardedFor || all[i].Gone {
			continue
		}
		list := h.Bytes(all[i].Value)
		for len(list) > 0 {
			var last []byte
			list, last = cutLast(list)
			a, err := netip.ParseAddr(string(last))
			if err != nil {
				return found, found.IsValid() // whoever wrote this cannot be believed, nor who stands before it
			}
			found = a.Unmap()
			if !t.trusts(found) {
				return found, true
			}
		}
	}
	return found, found.IsValid()
}

// cutLast cuts the last element off a comma-separated list.
func cutLast(list []byte) (rest, last []byte) {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == ',' {
			return list[:i], trim(list[i+1:])
		}
	}
	return nil, trim(list)
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

func (x *Exchange) takeRequestID(said claims) {
	h := x.Request
	if said&claimsRequestID != 0 {
		if id, ok := h.Get(message.XRequestID); ok && len(id) > 0 && len(id) <= requestIDMax {
			x.requestID = append(x.requestID[:0], id...)
			return
		}
		h.Remove(message.XRequestID)
	}
	x.requestID = x.w.appendRequestID(x.requestID[:0])
	h.AddKnown(message.XRequestID, x.requestID)
}

// tellRequestID has an answer that is an upstream's, or was, say the request's id. What it says there itself gives way: the id
// is the word by which records and the access log know the request. Filters see it in their response hooks, and may take it off.
func (x *Exchange) tellRequestID(h *message.Head) {
	if x.errand || !x.listener.AnswerID {
		return
	}
	h.Remove(message.XRequestID)
	h.AddKnown(message.XRequestID, x.requestID)
}

// addXForwarded adds what most servers read.
func (x *Exchange) addXForwarded(l *Listener, addr netip.Addr, said claims) {
	h := x.Request
	before := x.before(message.XForwardedFor, said&claimsFor)
	raw, at := h.BeginLine(message.XForwardedFor)
	raw = append(raw, before...)
	h.EndLine(addr.AppendTo(raw), at, message.XForwardedFor)
	if said&claimsProto == 0 {
		raw, at := h.BeginLine(message.XForwardedProto)
		h.EndLine(append(raw, l.Scheme...), at, message.XForwardedProto)
	}
	if said&claimsHost == 0 && h.Authority.Len > 0 {
		h.AddKnown(message.XForwardedHost, h.AuthorityBytes())
	}
}

// before takes the fields of a name off the request and returns their values as one list, with a comma behind it, for a
// further element (RFC 9110 5.3). It is in the worker's scratch. Nothing if said is nothing.
func (x *Exchange) before(id message.ID, said claims) []byte {
	if said == 0 {
		return nil
	}
	h, b := x.Request, x.w.scratch[:0]
	for _, f := range h.All() {
		if f.ID == id && !f.Gone {
			b = append(append(b, h.Bytes(f.Value)...), ", "...)
		}
	}
	h.Remove(id)
	x.w.scratch = b
	return b
}

// addForwarded adds an element of RFC 7239.
func (x *Exchange) addForwarded(l *Listener, peer netip.AddrPort, said claims) {
	h := x.Request
	before := x.before(message.Forwarded, said&claimsForwarded)
	b, at := h.BeginLine(message.Forwarded)
	b = append(b, before...)
	b = append(b, "for="...)
	addr := peer.Addr().Unmap()
	if addr.Is6() { // section 6: an IPv6 address stands in brackets and therefore in quotes
		b = append(b, `"[`...)
		b = addr.AppendTo(b)
		b = append(b, `]"`...)
	} else {
		b = addr.AppendTo(b)
	}
	b = append(b, ";proto="...)
	b = append(b, l.Scheme...)
	if h.Authority.Len > 0 {
		b = append(b, `;host="`...)
		b = append(b, h.AuthorityBytes()...)
		b = append(b, '"')
	}
	h.EndLine(b, at, message.Forwarded)
}

// addVia adds this hop to the chain (RFC 9110 7.6.3).
func (x *Exchange) addVia() {
	h := x.Request
	raw, at := h.BeginLine(message.Via)
	raw = append(raw, h.Proto.String()...)
	h.EndLine(append(raw, " yumen"...), at, message.Via)
}
