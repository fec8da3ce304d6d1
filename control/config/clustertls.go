package config

import (
	"net/netip"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// ClusterTLS is how endpoints are met with TLS.
type ClusterTLS struct {
	Pos
	CA         string // file in PEM; empty for the authorities of the system
	SNI        string // host name in lower case, or IP address; empty for the host of each endpoint
	Cert, Key  string // files in PEM of our own certificate; empty for none
	Verify     bool
	MinVersion TLSVersion
}

var clusterTLSObject = sync.OnceValue(func() *object[ClusterTLS] {
	type T = ClusterTLS
	return &object[T]{
		name: "cluster_tls", article: "a",
		about: "How endpoints are met with TLS.",
		pos:   func(v *T) *Pos { return &v.Pos },

		elsewhere: "write tls: on, or tls: {ca: roots.pem}",
		keys: []key[T]{
			may("ca", fileName(), func(v *T) *string { return &v.CA },
				`File with the certificates, in PEM, of the authorities an endpoint's certificate is believed of. By default those of the system.`),
			may("sni", serverName(), func(v *T) *string { return &v.SNI },
				`The name asked for, and verified in the certificate. By default the host of the endpoint, which must be a name then. An IP address is verified and, as RFC 6066 section 3 has it, not sent.`),
			may("cert", fileName(), func(v *T) *string { return &v.Cert },
				`File with our own certificate in PEM, for endpoints that ask for one.`),
			may("key", fileName(), func(v *T) *string { return &v.Key },
				`File with its private key in PEM; it may be the same file.`),
			def("verify", boolean(), func(v *T) *bool { return &v.Verify }, true,
				`Whether the certificate must be one of ca for the name of sni. Off: TLS hides from those who listen, and not from those who stand in between; a certificate of an endpoint's own making can be given as ca instead.`),
			def("min_version", tlsVersion(), func(v *T) *TLSVersion { return &v.MinVersion }, TLS12,
				`"1.2" or "1.3". What is below 1.2 is broken.`),
		},
		check: func(d *decoder, _ *yaml.Node, v *T, g given[T]) {
			if !g.clean {
				return
			}
			if v.Key != "" && v.Cert == "" {
				d.fail(g.key("key"), "add cert: with the file of its certificate, which may be the same file", "the key %s has no certificate", quote(v.Key))
			}
			if v.Cert != "" && v.Key == "" {
				d.fail(g.key("cert"), "add key: with the file of its private key, which may be the same file", "the certificate %s has no key", quote(v.Cert))
			}
			if v.Verify {
				return
			}
			if at := g.key("ca"); at != nil {
				d.at("ca", func() {
					d.fail(at, "remove it, or verify: off", "nothing is verified, so that no authority is asked for")
				})
				return
			}
			d.at("verify", func() {
				d.warn(g.key("verify"), "name the authority of the endpoints: ca: roots.pem, or the certificate itself if it is of their own making",
					"endpoints are not verified: whoever stands in between can answer for them")
			})
		},
	}
})

// serverName is a host name in lower case, or an IP address.
func serverName() kind[string] {
	k := text("server name", func(s string) (cause, fix string) {
		if _, err := netip.ParseAddr(s); err == nil {
			return "", ""
		}
		switch {
		case strings.HasPrefix(s, "*."):
			return quote(s) + " stands for many names, and one is asked for", "write a name the certificate holds: api.example.com"
		case !isHostName(s):
			return quote(s) + " is not a host name", "write the host alone: api.example.com"
		}
		return "", ""
	})
	return inLowerCase(k)
}

// settleProtocol gives a cluster the TLS its protocol implies, and looks whether what is said of it goes with the
// protocol.
func settleProtocol(d *decoder, v *Cluster, g given[Cluster]) {
	secret := v.Protocol == ProtocolH2 || v.Protocol == ProtocolAuto
	if secret && v.TLS == nil && g.value("tls") == nil {
		v.TLS = new(ClusterTLS)
		clusterTLSObject().fillWith(d, v.TLS)
	}
	if !g.clean {
		return
	}
	fail := func(name, fix, format string, args ...any) {
		d.at(name, func() { d.fail(g.key(name), fix, format, args...) })
	}
	switch {
	case secret && v.TLS == nil:
		fail("tls", "remove it, or write protocol: h2c for HTTP/2 without TLS", "%s is spoken over TLS, which is off", v.Protocol)
	case v.Protocol == ProtocolH2C && v.TLS != nil:
		fail("tls", "write protocol: h2, or remove it", "h2c is HTTP/2 without TLS")
	case v.Protocol == ProtocolTCP && v.TLS != nil:
		fail("tls", "remove it; what the client sends may well be TLS", "a cluster of protocol tcp gets bytes as they come")
	}
	if g.key("streams") != nil && !v.Protocol.isH2() {
		fail("streams", "write protocol: h2c, or remove it", "streams are those of HTTP/2, and the cluster speaks %s", v.Protocol)
	}
	if v.Pipeline > 0 && v.Protocol != ProtocolHTTP1 && v.Protocol != ProtocolAuto {
		fail("pipeline", "remove it", "pipelining is of HTTP/1, and the cluster speaks %s", v.Protocol)
	}
	if v.ProxyProtocol != ProxyNone && v.Protocol != ProtocolTCP {
		fail("proxy_protocol", "remove it, or write protocol: tcp for a cluster of tcp and tls listeners",
			"a connection that carries requests of many clients cannot begin with the name of one")
	}
	if k := v.Balance.Key; v.Protocol == ProtocolTCP && k != nil && k.Source != HashClientAddress {
		fail("balance", "hash client_address", "bytes that are passed on have no %s", strings.ReplaceAll(string(k.Source), "_", " "))
	}
	if h := v.Health; h != nil && h.Type == HealthGRPC && !v.Protocol.isH2() {
		fail("health", "add protocol: h2c, or h2 over TLS", "a check of type grpc needs HTTP/2, and the cluster speaks %s", v.Protocol)
	}
	checkServerNames(d, v, g)
}

// checkServerNames looks whether every endpoint has a name to verify its certificate by, and warns of one that is asked
// in cleartext where TLS is spoken.
func checkServerNames(d *decoder, v *Cluster, g given[Cluster]) {
	for _, e := range v.Endpoints {
		_, isIP := e.Address.IP()
		switch {
		case v.TLS != nil && v.TLS.Verify && v.TLS.SNI == "" && isIP:
			d.fail(nodeAt(e.Pos), "add tls: {sni: api.example.com} with the name in its certificate",
				"endpoint %s is an address, so that nothing says which name its certificate must have", e.Address)
			return
		case v.TLS == nil && e.Address.Port == 443 && v.Protocol != ProtocolTCP && g.key("tls") == nil:
			d.warn(nodeAt(e.Pos), "add tls: on to the cluster", "endpoint %s has the port of HTTPS, and is asked without TLS", e.Address)
			return
		}
	}
}
