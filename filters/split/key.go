package split

import (
	"net/netip"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/route"
)

// keyWords are how documents call the parts of keys.
var keyWords = map[gateway.KeyBy]string{
	gateway.ByClientAddress: "client_address", gateway.ByHeader: "header", gateway.ByCookie: "cookie", gateway.ByPathParam: "path_param",
	gateway.ByClaim: "claim", gateway.ByHost: "host", gateway.ByMethod: "method", gateway.ByPath: "path", gateway.ByRoute: "route",
	gateway.ByListener: "listener",
}

func keyText(k gateway.Key) string {
	if k.Name == "" {
		return keyWords[k.By]
	}
	return keyWords[k.By] + " " + k.Name
}

// keyBefore is gateway.KeyParts.Append for a request that is described and not sent. It knows the parts that are the head's or the
// client's; told is false where there are others.
func keyBefore(parts gateway.KeyParts, h *message.Head, p *route.Params, client netip.Addr) (key []byte, complete, told bool) {
	complete = true
	for i := range parts {
		if i > 0 {
			key = append(key, ',')
		}
		k := &parts[i]
		var value []byte
		var ok bool
		switch k.By {
		case gateway.ByClientAddress:
			key = append(append(key, "client="...), clientText(client)...)
			continue
		case gateway.ByHeader, gateway.ByCookie, gateway.ByPathParam:
			value, ok = k.Value(h, p)
		default:
			return nil, false, false
		}
		key = append(append(key, k.Name...), '=')
		complete = complete && ok
		for _, c := range value {
			if c == ',' || c == '\\' {
				key = append(key, '\\')
			}
			key = append(key, c)
		}
	}
	return key, complete, true
}

// clientText is the address that stands for a client: of IPv6 its /64.
func clientText(a netip.Addr) string {
	if a = a.Unmap(); !a.Is6() {
		return a.String()
	}
	network, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a.String()
	}
	return network.String()
}
