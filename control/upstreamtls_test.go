package control

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// toUpstream is a gateway before one cluster.
func toUpstream(cluster string, more ...string) string {
	return fmt.Sprintf("listeners: [{name: web, address: \"127.0.0.1:0\"}]\nadmin: off\nclusters: {app: %s}\n"+
		"routes: [{path: /*, cluster: app}]\n", cluster) + strings.Join(more, "")
}

// An upstream over TLS is believed for the name and by the authorities that the document says, and shown our certificate.
func TestUpstreamTLS(t *testing.T) {
	s, others := newSite(t), newAuthority(t, "others")
	serverCert := s.issue("up.test")
	up, _ := startMirror(t, &tls.Config{Certificates: []tls.Certificate{serverCert.tls()}}, "http1")
	strict, _ := startMirror(t, &tls.Config{
		Certificates: []tls.Certificate{serverCert.tls()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: s.root.pool(),
	}, "http1")
	ca, wrong := s.put("roots.pem", s.root.pem()), s.put("wrong.pem", others.pem())
	ours := s.pair("ours", s.issue("gateway.test"))
	ours = ours[1 : len(ours)-1]
	g := start(t, toUpstream(fmt.Sprintf("{endpoints: [%q], tls: {ca: %s, sni: up.test}}", up, ca)), Options{})
	for _, c := range []struct{ what, cluster, want string }{
		{"authority and name", fmt.Sprintf("{endpoints: [%q], tls: {ca: %s, sni: up.test}}", up, ca), "200 HTTP/1.1 for up.test"},
		{"another name", fmt.Sprintf("{endpoints: [%q], tls: {ca: %s, sni: other.test}}", up, ca), "502"},
		{"another authority", fmt.Sprintf("{endpoints: [%q], tls: {ca: %s, sni: up.test}}", up, wrong), "502"},
		{"the system's authorities", fmt.Sprintf("{endpoints: [%q], tls: {sni: up.test}}", up), "502"},
		{"unverified", fmt.Sprintf("{endpoints: [%q], tls: {sni: other.test, verify: false}}", up), "200 HTTP/1.1 for other.test"},
		{"without a certificate", fmt.Sprintf("{endpoints: [%q], tls: {ca: %s, sni: up.test}}", strict, ca), "502"},
		{"with ours", fmt.Sprintf("{endpoints: [%q], tls: {ca: %s, sni: up.test, %s}}", strict, ca, ours), "200 HTTP/1.1 for up.test by common gateway.test"},
		{"no TLS there", fmt.Sprintf("{endpoints: [%q], tls: {ca: %s, sni: up.test}}", startOrigin(t, "plain").addr, ca), "502"},
	} {
		g.apply(toUpstream(c.cluster))
		if got := get(t, g.addr("web"), "/").String(); !strings.HasPrefix(got, c.want) || c.want[0] == '2' && got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

// The name of an endpoint is the one its certificate must have, if the document says no other.
func TestUpstreamIsNamedByItsEndpoint(t *testing.T) {
	s := newSite(t)
	up, _ := startMirror(t, &tls.Config{Certificates: []tls.Certificate{s.issue("localhost").tls()}}, "http1")
	ca := s.put("roots.pem", s.root.pem())
	endpoint := strings.Replace(up, "127.0.0.1", "localhost", 1)
	g := start(t, toUpstream(fmt.Sprintf("{endpoints: [%q], tls: {ca: %s}}", endpoint, ca)), Options{})
	eventually(t, "it answers", func() bool { return get(t, g.addr("web"), "/").String() == "200 HTTP/1.1 for localhost" })
}

// The upstream changes its authority: when the file is replaced, new connections trust the new one, without a change of the
// configuration; and a change that comes at the same moment does not lose it.
func TestUpstreamAuthorityReplaced(t *testing.T) {
	s, next := newSite(t), newAuthority(t, "next")
	var shows atomic.Pointer[tls.Certificate]
	show := func(a *signed) {
		c := a.issue(t, long, "up.test").tls()
		shows.Store(&c)
	}
	show(s.root)
	up, _ := startMirror(t, &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return shows.Load(), nil }, SessionTicketsDisabled: true,
	}, "http1")
	ca := s.put("roots.pem", s.root.pem())
	cluster := fmt.Sprintf("{endpoints: [%q], connections: {idle: 0}, tls: {ca: %s, sni: up.test}}", up, ca)
	g := startWith(t, toUpstream(cluster), Options{Loops: 1}, quick(new(atomic.Int64)))
	works := func() bool { return get(t, g.addr("web"), "/").String() == "200 HTTP/1.1 for up.test" }
	if !works() {
		t.Fatal("the first authority is not trusted")
	}
	show(next)
	if works() {
		t.Fatal("an authority is trusted that nobody named")
	}
	s.put("roots.pem", next.pem())
	eventually(t, "the new authority is trusted", works)

	show(s.root)
	s.put("roots.pem", s.root.pem())
	g.apply(toUpstream(cluster, "# the same cluster\n"))
	eventually(t, "the file is not overlooked", works)
}

// Our certificate for upstreams is replaced.
func TestCertificateForUpstreamsReplaced(t *testing.T) {
	s := newSite(t)
	up, _ := startMirror(t, &tls.Config{
		Certificates: []tls.Certificate{s.issue("up.test").tls()}, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
	}, "http1")
	ca := s.put("roots.pem", s.root.pem())
	ours := s.pair("ours", s.issue("one.test"))
	g := startWith(t, toUpstream(fmt.Sprintf("{endpoints: [%q], connections: {idle: 0}, tls: {ca: %s, sni: up.test, %s}}", up, ca, ours[1:len(ours)-1])),
		Options{}, quick(new(atomic.Int64)))
	by := func() string { return get(t, g.addr("web"), "/").String() }
	if got := by(); got != "200 HTTP/1.1 for up.test by common one.test" {
		t.Fatal(got)
	}
	s.pair("ours", s.issue("two.test"))
	eventually(t, "the new one is shown", func() bool { return by() == "200 HTTP/1.1 for up.test by common two.test" })
	if kinds := g.Certificates(); kinds[0].Kind != CertificateClient || kinds[1].Kind != CertificateAuthorities {
		t.Errorf("certificates: %+v", kinds)
	}
}

// A change of the document that leaves the cluster's TLS alone leaves its connections alone, too.
func TestUpstreamConnectionsOutlastChanges(t *testing.T) {
	s := newSite(t)
	for _, protocol := range []string{"http1", "h2"} {
		up, connections := startMirror(t, &tls.Config{Certificates: []tls.Certificate{s.issue("up.test").tls()}}, protocol)
		ca := s.put("roots.pem", s.root.pem())
		doc := func(n int) string {
			return toUpstream(fmt.Sprintf("{endpoints: [%q], protocol: %s, timeouts: {first_byte: %ds}, tls: {ca: %s, sni: up.test}}", up, protocol, 10+n/2, ca),
				fmt.Sprintf("# %d\n", n))
		}
		g := start(t, doc(0), Options{Loops: 1})
		for n := range 6 {
			if n > 0 {
				g.apply(doc(n))
			}
			if got := get(t, g.addr("web"), "/"); got.status != 200 {
				t.Error(got)
			}
		}
		if n := connections.Load(); n != 1 {
			t.Errorf("%s: %d connections", protocol, n)
		}
	}
}

// What a cluster speaks: as it is told, or as the upstream agrees to.
func TestProtocolsOfClusters(t *testing.T) {
	s := newSite(t)
	cert := &tls.Config{Certificates: []tls.Certificate{s.issue("up.test").tls()}}
	ca := s.put("roots.pem", s.root.pem())
	both, _ := startMirror(t, cert.Clone(), "http1", "h2")
	old, _ := startMirror(t, cert.Clone(), "http1")
	clear, _ := startMirror(t, nil, "http1", "h2c")
	g := start(t, toUpstream(fmt.Sprintf("{endpoints: [%q]}", clear)), Options{})
	secret := ", tls: {ca: " + ca + ", sni: up.test}}"
	for _, c := range []struct{ cluster, want string }{
		{fmt.Sprintf("{endpoints: [%q]", both) + secret, "200 HTTP/1.1 for up.test"},
		{fmt.Sprintf("{endpoints: [%q], protocol: h2", both) + secret, "200 HTTP/2.0 for up.test"},
		{fmt.Sprintf("{endpoints: [%q], protocol: auto", both) + secret, "200 HTTP/2.0 for up.test"},
		{fmt.Sprintf("{endpoints: [%q], protocol: auto", old) + secret, "200 HTTP/1.1 for up.test"},
		{fmt.Sprintf("{endpoints: [%q], protocol: h2", old) + secret, "502"},
		{fmt.Sprintf("{endpoints: [%q], protocol: h2c}", clear), "200 HTTP/2.0"},
		{fmt.Sprintf("{endpoints: [%q]}", clear), "200 HTTP/1.1"},
	} {
		g.apply(toUpstream(c.cluster))
		for range 3 {
			if got := get(t, g.addr("web"), "/").String(); !strings.HasPrefix(got, c.want) {
				t.Errorf("%s: %s, want %s", c.cluster, got, c.want)
			}
		}
	}
}

// Checks are spoken as the cluster speaks: HTTP over its TLS, and gRPC's health protocol for the service that is named.
func TestChecksOfUpstreams(t *testing.T) {
	s := newSite(t)
	var asked atomic.Pointer[string]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	health := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		said := fmt.Sprintf("%s %s %q", r.Proto, r.URL.Path, body)
		asked.Store(&said)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		_, _ = w.Write([]byte{0, 0, 0, 0, 2, 8, 1}) // HealthCheckResponse{status: SERVING}
	})}
	health.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() { defer close(done); _ = health.Serve(l) }()
	t.Cleanup(func() { health.Close(); <-done })
	up, _ := startMirror(t, &tls.Config{Certificates: []tls.Certificate{s.issue("up.test").tls()}}, "http1")
	ca, wrong := s.put("roots.pem", s.root.pem()), s.put("wrong.pem", newAuthority(t, "others").pem())
	g := start(t, toUpstream(fmt.Sprintf("{endpoints: [%q], protocol: h2c, health: {type: grpc, service: shop.Orders, failures: 1}}", l.Addr())), Options{})
	state := func() string { return g.Clusters()[0].Endpoints[0].State + g.Clusters()[0].Endpoints[0].LastCheck }
	if got := state(); got != "healthy" {
		t.Errorf("gRPC: %s", got)
	}
	const want = "HTTP/2.0 /grpc.health.v1.Health/Check \"\\x00\\x00\\x00\\x00\\r\\n\\vshop.Orders\""
	if said := asked.Load(); said == nil || *said != want {
		t.Errorf("asked %v, want %s", said, want)
	}
	for _, c := range []struct{ ca, want string }{{ca, "healthy"}, {wrong, "failing"}} {
		g.apply(toUpstream(fmt.Sprintf("{endpoints: [%q], health: {path: /, failures: 1}, tls: {ca: %s, sni: up.test}}", up, c.ca)))
		eventually(t, "the check is "+c.want, func() bool { return strings.HasPrefix(state(), c.want) })
	}
}
