package mtls

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
)

func certificate(name pkix.Name, dns []string, uris ...string) *x509.Certificate {
	c := &x509.Certificate{Raw: []byte("certificate"), Subject: name, Issuer: pkix.Name{CommonName: "authority"}, DNSNames: dns, SerialNumber: big.NewInt(0x4711)}
	for _, text := range uris {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		c.URIs = append(c.URIs, u)
	}
	return c
}

func filter(t testing.TB, s Spec) *Filter {
	t.Helper()
	f, problems := Compile(s, nil)
	if f == nil {
		t.Fatal(problems)
	}
	return f
}

var rawSum = sha256.Sum256([]byte("certificate"))

func TestCertificatesThatFit(t *testing.T) {
	client := certificate(pkix.Name{CommonName: "client", Organization: []string{"Acme"}}, []string{"A.example.com"}, "spiffe://mesh/ns/prod/a")
	fingerprint := hex.EncodeToString(rawSum[:])
	for _, c := range []struct {
		spec Spec
		cert *x509.Certificate
		want bool
	}{
		{Spec{}, client, true},
		{Spec{CommonNames: []string{"client"}}, client, true},
		{Spec{CommonNames: []string{"Client"}}, client, false},
		{Spec{CommonNames: []string{""}}, certificate(pkix.Name{}, nil), false},
		{Spec{Subjects: []string{"CN=client,O=Acme"}}, client, true},
		{Spec{Subjects: []string{"CN=client"}}, client, false},
		{Spec{Subjects: []string{"CN=client,O=Acme"}}, certificate(pkix.Name{CommonName: "client,O=Acme"}, nil), false},
		{Spec{DNS: []string{"a.EXAMPLE.com"}}, client, true},
		{Spec{DNS: []string{"*.example.com"}}, client, true},
		{Spec{DNS: []string{"*.example.com"}}, certificate(pkix.Name{}, []string{"a.b.example.com"}), false},
		{Spec{DNS: []string{"*.example.com"}}, certificate(pkix.Name{}, []string{"example.com"}), false},
		{Spec{DNS: []string{"*.example.com"}}, certificate(pkix.Name{}, []string{".example.com"}), false},
		{Spec{DNS: []string{"*.example.com"}}, certificate(pkix.Name{}, []string{"*.example.com"}), false},
		// threats, class 11 (Envoy 2026-47778): a NUL ends nothing.
		{Spec{DNS: []string{"a.example.com"}}, certificate(pkix.Name{}, []string{"a.example.com\x00.evil.test"}), false},
		{Spec{CommonNames: []string{"client"}}, certificate(pkix.Name{CommonName: "client\x00"}, nil), false},
		{Spec{URIs: []string{"spiffe://mesh/ns/prod/a"}}, client, true},
		{Spec{URIs: []string{"spiffe://mesh/ns/prod/*"}}, client, true},
		{Spec{URIs: []string{"spiffe://mesh/ns/dev/*"}}, client, false},
		{Spec{URIs: []string{"spiffe://mesh/*"}}, certificate(pkix.Name{}, nil, "spiffe://mesh.evil.test/a"), false},
		{Spec{URIs: []string{"spiffe://mesh/ns/dev/*"}}, certificate(pkix.Name{}, nil, "spiffe://mesh/ns/dev/../prod/a"), false},
		{Spec{URIs: []string{"spiffe://mesh/ns/*"}}, certificate(pkix.Name{}, nil, "spiffe://mesh/ns/"), false},
		{Spec{Fingerprints: []string{fingerprint}}, client, true},
		{Spec{Fingerprints: []string{strings.ToUpper(fingerprint[:2]) + ":" + fingerprint[2:]}}, client, true},
		{Spec{Fingerprints: []string{strings.Repeat("0", 64)}}, client, false},
		{Spec{Fingerprints: []string{strings.Repeat("0", 64)}, CommonNames: []string{"client"}}, client, true},
	} {
		if got := filter(t, c.spec).work(c.cert).fits; got != c.want {
			t.Errorf("%+v and %s %q: got %v", c.spec, c.cert.Subject, c.cert.DNSNames, got)
		}
	}
}

func TestSpecsThatFitNobodyOrTooMany(t *testing.T) {
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{DNS: []string{"*"}}, `dns[0]: "*" is no name`},
		{Spec{DNS: []string{"*.com"}}, `dns[0]: "*.com" is no name`},
		{Spec{DNS: []string{"a.*.com"}}, `dns[0]: "a.*.com" is no name`},
		{Spec{URIs: []string{"mesh/a"}}, `uris[0]: "mesh/a" is no URI`},
		{Spec{URIs: []string{"spiffe://mesh*"}}, `uris[0]: "spiffe://mesh*" ends in the middle of a segment`},
		{Spec{URIs: []string{"spiffe://*"}}, `uris[0]: "spiffe://*" ends in the middle of a segment`},
		{Spec{URIs: []string{"spiffe://mesh/*/a"}}, `uris[0]: "spiffe://mesh/*/a" is no URI`},
		{Spec{Fingerprints: []string{"ab:cd"}}, `fingerprints[0]: "ab:cd" is no SHA-256 fingerprint`},
		{Spec{Headers: []Header{{"a b", "sub"}}}, `headers: "a b" is not the name of a header field`},
	} {
		f, problems := Compile(c.spec, nil)
		if f != nil || len(problems) != 1 || problems[0].Field+": "+problems[0].Cause != c.want {
			t.Errorf("got %v, want %s", problems, c.want)
		}
	}
}

func TestClaimsOfCertificates(t *testing.T) {
	f := filter(t, Spec{})
	for _, c := range []struct {
		cert *x509.Certificate
		want string
	}{
		{certificate(pkix.Name{CommonName: "client"}, []string{"a.test"}, "spiffe://mesh/a"), "sub=spiffe://mesh/a cn=client dns=a.test uri=spiffe://mesh/a serial=4711 issuer=CN=authority"},
		{certificate(pkix.Name{CommonName: "client"}, []string{"a.test"}, "https://a.test/x"), "sub=client cn=client dns=a.test uri=https://a.test/x serial=4711 issuer=CN=authority"},
		{certificate(pkix.Name{}, []string{"a.test"}), "sub=a.test dns=a.test serial=4711 issuer=CN=authority"},
		{certificate(pkix.Name{}, nil), "sub=" + hex.EncodeToString(rawSum[:]) + " serial=4711 issuer=CN=authority"},
		// What no field can hold is no claim.
		{certificate(pkix.Name{CommonName: "root\r\nX-Admin: 1"}, []string{"a\x00b"}), "sub=" + hex.EncodeToString(rawSum[:]) + " serial=4711 issuer=CN=authority"},
		{certificate(pkix.Name{CommonName: strings.Repeat("x", claimBytesMax+1)}, nil), "sub=" + hex.EncodeToString(rawSum[:]) + " serial=4711 issuer=CN=authority"}, // claim_too_long
	} {
		h := f.work(c.cert)
		var got []string
		for _, name := range []string{"sub", "cn", "dns", "uri", "serial", "issuer"} {
			if v, ok := h.Claim(name); ok {
				got = append(got, fmt.Sprintf("%s=%s", name, v))
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestACertificateIsWorkedOutOnce(t *testing.T) {
	f, s := filter(t, Spec{CommonNames: []string{"a"}}), &scratch{}
	a, b := certificate(pkix.Name{CommonName: "a"}, nil), certificate(pkix.Name{CommonName: "b"}, nil) // of one serial number
	for range 3 {
		if !s.holder(f, a).fits || s.holder(f, b).fits {
			t.Fatal("certificates were taken for each other")
		}
	}
	if n := testing.AllocsPerRun(100, func() { s.holder(f, b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
