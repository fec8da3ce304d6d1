package block

import (
	"strings"

	"github.com/yumen-io/yumen/engine/message"
)

// pseudo is a set of pseudo-fields.
type pseudo uint8

const (
	method pseudo = 1 << iota
	scheme
	authority
	path
	protocol // RFC 8441 4
	status
)

// websocket is the one protocol that can be switched to.
const websocket = "websocket"

// pseudo takes a pseudo-field (RFC 9113 8.3): before all others, no one twice, and only those of this kind of message.
func (r *Reader) pseudo(name, value string) *message.Refusal {
	if r.kind == Trailers {
		return trailingPseudo
	}
	which := pseudoOf(name)
	switch {
	case which == 0 || (which == status) != (r.kind == Response):
		return unknownPseudo
	case r.ordinary:
		return latePseudo
	case r.seen&which != 0:
		return severalPseudo
	}
	r.seen |= which
	h := r.h
	switch which {
	case method:
		switch {
		case len(value) > methodBytesMax:
			return longMethod
		case len(value) == 0 || prefix(value, tokenByte) < len(value):
			return badMethod
		}
		h.Method = h.StoreString(value)
	case scheme: // It only claims one: how the request really came, the listener knows.
		r.https = fold(value, "https")
		if !r.https && !fold(value, "http") {
			return badScheme
		}
	case authority:
		n, err := hostLen(value)
		if err != nil {
			return err
		}
		h.Authority = h.StoreString(value[:n])
	case path:
		return r.target(value)
	case protocol:
		if !fold(value, websocket) {
			return unknownProtocol
		}
		h.Upgrade = h.StoreString(value)
	case status:
		n, ok := statusCode(value)
		if !ok {
			return badStatus
		}
		h.Status = n
	}
	return nil
}

func pseudoOf(name string) pseudo {
	switch name {
	case ":method":
		return method
	case ":scheme":
		return scheme
	case ":authority":
		return authority
	case ":path":
		return path
	case ":protocol":
		return protocol
	case ":status":
		return status
	}
	return 0
}

// target takes a :path: origin-form or "*", no other (RFC 9113 8.3.1). The path is not cleaned here.
func (r *Reader) target(value string) *message.Refusal {
	switch {
	case len(value) > r.limits.TargetBytesMax:
		return longTarget
	case prefix(value, targetByte) < len(value), !strings.HasPrefix(value, "/") && value != "*":
		return badTarget
	}
	h := r.h
	s := h.StoreString(value)
	h.Path = s
	if q := strings.IndexByte(value, '?'); q >= 0 {
		h.HasQuery = true
		h.Path.Len = uint32(q)
		h.Query = message.Span{Off: s.Off + uint32(q) + 1, Len: s.Len - uint32(q) - 1}
	}
	return nil
}

// statusCode parses three digits, 100 to 599.
func statusCode(s string) (int, bool) {
	if len(s) != 3 {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i]-'0' > 9 {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, n >= 100 && n <= 599
}

// judgeRequest judges a request whose fields are all there, and are good each by itself.
func (r *Reader) judgeRequest(h *message.Head) *message.Refusal {
	connect := h.IsMethod("CONNECT")
	tunnel := r.seen&protocol != 0
	switch {
	case r.seen&method == 0:
		return missingPseudo
	case tunnel && !connect:
		return badProtocol
	case connect && !tunnel: // which has neither :scheme nor :path, RFC 9113 8.5
		return connectRefused
	case r.seen&scheme == 0 || r.seen&path == 0:
		return missingPseudo
	case string(h.PathBytes()) == "*" && !h.IsMethod("OPTIONS"):
		return badTarget
	}
	if err := r.judgeHost(h); err != nil {
		return err
	}
	if tunnel {
		// A handshake that the versions above the codec can take for one (RFC 8441 5, RFC 6455 4.2.1). There is no key: what it
		// proves in HTTP/1, :protocol says here.
		if !r.version13 || h.Length > 0 {
			return badHandshake
		}
		h.Method = h.StoreString("GET")
		h.Length = 0
	}
	return nil
}

// judgeHost makes the Host field the Authority, or checks that both say the same (RFC 9113 8.3.1). The Host field alone is
// what an HTTP/1 request becomes that was translated by somebody else.
func (r *Reader) judgeHost(h *message.Head) *message.Refusal {
	switch {
	case r.seen&authority == 0 && !r.hosted:
		return missingHost
	case r.seen&authority == 0:
		h.Authority = r.host
		return nil
	case !r.hosted:
		return nil
	}
	port := 80
	if r.https {
		port = 443
	}
	if !sameHost(h.AuthorityBytes(), h.Bytes(r.host), port) {
		return otherHost
	}
	return nil
}

// judgeResponse judges a response whose fields are all there.
func (r *Reader) judgeResponse(h *message.Head) *message.Refusal {
	switch {
	case r.seen&status == 0:
		return missingPseudo
	case h.Status == 101: // RFC 9113 8.6
		return badSwitch
	case h.Status < 200 || h.Status == 204:
		// A length of 0 is forbidden too (RFC 9110 8.6), but can only be read in one way, and servers send it.
		if h.Length > 0 {
			return bodyForbidden
		}
		h.Length = 0
	}
	return nil
}
