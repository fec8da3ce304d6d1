package tlsconn

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"net/url"
	"strings"
)

// ForwardFields choose what an upstream is told of a client's certificate.
type ForwardFields struct {
	Hash    bool // SHA-256 of the certificate, hexadecimal
	Subject bool // as RFC 2253 writes it
	URI     bool // each URI among the alternative names
	DNS     bool // each DNS name among them
	Cert    bool // the whole certificate: PEM, percent-encoded
}

// forwardBytesMax bounds the value (client_cert_forward): heads are bounded too, and a certificate may have thousands of names. A
// field that no longer fits is left out as a whole, never cut.
const forwardBytesMax = 4 << 10

// AppendClientCert appends the value of X-Forwarded-Client-Cert for cert in Envoy's form:
//
//	Hash=...;Subject="CN=...";URI=spiffe://...;DNS=...
//
// The bytes of a certificate are its owner's choice. None of them can end a value or a field: a value with any of `,;="\` or a
// space is quoted, quotes and backslashes in it are escaped, and control bytes and bytes beyond ASCII are written as two
// hexadecimal digits, after a backslash in a subject (RFC 2253 2.4), after a percent sign in a name.
func AppendClientCert(b []byte, cert *x509.Certificate, fields ForwardFields) []byte {
	start := len(b)
	add := func(key string, value []byte) {
		if len(b)-start+1+len(key)+len(value) > forwardBytesMax {
			return
		}
		if len(b) > start {
			b = append(b, ';')
		}
		b = append(b, key...)
		b = append(b, value...)
	}
	if fields.Hash {
		sum := sha256.Sum256(cert.Raw)
		add("Hash=", hex.AppendEncode(nil, sum[:]))
	}
	if fields.Subject {
		add("Subject=", appendSubject(nil, cert))
	}
	if fields.URI {
		for _, u := range cert.URIs {
			add("URI=", appendName(nil, u.String()))
		}
	}
	if fields.DNS {
		for _, name := range cert.DNSNames {
			add("DNS=", appendName(nil, name))
		}
	}
	if fields.Cert {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
		add("Cert=", append(append([]byte{'"'}, url.QueryEscape(string(text))...), '"'))
	}
	return b
}

// appendSubject appends the subject in quotes. In what RDNSequence.String returns each quote and each backslash of a value stands
// behind a backslash already, so what is left to do is what it lets through.
func appendSubject(b []byte, cert *x509.Certificate) []byte {
	var names pkix.RDNSequence
	text := ""
	if rest, err := asn1.Unmarshal(cert.RawSubject, &names); err == nil && len(rest) == 0 {
		text = names.String()
	} else {
		text = cert.Subject.String()
	}
	b = append(b, '"')
	for i := 0; i < len(text); i++ {
		if c := text[i]; plain(c) {
			b = append(b, c)
		} else {
			b = appendHex(append(b, '\\'), c)
		}
	}
	return append(b, '"')
}

// appendName appends a value in quotes if it needs them.
func appendName(b []byte, name string) []byte {
	quoted := name == "" || strings.ContainsAny(name, `,;="\ `)
	if quoted {
		b = append(b, '"')
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case plain(c):
			b = append(b, c)
		default:
			b = appendHex(append(b, '%'), c)
		}
	}
	if quoted {
		b = append(b, '"')
	}
	return b
}

// plain tells whether a byte is printable ASCII.
func plain(c byte) bool { return c >= ' ' && c < 0x7f }

func appendHex(b []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(b, digits[c>>4], digits[c&15])
}
