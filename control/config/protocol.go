package config

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Protocol is what is spoken on a connection.
type Protocol string

// The protocols. Listeners have all but ProtocolAuto, clusters all but ProtocolTLS.
const (
	ProtocolHTTP1 Protocol = "http1"
	ProtocolH2    Protocol = "h2"   // HTTP/2 over TLS, agreed on by ALPN (RFC 9113 section 3.2)
	ProtocolH2C   Protocol = "h2c"  // HTTP/2 in cleartext, by prior knowledge (RFC 9113 section 3.3)
	ProtocolTCP   Protocol = "tcp"  // bytes, passed on
	ProtocolTLS   Protocol = "tls"  // bytes, passed on by the name their TLS handshake asks for; nothing is decrypted
	ProtocolAuto  Protocol = "auto" // h2 or http1 over TLS, as the endpoint chooses
)

// isRaw reports a protocol of which the gateway passes on the bytes and reads no request.
func (p Protocol) isRaw() bool { return p == ProtocolTCP || p == ProtocolTLS }

// isH2 reports a protocol that is, or can turn out to be, HTTP/2.
func (p Protocol) isH2() bool { return p == ProtocolH2 || p == ProtocolH2C || p == ProtocolAuto }

// IsRaw reports a listener that passes bytes on and reads no requests: its only protocol is tcp or tls.
func (l *Listener) IsRaw() bool { return len(l.Protocols) == 1 && l.Protocols[0].isRaw() }

// Speaks reports whether the listener offers the protocol.
func (l *Listener) Speaks(p Protocol) bool { return slices.Contains(l.Protocols, p) }

// Words for protocols that are none of ours, and what their writers want. Keys are folded.
var (
	listenerProtocolWords = map[string]string{
		"http": "write http1", "http/1.1": "write http1", "http1.1": "write http1", "http/1": "write http1", "h1": "write http1",
		"http2": "write h2, with tls: {cert: ..., key: ...}, or h2c for HTTP/2 without TLS", "http/2": "write h2, with tls: {cert: ..., key: ...}, or h2c for HTTP/2 without TLS",
		"https": "write http1 or h2, and tls: {cert: ..., key: ...} beside it",
		"ssl":   "write tls: {cert: ..., key: ...} beside it, and http1 or h2 here",
		"grpc":  "gRPC is carried by HTTP/2: write h2c, or h2 with tls: {cert: ..., key: ...}",
		"grpcs": "gRPC is carried by HTTP/2: write h2, with tls: {cert: ..., key: ...}",

		"grpc_web": "gRPC-Web comes by http1 or h2, and the filter grpc_web translates it",
		"ws":       "a WebSocket begins as a request: write http1 or h2", "websocket": "a WebSocket begins as a request: write http1 or h2",
		"wss":  "a WebSocket begins as a request: write http1 or h2, and tls: {cert: ..., key: ...} beside it",
		"h3":   "HTTP/3 is not spoken here; h2 with tls: is the nearest",
		"quic": "HTTP/3 is not spoken here; h2 with tls: is the nearest", "http3": "HTTP/3 is not spoken here; h2 with tls: is the nearest",
		"http/3": "HTTP/3 is not spoken here; h2 with tls: is the nearest",
		"udp":    "connections of TCP only are taken",
		"sni":    "write tls", "passthrough": "write tls", "tls_passthrough": "write tls",
		"auto": "list what shall be offered: [h2, http1]",
		"alpn": "list what shall be offered: [h2, http1]",
	}
	clusterProtocolWords = map[string]string{
		"http": "write http1", "http/1.1": "write http1", "http1.1": "write http1", "http/1": "write http1", "h1": "write http1",
		"http2": "write h2c, or h2 for HTTP/2 over TLS", "http/2": "write h2c, or h2 for HTTP/2 over TLS",
		"https": "write tls: on in the cluster; http1 over TLS is the default then",
		"tls":   "write tls: on in the cluster, and what is spoken inside as its protocol", "ssl": "write tls: on in the cluster, and what is spoken inside as its protocol",
		"grpc": "gRPC is carried by HTTP/2: write h2c, or h2 over TLS", "grpcs": "gRPC is carried by HTTP/2: write h2",
		"grpc_web": "the filter grpc_web translates to gRPC: write h2c, or h2 over TLS",
		"ws":       "a WebSocket begins as a request: write http1", "websocket": "a WebSocket begins as a request: write http1",
		"wss": "a WebSocket begins as a request: write tls: on in the cluster",
		"h3":  "HTTP/3 is not spoken here; h2 is the nearest", "quic": "HTTP/3 is not spoken here; h2 is the nearest",
		"http3": "HTTP/3 is not spoken here; h2 is the nearest", "http/3": "HTTP/3 is not spoken here; h2 is the nearest",
		"udp": "connections by TCP only are opened", "alpn": "write auto",
	}
)

func listenerProtocols() kind[[]Protocol] {
	return oneOrMore(choiceOr("protocol", listenerProtocolWords, ProtocolHTTP1, ProtocolH2, ProtocolH2C, ProtocolTCP, ProtocolTLS))
}

func clusterProtocol() kind[Protocol] {
	return choiceOr("protocol", clusterProtocolWords, ProtocolHTTP1, ProtocolH2, ProtocolH2C, ProtocolAuto, ProtocolTCP)
}

// settleProtocols fills in the protocols of a listener that names none, and looks whether those it names go with each
// other and with its TLS.
func settleProtocols(d *decoder, v *Listener, g given[Listener]) {
	said := g.value("protocols")
	if said == nil && v.TLS != nil {
		v.Protocols = []Protocol{ProtocolH2, ProtocolHTTP1}
	}
	if said == nil || !g.clean {
		return
	}
	fail := func(fix, format string, args ...any) {
		d.at("protocols", func() { d.fail(said, fix, format, args...) })
	}
	raw := slices.IndexFunc(v.Protocols, Protocol.isRaw)
	switch {
	case len(v.Protocols) == 0:
		fail("remove it for the usual ones, or write protocols: [http1]", "the listener speaks no protocol")
	case raw >= 0 && len(v.Protocols) > 1:
		fail("give each a listener of its own", "%s takes bytes of any kind, so that nothing tells them from %s",
			v.Protocols[raw], without(v.Protocols, raw))
	case raw >= 0 && v.TLS != nil:
		fail("remove tls:, or write protocols: [h2, http1]", "the bytes of a %s listener are passed on as they come, and tls: would decrypt them", v.Protocols[raw])
	case v.Speaks(ProtocolH2) && v.TLS == nil:
		fail("add tls: {cert: ..., key: ...}, or write h2c for HTTP/2 without TLS", "h2 is HTTP/2 over TLS, and the listener has no tls:")
	case v.Speaks(ProtocolH2C) && v.TLS != nil:
		fail("write h2", "h2c is HTTP/2 without TLS, and the listener has tls:")
	}
	d.at("protocols", func() { refuseTwice(d, said, v.Protocols) })
}

// without joins the others for a sentence.
func without(list []Protocol, i int) string {
	var out []string
	for j, p := range list {
		if j != i {
			out = append(out, string(p))
		}
	}
	return strings.Join(out, " and ")
}

// checkRawListener looks for settings about requests where none are read. What says the default is let pass, since the
// effective configuration says them all.
func checkRawListener(d *decoder, v *Listener, g given[Listener]) {
	if !v.IsRaw() || !g.clean {
		return
	}
	var usualLimits ListenerLimits
	var usualTimeouts ListenerTimeouts
	listenerLimitsObject().fillWith(d, &usualLimits)
	listenerTimeoutsObject().fillWith(d, &usualTimeouts)
	refuse := func(name string, at *yaml.Node, keep string) {
		d.at(name, func() {
			d.fail(at, "remove the others", "a %s listener reads no requests: of %s, it has %s only", v.Protocols[0], name, keep)
		})
	}
	usualLimits.Connections = v.Limits.Connections
	usualTimeouts.Head, usualTimeouts.Idle, usualTimeouts.BetweenBytes = v.Timeouts.Head, v.Timeouts.Idle, v.Timeouts.BetweenBytes
	if v.Limits != usualLimits {
		refuse("limits", g.value("limits"), "connections")
	}
	if v.Timeouts != usualTimeouts {
		refuse("timeouts", g.value("timeouts"), "head, idle and between_bytes")
	}
}

// checkPlainPort warns of the slip that leaves the port of HTTPS without TLS.
func checkPlainPort(d *decoder, doc *Document) {
	for i := range doc.Listeners {
		if l := &doc.Listeners[i]; l.Address.Port == 443 && l.TLS == nil && !l.IsRaw() {
			d.atListener(i, func() {
				d.warn(nodeAt(l.Pos), "add tls: {cert: ..., key: ...}, or take another port", "listener %s has the port of HTTPS and no tls:", quote(l.Name))
			})
		}
	}
}
