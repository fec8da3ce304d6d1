package control

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/control/certs"
)

// site is a folder with certificates, and the authority that signs them.
type site struct {
	t      *testing.T
	folder string
	root   *signed
}

// signed is a certificate with its key.
type signed struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serials atomic.Int64

// long is longer than any test, also by the quick clock.
const long = 24 * time.Hour

func newSite(t *testing.T) *site {
	t.Helper()
	return &site{t, t.TempDir(), newAuthority(t, "root")}
}

func newAuthority(t *testing.T, name string) *signed {
	t.Helper()
	return sign(t, nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	})
}

// sign makes a certificate; by nil it signs itself.
func sign(t *testing.T, by *signed, c *x509.Certificate) *signed {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.BasicConstraintsValid = big.NewInt(serials.Add(1)), true
	s := &signed{c, key}
	if by == nil {
		by = s
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	if s.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return s
}

// issue makes a certificate for both sides, valid for so long.
func (s *signed) issue(t *testing.T, valid time.Duration, names ...string) *signed {
	t.Helper()
	return sign(t, s, &x509.Certificate{
		Subject: pkix.Name{CommonName: "common " + strings.TrimPrefix(names[0], "*.")}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

func (s *signed) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Raw}))
}

func (s *signed) keyPEM(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (s *signed) tls() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{s.cert.Raw}, PrivateKey: s.key, Leaf: s.cert}
}

func (s *signed) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.cert)
	return pool
}

func (s *site) path(name string) string { return filepath.Join(s.folder, name) }

// put replaces a file as most programs do, by renaming.
func (s *site) put(name, text string) string {
	s.t.Helper()
	if err := os.WriteFile(s.path(name+".next"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(s.path(name+".next"), s.path(name)); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

// pair writes NAME.pem and NAME.key and returns them as a document names them.
func (s *site) pair(name string, c *signed) string {
	s.t.Helper()
	return fmt.Sprintf("{cert: %s, key: %s}", s.put(name+".pem", c.pem()), s.put(name+".key", c.keyPEM(s.t)))
}

// issue makes a usual certificate of the site's authority.
func (s *site) issue(names ...string) *signed {
	s.t.Helper()
	return s.root.issue(s.t, long, names...)
}

// client is how a client that trusts the site asks for a name.
func (s *site) client(name string) *tls.Config {
	return &tls.Config{RootCAs: s.root.pool(), ServerName: name}
}

// quick lets files settle and be looked at a hundred times as often as usual, by a clock that can be moved.
func quick(ahead *atomic.Int64) func(*Controller) {
	return func(c *Controller) {
		c.clock = certs.Clock{
			Now: func() time.Time {
				now := time.Now()
				return now.Add(100*now.Sub(began) + time.Duration(ahead.Load()))
			},
			After: func(d time.Duration) <-chan time.Time { return time.After(d / 100) },
		}
	}
}

// began is when the tests did: the quick clock runs from here on.
var began = time.Now()

// dialTLS connects with TLS; the handshake is over when it returns.
func dialTLS(addr string, cfg *tls.Config) (*conn, tls.ConnectionState, error) {
	raw, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, tls.ConnectionState{}, err
	}
	raw.SetDeadline(time.Now().Add(patience))
	c := tls.Client(raw, cfg)
	if err := c.Handshake(); err != nil {
		raw.Close()
		return nil, tls.ConnectionState{}, err
	}
	return connOver(c), c.ConnectionState(), nil
}

func connOver(c net.Conn) *conn { return &conn{c, bufio.NewReader(c)} }

// mustTLS is a connection that lasts as long as the test.
func mustTLS(t *testing.T, addr string, cfg *tls.Config) (*conn, tls.ConnectionState) {
	t.Helper()
	c, state, err := dialTLS(addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, state
}

// shown is the certificate that a client who asks for a name is shown, whatever it is worth.
func shown(t *testing.T, addr, name string) *x509.Certificate {
	t.Helper()
	c, state, err := dialTLS(addr, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	return state.PeerCertificates[0]
}

// awaitShown waits until clients are shown a certificate.
func awaitShown(t *testing.T, addr, name string, want *signed) {
	t.Helper()
	eventually(t, "the certificate is shown", func() bool { return shown(t, addr, name).Equal(want.cert) })
}

// ask sends a request on a connection and returns the answer.
func ask(t *testing.T, c *conn, path string) answer {
	t.Helper()
	a, err := c.get(path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// askTLS asks once on a connection of its own. An error is part of the answer.
func askTLS(addr string, cfg *tls.Config, path string) string {
	c, _, err := dialTLS(addr, cfg)
	if err != nil {
		return "refused: " + err.Error()
	}
	defer c.Close()
	a, err := c.get(path)
	if err != nil {
		return "refused: " + err.Error() // TLS 1.3 tells of a bad client certificate after the handshake
	}
	return a.String()
}

// webClient is net/http's, which speaks HTTP/2 if it can. Its connections end with the test.
func webClient(t *testing.T, cfg *tls.Config) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// h2cClient speaks HTTP/2 without TLS.
func h2cClient(t *testing.T) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// fetch asks a web client and returns the protocol and what was answered.
func fetch(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return "refused: " + err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %d %s", resp.Proto, resp.StatusCode, body)
}

// mirror is an upstream that says how it was asked.
func mirror(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, r.Proto)
	if r.TLS != nil {
		fmt.Fprintf(w, " for %s", r.TLS.ServerName)
		if len(r.TLS.PeerCertificates) > 0 {
			fmt.Fprintf(w, " by %s", r.TLS.PeerCertificates[0].Subject.CommonName)
		}
	}
	for _, name := range []string{"X-Forwarded-Client-Cert", "X_forwarded_client_cert", "X-Forwarded-For", "X-Forwarded-Proto"} {
		for _, v := range r.Header[name] {
			if r.URL.Path == "/"+strings.ToLower(name) {
				fmt.Fprintf(w, " %s", v)
			}
		}
	}
}

// startMirror starts one: over TLS if cfg is not nil, and with the protocols.
func startMirror(t *testing.T, cfg *tls.Config, protocols ...string) (addr string, connections *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections = new(atomic.Int64)
	server := &http.Server{
		Handler: http.HandlerFunc(mirror), TLSConfig: cfg, Protocols: new(http.Protocols), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				connections.Add(1)
			}
		},
	}
	for _, p := range protocols {
		switch p {
		case "http1":
			server.Protocols.SetHTTP1(true)
		case "h2":
			server.Protocols.SetHTTP2(true)
		case "h2c":
			server.Protocols.SetUnencryptedHTTP2(true)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if cfg != nil {
			_ = server.ServeTLS(l, "", "")
		} else {
			_ = server.Serve(l)
		}
	}()
	t.Cleanup(func() { server.Close(); <-done })
	return l.Addr().String(), connections
}
