package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/yumen-io/yumen/control/acme/acmetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction(acmetest.Lasting))
}

// authority is an ACME server that asks the challenges of a real listener, by names that lead to it.
type authority struct {
	*acmetest.Authority
	t    *testing.T
	site *site
}

// life is how long its certificates are valid.
const life = acmetest.Life

func newAuthority(t *testing.T, nonceRejects int) *authority {
	t.Helper()
	s := newSite(t)
	a, err := acmetest.New(s.httpPort, s.tlsPort, nonceRejects)
	do(t, err)
	t.Cleanup(a.Close)
	return &authority{a, t, s}
}

// reset puts another authority in its place, which knows nobody.
func (a *authority) reset(nonceRejects int, binding bool) {
	a.t.Helper()
	do(a.t, a.Reset(nonceRejects, binding))
}

func (a *authority) answerBefore(f func(w http.ResponseWriter, r *http.Request) bool) {
	a.Before.Store(&f)
}

func (a *authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	return pool
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
