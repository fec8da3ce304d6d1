package compile

import (
	"fmt"
	"slices"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/mtls"
)

func mtlsSpec(said *config.MTLSFilter) *mtls.Spec {
	s := &mtls.Spec{CommonNames: said.CommonNames, Subjects: said.Subjects, DNS: said.DNS, URIs: said.URIs, Fingerprints: said.Fingerprints}
	for _, f := range said.Headers {
		s.Headers = append(s.Headers, mtls.Header{Name: f.Name, Claim: f.Value})
	}
	return s
}

// checkClientCertificates points at a route that asks for certificates on a listener where no client shows one.
func (c *compiler) checkClientCertificates(i int) {
	r := &c.doc.Routes[i]
	asks := func(f config.FilterUse) bool {
		said, ok := f.Filter.Body.(*config.MTLSFilter)
		return ok && said.Guard != config.GuardOff
	}
	at := slices.IndexFunc(r.Filters, asks)
	if at < 0 {
		return
	}
	for j := range c.doc.Listeners {
		l := &c.doc.Listeners[j]
		named := func(t config.Text) bool { return t.Value == l.Name }
		if len(r.Match.Listeners) > 0 && !slices.ContainsFunc(r.Match.Listeners, named) {
			continue
		}
		if l.TLS == nil || l.TLS.ClientCertificates == nil {
			c.warn(c.inRoute(i, fmt.Sprintf("filters[%d]", at), r.Filters[at].Pos),
				fmt.Sprintf("no client shows a certificate on listener %q, so that all of this route's there are refused", l.Name),
				"add tls: {client_certificates: {ca: clients.pem}} to the listener, or name another one for the route")
		}
	}
}
