package compile

import (
	"slices"
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/h2"
	"github.com/yumen-io/yumen/engine/h2/block"
	"github.com/yumen-io/yumen/engine/tlsconn"
	"github.com/yumen-io/yumen/gateway"
)

func (c *compiler) compileListeners() {
	for i := range c.doc.Listeners {
		c.plan.Listeners = append(c.plan.Listeners, listenerPlan(&c.doc.Listeners[i]))
	}
}

// bodyWindowMin is the shortest time over which the rate of a body is measured: below, what is measured is how packets
// happen to fall together.
const bodyWindowMin = time.Second

func listenerPlan(l *config.Listener) *ListenerPlan {
	server := &engine.ServerConfig{
		H1: h1.NewLimits(h1.Limits{
			HeadBytesMax:   int(l.Limits.HeadBytes),
			TargetBytesMax: int(l.Limits.TargetBytes),
			FieldsMax:      l.Limits.Fields,
		}),
		H2: h2.NewLimits(h2.Limits{
			StreamsMax: l.Limits.Streams,
			// A head that is allowed must fit as it is sent, too.
			BlockBytesMax: max(2*int(l.Limits.HeadBytes), 64<<10),
			Block: block.Limits{
				ListBytesMax:   int(l.Limits.HeadBytes),
				TargetBytesMax: int(l.Limits.TargetBytes),
				FieldsMax:      l.Limits.Fields,
			},
		}),
		Proxy:       proxyProtocol(l.ProxyProtocol),
		AgeMax:      l.Timeouts.MaxAge,
		HeadTimeout: l.Timeouts.Head,
		IdleTimeout: l.Timeouts.Idle,
		SendTimeout: l.Timeouts.BetweenBytes,
		BodyRateMin: l.Timeouts.BodyMinRate,
		BodyWindow:  max(l.Timeouts.BodyGrace, bodyWindowMin),
		RequestsMax: l.Limits.Requests,
		DebtMax:     l.Timeouts.Debt,
	}
	if server.BodyRateMin == 0 {
		// Without a rate, a body must still make some progress.
		server.BodyWindow = l.Timeouts.BetweenBytes
	}
	p := &ListenerPlan{
		Name:           l.Name,
		Address:        l.Address.String(),
		Server:         server,
		TLS:            l.TLS,
		ConnectionsMax: l.Limits.Connections,
		Gateway: &gateway.Listener{
			Name:         l.Name,
			Scheme:       "http",
			BodyBytesMax: l.Limits.BodyBytes,
			AnswerID:     l.RequestID.Answer,
			Trust: gateway.Trust{
				From:      l.Trust.ForwardedFrom,
				XFields:   l.Trust.Forwarded == config.ForwardedX || l.Trust.Forwarded == config.ForwardedBoth,
				Forwarded: l.Trust.Forwarded == config.ForwardedRFC || l.Trust.Forwarded == config.ForwardedBoth,
			},
		},
	}
	for _, proto := range l.Protocols {
		switch proto {
		case config.ProtocolHTTP1:
			server.Protocols |= engine.HTTP1
			p.ALPN = append(p.ALPN, "http/1.1")
		case config.ProtocolH2:
			server.Protocols |= engine.HTTP2
			p.ALPN = append(p.ALPN, "h2")
		case config.ProtocolH2C:
			server.Protocols |= engine.HTTP2
		case config.ProtocolTCP:
			server.Protocols = engine.Raw
		case config.ProtocolTLS:
			server.Protocols = engine.RawByName
		default:
			panic("compile: no protocol " + proto) // the parser lists the same
		}
	}
	if l.TLS != nil {
		p.Gateway.Scheme = "https"
		if said := l.TLS.ClientCertificates; said != nil && len(said.Forward) > 0 {
			p.Gateway.ClientCert = &tlsconn.ForwardFields{
				Hash:    slices.Contains(said.Forward, config.CertificateHash),
				Subject: slices.Contains(said.Forward, config.CertificateSubject),
				URI:     slices.Contains(said.Forward, config.CertificateURI),
				DNS:     slices.Contains(said.Forward, config.CertificateDNS),
				Cert:    slices.Contains(said.Forward, config.CertificateCert),
			}
		}
	}
	return p
}

func proxyProtocol(said *config.ProxyProtocol) *engine.ProxyProtocol {
	if said == nil {
		return nil
	}
	return &engine.ProxyProtocol{From: said.From, Required: said.Mode == config.ProxyRequired}
}
