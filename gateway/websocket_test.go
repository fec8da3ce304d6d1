//lint:file-ignore SA1019 net/http's own transport takes no :protocol, the older one of x/net does

package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine/tlsconn"
	"golang.org/x/net/http2"
)

// TestMain runs the tests with Go's HTTP/2 server knowing the extended CONNECT, which it reads from the environment when the
// process begins.
func TestMain(m *testing.M) {
	const setting = "http2xconnect=1"
	if debug := os.Getenv("GODEBUG"); !strings.Contains(debug, setting) {
		os.Setenv("GODEBUG", strings.TrimPrefix(debug+","+setting, ","))
		if self, err := os.Executable(); err == nil {
			// It returns only if it fails, and then the tests that need it say so.
			_ = syscall.Exec(self, os.Args, os.Environ())
		}
	}
	os.Exit(m.Run())
}

// socket is the client's end of a WebSocket, whatever it came about by: the bytes behind the handshake.
type socket struct {
	io.Reader
	io.Writer
	half  func() // tells the other end that nothing more comes
	close func()
}

// send writes a text in pieces.
func (s *socket) send(t *testing.T, text []byte, pieces int) {
	t.Helper()
	for len(text) > 0 {
		n := min(len(text), pieces)
		_, err := s.Write(text[:n])
		check(t, err)
		text = text[n:]
	}
}

// expect reads a text.
func (s *socket) expect(t *testing.T, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("came %d bytes (%.40q) of %d (%.40q), %v", n, got[:n], len(want), want, err)
	}
}

// open asks for a WebSocket. The socket is nil if there is none.
func (s speech) open(t *testing.T, addr, path string, pool *x509.CertPool) (*http.Response, *socket) {
	t.Helper()
	if s.two {
		return s.openTwo(t, addr, path, pool)
	}
	var c net.Conn = dial(t, addr)
	half := func() { check(t, c.(interface{ CloseWrite() error }).CloseWrite()) }
	if s.secure {
		secured := tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "localhost", NextProtos: []string{"http/1.1"}})
		check(t, secured.Handshake())
		c = secured
	}
	fmt.Fprintf(c, strings.Replace(handshake, "/ws", "%s", 1), path)
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	check(t, err)
	if resp.StatusCode != 101 {
		return resp, nil
	}
	if got := resp.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("the handshake is accepted with %q", got)
	}
	return resp, &socket{br, c, half, func() { c.Close() }}
}

func (s speech) openTwo(t *testing.T, addr, path string, pool *x509.CertPool) (*http.Response, *socket) {
	t.Helper()
	tr := &http2.Transport{AllowHTTP: true}
	var conn net.Conn
	tr.DialTLSContext = func(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		conn = c
		if err != nil || !s.secure {
			return c, err
		}
		secured := tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "localhost", NextProtos: []string{"h2"}})
		return secured, secured.Handshake()
	}
	scheme := "http"
	if s.secure {
		scheme = "https"
	}
	in, out := io.Pipe()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(func() { cancel(); conn.Close() })
	req, err := http.NewRequestWithContext(ctx, "CONNECT", scheme+"://localhost"+path, in)
	check(t, err)
	req.Header[":protocol"] = []string{"websocket"}
	req.Header.Set("Sec-WebSocket-Version", "13")
	resp, err := tr.RoundTrip(req)
	check(t, err)
	if resp.StatusCode != 200 {
		return resp, nil
	}
	return resp, &socket{resp.Body, out, func() { out.Close() }, func() { cancel(); conn.Close() }}
}

// sockets is an upstream of WebSockets, in either version of HTTP. What it does, the path says.
type sockets struct {
	mu struct {
		sync.Mutex
		ends []error // how the clients' directions ended
	}
	paths  atomic.Pointer[string]     // of all requests
	frames func(io.Reader, io.Writer) // what /frames does
}

func (u *sockets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for old := u.paths.Load(); ; old = u.paths.Load() {
		all := r.URL.Path
		if old != nil {
			all = *old + " " + all
		}
		if u.paths.CompareAndSwap(old, &all) {
			break
		}
	}
	switch r.URL.Path {
	case "/refused":
		http.Error(w, "no", http.StatusForbidden)
		return
	case "/plain":
		io.WriteString(w, "an ordinary answer")
		return
	}
	in, out, half, end := u.agree(w, r)
	if in == nil {
		return
	}
	defer end()
	switch r.URL.Path {
	case "/echo":
		_, err := io.Copy(out, in)
		u.mu.Lock()
		u.mu.ends = append(u.mu.ends, err)
		u.mu.Unlock()
	case "/frames":
		u.frames(in, out)
	case "/closes":
		io.WriteString(out, "goodbye")
	case "/question":
		io.WriteString(out, "and you?")
		text, err := io.ReadAll(in)
		fmt.Fprintf(out, "so: %s, %v", text, err)
	case "/half":
		io.WriteString(out, "that is all")
		half()
		io.Copy(io.Discard, in)
	case "/silent":
		io.Copy(io.Discard, in)
	case "/dies":
		in.Read(make([]byte, 1)) // a reset may overtake what goes before it
		panic(http.ErrAbortHandler)
	}
}

// agree switches protocols.
func (u *sockets) agree(w http.ResponseWriter, r *http.Request) (io.Reader, io.Writer, func(), func()) {
	if r.ProtoMajor == 2 {
		if r.Method != "CONNECT" || r.Header.Get(":protocol") != "websocket" || r.Header.Get("Sec-Websocket-Key") != "" {
			http.Error(w, "no handshake", http.StatusBadRequest)
			return nil, nil, nil, nil
		}
		w.WriteHeader(200)
		check := http.NewResponseController(w)
		_ = check.Flush()
		return r.Body, flushing{w, check}, func() {}, func() {}
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil, nil, nil, nil
	}
	accept := acceptOf(r.Header.Get("Sec-Websocket-Key"))
	switch r.URL.Path {
	case "/lies":
		accept = acceptOf("someone else's")
	case "/200":
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nrefused")
		io.Copy(io.Discard, rw)
		conn.Close()
		return nil, nil, nil, nil
	}
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept)
	return rw, conn, func() { conn.(interface{ CloseWrite() error }).CloseWrite() }, func() {
		if recover() != nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				tcp.SetLinger(0)
			}
		}
		conn.Close()
	}
}

type flushing struct {
	io.Writer
	c *http.ResponseController
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.c.Flush()
	}
	return n, err
}

// everyPair runs a test with every protocol in front and every one behind.
func everyPair(t *testing.T, change func(*settings), do func(t *testing.T, front, back speech, r *running, pool *x509.CertPool, u *sockets)) {
	cert, pool := certificate(t)
	for _, front := range speeches {
		for _, back := range speeches {
			t.Run(front.name+" to "+back.name, func(t *testing.T) {
				hs := tlsconn.NewHandshaker(tlsconn.HandshakerConfig{})
				u := new(sockets)
				s := usual(back.serve(t, cert, u))
				s.dial = back.dial(t, pool, hs)
				front.listen(t, &s.server, cert, hs)
				if front.secure {
					s.listener.Scheme = "https"
				}
				if change != nil {
					change(&s)
				}
				r := start(t, s)
				do(t, front, back, r, pool, u)
			})
		}
	}
}

// A handshake in the words of either version of HTTP comes out in those of the other, and bytes go both ways from then on.
func TestWebSocketsInEveryPair(t *testing.T) {
	everyPair(t, nil, func(t *testing.T, front, back speech, r *running, pool *x509.CertPool, u *sockets) {
		resp, c := front.open(t, r.addr, "/echo", pool)
		if c == nil {
			t.Fatalf("refused: %v", resp)
		}
		c.send(t, []byte("ping"), 1)
		c.expect(t, []byte("ping"))
		large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			c.send(t, large, 7000)
		}()
		c.expect(t, large)
		<-sent
		// The client has no more to say, and gets what is still to come.
		c.send(t, []byte("last"), 4)
		c.half()
		if rest, err := io.ReadAll(c); string(rest) != "last" || err != nil {
			t.Errorf("behind the client's end came %q, %v", rest, err)
		}
		c.close()
		r.nothingHeld(t)
	})
}

func TestEndsOfWebSockets(t *testing.T) {
	everyPair(t, nil, func(t *testing.T, front, back speech, r *running, pool *x509.CertPool, u *sockets) {
		// The upstream closes.
		_, c := front.open(t, r.addr, "/closes", pool)
		if text, err := io.ReadAll(c); string(text) != "goodbye" || err != nil {
			t.Errorf("an upstream that closes: %q, %v", text, err)
		}
		c.close()
		// It closes its side, which Go's handlers of HTTP/2 cannot.
		if !back.two {
			_, c = front.open(t, r.addr, "/half", pool)
			if text, err := io.ReadAll(c); string(text) != "that is all" || err != nil {
				t.Errorf("an upstream that closes its side: %q, %v", text, err)
			}
			c.close()
		}
		// The client closes its side, and is answered.
		_, c = front.open(t, r.addr, "/question", pool)
		c.expect(t, []byte("and you?"))
		c.send(t, []byte("well"), 4)
		c.half()
		if text, err := io.ReadAll(c); string(text) != "so: well, <nil>" || err != nil {
			t.Errorf("a client that closes its side: %q, %v", text, err)
		}
		c.close()
		// The upstream breaks: the client must not take that for an end, where its protocol can tell.
		_, c = front.open(t, r.addr, "/dies", pool)
		c.send(t, []byte("x"), 1)
		text, err := io.ReadAll(c)
		if err == nil && (back.two || !back.secure) {
			t.Errorf("an upstream that breaks: %q, %v", text, err)
		}
		c.close()
		// The client goes.
		_, c = front.open(t, r.addr, "/silent", pool)
		c.close()
		r.nothingHeld(t)
	})
}

// A handshake that is refused is an ordinary exchange, and the connections of both sides are fit for others.
func TestRefusedWebSockets(t *testing.T) {
	everyPair(t, nil, func(t *testing.T, front, back speech, r *running, pool *x509.CertPool, u *sockets) {
		for range 3 {
			resp, c := front.open(t, r.addr, "/refused", pool)
			if resp.StatusCode != 403 || c != nil {
				t.Fatalf("%v", resp)
			}
			if text, err := io.ReadAll(resp.Body); strings.TrimSpace(string(text)) != "no" || err != nil {
				t.Errorf("%q, %v", text, err)
			}
			resp.Body.Close()
		}
		client, base := front.client(t, r.addr, pool)
		resp, err := client.Get(base + "/plain")
		check(t, err)
		if text, err := io.ReadAll(resp.Body); string(text) != "an ordinary answer" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		resp.Body.Close()
		if got := *u.paths.Load(); got != "/refused /refused /refused /plain" {
			t.Errorf("the upstream saw %s", got)
		}
	})
}

// Nothing has come from either end for as long as may be.
func TestIdleWebSocketsEnd(t *testing.T) {
	everyPair(t, func(s *settings) { s.routes[0].betweenBytes = 50 * time.Millisecond },
		func(t *testing.T, front, back speech, r *running, pool *x509.CertPool, u *sockets) {
			_, c := front.open(t, r.addr, "/silent", pool)
			if text, err := io.ReadAll(c); len(text) > 0 || err != nil {
				t.Errorf("%q, %v", text, err)
			}
			c.close()
			r.nothingHeld(t)
		})
}

// acceptOf is what a server that has read the key answers (RFC 6455 4.2.2).
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
