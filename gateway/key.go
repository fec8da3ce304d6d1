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
	if k == nil {
		return 0
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
