// Package acmetest is an ACME authority for tests: a Pebble in the process, with its directory over TLS and names that all
// lead to this machine, so that it asks its challenges of real listeners.
//
// It is linked into nothing but tests. Pebble reads its settings from the environment, which New and Reset therefore write:
// tests that use them do not run at the same time.
package acmetest

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// Lasting is the function of the goroutine that a Pebble leaves behind: it cannot be stopped, and waits for nothing.
const Lasting = "github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"

// Life is how long its certificates are valid.
const Life = 90 * 24 * time.Hour

// Authority is an authority and the resolver it asks. Its methods may be called from any goroutine, but for Reset and Close.
type Authority struct {
	// Orders and Accounts count the requests for one.
	Orders, Accounts atomic.Int32
	// Before, if set, may answer a request in the authority's place, and says so.
	Before atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]

	httpPort, tlsPort int
	server            *httptest.Server // the directory
	pebble            atomic.Pointer[pebble]
	resolver          *dns.Server
	resolved          chan struct{} // closed when the resolver has ended
	root              *x509.Certificate
}

// pebble is what stands behind the directory.
type pebble struct {
	http.Handler
	db *db.MemoryStore
}

// New starts an authority that asks http-01 on one port of this machine and tls-alpn-01 on the other. It refuses
// nonceRejects percent of all good nonces.
func New(httpPort, tlsPort, nonceRejects int) (*Authority, error) {
	a := &Authority{httpPort: httpPort, tlsPort: tlsPort}
	if err := a.resolve(); err != nil {
		return nil, err
	}
	if err := a.Reset(nonceRejects, false); err != nil {
		a.endResolver()
		return nil, err
	}
	a.server = httptest.NewUnstartedServer(http.HandlerFunc(a.serve))
	a.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	a.server.StartTLS()
	return a, nil
}

// Close ends the directory and the resolver. A second call does nothing.
func (a *Authority) Close() {
	a.server.Close()
	a.endResolver()
}

// CloseDirectory ends the directory alone: an authority that is out of reach.
func (a *Authority) CloseDirectory() { a.server.Close() }

// Reset puts another authority in its place, which knows nobody, and with binding takes no account but by one made by other
// means.
func (a *Authority) Reset(nonceRejects int, binding bool) error {
	for name, value := range map[string]string{
		"PEBBLE_VA_NOSLEEP":      "1", // its validations would pause
		"PEBBLE_AUTHZREUSE":      "0", // half its proofs would be remembered
		"PEBBLE_WFE_NONCEREJECT": fmt.Sprint(nonceRejects),
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	quiet := slog.NewLogLogger(slog.DiscardHandler, 0)
	store := db.NewMemoryStore()
	profiles := map[string]ca.Profile{"default": {ValidityPeriod: uint64(Life / time.Second)}}
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, profiles)
	validation := va.New(quiet, a.httpPort, a.tlsPort, false, a.resolver.Listener.Addr().String(), store)
	front := wfe.New(quiet, store, validation, issuer, []string{"pebble.test"}, false, binding, 0, 0)
	b, _ := pem.Decode(issuer.GetRootCert(0).PEM())
	root, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return err
	}
	a.root = root
	a.pebble.Store(&pebble{front.Handler(), store})
	return nil
}

// Directory is the URL of the directory.
func (a *Authority) Directory() string { return a.server.URL + "/dir" }

// Certificate is the directory's own, which signs itself.
func (a *Authority) Certificate() *x509.Certificate { return a.server.Certificate() }

// Root is what certificates of the authority lead to.
func (a *Authority) Root() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.root)
	return pool
}

// AddExternalAccount lets accounts be tied to one made by other means, by its HMAC key in base64url.
func (a *Authority) AddExternalAccount(id, key string) error {
	return a.pebble.Load().db.AddExternalAccountKeyByID(id, key)
}

func (a *Authority) serve(w http.ResponseWriter, r *http.Request) {
	if b := a.Before.Load(); b != nil && (*b)(w, r) {
		return
	}
	p := a.pebble.Load()
	switch r.URL.Path {
	case "/order-plz":
		a.Orders.Add(1)
	case "/sign-me-up":
		a.Accounts.Add(1)
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

// resolve leads every name to this machine, but for those that begin with "nowhere". Pebble asks over TCP.
func (a *Authority) resolve() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	a.resolver = &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		if name := q.Question[0].Name; q.Question[0].Qtype == dns.TypeA && !strings.HasPrefix(name, "nowhere") {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1),
			})
		}
		_ = w.WriteMsg(m)
	})}
	a.resolved = make(chan struct{})
	go func() {
		defer close(a.resolved)
		_ = a.resolver.ActivateAndServe()
	}()
	return nil
}

func (a *Authority) endResolver() {
	_ = a.resolver.Listener.Close()
	<-a.resolved
}
