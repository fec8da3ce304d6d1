package config

import (
	"sync"

	"go.yaml.in/yaml/v3"
)

// MTLSFilter knows clients by their certificates.
type MTLSFilter struct {
	Pos
	CommonNames, Subjects, DNS, URIs, Fingerprints []string
	Headers                                        []Field
	Guard                                          GuardMode
}

func (v *MTLSFilter) guardMode() GuardMode { return v.Guard }

var mtlsFilterObject = sync.OnceValue(func() *object[MTLSFilter] {
	type T = MTLSFilter
	return &object[T]{
		name: "mtls", article: "an",
		about: "Lets in clients that showed a certificate which the listener has verified (tls: {client_certificates: ...}), and which fits one of the lists here; without lists, every one. mtls: on needs no more than some certificate. Others are answered 403. What the certificate says becomes claims: sub (its SPIFFE id, else its common name, else a name), cn, subject, issuer, uri, dns, serial, fingerprint.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			may("common_names", oneOrMore(text("common name", notEmpty)), func(v *T) *[]string { return &v.CommonNames }, `Common names of subjects.`),
			may("subjects", oneOrMore(text("subject", notEmpty)), func(v *T) *[]string { return &v.Subjects }, `Whole subjects, as RFC 2253 writes them: CN=client,O=Acme. openssl x509 -noout -subject -nameopt RFC2253 says it so.`),
			may("dns", oneOrMore(text("host name", notEmpty)), func(v *T) *[]string { return &v.DNS }, `DNS names among the alternative names; *.example.com for one label below.`),
			may("uris", oneOrMore(text("URI", notEmpty)), func(v *T) *[]string { return &v.URIs }, `URIs among them: spiffe://mesh/ns/prod/sa/web, or spiffe://mesh/ns/prod/* for all below.`),
			may("fingerprints", oneOrMore(text("fingerprint", notEmpty)), func(v *T) *[]string { return &v.Fingerprints }, `SHA-256 of certificates: openssl x509 -noout -fingerprint -sha256. A renewed certificate has another.`),
			may("headers", claimHeaders(), func(v *T) *[]Field { return &v.Headers }, claimHeadersAbout),
			def("mode", guardMode(), func(v *T) *GuardMode { return &v.Guard }, GuardEnforce, guardModeAbout),
		},
		short: &short[T]{
			about: "on",
			takes: yaml.ScalarNode,
			read: func(d *decoder, n *yaml.Node, _ *T) {
				var is bool
				before := d.errors
				boolean().read(d, n, &is)
				if !is && d.errors == before {
					d.fail(n, "remove the filter from the list, or write mtls: {mode: off}", "a filter that is off does nothing")
				}
			},
			schema: boolean().schema,
		},
		check: func(d *decoder, _ *yaml.Node, v *T, g given[T]) {
			for _, l := range []struct {
				name string
				list []string
			}{{"common_names", v.CommonNames}, {"subjects", v.Subjects}, {"dns", v.DNS}, {"uris", v.URIs}, {"fingerprints", v.Fingerprints}} {
				refuseTwiceAt(d, g, l.name, l.list)
				if at := g.key(l.name); at != nil && g.clean && len(l.list) == 0 {
					d.fail(at, "list those to let in, or remove the key", "%s is an empty list, which would let in everybody with a certificate", l.name)
				}
			}
		},
	}
})
