package mtls

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
)

// Spec is what a document says. A certificate that fits any of the lists is let in; without lists, every one that is verified.
type Spec struct {
	Subjects     []string // as RFC 2253 writes them: CN=client,O=Acme
	CommonNames  []string
	DNS          []string // names, or *.example.com for one label below
	URIs         []string // spiffe://mesh/ns/a, or spiffe://mesh/ns/* for all below
	Fingerprints []string // SHA-256 of the certificate, hexadecimal; colons between digits are ignored
	Headers      []Header
}

// Header says that the upstream is told a claim in a field.
type Header struct{ Name, Claim string }

// Problem is what is wrong with a Spec.
type Problem struct {
	Field string
	Cause string
	Fix   string
}

// matcher is the lists of a Spec, checked. Frozen.
type matcher struct {
	subjects, names, dns, uris map[string]bool
	dnsBelow                   []string // ".example.com"
	urisBelow                  []string // "spiffe://mesh/ns/"
	fingerprints               map[[sha256.Size]byte]bool
	any                        bool
	count                      int
}

func compile(s *Spec) (*matcher, []Problem) {
	m := &matcher{subjects: set(s.Subjects), names: set(s.CommonNames), dns: map[string]bool{}, uris: map[string]bool{}, fingerprints: map[[sha256.Size]byte]bool{}}
	var problems []Problem
	fail := func(field string, i int, cause, fix string) {
		problems = append(problems, Problem{fmt.Sprintf("%s[%d]", field, i), cause, fix})
	}
	for i, name := range s.DNS {
		lower := strings.ToLower(name)
		below, wild := strings.CutPrefix(lower, "*")
		switch {
		case wild && (!strings.HasPrefix(below, ".") || strings.Contains(below, "*") || strings.Count(below, ".") < 2):
			fail("dns", i, fmt.Sprintf("%q is no name", name), "a star stands for one label of two or more behind it: *.example.com")
		case wild:
			m.dnsBelow = append(m.dnsBelow, below)
		case strings.Contains(lower, "*"):
			fail("dns", i, fmt.Sprintf("%q is no name", name), "a star stands for the first label: *.example.com")
		default:
			m.dns[lower] = true
		}
	}
	for i, uri := range s.URIs {
		prefix, wild := strings.CutSuffix(uri, "*")
		scheme, rest, ok := strings.Cut(prefix, "://")
		switch {
		case !ok || scheme == "" || strings.Contains(prefix, "*"):
			fail("uris", i, fmt.Sprintf("%q is no URI", uri), "write spiffe://mesh/ns/a, or spiffe://mesh/ns/* for all below")
		case wild && (!strings.HasSuffix(rest, "/") || strings.HasPrefix(rest, "/")):
			// spiffe://mesh* would take in spiffe://mesh.evil.test.
			fail("uris", i, fmt.Sprintf("%q ends in the middle of a segment", uri), "let a slash be before the star: spiffe://mesh/ns/*")
		case wild:
			m.urisBelow = append(m.urisBelow, prefix)
		default:
			m.uris[uri] = true
		}
	}
	for i, text := range s.Fingerprints {
		sum, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		if err != nil || len(sum) != sha256.Size {
			fail("fingerprints", i, fmt.Sprintf("%q is no SHA-256 fingerprint", text), "write what this says: openssl x509 -in client.pem -noout -fingerprint -sha256")
			continue
		}
		m.fingerprints[[sha256.Size]byte(sum)] = true
	}
	m.count = len(s.Subjects) + len(s.CommonNames) + len(s.DNS) + len(s.URIs) + len(s.Fingerprints)
	m.any = m.count == 0
	return m, problems
}

func set(list []string) map[string]bool {
	m := map[string]bool{}
	for _, s := range list {
		m[s] = true
	}
	return m
}

// match tells whether a certificate fits. Names are compared whole, whatever bytes they have.
func (m *matcher) match(cert *x509.Certificate, sum [sha256.Size]byte) bool {
	if m.any || m.fingerprints[sum] || m.names[cert.Subject.CommonName] && cert.Subject.CommonName != "" || m.subjects[cert.Subject.String()] {
		return true
	}
	for _, name := range cert.DNSNames {
		name = strings.ToLower(name)
		if m.dns[name] {
			return true
		}
		first := strings.IndexByte(name, '.')
		for _, below := range m.dnsBelow {
			if first > 0 && name[first:] == below && name[:first] != "*" {
				return true
			}
		}
	}
	for _, u := range cert.URIs {
		uri := u.String()
		if m.uris[uri] {
			return true
		}
		for _, prefix := range m.urisBelow {
			if len(uri) > len(prefix) && strings.HasPrefix(uri, prefix) && !strings.Contains(uri, "/../") && !strings.HasSuffix(uri, "/..") {
				return true
			}
		}
	}
	return false
}
