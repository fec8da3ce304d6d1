package config

import (
	"net/url"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// ACME is how certificates are had from an authority (RFC 8555).
type ACME struct {
	Pos
	Email       string // empty for none
	Directory   string // URL
	Challenge   Challenge
	Storage     string // folder; empty: acme in that of the revisions
	AcceptTerms bool   // true
	CA          string // file in PEM: whom the directory's own certificate is believed of; empty for the system's
}

// Challenge is how it is proven that a name leads to the gateway.
type Challenge string

// The challenges.
const (
	ChallengeHTTP    Challenge = "http-01"     // RFC 8555 section 8.3: a request to port 80
	ChallengeTLSALPN Challenge = "tls-alpn-01" // RFC 8737: a handshake at port 443
)

// letsEncrypt is the directory of the authority that most use.
const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// challengeWords are fixes for what else a challenge is called, folded.
var challengeWords = map[string]string{
	"dns_01": "a record in the DNS is out of our reach: write tls-alpn-01 or http-01",
	"dns":    "a record in the DNS is out of our reach: write tls-alpn-01 or http-01",
	"http":   "write http-01", "tls": "write tls-alpn-01", "tls_alpn": "write tls-alpn-01", "alpn": "write tls-alpn-01",
	"tls_sni_01": "it was given up by all: write tls-alpn-01",
}

func acme() kind[*ACME] {
	return unlessOff(acmeObject, "the terms of an authority are its user's to accept", "write acme: {email: you@example.com, accept_terms: true}")
}

var acmeObject = sync.OnceValue(func() *object[ACME] {
	type T = ACME
	return &object[T]{
		name: "acme", article: "an",
		about: "How certificates are had from an authority by ACME (RFC 8555), for the names that tls: {certificates: [{acme: [...]}]} of listeners list, and renewed before they end.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			may("email", text("email address", isEmail), func(v *T) *string { return &v.Email },
				`Where the authority writes to when something is wrong. Few insist on it.`),
			def("directory", text("URL", isDirectory), func(v *T) *string { return &v.Directory }, letsEncrypt,
				`URL of the authority's directory. Let's Encrypt is free and believed everywhere. To try things out, use https://acme-staging-v02.api.letsencrypt.org/directory, which no browser believes and which forgives more failures.`),
			def("challenge", choiceOr("challenge", challengeWords, ChallengeHTTP, ChallengeTLSALPN), func(v *T) *Challenge { return &v.Challenge }, ChallengeTLSALPN,
				`How a name is proven to lead here: tls-alpn-01 by a handshake at port 443, http-01 by a request to port 80 of the name; what stands before the gateway must lead that port to a listener. Neither proves a wildcard. tls-alpn-01 needs no port but the one that is served anyway.`),
			may("storage", text("folder", isFileName), func(v *T) *string { return &v.Storage },
				`Folder for the account, keys and certificates; it must outlive a restart, since authorities give only so many a week. By default the folder acme in that of the revisions.`),
			always("accept_terms", boolean(), func(v *T) *bool { return &v.AcceptTerms },
				`true: you have read the authority's terms of service, and accept them. Nobody else can.`),
			may("ca", fileName(), func(v *T) *string { return &v.CA },
				`File with the certificates, in PEM, of those who vouch for the directory's own. For an authority of one's own, or a test server. By default those of the system.`),
		},
		check: func(d *decoder, n *yaml.Node, v *T, g given[T]) {
			if v.AcceptTerms || !g.clean {
				return
			}
			at := n
			if said := g.key("accept_terms"); said != nil {
				at = said
			}
			d.fail(at, "read them, and add accept_terms: true", "an authority gives certificates to those only who accept its terms of service")
		},
		schema: func(_ *schemaBuilder, self map[string]any) { self["required"] = []any{"accept_terms"} },
	}
})

func isEmail(s string) (cause, fix string) {
	if rest, ok := strings.CutPrefix(s, "mailto:"); ok {
		return quote(s) + " is a URL, not an email address", "write " + rest
	}
	name, host, ok := strings.Cut(s, "@")
	if !ok || name == "" || !isHostName(host) || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || r == ',' }) {
		return quote(s) + " is not an email address", "write one address: you@example.com"
	}
	return "", ""
}

// isDirectory accepts a URL of https, which RFC 8555 section 6.1 asks for.
func isDirectory(s string) (cause, fix string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" && u.Scheme != "http":
		return quote(s) + " is not the URL of a directory", "write " + letsEncrypt + ", or what the authority gives as its directory"
	case u.Scheme == "http":
		return quote(s) + " is not https, which ACME asks for (RFC 8555 section 6.1)", "write https://; a test server's certificate is believed by ca:"
	case u.Scheme != "https" || u.User != nil || u.Fragment != "":
		return quote(s) + " is not the URL of a directory", "write " + letsEncrypt + ", or what the authority gives as its directory"
	}
	return "", ""
}

// checkACME looks whether certificates and the authority they are asked of are both there, and whether the challenge can
// be met by some listener.
func checkACME(d *decoder, doc *Document) {
	var use acmeUse
	for i := range doc.Listeners {
		l := &doc.Listeners[i]
		if l.TLS == nil {
			use.plain = use.plain || l.Speaks(ProtocolHTTP1)
			use.port80 = use.port80 || l.Speaks(ProtocolHTTP1) && l.Address.Port == 80
			continue
		}
		for j, c := range l.TLS.Certificates {
			if len(c.ACME) == 0 {
				continue
			}
			use.wanted = true
			use.port443 = use.port443 || l.Address.Port == 443
			if doc.ACME != nil {
				continue
			}
			d.atListener(i, func() {
				d.at("tls", func() {
					d.at("certificates", func() {
						d.path = append(d.path, step{index: j})
						d.fail(nodeAt(c.Pos), "add acme: {email: you@example.com, accept_terms: true} at the top of the document",
							"the certificate for %s is asked of an authority, and the document does not say of which", quote(c.ACME[0]))
						d.path = d.path[:len(d.path)-1]
					})
				})
			})
		}
	}
	if doc.ACME != nil {
		d.at("acme", func() { use.check(d, doc.ACME) })
	}
}

// acmeUse is what the listeners of a document make of its acme.
type acmeUse struct {
	wanted          bool // a certificate is asked for
	plain           bool // a listener can meet http-01
	port80, port443 bool // where the challenges come to
}

func (use acmeUse) check(d *decoder, a *ACME) {
	at := nodeAt(a.Pos)
	// Behind other authorities there are test servers, which ask at ports of their own.
	const nobody = "the authority asks at port %d of a name, and no listener that could answer has it"
	switch public := a.Directory == letsEncrypt; {
	case !use.wanted:
		d.warn(at, "write tls: {certificates: [{acme: [example.com]}]} in a listener", "no certificate is asked of the authority")
	case a.Challenge == ChallengeHTTP && !use.plain:
		d.fail(at, `add a listener with address: ":80", or write challenge: tls-alpn-01`, "http-01 is met on a listener of http1 without TLS, and there is none")
	case a.Challenge == ChallengeHTTP && public && !use.port80:
		d.warn(at, `let one listen on ":80", or lead that port to one`, nobody, 80)
	case a.Challenge == ChallengeTLSALPN && public && !use.port443:
		d.warn(at, `let the one with the certificate listen on ":443", or lead that port to it`, nobody, 443)
	}
}
