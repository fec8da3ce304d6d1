package control

import (
	"crypto/tls"
	"fmt"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// secure is a gateway with a TLS listener whose tls is said, and one origin.
func secure(o *origin, tls string, more ...string) string {
	return fmt.Sprintf("listeners: [{name: web, address: \"127.0.0.1:0\", tls: %s}]\nadmin: off\ndrain: {timeout: 10s, idle: 200ms}\n"+
		"clusters: {app: {endpoints: [%q]}}\nroutes:\n  - {path: /*, cluster: app}\n", tls, o.addr) + strings.Join(more, "")
}

// A listener with three certificates: by name, by wildcard, and the first for everybody else; HTTP/2 and HTTP/1.1 by ALPN.
func TestCertificateByName(t *testing.T) {
	o, s := startOrigin(t, "app"), newSite(t)
	first, named, wild := s.issue("first.test"), s.issue("named.test", "www.named.test"), s.issue("*.wild.test")
	g := start(t, secure(o, fmt.Sprintf("{certificates: [%s, %s, %s]}", s.pair("a", first), s.pair("b", named), s.pair("c", wild))), Options{})
	addr := g.addr("web")
	for _, c := range []struct {
		name string
		want *signed
	}{
		{"first.test", first}, {"www.named.test", named}, {"NAMED.test", named}, {"x.wild.test", wild},
		{"x.y.wild.test", first}, {"wild.test", first}, {"unknown.test", first}, {"", first},
	} {
		if got := shown(t, addr, c.name); !got.Equal(c.want.cert) {
			t.Errorf("%q is shown %v, want %v", c.name, got.DNSNames, c.want.cert.DNSNames)
		}
	}
	if got := askTLS(addr, s.client("named.test"), "/"); got != "200 app" {
		t.Errorf("HTTP/1.1: %s", got)
	}
	web := webClient(t, s.client("x.wild.test"))
	if got := fetch(t, web, "https://"+addr+"/"); got != "HTTP/2.0 200 app" {
		t.Errorf("HTTP/2: %s", got)
	}
	if l := g.Listeners()[0]; !l.TLS || fmt.Sprint(l.Protocols) != "[h2 http1]" {
		t.Errorf("listener: %+v", l)
	}
}

// A certificate is replaced on the disk: the next handshake shows it, and connections that are open go on.
func TestCertificateReplacedUnderAnOpenConnection(t *testing.T) {
	o, s := startOrigin(t, "app"), newSite(t)
	old, next := s.issue("a.test"), s.issue("a.test")
	g := startWith(t, secure(o, s.pair("a", old)), Options{}, quick(new(atomic.Int64)))
	addr := g.addr("web")
	kept, _ := mustTLS(t, addr, s.client("a.test"))
	web := webClient(t, s.client("a.test"))
	want(t, ask(t, kept, "/"), "200 app")
	if got := fetch(t, web, "https://"+addr+"/"); got != "HTTP/2.0 200 app" {
		t.Error(got)
	}
	before := g.Listeners()[0].Accepted
	s.pair("a", next)
	awaitShown(t, addr, "a.test", next)
	want(t, ask(t, kept, "/"), "200 app")
	after := g.Listeners()[0].Accepted
	if got := fetch(t, web, "https://"+addr+"/"); got != "HTTP/2.0 200 app" {
		t.Error(got)
	}
	if before != 2 || g.Listeners()[0].Accepted != after {
		t.Errorf("%d connections, %d, %d: one of the open ones was closed", before, after, g.Listeners()[0].Accepted)
	}
	if g.Current().Number != 1 {
		t.Error("a replaced file made a revision")
	}
}

// The two files of a pair change one after the other, in both orders: meanwhile the old certificate is shown.
func TestPairReplacedInTwoSteps(t *testing.T) {
	o, s := startOrigin(t, "app"), newSite(t)
	old, next, third := s.issue("a.test"), s.issue("a.test"), s.issue("a.test")
	var ahead atomic.Int64
	g := startWith(t, secure(o, s.pair("a", old)), Options{}, quick(&ahead))
	addr := g.addr("web")
	broken := func() bool { return g.Certificates()[0].State == CertificateBroken }
	s.put("a.key", next.keyPEM(t))
	eventually(t, "the half pair is noticed", broken)
	if !shown(t, addr, "").Equal(old.cert) {
		t.Error("a certificate without its key is shown")
	}
	s.put("a.pem", next.pem())
	awaitShown(t, addr, "", next)
	s.put("a.pem", third.pem())
	eventually(t, "the half pair is noticed", broken)
	if !shown(t, addr, "").Equal(next.cert) {
		t.Error("a certificate without its key is shown")
	}
	s.put("a.key", third.keyPEM(t))
	awaitShown(t, addr, "", third)
	eventually(t, "all is well", func() bool { return g.Certificates()[0].State == CertificateValid })
}

// A file that is broken, or expired, or gone keeps the old certificate in use, and status, readiness and log say so. Another
// change of the configuration is not kept up by it.
func TestBadFileKeepsTheOldAndSaysSo(t *testing.T) {
	for name, spoil := range map[string]func(*site){
		"broken":  func(s *site) { s.put("a.pem", "-----BEGIN CERTIFICATE-----\nMII") },
		"expired": func(s *site) { s.pair("a", s.root.issue(s.t, -time.Minute, "a.test")) },
		"gone":    func(s *site) { _ = os.Remove(s.path("a.pem")) },
	} {
		t.Run(name, func(t *testing.T) {
			o, s := startOrigin(t, "app"), newSite(t)
			old, next := s.issue("a.test"), s.issue("a.test")
			files := s.pair("a", old)
			g := startWith(t, secure(o, files), Options{}, quick(new(atomic.Int64)))
			addr := g.addr("web")
			spoil(s)
			eventually(t, "the fault is known", func() bool { return g.Certificates()[0].State == CertificateBroken })
			said := func() {
				t.Helper()
				st := g.Certificates()[0]
				if st.LastError == "" || !st.NotAfter.Equal(old.cert.NotAfter) || !strings.Contains(st.LastError, s.path("a.pem")) {
					t.Errorf("status: %+v", st)
				}
				ready, deps := g.Ready()
				if text := fmt.Sprint(deps); !ready || !strings.Contains(text, "certificate "+s.path("a.pem")) {
					t.Errorf("ready %v: %s", ready, text)
				}
				if !shown(t, addr, "").Equal(old.cert) {
					t.Error("another certificate is shown")
				}
			}
			said()
			if !strings.Contains(g.log.String(), "cannot be used") {
				t.Error("the log does not say so")
			}
			if n := g.apply(secure(o, files, "  - {path: /more, respond: {body: more}}\n")); n != 2 {
				t.Errorf("revision %d", n)
			}
			if got := askTLS(addr, s.client("a.test"), "/more"); got != "200 more" {
				t.Error(got)
			}
			said()
			s.pair("a", next)
			awaitShown(t, addr, "", next)
			if _, deps := g.Ready(); strings.Contains(fmt.Sprint(deps), "certificate") {
				t.Errorf("mended, and still said: %v", deps)
			}
		})
	}
}

// A certificate runs out while it is in use, with nothing to take its place: it is shown, and said; readiness is as before.
func TestCertificateThatRunsOut(t *testing.T) {
	o, s := startOrigin(t, "app"), newSite(t)
	files := s.pair("a", s.issue("a.test"))
	var ahead atomic.Int64
	g := startWith(t, secure(o, files), Options{}, quick(&ahead))
	ahead.Store(int64(48 * time.Hour))
	eventually(t, "it is known", func() bool { return g.Certificates()[0].State == CertificateOutside })
	if got := askTLS(g.addr("web"), s.client("a.test"), "/"); got != "200 app" { // the client's clock is right
		t.Error(got)
	}
	if ready, deps := g.Ready(); !ready || !strings.Contains(fmt.Sprint(deps), "expired") {
		t.Errorf("ready %v: %v", ready, deps)
	}
	if n := g.apply(secure(o, files, "# another\n")); n != 2 {
		t.Errorf("revision %d", n)
	}
	// A start does not wait for it either: the others are better served than not.
	g.Stop()
	g = startWith(t, secure(o, files), Options{}, quick(&ahead))
	if st := g.Certificates()[0]; st.State != CertificateOutside {
		t.Errorf("after a restart: %+v", st)
	}
}

// A change whose certificate is bad is refused: what ran runs, and nothing is left of it.
func TestBadCertificateRefusesAChange(t *testing.T) {
	o, s := startOrigin(t, "app"), newSite(t)
	good, other := s.issue("a.test"), s.issue("b.test")
	g := start(t, secure(o, s.pair("a", good)), Options{Loops: 1})
	addr := g.addr("web")
	want(t, ask(t, first(mustTLS(t, addr, s.client("a.test"))), "/"), "200 app")
	s.pair("b", other)
	expired := s.pair("old", s.root.issue(t, -time.Minute, "old.test"))
	s.put("junk.pem", "nothing")
	goroutines, descriptors := runtime.NumGoroutine(), descriptorsOpen(t)
	for _, c := range []struct{ what, tls, want string }{
		{"a file that is not there", "{cert: " + s.path("none.pem") + ", key: " + s.path("none.key") + "}", "does not exist"},
		{"another key", "{cert: " + s.path("a.pem") + ", key: " + s.path("b.key") + "}", "does not belong"},
		{"no certificate", "{cert: " + s.path("junk.pem") + ", key: " + s.path("a.key") + "}", "nothing in PEM"},
		{"an expired one", expired, "expired"},
		{"authorities that are none", "{cert: " + s.path("a.pem") + ", key: " + s.path("a.key") + ", client_certificates: " + s.path("junk.pem") + "}", "nothing in PEM"},
	} {
		_, err := g.Apply(t.Context(), Change{Origin: "admin", Text: []byte(secure(o, c.tls))})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "read the certificates") {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if n := g.Current().Number; n != 1 || !shown(t, addr, "").Equal(good.cert) {
		t.Errorf("revision %d is in force", n)
	}
	if got := askTLS(addr, s.client("a.test"), "/"); got != "200 app" {
		t.Error(got)
	}
	eventually(t, "nothing is left of them", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptorsOpen(t) <= descriptors
	})
}

func first(c *conn, _ tls.ConnectionState) *conn { return c }

// A session that was begun on one loop under one configuration is resumed on every loop, and under the next.
func TestSessionsOutlastChanges(t *testing.T) {
	o, s := startOrigin(t, "app"), newSite(t)
	files := s.pair("a", s.issue("a.test"))
	g := start(t, secure(o, files), Options{Loops: 2})
	addr := g.addr("web")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := s.client("a.test")
		cfg.MinVersion, cfg.MaxVersion = version, version
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		resumed := func(wanted bool) {
			t.Helper()
			c, state := mustTLS(t, addr, cfg)
			want(t, ask(t, c, "/"), "200 app") // the ticket of 1.3 comes after the handshake
			if state.DidResume != wanted {
				t.Errorf("%s: resumed %v", tls.VersionName(version), state.DidResume)
			}
		}
		resumed(false)
		for range 8 { // as many as both loops get some of
			resumed(true)
		}
		g.apply(secure(o, files, fmt.Sprintf("# %d\n", version)))
		resumed(true)
	}
	g.apply(secure(o, strings.Replace(files, "}", ", tickets: off}", 1)))
	cfg := s.client("a.test")
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for range 2 {
		c, state := mustTLS(t, addr, cfg)
		want(t, ask(t, c, "/"), "200 app")
		if state.DidResume {
			t.Error("resumed without tickets")
		}
	}
}

// The address stays, and TLS on it comes and goes: connections go on as they began, new ones are met as the document says.
func TestTLSOnTheSameAddress(t *testing.T) {
	o, s := startOrigin(t, "app"), newSite(t)
	addr := freeAddr(t)
	plain := strings.Replace(document(o), "127.0.0.1:0", addr, 1)
	tlsDocument := strings.Replace(secure(o, s.pair("a", s.issue("a.test"))), "127.0.0.1:0", addr, 1)
	g := start(t, plain, Options{})
	a, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	want(t, ask(t, a, "/"), "200 app")
	g.apply(tlsDocument)
	b, _ := mustTLS(t, addr, s.client("a.test"))
	want(t, ask(t, b, "/"), "200 app")
	want(t, ask(t, a, "/"), "200 app")
	if c, err := dial(addr); err == nil {
		if got, err := c.get("/"); err == nil {
			t.Errorf("without TLS: %v", got)
		}
		c.Close()
	}
	g.apply(plain)
	want(t, get(t, addr, "/"), "200 app")
	want(t, ask(t, a, "/"), "200 app")
	want(t, ask(t, b, "/"), "200 app")
	if l := g.Listeners()[0]; l.TLS || l.Open < 2 {
		t.Errorf("listener: %+v", l)
	}
	if len(g.Certificates()) != 0 {
		t.Errorf("certificates of no listener: %+v", g.Certificates())
	}
}

// A connection that has reached its age is told so with its next answer.
func TestAgeOfConnections(t *testing.T) {
	o, s := startOrigin(t, "app"), newSite(t)
	doc := strings.Replace(secure(o, s.pair("a", s.issue("a.test"))), "tls:", "timeouts: {max_age: 1s}, tls:", 1)
	g := start(t, doc, Options{})
	addr := g.addr("web")
	c, _ := mustTLS(t, addr, s.client("a.test"))
	eventually(t, "an answer says that it is the last", func() bool { return ask(t, c, "/").String() == "200 app (last)" })
	web := webClient(t, s.client("a.test"))
	accepted := g.Listeners()[0].Accepted
	eventually(t, "the client of HTTP/2 comes anew", func() bool {
		if got := fetch(t, web, "https://"+addr+"/"); got != "HTTP/2.0 200 app" {
			t.Fatal(got)
		}
		return g.Listeners()[0].Accepted > accepted+1
	})
}

// A drain with TLS: what is under way is answered, on HTTP/1.1 and HTTP/2, and the gateway ends.
func TestDrainOverTLS(t *testing.T) {
	o, s := startOrigin(t, "app"), newSite(t)
	g := start(t, secure(o, s.pair("a", s.issue("a.test"))), Options{})
	addr := g.addr("web")
	idle, _ := mustTLS(t, addr, s.client("a.test"))
	want(t, ask(t, idle, "/"), "200 app")
	waiting, _ := mustTLS(t, addr, s.client("a.test"))
	fmt.Fprint(waiting, "GET /waits HTTP/1.1\r\nHost: exam.test\r\n\r\n")
	<-o.waiting
	web := webClient(t, s.client("a.test"))
	stream := make(chan string, 1)
	go func() { stream <- fetch(t, web, "https://"+addr+"/waits") }()
	<-o.waiting
	drained := make(chan error, 1)
	go func() { drained <- g.Drain(t.Context()) }()
	eventually(t, "it drains", func() bool { return g.stopping.Load() && refused(addr) })
	want(t, ask(t, idle, "/"), "200 app (last)")
	close(o.gate)
	a, err := waiting.read()
	if err != nil {
		t.Fatal(err)
	}
	want(t, a, "200 app (last)")
	if got := <-stream; got != "HTTP/2.0 200 app" {
		t.Errorf("the stream: %s", got)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// Handshakes and the ends of certificates are shown to Prometheus, and a handshake is counted once.
func TestMetricsOfTLS(t *testing.T) {
	o, s := startOrigin(t, "app"), newSite(t)
	cert := s.issue("a.test")
	g := start(t, secure(o, s.pair("a", cert)), Options{})
	addr := g.addr("web")
	cfg := s.client("a.test")
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for range 3 {
		if got := askTLS(addr, cfg, "/"); got != "200 app" {
			t.Error(got)
		}
	}
	if got := askTLS(addr, s.client("b.test"), "/"); !strings.HasPrefix(got, "refused") {
		t.Error(got)
	}
	eventually(t, "all of it is shown", func() bool {
		page := httptest.NewRecorder()
		g.Metrics().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
		for _, line := range []string{
			`yumen_tls_handshakes_total{result="done",side="client"} 1`, `yumen_tls_handshakes_total{result="resumed",side="client"} 2`,
			`yumen_tls_handshakes_total{result="failed",side="client"} 1`, `yumen_tls_handshakes_running{side="client"} 0`, `yumen_tls_handshakes_total{result="done",side="upstream"} 0`,
		} {
			if !strings.Contains(page.Body.String(), line) {
				return false
			}
		}
		_, value, _ := strings.Cut(page.Body.String(), fmt.Sprintf("yumen_certificate_not_after_seconds{name=\"\",path=%q} ", s.path("a.pem")))
		value, _, _ = strings.Cut(value, "\n")
		n, err := strconv.ParseFloat(value, 64)
		return err == nil && int64(n) == cert.cert.NotAfter.Unix()
	})
}
