package control

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// sink is an upstream of bytes: it says its name, the lines it reads and nothing else. Were it to leave a line unread, its kernel
// would reset the connection, and its answer could be lost.
func startSink(t *testing.T, name string, lines int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			line := make([]byte, 100)
			n := 0
			for n < len(line) && strings.Count(string(line[:n]), "\n") < lines {
				m, err := c.Read(line[n:])
				if n += m; err != nil {
					break
				}
			}
			fmt.Fprintf(c, "%s got %q", name, line[:n])
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// A tcp listener passes bytes on, to a cluster that wants to be told who the client is; tls listeners route by the name that is
// asked for and leave TLS to the upstream. A change of the document leaves what is open alone.
func TestPassages(t *testing.T) {
	s := newSite(t)
	tlsOrigin := func(name string) string {
		up, _ := startMirror(t, &tls.Config{Certificates: []tls.Certificate{s.issue(name, "*."+name).tls()}}, "http1", "h2")
		return up
	}
	shop, rest := tlsOrigin("shop.test"), tlsOrigin("rest.test")
	doc := func(more string) string {
		return fmt.Sprintf(`
listeners:
  - {name: bytes, address: "127.0.0.1:0", protocols: tcp}
  - {name: told, address: "127.0.0.1:0", protocols: tcp}
  - {name: through, address: "127.0.0.1:0", protocols: tls}
admin: off
clusters:
  sink: {endpoints: [%q], protocol: tcp}
  told: {endpoints: [%q], protocol: tcp, proxy_protocol: v1}
  shop: {endpoints: [%q], protocol: tcp}
  rest: {endpoints: [%q], protocol: tcp}
routes:
  - {listener: bytes, cluster: sink}
  - {listener: told, cluster: told}
  - {listener: through, host: [shop.test, "*.shop.test"], cluster: shop}
  - {listener: through, cluster: rest}
%s`, startSink(t, "sink", 1), startSink(t, "told", 2), shop, rest, more)
	}
	text := doc("")
	g := start(t, text, Options{})
	say := func(listener, line string) string {
		t.Helper()
		c, err := net.DialTimeout("tcp", g.addr(listener), patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintln(c, line)
		got, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	if got := say("bytes", "hello"); got != `sink got "hello\n"` {
		t.Error(got)
	}
	if got := say("told", "hello"); !strings.HasPrefix(got, `told got "PROXY TCP4 127.0.0.1 127.0.0.1 `) {
		t.Error(got)
	}
	web := webClient(t, s.client("www.shop.test"))
	for name, answer := range map[string]string{
		"shop.test": "200 HTTP/1.1 for shop.test", "www.shop.test": "200 HTTP/1.1 for www.shop.test", "rest.test": "200 HTTP/1.1 for rest.test",
	} {
		if got := askTLS(g.addr("through"), s.client(name), "/"); got != answer {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := shown(t, g.addr("through"), ""); got.DNSNames[0] != "rest.test" {
		t.Errorf("without a name: %v", got.DNSNames)
	}
	if got := fetch(t, web, "https://"+g.addr("through")+"/"); got != "HTTP/2.0 200 HTTP/2.0 for www.shop.test" {
		t.Errorf("HTTP/2 passes through: %s", got)
	}
	kept, _ := mustTLS(t, g.addr("through"), s.client("shop.test"))
	want(t, ask(t, kept, "/"), "200 HTTP/1.1 for shop.test")
	g.apply(text + "  - {listener: through, host: other.test, cluster: rest}\n")
	want(t, ask(t, kept, "/"), "200 HTTP/1.1 for shop.test")
	if l := g.Listeners(); l[2].TLS || fmt.Sprint(l[0].Protocols, l[2].Protocols) != "[tcp] [tls]" {
		t.Errorf("listeners: %+v", l)
	}
}

// A proxy in front says who the client is; others are themselves, and what they say is no request.
func TestProxyProtocolOfAListener(t *testing.T) {
	s := newSite(t)
	up, _ := startMirror(t, nil, "http1")
	files := s.pair("a", s.issue("a.test"))
	g := start(t, fmt.Sprintf(`
listeners:
  - {name: required, address: "127.0.0.1:0", proxy_protocol: 127.0.0.0/8}
  - {name: optional, address: "127.0.0.1:0", proxy_protocol: {from: 127.0.0.0/8, mode: optional}}
  - {name: others, address: "127.0.0.1:0", proxy_protocol: 10.0.0.0/8}
  - {name: secure, address: "127.0.0.1:0", proxy_protocol: 127.0.0.0/8, tls: %s}
admin: off
clusters: {app: {endpoints: [%q]}}
routes: [{path: /*, cluster: app}]
`, files, up), Options{})
	const header, path = "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n", "/x-forwarded-for"
	f := func(listener, header, want string) {
		t.Helper()
		c, err := dial(g.addr(listener))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, header)
		got := "closed"
		if a, err := c.get(path); err == nil {
			got = a.String()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s with %q: %s, want %s", listener, header, got, want)
		}
	}
	f("required", header, "200 HTTP/1.1 203.0.113.7")
	f("required", "", "closed")
	f("optional", header, "200 HTTP/1.1 203.0.113.7")
	f("optional", "", "200 HTTP/1.1 127.0.0.1")
	f("others", header, "400")
	f("others", "", "200 HTTP/1.1 127.0.0.1")

	raw, err := net.DialTimeout("tcp", g.addr("secure"), patience)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(raw, header)
	secret := tls.Client(raw, s.client("a.test"))
	defer secret.Close()
	c := connOver(secret)
	want(t, ask(t, c, path), "200 HTTP/1.1 203.0.113.7")
	if a := ask(t, c, "/x-forwarded-proto"); a.body != "HTTP/1.1 https" {
		t.Error(a)
	}
}

// The document that shows the most in the fewest lines: HTTPS with HTTP/2, h2c in front and behind, an upstream over TLS.
func TestTheShortDocument(t *testing.T) {
	s := newSite(t)
	app, _ := startMirror(t, nil, "http1")
	rpc, _ := startMirror(t, nil, "h2c")
	far, _ := startMirror(t, &tls.Config{Certificates: []tls.Certificate{s.issue("api.example.com").tls()}}, "http1")
	s.pair("site", s.issue("localhost"))
	s.put("roots.pem", s.root.pem())
	text := `
admin: off
listeners:
  - {name: web, address: ":8080"}
  - {name: secure, address: ":8443", tls: {certificates: [{cert: site.pem, key: site.key}]}}     # h2 and http/1.1 by ALPN
  - {name: grpc, address: ":9090", protocols: [h2c]}
clusters:
  app: {endpoints: [127.0.0.1:9001]}
  rpc: {endpoints: [127.0.0.1:9002], protocol: h2c}      # http1 (default), h2c, h2 (over TLS), auto (ALPN)
  far: {endpoints: [api.example.com:443], tls: {ca: roots.pem, sni: api.example.com}}
routes:
  - {match: {listener: grpc, path: /*}, cluster: rpc}
  - {path: /*, cluster: app}
  - {path: /far, cluster: far}
`
	for from, to := range map[string]string{
		":8080": "127.0.0.1:0", ":8443": "127.0.0.1:0", ":9090": "127.0.0.1:0", "127.0.0.1:9001": app, "127.0.0.1:9002": rpc,
		"api.example.com:443": far, "site.pem": s.path("site.pem"), "site.key": s.path("site.key"), "roots.pem": s.path("roots.pem"),
	} {
		text = strings.ReplaceAll(text, from, to)
	}
	g := start(t, text, Options{})
	want(t, get(t, g.addr("web"), "/"), "200 HTTP/1.1")
	want(t, get(t, g.addr("web"), "/far"), "200 HTTP/1.1 for api.example.com")
	if got := askTLS(g.addr("secure"), s.client("localhost"), "/"); got != "200 HTTP/1.1" {
		t.Error(got)
	}
	if got := fetch(t, webClient(t, s.client("localhost")), "https://"+g.addr("secure")+"/far"); got != "HTTP/2.0 200 HTTP/1.1 for api.example.com" {
		t.Error(got)
	}
	if got := fetch(t, h2cClient(t), "http://"+g.addr("grpc")+"/x"); got != "HTTP/2.0 200 HTTP/2.0" {
		t.Error(got)
	}
}
