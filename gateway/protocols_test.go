package gateway_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/tlsconn"
)

// speech is one way to speak HTTP, on either side.
type speech struct {
	name   string
	secure bool
	two    bool
}

// noCertificate is for those who need none.
var noCertificate tls.Certificate

var speeches = []speech{{"http1", false, false}, {"h2c", false, true}, {"https", true, false}, {"h2", true, true}}

// certificate makes a certificate for localhost that its own pool trusts.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(t, err)
	leaf, err := x509.ParseCertificate(der)
	check(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// serve starts an upstream that speaks so.
func (s speech) serve(t *testing.T, cert tls.Certificate, h http.Handler) string {
	t.Helper()
	u := httptest.NewUnstartedServer(h)
	u.Config.ErrorLog = silent // clients that leave in a handshake are part of the tests
	u.Config.Protocols = new(http.Protocols)
	u.Config.Protocols.SetHTTP1(!s.two)
	u.Config.Protocols.SetHTTP2(s.two && s.secure)
	u.Config.Protocols.SetUnencryptedHTTP2(s.two && !s.secure)
	if s.secure {
		u.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		u.EnableHTTP2 = s.two
		u.StartTLS()
	} else {
		u.Start()
	}
	t.Cleanup(u.Close)
	return u.Listener.Addr().String()
}

// dial says how such an upstream is spoken to.
func (s speech) dial(t *testing.T, pool *x509.CertPool, hs *tlsconn.Handshaker) engine.DialConfig {
	t.Helper()
	d := engine.DialConfig{Protocols: engine.HTTP1, Handshakes: hs}
	alpn := []string{"http/1.1"}
	if s.two {
		d.Protocols, alpn = engine.HTTP2, []string{"h2"}
	}
	if s.secure {
		var err error
		d.TLS, err = tlsconn.ClientConfig(tlsconn.ClientOptions{Parameters: tlsconn.Parameters{ALPN: alpn}, ServerName: "localhost", Roots: pool})
		check(t, err)
	}
	return d
}

// listen makes a listener's configuration speak so.
func (s speech) listen(t *testing.T, c *engine.ServerConfig, cert tls.Certificate, hs *tlsconn.Handshaker) {
	t.Helper()
	c.Protocols = engine.HTTP1 | engine.HTTP2
	if !s.secure {
		return
	}
	store := new(tlsconn.Store)
	store.Set([]*tls.Certificate{&cert})
	cfg, err := tlsconn.ServerConfig(tlsconn.ServerOptions{Parameters: tlsconn.Parameters{ALPN: []string{"h2", "http/1.1"}}, Store: store})
	check(t, err)
	c.TLS = &engine.TLS{Config: cfg, Handshakes: hs, Timeout: 10 * time.Second}
}

// client returns a client that speaks so to addr.
func (s speech) client(t *testing.T, addr string, pool *x509.CertPool) (*http.Client, string) {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}}
	tr.Protocols.SetHTTP1(!s.two)
	tr.Protocols.SetHTTP2(s.two && s.secure)
	tr.Protocols.SetUnencryptedHTTP2(s.two && !s.secure)
	base := "http://localhost"
	if s.secure {
		base = "https://localhost"
		tr.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}, base
}

// One story, with every protocol in front and every protocol behind.
func TestEveryFrontWithEveryBack(t *testing.T) {
	cert, pool := certificate(t)
	for _, front := range speeches {
		for _, back := range speeches {
			t.Run(front.name+" to "+back.name, func(t *testing.T) {
				hs := tlsconn.NewHandshaker(tlsconn.HandshakerConfig{})
				u := new(chronicler)
				s := usual(back.serve(t, cert, u))
				s.dial = back.dial(t, pool, hs)
				front.listen(t, &s.server, cert, hs)
				if front.secure {
					s.listener.Scheme = "https"
				}
				r := start(t, s)
				client, base := front.client(t, r.addr, pool)
				story(t, client, base, front)
				client.CloseIdleConnections()
				r.nothingHeld(t)
			})
		}
	}
}

// chronicler is an upstream that does what its path says.
type chronicler struct{}

func (*chronicler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).EnableFullDuplex() // or HTTP/1's server reads no further once it answers; HTTP/2's has no need
	switch r.URL.Path {
	case "/echo":
		w.Header().Set("X-Proto", r.Header.Get("X-Forwarded-Proto"))
		w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
		io.Copy(w, r.Body)
	case "/trailers":
		w.Header().Set("Trailer", "X-Sum")
		n, _ := io.Copy(w, r.Body)
		w.Header().Set("X-Sum", fmt.Sprint(n, r.Trailer.Get("X-Sent")))
	case "/slowly":
		w.WriteHeader(200)
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			if _, err := io.ReadFull(r.Body, make([]byte, 1)); err != nil {
				return
			}
		}
	case "/large":
		chunk := bytes.Repeat([]byte("0123456789abcdef"), 4096)
		for range 64 {
			w.Write(chunk)
		}
	case "/cut":
		w.Write([]byte("the beginning"))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	default:
		http.NotFound(w, r)
	}
}

func story(t *testing.T, client *http.Client, base string, front speech) {
	t.Helper()
	get := func(method, path string, body io.Reader) (*http.Response, string, error) {
		t.Helper()
		req, err := http.NewRequest(method, base+path, body)
		check(t, err)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return resp, string(text), err
	}
	if resp, _, err := get("GET", "/nowhere", nil); resp.StatusCode != 404 || err != nil || (resp.ProtoMajor == 2) != front.two {
		t.Errorf("nowhere: %v %v %v", resp.Status, resp.Proto, err)
	}
	if resp, text, err := get("HEAD", "/large", nil); resp.StatusCode != 200 || text != "" || err != nil {
		t.Errorf("HEAD: %v, %d bytes, %v", resp.Status, len(text), err)
	}
	for _, size := range []int{0, 1, 1000, 70_000, 3 << 20} {
		sent := strings.Repeat("x", size)
		if resp, text, err := get("POST", "/echo", strings.NewReader(sent)); text != sent || err != nil || resp.Header.Get("X-Length") != fmt.Sprint(size) {
			t.Errorf("echo of %d: %v, %d bytes, %v, length %s", size, resp.Status, len(text), err, resp.Header.Get("X-Length"))
		}
		// Of unknown length.
		if resp, text, err := get("POST", "/echo", io.MultiReader(strings.NewReader(sent), strings.NewReader("end"))); text != sent+"end" || err != nil {
			t.Errorf("echo of %d in parts: %v, %d bytes, %v", size, resp.Status, len(text), err)
		}
	}
	req, err := http.NewRequest("POST", base+"/trailers", io.MultiReader(strings.NewReader("12345")))
	check(t, err)
	req.Trailer = http.Header{"X-Sent": {"kept"}}
	resp, err := client.Do(req)
	check(t, err)
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if got := resp.Trailer.Get("X-Sum"); got != "5 kept" && got != "5kept" {
		t.Errorf("trailer %q in %v", got, resp.Trailer)
	}
	if resp, text, err := get("GET", "/large", nil); len(text) != 4<<20 || err != nil {
		t.Errorf("large: %v, %d bytes, %v", resp.Status, len(text), err)
	}
	if _, text, err := get("GET", "/cut", nil); err == nil {
		t.Errorf("an answer that was cut looks whole: %q", text)
	}
	slowly(t, client, base)
}

// slowly: each part of an answer arrives before the next part of the request is sent.
func slowly(t *testing.T, client *http.Client, base string) {
	t.Helper()
	in, out := io.Pipe()
	req, err := http.NewRequest("POST", base+"/slowly", in)
	check(t, err)
	resp, err := client.Do(req)
	check(t, err)
	defer resp.Body.Close()
	for i := range 3 {
		want := fmt.Sprintf("data: %d\n\n", i)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
			t.Fatalf("part %d: %q, %v", i, got, err)
		}
		out.Write([]byte("."))
	}
	out.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("the end: %q, %v", rest, err)
	}
}
