package gateway_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/tlsconn"
	"github.com/yumen-io/yumen/gateway/upstream"
)

// secure is a gateway that answers every request by itself, over TLS.
func secure(t *testing.T) (settings, *tlsconn.Handshaker, *x509.CertPool) {
	cert, pool := certificate(t)
	hs := tlsconn.NewHandshaker(tlsconn.HandshakerConfig{})
	s := answersAtOnce()
	speech{secure: true}.listen(t, &s.server, cert, hs)
	return s, hs, pool
}

// silent is where servers of tests complain.
var silent = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)

// pieces writes what it is given byte by byte.
type pieces struct{ net.Conn }

func (c pieces) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

// gathers lets the first write go, a hello, and keeps what comes after it.
type gathers struct {
	net.Conn
	begun bool
	kept  []byte
}

func (c *gathers) Write(p []byte) (int, error) {
	if !c.begun {
		c.begun = true
		return c.Conn.Write(p)
	}
	c.kept = append(c.kept, p...)
	return len(p), nil
}

func noHandshakes(t *testing.T, r *running, hs *tlsconn.Handshaker) {
	t.Helper()
	r.waitFor(t, "no handshake runs", func() bool { return hs.Running() == 0 && hs.Waiting() == 0 })
}

// Records and frames come in any pieces.
func TestAHandshakeByteByByte(t *testing.T) {
	t.Parallel()
	s, hs, pool := secure(t)
	r := start(t, s)
	for _, proto := range []string{"http/1.1", "h2", "other", ""} {
		cfg := &tls.Config{RootCAs: pool, ServerName: "localhost"}
		if proto != "" {
			cfg.NextProtos = []string{proto}
		}
		c := tls.Client(pieces{dial(t, r.addr)}, cfg)
		err := c.Handshake()
		if proto == "other" {
			if err == nil {
				t.Error("a protocol that nobody knows was agreed to")
			}
			c.Close()
			continue
		}
		check(t, err)
		if proto == "h2" {
			f := clientFramesOn(t, c)
			f.request(1, "GET", "/", true)
			f.wants("1 head 403 respond")
		} else {
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if got, end := readMessage(bufio.NewReader(c)); !strings.Contains(string(got), "403") {
				t.Errorf("%s: got %q %s", proto, got, end)
			}
		}
		c.Close()
	}
	noHandshakes(t, r, hs)
	r.nothingHeld(t)
}

// A client sends the end of its handshake, its request and its own end at once, while the loop has other things to do.
func TestTheClientsEndComesWithItsHandshake(t *testing.T) {
	t.Parallel()
	s, hs, pool := secure(t)
	s.server.IdleTimeout = time.Hour
	r := start(t, s)
	for _, bye := range []bool{false, true} {
		raw := dial(t, r.addr)
		g := &gathers{Conn: raw}
		c := tls.Client(g, &tls.Config{RootCAs: pool, ServerName: "localhost"})
		check(t, c.Handshake())
		// More than a handshake reads at once, so that there is something to be read behind it.
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n", strings.Repeat("x", 6000))
		if bye {
			check(t, c.CloseWrite())
			check(t, raw.SetDeadline(time.Now().Add(patience))) // which that took away
		}
		release := make(chan struct{})
		blocked := make(chan struct{})
		go r.onEach(func(*engine.Worker) { close(blocked); <-release })
		<-blocked
		_, err := raw.Write(g.kept)
		check(t, err)
		check(t, raw.CloseWrite())
		close(release)
		br := bufio.NewReader(c)
		if got, _ := readMessage(br); !strings.Contains(string(got), "403") {
			t.Errorf("got %q", got)
		}
		if got, end := readRest(br); len(got) > 0 || end != "closed" {
			t.Errorf("behind the answer: %q %s", got, end)
		}
		r.nothingHeld(t) // although the client has not closed
		raw.Close()
	}
	noHandshakes(t, r, hs)
}

// clientHello is what a client says first.
func clientHello(t *testing.T, pool *x509.CertPool) string {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		_ = tls.Client(client, &tls.Config{RootCAs: pool, ServerName: "localhost"}).Handshake()
		client.Close()
	}()
	hello := make([]byte, 5, 4096)
	_, err := io.ReadFull(server, hello)
	check(t, err)
	hello = hello[:5+int(hello[3])<<8+int(hello[4])]
	_, err = io.ReadFull(server, hello[5:])
	check(t, err)
	return string(hello)
}

// A greeting ends in every state it can be in, by its client, its time or the end of the gateway.
func TestGreetingsEndInEveryState(t *testing.T) {
	t.Parallel()
	s, hs, pool := secure(t)
	hello := clientHello(t, pool)
	plain := answersAtOnce()
	plain.server.Protocols = engine.HTTP1 | engine.HTTP2
	for name, f := range map[string]struct {
		s    settings
		said []string
	}{
		"tls":   {s, []string{"", "\x16", hello[:5], hello[:100], hello, "GET / HTTP/1.1\r\n\r\n"}},
		"plain": {plain, []string{"", "P", "PRI", "PRI * HTTP/2.0\r", "PRI * HTTP/2.0\r\n", "PRI /"}},
	} {
		for _, way := range []string{"client", "reset", "time", "end"} {
			t.Run(name+" "+way, func(t *testing.T) {
				t.Parallel()
				s := f.s
				if way == "time" {
					s.server.HeadTimeout = 20 * time.Millisecond
					if s.server.TLS != nil {
						short := *s.server.TLS
						short.Timeout = 20 * time.Millisecond
						s.server.TLS = &short
					}
				}
				r := start(t, s)
				var conns []*net.TCPConn
				for _, said := range f.said {
					c := dial(t, r.addr)
					fmt.Fprint(c, said)
					conns = append(conns, c)
				}
				r.settled(t)
				switch way {
				case "client":
					for _, c := range conns {
						c.Close()
					}
				case "reset":
					for _, c := range conns {
						_ = c.SetLinger(0)
						c.Close()
					}
				case "end":
					r.waitFor(t, "all are closed", func() bool {
						r.onEach(func(w *engine.Worker) {
							w.Drain()
							w.CloseIdle()
							w.CloseAll()
						})
						return r.listener.Open() == 0
					})
				}
				if way == "time" {
					for _, c := range conns {
						_, _ = io.Copy(io.Discard, c)
						c.Close()
					}
				}
				r.nothingHeld(t)
			})
		}
	}
	t.Cleanup(func() {
		if hs.Running()+hs.Waiting() > 0 {
			t.Error("handshakes are left")
		}
	})
}

// Limits and protocols change while handshakes run: each goes on as it began.
func TestAListenerChangesDuringHandshakes(t *testing.T) {
	t.Parallel()
	s, hs, pool := secure(t)
	r := start(t, s)
	c := &gathers{Conn: dial(t, r.addr)}
	client := tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "localhost", NextProtos: []string{"h2"}})
	check(t, client.Handshake()) // as far as the client is concerned
	changed := s.server
	changed.H1, changed.H2, changed.Protocols = nil, nil, engine.HTTP1
	r.listener.Update(&changed, 0)
	_, err := c.Conn.Write(c.kept)
	check(t, err)
	c.Conn.Close()
	noHandshakes(t, r, hs)
	r.nothingHeld(t)
}

// An upstream that cannot be spoken to is told apart by how it failed, and costs no more than its endpoint's good name.
func TestHandshakesWithUpstreamsThatFail(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t)
	_, others := certificate(t)
	client, clients := certificate(t)
	respond := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})
	one, two := speech{secure: true}, speech{secure: true, two: true}
	asks := func(t *testing.T) string {
		u := httptest.NewUnstartedServer(respond)
		u.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, MaxVersion: tls.VersionTLS12}
		u.Config.ErrorLog = silent
		u.StartTLS()
		t.Cleanup(u.Close)
		return u.Listener.Addr().String()
	}
	quiet := func(s speech) func(t *testing.T) string {
		return func(t *testing.T) string { return s.serve(t, cert, respond) }
	}
	f := func(name string, serves func(t *testing.T) string, options tlsconn.ClientOptions, protocols engine.Protocols, want string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hs := tlsconn.NewHandshaker(tlsconn.HandshakerConfig{})
			s := usual(serves(t))
			if options.Roots == nil {
				options.Roots = pool
			}
			if options.ServerName == "" {
				options.ServerName = "localhost"
			}
			cfg, err := tlsconn.ClientConfig(options)
			check(t, err)
			s.dial = engine.DialConfig{Protocols: protocols, TLS: cfg, Handshakes: hs}
			s.pool.ConnectTimeout = patience
			if strings.HasSuffix(want, "timeout") {
				s.pool.ConnectTimeout = 50 * time.Millisecond
			}
			s.routes[0].retry.Attempts = 1
			r := start(t, s)
			if got := r.get("POST", "/", "x"); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			noHandshakes(t, r, hs)
			r.nothingHeld(t)
			if conns, _, _ := r.load(); conns != 0 && want != "200 0" {
				t.Errorf("%d connections are left", conns)
			}
		})
	}
	h1, h2, both := []string{"http/1.1"}, []string{"h2"}, []string{"h2", "http/1.1"}
	alpn := func(list []string) tlsconn.ClientOptions {
		return tlsconn.ClientOptions{Parameters: tlsconn.Parameters{ALPN: list}}
	}
	f("all is well", quiet(one), alpn(h1), engine.HTTP1, "200 0")
	f("another authority", quiet(one), tlsconn.ClientOptions{Roots: others}, engine.HTTP1, "502 tls_failed")
	f("another name", quiet(one), tlsconn.ClientOptions{ServerName: "elsewhere"}, engine.HTTP1, "502 tls_failed")
	f("no agreement on HTTP/2", quiet(one), alpn(h2), engine.HTTP2, "502 tls_failed")
	f("not even asked", quiet(two), alpn(nil), engine.HTTP2, "502 tls_failed")
	f("either, and it knows one", quiet(one), alpn(both), engine.HTTP1|engine.HTTP2, "200 0")
	f("either, and it knows both", quiet(two), alpn(both), engine.HTTP1|engine.HTTP2, "200 0")
	f("either, and it knows no ALPN", asksNothing(cert, respond), alpn(both), engine.HTTP1|engine.HTTP2, "200 0")
	f("plain text", quiet(speech{}), alpn(h1), engine.HTTP1, "502 tls_failed")
	f("silence", func(t *testing.T) string {
		return serve(t, func(c *net.TCPConn, br *bufio.Reader) { io.Copy(io.Discard, c) })
	}, alpn(h1), engine.HTTP1, "504 connect_timeout")
	f("the end", func(t *testing.T) string { return serve(t, func(c *net.TCPConn, br *bufio.Reader) {}) }, alpn(h1), engine.HTTP1, "502 tls_failed")
	f("a certificate is asked for, and there is none", asks, alpn(h1), engine.HTTP1, "502 tls_failed")
	f("a certificate is asked for and shown", asks, tlsconn.ClientOptions{Certificate: &client}, engine.HTTP1, "200 0")
}

// asksNothing is an upstream without ALPN.
func asksNothing(cert tls.Certificate, h http.Handler) func(t *testing.T) string {
	return func(t *testing.T) string {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
		check(t, err)
		u := &http.Server{Handler: h, ErrorLog: silent}
		go u.Serve(l)
		t.Cleanup(func() { u.Close() })
		return l.Addr().String()
	}
}

// Too many handshakes at once are our limit, of which an endpoint's record knows nothing.
func TestTooManyHandshakesAreNotTheUpstreamsFault(t *testing.T) {
	t.Parallel()
	_, pool := certificate(t)
	hs := tlsconn.NewHandshaker(tlsconn.HandshakerConfig{RunningMax: 1, WaitingMax: 1, Patience: time.Hour})
	s := usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) { io.Copy(io.Discard, c) }))
	s.dial = speech{secure: true}.dial(t, pool, hs)
	s.pool.ConnectTimeout = time.Minute
	s.routes[0].retry.Attempts = 1
	s.routes[0].request = time.Minute
	r := start(t, s)
	done := make(chan string, 3)
	var conns []net.Conn
	for range 3 {
		c := dial(t, r.addr)
		conns = append(conns, c)
		go func() {
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			got, _ := readMessage(bufio.NewReader(c))
			done <- string(got)
		}()
	}
	if got := <-done; !strings.Contains(got, "no_descriptors") { // whose turn it was
		t.Errorf("got %s", got)
	}
	for _, c := range conns {
		c.Close()
	}
}

// An upstream's answer that ends with its connection must not look whole when the end was not said in TLS.
func TestATruncatedAnswerOverTLSDoesNotLookWhole(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t)
	f := func(name, answer string, bye, whole bool) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hs := tlsconn.NewHandshaker(tlsconn.HandshakerConfig{})
			s := usual(serve(t, func(raw *net.TCPConn, _ *bufio.Reader) {
				c := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{cert}})
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				io.WriteString(c, answer)
				if bye {
					c.CloseWrite()
				}
				raw.CloseWrite()
				io.Copy(io.Discard, raw)
			}))
			s.dial = speech{secure: true}.dial(t, pool, hs)
			s.routes[0].retry.Attempts = 1
			r := start(t, s)
			got := r.get("POST", "/", "")
			if ok := got == "200 4"; ok != whole {
				t.Errorf("got %s", got)
			}
			r.nothingHeld(t)
		})
	}
	const byEnd, chunked = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n"
	f("by the end, said", byEnd+"body", true, true)
	f("by the end, not said", byEnd+"body", false, false)
	f("chunked, all of it, not said", chunked+"body\r\n0\r\n\r\n", false, true)
	f("chunked, a part, said", chunked+"body\r\n", true, false)
	f("chunked, a part, not said", chunked+"body\r\n", false, false)
	f("by length, all of it, not said", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", false, true)
}

// A client that stops reading and goes on gets all of its answer: bytes wait in TLS, and in streams, of which no socket tells.
func TestASlowClientGetsAllOfItsAnswer(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	cert, pool := certificate(t)
	for _, back := range speeches {
		t.Run(back.name, func(t *testing.T) {
			t.Parallel()
			hs := tlsconn.NewHandshaker(tlsconn.HandshakerConfig{})
			block := make([]byte, 100_000)
			s := usual(back.serve(t, cert, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", fmt.Sprint(size))
				for left := size; left > 0; left -= len(block) {
					if _, err := w.Write(block[:min(left, len(block))]); err != nil {
						return
					}
				}
			})))
			s.dial = back.dial(t, pool, hs)
			r := start(t, s)
			c := dial(t, r.addr)
			check(t, c.SetReadBuffer(128<<10))
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			check(t, err)
			n := 0
			for _, part := range []int{1, 1000, 100_000, 1 << 20, size} {
				r.settled(t) // all that can be held is
				m, err := io.CopyN(io.Discard, resp.Body, int64(min(part, size-n)))
				if err != nil {
					t.Fatalf("%d and %d of %d bytes came, %v", n, m, size, err)
				}
				n += int(m)
			}
			if n != size {
				t.Errorf("%d bytes", n)
			}
			c.Close()
			r.nothingHeld(t)
		})
	}
}

// What an endpoint speaks is agreed upon with each connection, and may be something else after a restart. Nobody waits for
// ever, and no request that must not be sent twice ever shares a connection that is not multiplexed.
func TestAnEndpointChangesItsMind(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t)
	var two atomic.Bool
	var mu sync.Mutex
	outstanding := map[net.Conn]int{}
	u := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
	}))
	u.EnableHTTP2 = true
	u.Config.ErrorLog = silent
	u.Config.ConnState = func(c net.Conn, s http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		if s == http.StateNew && outstanding[c] > 0 {
			t.Error("used twice")
		}
	}
	u.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			protocols := []string{"http/1.1"}
			if two.Load() {
				protocols = []string{"h2"}
			}
			return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: protocols}, nil
		}}
	u.StartTLS()
	t.Cleanup(u.Close)
	for _, pool1 := range []upstream.PoolConfig{{ConnsMax: 1}, {ConnsMax: 2}, {ConnsMax: 3, Pipeline: 4}, {}} {
		hs := tlsconn.NewHandshaker(tlsconn.HandshakerConfig{})
		s := usual(u.Listener.Addr().String())
		cfg, err := tlsconn.ClientConfig(tlsconn.ClientOptions{Parameters: tlsconn.Parameters{ALPN: []string{"h2", "http/1.1"}}, ServerName: "localhost", Roots: pool})
		check(t, err)
		s.dial = engine.DialConfig{Protocols: engine.HTTP1 | engine.HTTP2, TLS: cfg, Handshakes: hs}
		s.pool.ConnsMax, s.pool.Pipeline, s.pool.ServedMax, s.pool.QueueMax = pool1.ConnsMax, pool1.Pipeline, 7, 1000
		s.pool.QueueTimeout = patience
		s.routes[0].retry.Attempts = 1
		r := start(t, s)
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				for n := range 25 {
					if i == 0 {
						two.Store(n%2 == 0)
					}
					method := []string{"GET", "POST"}[n%2]
					if got := r.get(method, "/", strings.Repeat("x", n%2)); got != "200 0" {
						t.Errorf("%+v: %s: %s", pool1, method, got)
						return
					}
				}
			})
		}
		wg.Wait()
		noHandshakes(t, r, hs)
		r.nothingHeld(t)
	}
}
