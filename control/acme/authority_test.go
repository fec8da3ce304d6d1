package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Pebble reads these when its parts are made. Its validations would pause, and half its proofs be remembered.
	os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	os.Setenv("PEBBLE_AUTHZREUSE", "0")
	// A Pebble cannot be stopped; it waits for nothing.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"))
}

// authority is a Pebble: a real ACME server, which asks the challenges of a real listener, by names that lead to it.
type authority struct {
	t        *testing.T
	server   *httptest.Server // the directory, over TLS
	pebble   atomic.Pointer[pebble]
	orders   atomic.Int32 // that were opened
	accounts atomic.Int32 // requests for one

	// before, if set, may answer a request in the authority's place, and says so.
	before atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]

	site *site
	dns  string // address of the resolver
	root *x509.CertPool
}

// pebble is what stands behind the directory.
type pebble struct {
	http.Handler
	db *db.MemoryStore
}

// life is how long its certificates are valid.
const life = 90 * 24 * time.Hour

func newAuthority(t *testing.T, nonceRejects string) *authority {
	t.Helper()
	a := &authority{t: t, site: newSite(t)}
	a.dns = serveDNS(t)
	a.server = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	a.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	a.server.StartTLS()
	t.Cleanup(a.server.Close)
	a.reset(nonceRejects, false)
	return a
}

// reset puts another authority in its place, which knows nobody.
func (a *authority) reset(nonceRejects string, binding bool) {
	a.t.Helper()
	a.t.Setenv("PEBBLE_WFE_NONCEREJECT", nonceRejects)
	quiet := slog.NewLogLogger(slog.DiscardHandler, 0)
	store := db.NewMemoryStore()
	profiles := map[string]ca.Profile{"default": {ValidityPeriod: uint64(life / time.Second)}}
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, profiles)
	validation := va.New(quiet, a.site.httpPort, a.site.tlsPort, false, a.dns, store)
	front := wfe.New(quiet, store, validation, issuer, []string{"pebble.test"}, false, binding, 0, 0)
	a.pebble.Store(&pebble{front.Handler(), store})
	b, _ := pem.Decode(issuer.GetRootCert(0).PEM())
	root, err := x509.ParseCertificate(b.Bytes)
	do(a.t, err)
	a.root = x509.NewCertPool()
	a.root.AddCert(root)
}

func (a *authority) serve(w http.ResponseWriter, r *http.Request) {
	if b := a.before.Load(); b != nil && (*b)(w, r) {
		return
	}
	p := a.pebble.Load()
	switch r.URL.Path {
	case "/order-plz":
		a.orders.Add(1)
	case "/sign-me-up":
		a.accounts.Add(1)
	}
	if id, ok := strings.CutPrefix(r.URL.Path, "/my-order/"); ok {
		// Pebble takes the order's lock for reading twice to show it, and so locks up if it issues in between. It is asked
		// when it is done, which takes it about a millisecond.
		for p.issuing(id) {
			runtime.Gosched()
		}
	}
	p.ServeHTTP(w, r)
}

// issuing tells whether the certificate of an order is being made.
func (p *pebble) issuing(id string) bool {
	o := p.db.GetOrderByID(id)
	if o == nil {
		return false
	}
	o.RLock()
	defer o.RUnlock()
	return o.BeganProcessing && o.CertificateObject == nil
}

func (a *authority) answerBefore(f func(w http.ResponseWriter, r *http.Request) bool) {
	a.before.Store(&f)
}

func (a *authority) directory() string { return a.server.URL + "/dir" }

func (a *authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.server.Certificate())
	return pool
}

// serveDNS leads every name to this machine, but for those that begin with "nowhere". Pebble asks over TCP.
func serveDNS(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	do(t, err)
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg)
		a.SetReply(q)
		if q.Question[0].Qtype == dns.TypeA && !strings.HasPrefix(q.Question[0].Name, "nowhere") {
			a.Answer = append(a.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1),
			})
		}
		w.WriteMsg(a)
	})}
	ended := make(chan struct{})
	go func() { s.ActivateAndServe(); close(ended) }()
	t.Cleanup(func() { l.Close(); <-ended })
	return l.Addr().String()
}

// site is what the names lead to: an HTTP and a TLS listener with nothing on them but the answers to challenges.
type site struct {
	httpPort, tlsPort int
	mu                struct {
		sync.Mutex
		tokens map[string]string
		certs  map[string]*tls.Certificate
	}
	answered atomic.Int32
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{}
	s.mu.tokens, s.mu.certs = map[string]string{}, map[string]*tls.Certificate{}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.URL.Path, "/.well-known/acme-challenge/")
		s.mu.Lock()
		defer s.mu.Unlock()
		if text := s.mu.tokens[token]; ok && text != "" {
			s.answered.Add(1)
			io.WriteString(w, text)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(web.Close)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		NextProtos: []string{ALPN},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if c := s.mu.certs[hello.ServerName]; c != nil {
				s.answered.Add(1)
				return c, nil
			}
			return nil, errors.New("nothing is known of this name")
		},
	})
	do(t, err)
	var shaken sync.WaitGroup
	shaken.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			shaken.Go(func() {
				defer c.Close()
				c.(*tls.Conn).HandshakeContext(context.Background()) // and nothing after it, RFC 8737
			})
		}
	})
	t.Cleanup(func() { l.Close(); shaken.Wait() })
	s.httpPort, s.tlsPort = web.Listener.Addr().(*net.TCPAddr).Port, l.Addr().(*net.TCPAddr).Port
	return s
}

func (s *site) answers() Answers {
	return Answers{
		SetHTTP01:       func(token, keyAuth string) { s.mu.Lock(); s.mu.tokens[token] = keyAuth; s.mu.Unlock() },
		RemoveHTTP01:    func(token string) { s.mu.Lock(); delete(s.mu.tokens, token); s.mu.Unlock() },
		SetTLSALPN01:    func(name string, c *tls.Certificate) { s.mu.Lock(); s.mu.certs[name] = c; s.mu.Unlock() },
		RemoveTLSALPN01: func(name string) { s.mu.Lock(); delete(s.mu.certs, name); s.mu.Unlock() },
	}
}

// left is how many answers were not removed.
func (s *site) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.tokens) + len(s.mu.certs)
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
