package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// rsaKey makes a key, also of a size that crypto/rsa refuses unless it is told otherwise.
func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	if bits < 2048 {
		t.Setenv("GODEBUG", "rsa1024min=0")
	}
	key, err := rsa.GenerateKey(rand.Reader, bits)
	do(t, err)
	return key
}

// What is in the two files, and what is said about it; nothing if it is in order.
func TestWhatAPairMayBe(t *testing.T) {
	root := issue(t, nil, "root", authority)
	middle := issue(t, root, "middle", authority)
	site := issue(t, middle, "site.test", nil)
	other := issue(t, middle, "other.test", nil)
	stranger := issue(t, nil, "middle", authority)
	client := issue(t, root, "someone", func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	do(t, err)
	ed := issueFor(t, root, edKey, "ed.test", nil)
	rsa2048 := issueFor(t, root, rsaKey(t, 2048), "rsa.test", nil)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	do(t, err)
	pkcs1 := func(k *rsa.PrivateKey) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}))
	}
	sec1 := func(k *ecdsa.PrivateKey) string {
		der, err := x509.MarshalECPrivateKey(k)
		do(t, err)
		oid, err := asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7})
		do(t, err)
		return string(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: oid})) +
			string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	}
	block := func(kind string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte("0123456789")}))
	}
	weak := rsaKey(t, 1024)
	chain := site.pem() + middle.pem()

	for _, c := range []struct{ name, cert, key, want string }{
		{"chain", chain, site.keyPEM(), ""},
		{"chain to the root", chain + root.pem(), site.keyPEM(), ""},
		{"alone", site.pem(), site.keyPEM(), ""},
		{"words between the blocks", "Subject: site\n" + site.pem() + "Issuer:\n" + middle.pem(), site.keyPEM(), ""},
		{"key in both", site.keyPEM() + chain, site.keyPEM(), ""},
		{"Ed25519", ed.pem(), ed.keyPEM(), ""},
		{"RSA, PKCS 1", rsa2048.pem(), pkcs1(rsa2048.key.(*rsa.PrivateKey)), ""},
		{"EC, SEC 1, as openssl ecparam writes it", site.pem(), sec1(site.key.(*ecdsa.PrivateKey)), ""},

		{"another's key", chain, other.keyPEM(), "the key in site.key does not belong to the certificate in site.pem"},
		{"issuer first", middle.pem() + site.pem(), site.keyPEM(), "site.pem begins with the certificate of CN=middle; that of site.key is number 2: put it first"},
		{"issuer missing", site.pem() + root.pem(), site.keyPEM(), "certificate 1 in site.pem (site.test) was not issued by number 2 (CN=root) but by \"CN=middle\""},
		{"issuer's namesake", site.pem() + stranger.pem(), site.keyPEM(), "is not signed by number 2"},
		{"two leaves", site.pem() + other.pem(), site.keyPEM(), "certificate 1 in site.pem (site.test) was not issued by number 2 (other.test)"},
		{"swapped", site.keyPEM(), chain, "site.pem holds a private key and no certificate: are the two files swapped?"},
		{"certificate for a key", chain, chain, "site.key holds no private key"},
		{"two keys", chain, site.keyPEM() + other.keyPEM(), "site.key holds 2 private keys"},
		{"encrypted", chain, block("ENCRYPTED PRIVATE KEY"), "the key in site.key is encrypted"},
		{"encrypted the old way", chain, "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n", "encrypted"},
		{"damaged key", chain, block("PRIVATE KEY"), "the key in site.key is damaged"},
		{"unknown key", chain, block("DSA PRIVATE KEY"), `is of the kind "DSA PRIVATE KEY"`},
		{"damaged certificate", site.pem() + block("CERTIFICATE"), site.keyPEM(), "certificate 2 in site.pem is damaged"},
		{"OpenSSL's own", block("TRUSTED CERTIFICATE"), site.keyPEM(), "openssl x509"},
		{"DER", string(site.cert.Raw), site.keyPEM(), "site.pem is DER and not PEM"},
		{"empty", " \n", site.keyPEM(), "site.pem is empty"},
		{"something else", "hello", site.keyPEM(), "site.pem holds nothing in PEM"},
		{"parameters alone", block("DH PARAMETERS"), site.keyPEM(), "site.pem holds no certificate"},
		{"cut off", chain[:len(chain)-40], site.keyPEM(), "damaged or cut off"},
		{"too many", strings.Repeat(site.pem(), chainMax+1), site.keyPEM(), "more than 10 certificates"},
		{"weak RSA", issueFor(t, root, weak, "weak.test", nil).pem(), pkcs1(weak), "has 1024 bits: take one of 2048 to 8192"},
		{"weak curve", issueFor(t, root, p224, "weak.test", nil).pem(), sec1(p224), "P-224"},
		{"no names", issue(t, root, "x", func(c *x509.Certificate) { c.DNSNames = nil }).pem(), "", "has no subjectAltName"},
		{"client's", client.pem(), client.keyPEM(), "has no subjectAltName"},
		{"for clients only", issue(t, root, "c.test", func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}).pem(), "", "is not issued for servers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Pair{Cert: "site.pem", Key: "site.key"}
			cert, err := p.parse([]byte(c.cert), []byte(c.key))
			if c.key == "" {
				err = p.fitFor(mustParse(t, c.cert)) // judged alone: the key does not matter
			}
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want == "" && (cert.Leaf == nil || len(cert.Certificate) != strings.Count(c.cert, "BEGIN CERT")):
				t.Errorf("leaf %v, %d certificates", cert.Leaf, len(cert.Certificate))
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("said %v\nwant %s", err, c.want)
			}
		})
	}
	for _, c := range []struct {
		cert *issued
		want string
	}{
		{client, ""},
		{site, "is not issued for clients"},
		{issue(t, root, "both.test", func(c *x509.Certificate) { c.ExtKeyUsage = nil }), ""},
	} {
		_, err := Pair{Cert: "c.pem", Key: "c.key", Client: true}.parse([]byte(c.cert.pem()), []byte(c.cert.keyPEM()))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("as a client's, %v: said %v, want %q", c.cert.cert.Subject, err, c.want)
		}
	}
}

func mustParse(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	list, err := parseCertificates("site.pem", []byte(text), 1)
	do(t, err)
	return list[0]
}

// A file that is still being written is a whole one with fewer certificates, or an error; and nothing panics.
func TestCutAtEachPosition(t *testing.T) {
	root := issue(t, nil, "root", authority)
	middle := issue(t, root, "middle", authority)
	site := issue(t, middle, "site.test", nil)
	chain, key := site.pem()+middle.pem(), site.keyPEM()
	p := Pair{Cert: "site.pem", Key: "site.key"}
	for n := range chain {
		cert, err := p.parse([]byte(chain[:n]), []byte(key))
		if whole := strings.Count(chain[:n], "-----END CERTIFICATE-----"); err == nil && len(cert.Certificate) != whole {
			t.Errorf("cut at %d: %d certificates of %d", n, len(cert.Certificate), whole)
		} else if err == nil && strings.Count(chain[:n], "-----BEGIN") != whole {
			t.Errorf("cut at %d: a part of a certificate was passed over", n)
		}
	}
	for n := range len(key) - 1 {
		if _, err := p.parse([]byte(chain), []byte(key[:n])); err == nil {
			t.Errorf("a key cut at %d is accepted", n)
		}
	}
}

func TestTimeOfACertificate(t *testing.T) {
	f := newFolder(t)
	site := issue(t, nil, "site.test", nil)
	p := Pair{f.put("site.pem", site.pem()), f.put("site.key", site.keyPEM()), false}
	for _, c := range []struct {
		now  time.Time
		kind error
		want string
	}{
		{noon, nil, ""},
		{noon.Add(-day), nil, ""},
		{noon.Add(90 * day), nil, ""},
		{noon.Add(-day - time.Second), ErrNotYetValid, "(site.test) is not valid before 2026-02-28 12:00:00Z, and it is 2026-02-28 11:59:59Z: wait, or set this machine's clock"},
		{noon.Add(90*day + time.Second), ErrExpired, "(site.test) expired at 2026-05-30 12:00:00Z, and it is 2026-05-30 12:00:01Z: renew it"},
	} {
		_, err := Load(p, c.now)
		if !errors.Is(err, c.kind) || err != nil && !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("at %v: %v", c.now, err)
		}
		if _, err := LoadBundle(p.Cert, c.now); !errors.Is(err, c.kind) {
			t.Errorf("a bundle at %v: %v", c.now, err)
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	f := newFolder(t)
	site := issue(t, nil, "site.test", nil)
	cert := f.put("site.pem", site.pem())
	for _, c := range []struct{ path, want string }{
		{f.in("nothing"), "nothing does not exist: put the file there, or correct the path"},
		{f.path, "it is a directory"},
		{f.put("large", strings.Repeat(" ", pairBytesMax+1)), "large is larger than 1024 kB"},
	} {
		if _, err := Load(Pair{cert, c.path, false}, noon); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("as the key: %v, want %s", err, c.want)
		}
		if _, err := Load(Pair{c.path, cert, false}, noon); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("as the certificate: %v, want %s", err, c.want)
		}
	}
	if os.Geteuid() != 0 {
		do(t, os.Chmod(cert, 0))
		if _, err := Load(Pair{cert, cert, false}, noon); err == nil || !strings.Contains(err.Error(), "let the user that the gateway runs as read it") {
			t.Errorf("forbidden: %v", err)
		}
	}
}

func TestBundles(t *testing.T) {
	f := newFolder(t)
	old := issue(t, nil, "old", func(c *x509.Certificate) { authority(c); c.NotAfter = noon.Add(-time.Hour) })
	root := issue(t, nil, "root", authority)
	site := issue(t, root, "site.test", func(c *x509.Certificate) { c.IPAddresses = []net.IP{{127, 0, 0, 1}} })
	pool, err := LoadBundle(f.put("roots.pem", old.pem()+root.pem()), noon)
	do(t, err)
	if _, err := site.cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: noon, DNSName: "site.test"}); err != nil {
		t.Error(err)
	}
	if _, err := LoadBundle(f.put("old.pem", old.pem()), noon); !errors.Is(err, ErrExpired) {
		t.Errorf("all expired: %v", err)
	}
	if _, err := LoadBundle(f.put("many.pem", strings.Repeat(root.pem(), bundleMax+1)), noon); err == nil || !strings.Contains(err.Error(), "more than 2000") {
		t.Errorf("too many: %v", err)
	}
}

// What Load accepts serves: a real handshake, with the chain that a client needs.
func TestHandshakeWithALoadedPair(t *testing.T) {
	f := newFolder(t)
	root := issue(t, nil, "root", authority)
	middle := issue(t, root, "middle", authority)
	site := issue(t, middle, "site.test", nil)
	cert, err := Load(Pair{f.put("site.pem", site.pem()+middle.pem()), f.put("site.key", site.keyPEM()), false}, noon)
	do(t, err)
	pool, err := LoadBundle(f.put("roots.pem", root.pem()), noon)
	do(t, err)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	clock := func() time.Time { return noon }
	server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{*cert}, Time: clock})
	client := tls.Client(b, &tls.Config{RootCAs: pool, ServerName: "site.test", Time: clock})
	served := make(chan error, 1)
	go func() { served <- server.Handshake() }()
	do(t, client.Handshake())
	go client.Read(make([]byte, 1)) // takes the session ticket, which the server waits to send through a pipe
	do(t, <-served)
}

func FuzzPair(f *testing.F) {
	f.Add("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n")
	f.Add("-----BEGIN CERTIFICATE-----", "0")
	f.Fuzz(func(t *testing.T, certText, keyText string) {
		cert, err := Pair{Cert: "c", Key: "k"}.parse([]byte(certText), []byte(keyText))
		if (cert == nil) == (err == nil) {
			t.Errorf("certificate %v, error %v", cert, err)
		}
		if m, err := parseBundle("b", []byte(certText)); err == nil && (m.pool == nil || m.limits == nil || len(m.authorities) == 0) {
			t.Error("a bundle without an error and without an authority")
		}
	})
}
