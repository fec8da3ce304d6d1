package config

import (
	"net/netip"
	"sync"

	"go.yaml.in/yaml/v3"
)

// ProxyProtocol is which peers of a listener begin with a PROXY header, and whether they must.
type ProxyProtocol struct {
	Pos
	From []netip.Prefix // at least one
	Mode ProxyMode
}

// ProxyMode is whether a trusted peer can do without a PROXY header.
type ProxyMode string

// The modes.
const (
	ProxyRequired ProxyMode = "required"
	ProxyOptional ProxyMode = "optional"
)

// ProxyVersion is the form of the PROXY header sent to an endpoint.
type ProxyVersion string

// The versions.
const (
	ProxyNone ProxyVersion = ""
	ProxyV1   ProxyVersion = "v1" // a line of text
	ProxyV2   ProxyVersion = "v2" // binary
)

func proxyProtocol() kind[*ProxyProtocol] {
	return unlessOff(proxyProtocolObject, "PROXY headers are believed of proxies that are named only",
		"write proxy_protocol: {from: [10.0.0.0/8]} with the networks of the proxies in front")
}

var proxyProtocolObject = sync.OnceValue(func() *object[ProxyProtocol] {
	type T = ProxyProtocol
	from := oneOrMore(prefix())
	return &object[T]{
		name: "proxy_protocol", article: "a",
		about: "PROXY headers, version 1 or 2, by which a proxy in front says who the client is. Of peers that are not in from no header is read: they are themselves, and one they send is no request.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("from", from, func(v *T) *[]netip.Prefix { return &v.From },
				`Networks of the proxies whose headers are believed.`),
			def("mode", choice("mode", ProxyRequired, ProxyOptional), func(v *T) *ProxyMode { return &v.Mode }, ProxyRequired,
				`required closes a connection from there that does not begin with a header; optional takes it as it is. Required, since what is only optional is easily left out without anybody seeing it.`),
		},
		short: &short[T]{
			about:  "a network, or a list of networks",
			takes:  yaml.ScalarNode | yaml.SequenceNode,
			read:   func(d *decoder, n *yaml.Node, v *T) { from.read(d, n, &v.From) },
			schema: from.schema,
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			at := n
			if said := g.value("from"); said != nil {
				at = said
				d.path = append(d.path, step{key: "from", isKey: true})
				defer func() { d.path = d.path[:len(d.path)-1] }()
			}
			if len(v.From) == 0 && g.clean {
				d.fail(at, "write from: [10.0.0.0/8] with the networks of the proxies in front", "no proxy is believed, so that no header would be read")
			}
			for _, p := range v.From {
				if p.Bits() == 0 {
					d.warn(at, "write the networks of the proxies in front", "%s is everybody: any client can choose its own address", p)
				}
			}
		},
	}
})
