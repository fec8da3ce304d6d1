package tlsconn

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/url"
	"strings"
	"testing"
)

func subject(t testing.TB, name pkix.Name) []byte {
	der, err := asn1.Marshal(name.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestForwardedClientCertificate(t *testing.T) {
	spiffe, _ := url.Parse("spiffe://mesh/ns/a")
	odd, _ := url.Parse("urn:a;b,c=d")
	cert := &x509.Certificate{
		Raw:        []byte("certificate"),
		RawSubject: subject(t, pkix.Name{CommonName: "client", Organization: []string{"Acme, Inc."}, Country: []string{"DE"}}),
		URIs:       []*url.URL{spiffe, odd},
		DNSNames:   []string{"a.test", "*.b.test"},
	}
	const hash = "Hash=03d192c1ffbd7f3e47dffa3e2a7daeb2e01107d1d2c7cfca2c58d8ba41ea4dd1"
	for _, c := range []struct {
		fields ForwardFields
		want   string
	}{
		{ForwardFields{}, ""},
		{ForwardFields{Subject: true}, `Subject="CN=client,O=Acme\, Inc.,C=DE"`},
		{ForwardFields{URI: true}, `URI=spiffe://mesh/ns/a;URI="urn:a;b,c=d"`},
		{ForwardFields{DNS: true}, `DNS=a.test;DNS=*.b.test`},
		{ForwardFields{Subject: true, DNS: true}, `Subject="CN=client,O=Acme\, Inc.,C=DE";DNS=a.test;DNS=*.b.test`},
	} {
		if got := string(AppendClientCert(nil, cert, c.fields)); got != c.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", c.fields, got, c.want)
		}
	}
	got := string(AppendClientCert([]byte("before:"), cert, ForwardFields{Hash: true, URI: true}))
	if !strings.HasPrefix(got, "before:Hash=") || !strings.Contains(got, ";URI=spiffe") || len(got) < len("before:")+len(hash) {
		t.Error(got)
	}
}

// threats, class 11 (Envoy 2026-47778): a NUL in a name, and every other byte that could end something.
func TestForwardedBytesThatCouldEndAValue(t *testing.T) {
	for _, c := range []struct{ name, subject, dns string }{
		{"a", `Subject="CN=a"`, `DNS=a`},
		{"a\x00.test", `Subject="CN=a\00.test"`, `DNS=a%00.test`},
		{"a\r\nX: y", `Subject="CN=a\0D\0AX: y"`, `DNS="a%0D%0AX: y"`},
		{`a";DNS=b`, `Subject="CN=a\"\;DNS=b"`, `DNS="a\";DNS=b"`},
		{`a\`, `Subject="CN=a\\"`, `DNS="a\\"`},
		{`a\"`, `Subject="CN=a\\\""`, `DNS="a\\\""`},
		{"a,b", `Subject="CN=a\,b"`, `DNS="a,b"`},
		{" a ", `Subject="CN=\ a\ "`, `DNS=" a "`},
		{"ä", `Subject="CN=\C3\A4"`, `DNS=%C3%A4`},
		{"\x7f", `Subject="CN=\7F"`, `DNS=%7F`},
		{"", `Subject="CN="`, `DNS=""`},
	} {
		cert := &x509.Certificate{DNSNames: []string{c.name}}
		cert.RawSubject, _ = asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: c.name}}})
		if got := string(AppendClientCert(nil, cert, ForwardFields{Subject: true})); got != c.subject {
			t.Errorf("%q: got %s, want %s", c.name, got, c.subject)
		}
		if got := string(AppendClientCert(nil, cert, ForwardFields{DNS: true})); got != c.dns {
			t.Errorf("%q: got %s, want %s", c.name, got, c.dns)
		}
	}
}

// client_cert_forward: what does not fit is left out, never cut.
func TestForwardedCertificateIsBounded(t *testing.T) {
	cert := &x509.Certificate{RawSubject: subject(t, pkix.Name{CommonName: strings.Repeat("x", 5000)})}
	for range 2000 {
		cert.DNSNames = append(cert.DNSNames, "0123456789.test")
	}
	got := AppendClientCert(nil, cert, ForwardFields{Hash: true, Subject: true, DNS: true})
	if len(got) > forwardBytesMax || len(got) < forwardBytesMax-100 || bytes.Contains(got, []byte("Subject")) || !bytes.HasSuffix(got, []byte(".test")) {
		t.Errorf("%d bytes: %.100s", len(got), got)
	}
}

func FuzzAppendClientCert(f *testing.F) {
	f.Add([]byte("client"), "a.test", "spiffe://a/b")
	f.Add([]byte{0, '"', '\\', ',', ';', '\r', '\n'}, "\x00\"\\", "urn:%00;x=\"")
	f.Fuzz(func(t *testing.T, name []byte, dns, uri string) {
		cert := &x509.Certificate{DNSNames: []string{dns}}
		if u, err := url.Parse(uri); err == nil {
			cert.URIs = []*url.URL{u}
		}
		// The subject as it comes, and as a well-formed one with the same bytes in it.
		for _, raw := range [][]byte{name, wellFormed(name)} {
			cert.RawSubject = raw
			got := AppendClientCert(nil, cert, ForwardFields{Subject: true, URI: true, DNS: true})
			keys := splitForwarded(t, got)
			want := "Subject URI DNS"
			if len(cert.URIs) == 0 {
				want = "Subject DNS"
			}
			if len(got) < forwardBytesMax-1000 && len(name)+len(dns)+len(uri) < 300 && strings.Join(keys, " ") != want {
				t.Errorf("fields %v in %s", keys, got)
			}
		}
	})
}

func wellFormed(value []byte) []byte {
	type attribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	der, _ := asn1.Marshal([]asn1.RawValue{{Class: 0, Tag: asn1.TagSet, IsCompound: true, Bytes: func() []byte {
		b, _ := asn1.Marshal(attribute{asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.RawValue{Class: 0, Tag: asn1.TagT61String, Bytes: value}})
		return b
	}()}})
	return der
}

// splitForwarded reads a value as an upstream would and returns its keys.
func splitForwarded(t *testing.T, b []byte) (keys []string) {
	var part []byte
	quoted := false
	end := func() {
		key, _, ok := bytes.Cut(part, []byte("="))
		if !ok {
			t.Errorf("a field without a value in %q", b)
		}
		keys = append(keys, string(key))
		part = nil
	}
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case c < ' ' || c > '~':
			t.Fatalf("a raw byte %#x in %q", c, b)
		case quoted && c == '\\':
			part = append(part, c)
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && c == ';':
			end()
			continue
		case !quoted && c == ',':
			t.Fatalf("a second element in %q", b)
		}
		if i < len(b) {
			part = append(part, b[i])
		}
	}
	if quoted {
		t.Errorf("an open quote in %q", b)
	}
	end()
	return keys
}
