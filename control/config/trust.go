package config

import (
	"net/netip"
	"sync"
)

// Trust is whose word about the client is believed, and how it is passed on.
type Trust struct {
	ForwardedFrom []netip.Prefix // peers whose X-Forwarded-* and Forwarded fields are kept; from others they are dropped
	Forwarded     ForwardedStyle
}

// ForwardedStyle is which fields tell the upstream about the client.
type ForwardedStyle string

// The ways to tell the upstream about the client.
const (
	ForwardedX    ForwardedStyle = "x-forwarded" // X-Forwarded-For, -Proto and -Host
	ForwardedRFC  ForwardedStyle = "forwarded"   // Forwarded, RFC 7239
	ForwardedBoth ForwardedStyle = "both"
	ForwardedOff  ForwardedStyle = "off"
)

var trustObject = sync.OnceValue(func() *object[Trust] {
	return &object[Trust]{
		name: "trust", article: "a",
		about: "Whose word about the client is believed.",
		keys: []key[Trust]{
			emptyByDefault("forwarded_from", oneOrMore(prefix()), func(v *Trust) *[]netip.Prefix { return &v.ForwardedFrom },
				`Networks of the proxies in front of this one. Only from them are X-Forwarded-* and Forwarded believed and extended; from anyone else these fields are dropped. None by default: a client could otherwise choose its own address.`),
			def("forwarded", forwardedStyle(), func(v *Trust) *ForwardedStyle { return &v.Forwarded }, ForwardedX,
				`Which fields tell the upstream about the client: x-forwarded, forwarded (RFC 7239), both or off. What most servers read is the default.`),
		},
	}
})

func forwardedStyle() kind[ForwardedStyle] {
	k := choice("forwarding style", ForwardedX, ForwardedRFC, ForwardedBoth, ForwardedOff)
	k.schema = func(*schemaBuilder) map[string]any {
		return orVariable(map[string]any{"enum": []any{"x-forwarded", "forwarded", "both", "off"}})
	}
	return k
}
