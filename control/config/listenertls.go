package config

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// ListenerTLS is how clients are met with TLS.
type ListenerTLS struct {
	Pos
	Certificates       []Certificate // at least one; the first is for clients that name none of the others' hosts
	MinVersion         TLSVersion
	MaxVersion         TLSVersion
	CipherSuites       []string            // IANA names, of TLS 1.2 only; empty for those of crypto/tls
	Curves             []Curve             // empty for those of crypto/tls
	ClientCertificates *ClientCertificates // nil for none
	Tickets            bool
	TicketRotation     time.Duration // of the keys of tickets
	HandshakeTimeout   time.Duration

	short Certificate // of tls: {cert: ..., key: ...}, while it is read
}

// Certificate is a certificate with its key: from files, or had from an authority by ACME for Names.
type Certificate struct {
	Pos
	Cert, Key string   // files in PEM; empty for one by ACME
	ACME      []string // host names in lower case; empty for one from files
}

// ClientCertificates is what is asked of clients about themselves.
type ClientCertificates struct {
	Pos
	CA      string // file in PEM, of the authorities that sign them
	Mode    ClientCertificateMode
	Forward []CertificateField // what X-Forwarded-Client-Cert tells the upstream; empty for no such field
}

// ClientCertificateMode is whether a client can do without a certificate.
type ClientCertificateMode string

// The modes. A certificate that is given is verified in both.
const (
	ClientCertificateRequire  ClientCertificateMode = "require"
	ClientCertificateOptional ClientCertificateMode = "optional"
)

// CertificateField is an element of X-Forwarded-Client-Cert.
type CertificateField string

// What can be told of a client's certificate.
const (
	CertificateHash    CertificateField = "hash"    // SHA-256 of the certificate
	CertificateSubject CertificateField = "subject" // distinguished name
	CertificateURI     CertificateField = "uri"     // subject alternative names that are URIs
	CertificateDNS     CertificateField = "dns"     // subject alternative names that are hosts
	CertificateCert    CertificateField = "cert"    // the whole certificate in PEM, URL-encoded
)

var usualForward = []CertificateField{CertificateHash, CertificateSubject, CertificateURI, CertificateDNS}

func listenerTLS() kind[*ListenerTLS] {
	return unlessOff(listenerTLSObject, "TLS needs a certificate, and none is named", "write tls: {cert: site.pem, key: site.key}")
}

var listenerTLSObject = sync.OnceValue(func() *object[ListenerTLS] {
	type T = ListenerTLS
	certificates := listOf(section(certificateObject))
	return &object[T]{
		name: "listener_tls", article: "a",
		about: "How clients are met with TLS. A certificate whose files change is loaded anew, and no connection is closed for it.",
		pos:   func(v *T) *Pos { return &v.Pos },

		elsewhere: "write tls: {cert: site.pem, key: site.key}",
		keys: []key[T]{
			may("certificates", certificates, func(v *T) *[]Certificate { return &v.Certificates },
				`Certificates. A client gets the one for the name it asks for (SNI), wildcards included, and the first if there is none or it asks for none.`),
			other("cert", fileName(), func(v *T) *string { return &v.short.Cert },
				`Short for certificates with one, together with key.`),
			other("key", fileName(), func(v *T) *string { return &v.short.Key },
				`Short for certificates with one, together with cert.`),
			def("min_version", tlsVersion(), func(v *T) *TLSVersion { return &v.MinVersion }, TLS12,
				`"1.2" or "1.3". Clients that cannot do 1.2 are older than 2014.`),
			def("max_version", tlsVersion(), func(v *T) *TLSVersion { return &v.MaxVersion }, TLS13,
				`"1.2" or "1.3". The newest there is.`),
			may("cipher_suites", listOf(cipherSuite()), func(v *T) *[]string { return &v.CipherSuites },
				`Cipher suites of TLS 1.2, by their IANA names, of: `+strings.Join(cipherSuiteNames(), ", ")+`. Those of TLS 1.3 are all good and not chosen. By default all of these, the best first.`),
			may("curves", listOf(curve()), func(v *T) *[]Curve { return &v.Curves },
				`Key exchanges, of: `+curveList()+`. By default all that are thought safe, first X25519MLKEM768, which a quantum computer would not break.`),
			def("client_certificates", clientCertificates(), func(v *T) **ClientCertificates { return &v.ClientCertificates }, nil,
				`Certificates asked of clients. Off: clients are people.`),
			def("tickets", boolean(), func(v *T) *bool { return &v.Tickets }, true,
				`Whether a client that comes back may resume its session, which saves both sides the costly half of a handshake.`),
			def("ticket_rotation", duration(time.Minute, 7*24*time.Hour), func(v *T) *time.Duration { return &v.TicketRotation }, 12*time.Hour,
				`How often tickets get a new key, while the one before still opens those it closed. A stolen key then tells little, and who comes back the next morning still resumes. RFC 8446 section 4.6.1 lets no ticket live for longer than a week.`).
				when(func(v *T) bool { return v.Tickets }),
			def("handshake_timeout", duration(time.Millisecond, time.Hour), func(v *T) *time.Duration { return &v.HandshakeTimeout }, 10*time.Second,
				`For the whole handshake, waiting for a free place included. Three round trips on a bad line, with a lost packet.`),
		},
		short: &short[T]{
			about: "a list of certificates",
			takes: yaml.SequenceNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				certificates.read(d, n, &v.Certificates)
			},
			schema: certificates.schema,
		},
		check: checkListenerTLS,
		schema: func(_ *schemaBuilder, self map[string]any) {
			self["anyOf"] = []any{
				map[string]any{"required": []any{"certificates"}},
				map[string]any{"required": []any{"cert", "key"}},
			}
		},
	}
})

func checkListenerTLS(d *decoder, n *yaml.Node, v *ListenerTLS, g given[ListenerTLS]) {
	cert, key := g.key("cert"), g.key("key")
	said := cert
	if said == nil {
		said = key
	}
	one := v.short
	v.short = Certificate{}
	if !g.clean {
		return
	}
	switch {
	case said != nil && g.key("certificates") != nil:
		d.fail(said, "move it into certificates: [{cert: ..., key: ...}]", "certificates are given in short and at length")
	case said != nil:
		one.Pos = v.Pos
		checkPair(d, said, &one)
		v.Certificates = []Certificate{one}
	case len(v.Certificates) == 0:
		d.fail(n, "add cert: and key: with the names of their files", "TLS needs a certificate, and none is named")
	}
	taken := make(map[string]bool)
	for i := range v.Certificates {
		for _, name := range v.Certificates[i].ACME {
			if taken[name] {
				d.fail(nodeAt(v.Certificates[i].Pos), "keep one of them", "two certificates are for %s", quote(name))
			}
			taken[name] = true
		}
	}
	if v.MinVersion > v.MaxVersion {
		d.fail(n, "write min_version: \"1.2\" or max_version: \"1.3\"", "min_version %s is above max_version %s", v.MinVersion, v.MaxVersion)
	}
	if at := g.key("cipher_suites"); at != nil && v.MinVersion == TLS13 {
		d.at("cipher_suites", func() {
			d.fail(at, "remove it, or write min_version: \"1.2\"", "cipher suites are chosen for TLS 1.2, which min_version leaves out")
		})
	}
	refuseTwiceAt(d, g, "cipher_suites", v.CipherSuites)
	refuseTwiceAt(d, g, "curves", v.Curves)
	if at := g.key("ticket_rotation"); at != nil && !v.Tickets {
		d.at("ticket_rotation", func() { d.fail(at, "remove it, or write tickets: on", "there are no tickets whose keys could be new") })
	}
}

// refuseTwiceAt is refuseTwice for the list under a key, if it is given.
func refuseTwiceAt[S any, T ~string](d *decoder, g given[S], name string, elements []T) {
	if at := g.value(name); at != nil {
		d.at(name, func() { refuseTwice(d, at, elements) })
	}
}

var certificateObject = sync.OnceValue(func() *object[Certificate] {
	type T = Certificate
	return &object[T]{
		name: "certificate", article: "a",
		about: "A certificate: {cert, key} from files, or {acme} from an authority.",
		pos:   func(v *T) *Pos { return &v.Pos },

		elsewhere: "write {cert: site.pem, key: site.key}",
		keys: []key[T]{
			may("cert", fileName(), func(v *T) *string { return &v.Cert },
				`File with the certificate in PEM, followed by those between it and the authority.`),
			may("key", fileName(), func(v *T) *string { return &v.Key },
				`File with the private key in PEM; it may be the same file.`),
			may("acme", oneOrMore(acmeName()), func(v *T) *[]string { return &v.ACME },
				`Host names for which a certificate is had from an authority, as the document says under acme, and renewed in time.`),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if !g.clean {
				return
			}
			byACME := g.key("acme")
			switch {
			case byACME != nil && (g.key("cert") != nil || g.key("key") != nil):
				d.fail(byACME, "keep acme, or cert and key", "a certificate is had by ACME or read from files, not both")
			case byACME == nil:
				checkPair(d, n, v)
			default:
				checkNames(d, g.value("acme"), v.ACME)
			}
		},
		schema: func(_ *schemaBuilder, self map[string]any) {
			self["oneOf"] = []any{map[string]any{"required": []any{"cert", "key"}}, map[string]any{"required": []any{"acme"}}}
		},
	}
})

// checkPair looks for the other half of a certificate from files.
func checkPair(d *decoder, n *yaml.Node, v *Certificate) {
	switch {
	case v.Cert == "" && v.Key == "":
		d.fail(n, "write {cert: site.pem, key: site.key}, or {acme: [example.com]}", "the certificate says neither its files nor names to have it for")
	case v.Key == "":
		d.fail(n, "add key: with the file of its private key, which may be the same file", "the certificate %s has no key", quote(v.Cert))
	case v.Cert == "":
		d.fail(n, "add cert: with the file of its certificate, which may be the same file", "the key %s has no certificate", quote(v.Key))
	}
}

// acmeNamesMax is how many names the largest authority puts into one certificate.
const acmeNamesMax = 100

func checkNames(d *decoder, at *yaml.Node, names []string) {
	d.at("acme", func() {
		switch {
		case len(names) == 0:
			d.fail(at, "write acme: [example.com]", "the certificate is for no name")
		case len(names) > acmeNamesMax:
			d.fail(at, "split them between several certificates", "a certificate can have %d names, found %d", acmeNamesMax, len(names))
		}
		refuseTwice(d, at, names)
	})
}

// acmeName is a host name that can be proven to an authority by answering there, in lower case.
func acmeName() kind[string] {
	k := text("host name", func(s string) (cause, fix string) {
		_, err := netip.ParseAddr(s)
		switch {
		case strings.HasPrefix(s, "*."):
			return fmt.Sprintf("%s stands for many hosts, and the challenges known here prove one at a time, by an answer from it", quote(s)),
				"list the names one by one, or bring a certificate of your own: {cert: ..., key: ...}"
		case err == nil:
			return quote(s) + " is an address, and certificates are asked for names", "write the name that leads there"
		case strings.Contains(s, "://") || strings.ContainsAny(s, "/:"):
			return quote(s) + " is not a host name", "write the host alone: example.com"
		case !isHostName(s):
			return quote(s) + " is not a host name", "write letters, digits, dashes and dots: example.com"
		}
		return "", ""
	})
	return inLowerCase(k)
}

func clientCertificates() kind[*ClientCertificates] {
	return unlessOff(clientCertificatesObject, "client certificates need the authority that signs them, and none is named",
		"write client_certificates: {ca: clients.pem}")
}

var clientCertificatesObject = sync.OnceValue(func() *object[ClientCertificates] {
	type T = ClientCertificates
	return &object[T]{
		name: "client_certificate", article: "a",
		about: "Certificates asked of clients. X-Forwarded-Client-Cert is removed from every request, and written anew for a client that gave one.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("ca", fileName(), func(v *T) *string { return &v.CA },
				`File with the certificates, in PEM, of the authorities that sign them. No other is believed, not even those of the system.`),
			def("mode", choice("mode", ClientCertificateRequire, ClientCertificateOptional), func(v *T) *ClientCertificateMode { return &v.Mode }, ClientCertificateRequire,
				`require ends a handshake without a certificate; optional lets it pass, and the upstream decides. A certificate that does not verify ends it in both. Whoever asks for certificates mostly means that.`),
			def("forward", listOf(choice("certificate field", CertificateHash, CertificateSubject, CertificateURI, CertificateDNS, CertificateCert)),
				func(v *T) *[]CertificateField { return &v.Forward }, usualForward,
				`What X-Forwarded-Client-Cert tells the upstream: hash, subject, uri, dns, cert (all of it, some two kilobytes a request). [] for no such field. By default who it is, without the bulk.`),
		},
		short: &short[T]{
			about:  "a file of authorities",
			takes:  yaml.ScalarNode,
			read:   func(d *decoder, n *yaml.Node, v *T) { fileName().read(d, n, &v.CA) },
			schema: fileName().schema,
		},
		check: func(d *decoder, _ *yaml.Node, v *T, g given[T]) {
			refuseTwiceAt(d, g, "forward", v.Forward)
		},
	}
})
