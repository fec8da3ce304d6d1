package control

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

// asked sends a request with fields and returns the body of the answer.
func asked(t *testing.T, c *conn, path string, fields ...string) string {
	t.Helper()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: exam.test\r\n%s\r\n", path, strings.Join(append(fields, ""), "\r\n"))
	a, err := c.read()
	if err != nil {
		t.Fatal(err)
	}
	return a.String()
}

const xfcc = "/x-forwarded-client-cert"

// spoofed are fields that speak of a client's certificate, in the spellings that a server could take for it.
var spoofed = []string{
	"X-Forwarded-Client-Cert: Subject=\"CN=root\"", "X_Forwarded_Client_Cert: x", "x-FORWARDED-client_cert: y",
	"X-Forwarded-Client-Cert: Hash=00",
}

// Listeners that require certificates, take them, ask for none, and have no TLS: the upstream is told of the certificate that
// was shown and verified, and never of one that the request speaks of.
func TestClientCertificates(t *testing.T) {
	s, clients, strangers := newSite(t), newAuthority(t, "clients"), newAuthority(t, "strangers")
	up, _ := startMirror(t, nil, "http1")
	alice, mallory := clients.issue(t, long, "alice.test"), strangers.issue(t, long, "alice.test")
	files, ca := s.pair("a", s.issue("a.test")), s.put("clients.pem", clients.pem())
	with := func(rule string) string { return strings.Replace(files, "}", ", client_certificates: "+rule+"}", 1) }
	g := start(t, fmt.Sprintf(`
listeners:
  - {name: require, address: "127.0.0.1:0", tls: %s}
  - {name: optional, address: "127.0.0.1:0", tls: %s}
  - {name: untold, address: "127.0.0.1:0", tls: %s}
  - {name: none, address: "127.0.0.1:0", tls: %s}
  - {name: plain, address: "127.0.0.1:0"}
admin: off
clusters: {app: {endpoints: [%q]}}
routes: [{path: /*, cluster: app}]
`, with(ca), with("{ca: "+ca+", mode: optional, forward: [hash]}"), with("{ca: "+ca+", forward: []}"), files, up), Options{})

	config := func(who *signed) *tls.Config {
		cfg := s.client("a.test")
		if who != nil {
			shown := who.tls()
			// Also to a server that names other authorities.
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &shown, nil }
		}
		return cfg
	}
	sum := sha256.Sum256(alice.cert.Raw)
	hash := "Hash=" + hex.EncodeToString(sum[:])
	for _, c := range []struct {
		listener string
		who      *signed
		want     string
	}{
		{"require", alice, "200 HTTP/1.1 " + hash + `;Subject="CN=common alice.test";DNS=alice.test`},
		{"optional", alice, "200 HTTP/1.1 " + hash},
		{"optional", nil, "200 HTTP/1.1"},
		{"untold", alice, "200 HTTP/1.1"},
		{"none", alice, "200 HTTP/1.1"},
		{"none", nil, "200 HTTP/1.1"},
	} {
		conn, _ := mustTLS(t, g.addr(c.listener), config(c.who))
		for range 2 { // of every request, not of the first alone
			if got := asked(t, conn, xfcc, spoofed...); got != c.want {
				t.Errorf("%s: %s, want %s", c.listener, got, c.want)
			}
		}
	}
	plain, err := dial(g.addr("plain"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if got := asked(t, plain, xfcc, spoofed...); got != "200 HTTP/1.1" {
		t.Errorf("without TLS: %s", got)
	}
	for _, c := range []struct {
		listener string
		who      *signed
	}{{"require", nil}, {"require", mallory}, {"optional", mallory}, {"untold", nil}} {
		if got := askTLS(g.addr(c.listener), config(c.who), "/"); !strings.HasPrefix(got, "refused") {
			t.Errorf("%s: %s", c.listener, got)
		}
	}
	web := webClient(t, config(alice))
	if got := fetch(t, web, "https://"+g.addr("optional")+xfcc); got != "HTTP/2.0 200 HTTP/1.1 "+hash {
		t.Errorf("over HTTP/2: %s", got)
	}
}

// The file of authorities is replaced: from the next handshake on clients are judged by the new one, a session of the old rule
// is not resumed, and who is connected stays.
func TestClientAuthoritiesReplaced(t *testing.T) {
	o, s := startOrigin(t, "app"), newSite(t)
	old, next := newAuthority(t, "old"), newAuthority(t, "next")
	ca := s.put("clients.pem", old.pem())
	g := startWith(t, secure(o, strings.Replace(s.pair("a", s.issue("a.test")), "}", ", client_certificates: "+ca+"}", 1)), Options{}, quick(new(atomic.Int64)))
	addr := g.addr("web")
	config := func(a *signed) *tls.Config {
		cfg := s.client("a.test")
		cfg.Certificates = []tls.Certificate{a.issue(t, long, "client.test").tls()}
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		return cfg
	}
	before, after := config(old), config(next)
	kept, _ := mustTLS(t, addr, before)
	want(t, ask(t, kept, "/"), "200 app")
	s.put("clients.pem", next.pem())
	eventually(t, "the new authority is believed", func() bool { return askTLS(addr, after, "/") == "200 app" })
	if got := askTLS(addr, before, "/"); !strings.HasPrefix(got, "refused") {
		t.Errorf("a client of the old authority: %s", got)
	}
	want(t, ask(t, kept, "/"), "200 app")
}
