package gateway

import (
	"bytes"
	"net/netip"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/balance"
	"github.com/yumen-io/yumen/policy/route"
)

// keySeed makes the keys of balancing differ from other uses of the hash.
const keySeed = 0x79756d656e

// balanceKey returns what balancing by hash goes by, if the route's cluster asks for it.
func (x *Exchange) balanceKey() uint64 {
	k := x.Route.Key
	switch {
	case k == nil:
		return 0
	case x.errand:
		return x.hashed
	}
	return k.Hash(x.Request, &x.Params, x.ClientAddr)
}

// Hash returns what balancing a request goes by. A request without the part that k names goes by the client's address.
func (k *Key) Hash(h *message.Head, p *route.Params, client netip.Addr) uint64 {
	if v, ok := k.Value(h, p); ok {
		return balance.HashKey(v, keySeed)
	}
	a := client.As16()
	return balance.HashKey(a[:], keySeed)
}

// Value returns the part of a request that k names, if it is one of the head and there.
func (k *Key) Value(h *message.Head, p *route.Params) ([]byte, bool) {
	switch k.By {
	case ByHeader:
		return h.Field([]byte(k.Name))
	case ByPathParam:
		return p.Get(k.Name)
	case ByCookie:
		return cookie(h, k.Name)
	}
	return nil, false
}

// cookie returns the first cookie of a name (RFC 6265 5.4).
func cookie(h *message.Head, name string) ([]byte, bool) {
	for _, f := range h.All() {
		if f.ID != message.Cookie || f.Gone {
			continue
		}
		for rest := h.Bytes(f.Value); len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte{';'})
			key, value, ok := bytes.Cut(pair, []byte{'='})
			if ok && string(trim(key)) == name {
				return trim(value), true
			}
		}
	}
	return nil, false
}

// KeyParts is what a guard counts by: those of whom all parts are equal share a count. Frozen.
type KeyParts []Key

// keyWords are the parts' names in keys and documents.
var keyWords = [...]string{ByClientAddress: "client", ByHeader: "header", ByCookie: "cookie", ByPathParam: "param", ByClaim: "claim",
	ByHost: "host", ByMethod: "method", ByPath: "path", ByRoute: "route", ByListener: "listener"}

// Append appends the key of a request as people read it: "tenant=a,client=192.0.2.1". A part that the request does not have is
// empty, and complete false. A comma within a value has a backslash before it: two different requests never have one key.
func (p KeyParts) Append(b []byte, x *Exchange) (key []byte, complete bool) {
	complete = true
	for i := range p {
		if i > 0 {
			b = append(b, ',')
		}
		k := &p[i]
		if k.Name != "" {
			b = append(b, k.Name...)
		} else {
			b = append(b, keyWords[k.By]...)
		}
		b = append(b, '=')
		switch k.By {
		case ByClientAddress:
			b = appendClient(b, x.ClientAddr)
			continue
		case ByRoute:
			b = append(b, x.Route.Name...)
			continue
		case ByListener:
			b = append(b, x.listener.Name...)
			continue
		}
		v, ok := k.valueOf(x)
		complete = complete && ok
		for _, c := range v {
			if c == ',' || c == '\\' {
				b = append(b, '\\')
			}
			b = append(b, c)
		}
	}
	return b, complete
}

// appendClient appends the address that stands for a client: of IPv6 the /64, since one client has all of that (RFC 6177).
func appendClient(b []byte, a netip.Addr) []byte {
	a = a.Unmap()
	if !a.Is6() {
		return a.AppendTo(b)
	}
	network, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a.AppendTo(b)
	}
	return network.AppendTo(b)
}

func (k *Key) valueOf(x *Exchange) ([]byte, bool) {
	switch k.By {
	case ByClaim:
		return x.Claim(k.Name)
	case ByHost:
		return x.host, true
	case ByMethod:
		return x.clientMethod(), true
	case ByPath:
		return x.Request.Bytes(x.path), true
	}
	return k.Value(x.Request, &x.Params)
}
