package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/proxyproto"
	"github.com/yumen-io/yumen/engine/tlsconn"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/route"
	"github.com/yumen-io/yumen/telemetry/log"
)

// bytesOnly is a listener whose connections go to one cluster as they are.
func bytesOnly(endpoints ...string) settings {
	s := usual(endpoints...)
	s.server.Protocols, s.dial.Protocols = engine.Raw, engine.Raw
	s.passage = &passage{}
	return s
}

// echo is an upstream that sends back what it gets.
func echo(c *net.TCPConn, r *bufio.Reader) { io.Copy(c, r) }

// refusing is an address at which nobody takes connections.
func refusing(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

// say sends a text and reads as long an answer.
func say(t *testing.T, c io.ReadWriter, text string) string {
	t.Helper()
	_, err := io.WriteString(c, text)
	check(t, err)
	return string(read(t, c, len(text)))
}

// rest says what else comes from a connection, and how it ends.
func rest(c io.Reader) string {
	text, end := readRest(bufio.NewReader(c))
	return string(text) + " " + end
}

func TestBytesPassBothWays(t *testing.T) {
	t.Parallel()
	r := start(t, bytesOnly(serve(t, echo)))
	c := dial(t, r.addr)
	for _, text := range []string{"x", "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", strings.Repeat("0123456789", 20_000)} {
		if got := say(t, c, text); got != text {
			t.Errorf("%.40q came back as %.40q", text, got)
		}
	}
	// The client has no more to say, and gets what is still to come.
	_, err := io.WriteString(c, "last")
	check(t, err)
	check(t, c.CloseWrite())
	if got := rest(c); got != "last closed" {
		t.Errorf("behind the client's end came %q", got)
	}
	c.Close()
	r.nothingHeld(t)
	if got := r.metricLines(t, "yumen_upstream_attempts_total"); got != `yumen_upstream_attempts_total{cluster="app",outcome="ok"} 1` {
		t.Errorf("attempts are counted as %s", got)
	}
}

func TestTheServerSpeaksFirst(t *testing.T) {
	t.Parallel()
	r := start(t, bytesOnly(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		io.WriteString(c, "220 welcome\r\n")
		echo(c, br)
	})))
	c := dial(t, r.addr)
	if got := string(read(t, c, 13)); got != "220 welcome\r\n" {
		t.Errorf("the server said %q", got)
	}
	if got := say(t, c, "EHLO"); got != "EHLO" {
		t.Errorf("it answers %q", got)
	}
	c.Close()
	r.nothingHeld(t)
}

// What goes wrong with the upstream is seen as what it is: an end as an end, a break as a break.
func TestEndsOfPassages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		treat   func(*net.TCPConn, *bufio.Reader)
		want    string // what the client gets
		outcome string
	}{
		{"closes", func(c *net.TCPConn, br *bufio.Reader) { br.ReadByte(); io.WriteString(c, "bye") }, "bye closed", "ok"},
		{"closes its side", func(c *net.TCPConn, br *bufio.Reader) {
			br.ReadByte()
			io.WriteString(c, "bye")
			c.CloseWrite()
			io.Copy(io.Discard, br)
		}, "bye closed", "ok"},
		{"says nothing", func(c *net.TCPConn, br *bufio.Reader) { br.ReadByte() }, " closed", "ok"},
		{"breaks", func(c *net.TCPConn, br *bufio.Reader) { br.ReadByte(); c.SetLinger(0) }, " reset", "ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, bytesOnly(serve(t, c.treat)))
			conn := dial(t, r.addr)
			io.WriteString(conn, "x")
			if got := rest(conn); got != c.want {
				t.Errorf("the client got %q, want %q", got, c.want)
			}
			conn.Close()
			r.nothingHeld(t)
			if got := r.metricLines(t, "yumen_upstream_attempts_total"); got != `yumen_upstream_attempts_total{cluster="app",outcome="`+c.outcome+`"} 1` {
				t.Errorf("attempts are counted as %s", got)
			}
		})
	}
}

// An endpoint that refuses costs the client nothing but time while there is another one.
func TestAPassageGoesToTheNextEndpoint(t *testing.T) {
	t.Parallel()
	r := start(t, bytesOnly(refusing(t), serve(t, echo)))
	for range 8 {
		c := dial(t, r.addr)
		if got := say(t, c, "hello"); got != "hello" {
			t.Errorf("came back as %q", got)
		}
		c.Close()
	}
	r.nothingHeld(t)
	if r.metric(t, `yumen_upstream_attempts_total{cluster="app",outcome="connect_failure"}`) == 0 {
		t.Error("nobody was refused")
	}
}

// logged runs a gateway with an access log and returns what the log has when do is through.
func logged(t *testing.T, s settings, do func(r *running)) string {
	t.Helper()
	var lines bytes.Buffer
	access, err := log.NewAccess(log.AccessConfig{Loops: 1, Output: &lines,
		Fields: []string{"listener", "protocol", "method", "host", "path", "status", "reason", "guard", "shadow", "route", "cluster", "attempts", "bytes_in", "bytes_out"}})
	check(t, err)
	s.access = access
	r := start(t, s)
	do(r)
	r.nothingHeld(t)
	r.gateway.SetAccessLog(nil, nil)
	check(t, access.Close(context.Background()))
	return strings.TrimSpace(lines.String())
}

// A connection that cannot be carried is reset, for there is nobody to whom a sentence could be said, and the log has the word.
func TestPassagesThatDoNotComeAbout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		settings settings
		want     string
	}{
		{"no endpoint", bytesOnly(), `{"listener":"web","protocol":"TCP","method":"TCP","status":503,"reason":"no_endpoint",` +
			`"route":"all","bytes_in":0,"bytes_out":0}`},
		{"refused", bytesOnly(refusing(t)), `{"listener":"web","protocol":"TCP","method":"TCP","status":502,"reason":"connect_failed",` +
			`"route":"all","cluster":"app","attempts":2,"bytes_in":0,"bytes_out":0}`},
		{"no route", func() settings {
			s := bytesOnly()
			s.passage.otherwise = -1
			return s
		}(), `{"listener":"web","protocol":"TCP","method":"TCP","status":404,"reason":"no_route",` +
			`"bytes_in":0,"bytes_out":0}`},
	} {
		got := logged(t, c.settings, func(r *running) {
			conn, err := net.Dial("tcp", r.addr)
			if err != nil { // the reset was quicker
				return
			}
			if got := rest(conn); got != " reset" {
				t.Errorf("%s: the client got %q", c.name, got)
			}
			conn.Close()
		})
		if got != c.want {
			t.Errorf("%s is logged as\n%s, want\n%s", c.name, got, c.want)
		}
	}
}

func TestAPassageIsLogged(t *testing.T) {
	t.Parallel()
	got := logged(t, bytesOnly(serve(t, echo)), func(r *running) {
		c := dial(t, r.addr)
		say(t, c, "hello")
		check(t, c.CloseWrite())
		rest(c)
		c.Close()
	})
	if want := `{"listener":"web","protocol":"TCP","method":"TCP","status":200,` +
		`"route":"all","cluster":"app","bytes_in":5,"bytes_out":5}`; got != want {
		t.Errorf("logged as\n%s, want\n%s", got, want)
	}
}

func TestIdlePassagesEnd(t *testing.T) {
	t.Parallel()
	s := bytesOnly(serve(t, echo))
	s.routes[0].betweenBytes = 50 * time.Millisecond
	got := logged(t, s, func(r *running) {
		c := dial(t, r.addr)
		say(t, c, "hello")
		if got := rest(c); got != " closed" {
			t.Errorf("the client got %q", got)
		}
		c.Close()
	})
	if !strings.Contains(got, `"reason":"tunnel_idle"`) {
		t.Errorf("logged as %s", got)
	}
}

// Both ends send and nobody reads, also while there is no upstream yet: the gateway holds little.
func TestAPassageHoldsBackBothSides(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	read := make(chan struct{})
	s := bytesOnly(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			io.Copy(counting{c, &sent}, io.LimitReader(zeros{}, 32<<20))
		}()
		<-read
		io.Copy(io.Discard, br)
		<-wrote
	}))
	r := start(t, s)
	c := dial(t, r.addr)
	go func() {
		io.Copy(counting{c, &sent}, io.LimitReader(zeros{}, 32<<20))
		c.CloseWrite()
	}()
	if most := r.stalled(t, &sent); most > 2*heldPerConn {
		t.Errorf("%d bytes are held", most)
	}
	close(read)
	if n, err := io.Copy(io.Discard, c); n != 32<<20 || err != nil {
		t.Errorf("%d bytes came, %v", n, err)
	}
	c.Close()
	r.nothingHeld(t)
}

// TLS that ends behind us is led by the name that its client asks for, and not touched.
func TestPassagesByName(t *testing.T) {
	t.Parallel()
	cert, _ := certificate(t)
	upstream := serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		s := tls.Server(behind{c, br}, &tls.Config{Certificates: []tls.Certificate{cert}})
		io.WriteString(s, s.ConnectionState().ServerName)
		if s.Handshake() == nil {
			io.WriteString(s, s.ConnectionState().ServerName)
		}
		s.Close()
	})
	for _, c := range []struct {
		name      string
		otherwise int
		route     string // "": turned away
	}{
		{"shop.example.com", -1, "exact"},
		{"SHOP.example.com", -1, "exact"},
		{"other.example.com", -1, "wild"},
		{"a.b.example.com", -1, "wild"},
		{"example.com", -1, ""},
		{"", -1, ""},
		{"elsewhere.org", -1, ""},
		{"elsewhere.org", 2, "rest"},
		{"", 2, "rest"},
	} {
		t.Run(fmt.Sprint(c.name, " ", c.otherwise), func(t *testing.T) {
			s := bytesOnly(upstream)
			s.server.Protocols = engine.RawByName
			s.routes = []routeSettings{{spec: route.Spec{Name: "exact", Path: "/1"}}, {spec: route.Spec{Name: "wild", Path: "/2"}}, {spec: route.Spec{Name: "rest", Path: "/3"}}}
			s.passage = &passage{map[string]int{"shop.example.com": 0}, map[string]int{".example.com": 1}, c.otherwise}
			line := logged(t, s, func(r *running) {
				conn := dial(t, r.addr)
				secured := tls.Client(byteByByte{conn}, &tls.Config{ServerName: c.name, InsecureSkipVerify: true})
				text, err := io.ReadAll(secured)
				switch {
				case c.route == "" && err == nil:
					t.Errorf("served: %q", text)
				case c.route != "" && (err != nil || string(text) != c.name):
					t.Errorf("the upstream read %q, %v", text, err)
				}
				conn.Close()
			})
			for field, want := range map[string]string{"host": strings.ToLower(c.name), "route": c.route} {
				if want = fmt.Sprintf("%q:%q", field, want); !strings.Contains(line, want) && !strings.HasSuffix(want, `""`) {
					t.Errorf("logged as %s, without %s", line, want)
				}
			}
		})
	}
}

// byteByByte writes byte by byte.
type byteByByte struct{ net.Conn }

func (p byteByByte) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := p.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// behind is a connection of which something has been read.
type behind struct {
	net.Conn
	r io.Reader
}

func (b behind) Read(p []byte) (int, error) { return b.r.Read(p) }

func TestWhatIsNoTLSIsTurnedAway(t *testing.T) {
	t.Parallel()
	s := bytesOnly(serve(t, echo))
	s.server.Protocols = engine.RawByName
	r := start(t, s)
	c := dial(t, r.addr)
	io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
	if got := rest(c); !strings.HasPrefix(got, " ") {
		t.Errorf("answered %q", got)
	}
	c.Close()
	r.eventually(t, `yumen_client_connections_closed_total{reason="greeting"} 1`)
}

// TLS may end here, on either side, while the bytes in it are nobody's business.
func TestPassagesThroughTLS(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t)
	for _, front := range []bool{false, true} {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprint(front, back), func(t *testing.T) {
				hs := tlsconn.NewHandshaker(tlsconn.HandshakerConfig{})
				s := bytesOnly(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
					if !back {
						echo(c, br)
						return
					}
					secured := tls.Server(behind{c, br}, &tls.Config{Certificates: []tls.Certificate{cert}})
					io.Copy(secured, secured)
					secured.CloseWrite()
				}))
				if back {
					s.dial = speech{secure: true}.dial(t, pool, hs)
					s.dial.Protocols = engine.Raw
				}
				speech{secure: front}.listen(t, &s.server, cert, hs)
				s.server.Protocols = engine.Raw
				r := start(t, s)
				tcp := dial(t, r.addr)
				var c interface {
					net.Conn
					CloseWrite() error
				} = tcp
				if front {
					c = tls.Client(tcp, &tls.Config{RootCAs: pool, ServerName: "localhost"})
				}
				text := strings.Repeat("0123456789", 30_000)
				go io.WriteString(c, text)
				if got := string(read(t, c, len(text))); got != text {
					t.Errorf("came back as %.40q", got)
				}
				check(t, c.CloseWrite())
				if got := rest(c); got != " closed" {
					t.Errorf("at the end came %q", got)
				}
				tcp.Close()
				r.nothingHeld(t)
			})
		}
	}
}

// An upstream whose certificate is not the one that is asked for gets nothing.
func TestAPassageToAnUnknownCertificate(t *testing.T) {
	t.Parallel()
	cert, _ := certificate(t)
	s := bytesOnly(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		io.Copy(io.Discard, tls.Server(behind{c, br}, &tls.Config{Certificates: []tls.Certificate{cert}}))
	}))
	s.dial = speech{secure: true}.dial(t, x509.NewCertPool(), tlsconn.NewHandshaker(tlsconn.HandshakerConfig{}))
	s.dial.Protocols = engine.Raw
	line := logged(t, s, func(r *running) {
		c := dial(t, r.addr)
		if got := rest(c); got != " reset" {
			t.Errorf("the client got %q", got)
		}
		c.Close()
	})
	if !strings.Contains(line, `"reason":"tls_failed"`) {
		t.Errorf("logged as %s", line)
	}
}

// The upstream is told who its client is before anything else, in either version.
func TestTheUpstreamIsToldItsClient(t *testing.T) {
	t.Parallel()
	for version := 1; version <= 2; version++ {
		got := make(chan string, 1)
		s := bytesOnly(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
			var head []byte
			for {
				b, err := br.ReadByte()
				if err != nil {
					return
				}
				head = append(head, b)
				if h, n, err := proxyproto.Parse(head); err != nil || n > 0 {
					got <- fmt.Sprint(h.Version, " ", h.Source, " to ", h.Destination, " ", err)
					echo(c, br)
					return
				}
			}
		}))
		s.proxy = version
		r := start(t, s)
		c := dial(t, r.addr)
		io.WriteString(c, "hello")
		if want := fmt.Sprint(version, " ", c.LocalAddr(), " to ", r.addr, " <nil>"); <-got != want {
			t.Errorf("the upstream did not hear %s", want)
		}
		if text := string(read(t, c, 5)); text != "hello" {
			t.Errorf("behind the header came %q", text)
		}
		c.Close()
		r.nothingHeld(t)
	}
}

// proxied is a listener that takes a PROXY header of peers on this machine.
func proxied(t *testing.T, s settings, from string, required bool) settings {
	s.server.Proxy = &engine.ProxyProtocol{From: []netip.Prefix{prefix(t, from)}, Required: required}
	return s
}

var (
	lineOfProxy  = string(proxyproto.AppendV1(nil, netip.MustParseAddrPort("192.0.2.7:1234"), netip.MustParseAddrPort("198.51.100.1:443")))
	blockOfProxy = string(proxyproto.AppendV2(nil, netip.MustParseAddrPort("192.0.2.7:1234"), netip.MustParseAddrPort("198.51.100.1:443")))
)

// What a trusted balancer says of the client is what the upstream hears, whatever is spoken behind the header, whole and byte
// by byte. What it does not say, or somebody else does, is not.
func TestProxyHeadersFromClients(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t)
	const me, others = "127.0.0.0/8", "10.0.0.0/8"
	for _, c := range []struct {
		name     string
		from     string
		required bool
		header   string
		want     string // the client as the upstream of HTTP hears of it; "": turned away
	}{
		{"version 1", me, true, lineOfProxy, "192.0.2.7"},
		{"version 2", me, true, blockOfProxy, "192.0.2.7"},
		{"version 1, optional", me, false, lineOfProxy, "192.0.2.7"},
		{"version 2, optional", me, false, blockOfProxy, "192.0.2.7"},
		{"of nobody", me, true, "PROXY UNKNOWN\r\n", "127.0.0.1"},
		{"none, optional", me, false, "", "127.0.0.1"},
		{"none, required", me, true, "", ""},
		{"garbage, required", me, true, "PROXY TCP4 garbage\r\n", ""},
		{"garbage, optional", me, false, "PROXY TCP4 garbage\r\n", ""},
		{"of somebody else", others, true, lineOfProxy, ""},
		{"none of somebody else", others, true, "", "127.0.0.1"},
	} {
		for _, front := range speeches {
			if front.two {
				continue // the header is the same, and the client below speaks HTTP/1
			}
			for _, whole := range []bool{true, false} {
				t.Run(fmt.Sprint(c.name, " ", front.name, " ", whole), func(t *testing.T) {
					s := proxied(t, usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
						head, _ := readMessage(br)
						_, value, _ := strings.Cut(string(head), "X-Forwarded-For: ")
						value, _, _ = strings.Cut(value, "\r\n")
						fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(value), value)
					})), c.from, c.required)
					front.listen(t, &s.server, cert, tlsconn.NewHandshaker(tlsconn.HandshakerConfig{}))
					r := start(t, s)
					conn := net.Conn(dial(t, r.addr))
					defer conn.Close()
					if !whole {
						conn = byteByByte{conn}
					}
					io.WriteString(conn, c.header)
					if front.secure {
						secured := tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: "localhost"})
						if err := secured.Handshake(); err != nil {
							if c.want != "" {
								t.Error(err)
							}
							return
						}
						conn = secured
					}
					got := ask(t, conn, "/")
					if c.want == "" {
						if strings.Contains(got, " 200 ") {
							t.Errorf("served: %q", got)
						}
						return
					}
					if !strings.Contains(got, "\r\n\r\n"+c.want) {
						t.Errorf("answered %q, want %s", got, c.want)
					}
				})
			}
		}
	}
}

// One header comes in, another goes out: the upstream hears of the client, and of where that had connected to.
func TestAProxyHeaderIsPassedOn(t *testing.T) {
	t.Parallel()
	for _, required := range []bool{false, true} {
		s := proxied(t, bytesOnly(serve(t, echo)), "127.0.0.0/8", required)
		s.proxy = 1
		r := start(t, s)
		for _, header := range []string{lineOfProxy, blockOfProxy} {
			c := dial(t, r.addr)
			io.WriteString(c, header+"hello")
			if got := string(read(t, c, len(lineOfProxy)+5)); got != lineOfProxy+"hello" {
				t.Errorf("the upstream got %q", got)
			}
			c.Close()
		}
		r.nothingHeld(t)
	}
}

// A trusted peer that may send a header and sends nothing is waited for, and no longer than for a head.
func TestAHeaderThatDoesNotCome(t *testing.T) {
	t.Parallel()
	for _, said := range []string{"", "PRO", blockOfProxy[:11]} {
		s := proxied(t, bytesOnly(serve(t, echo)), "127.0.0.0/8", false)
		s.server.HeadTimeout = 30 * time.Millisecond
		r := start(t, s)
		c := dial(t, r.addr)
		io.WriteString(c, said)
		if got := rest(c); !strings.HasPrefix(got, " ") {
			t.Errorf("behind %q came %q", said, got)
		}
		c.Close()
		r.eventually(t, `yumen_client_connections_closed_total{reason="head_timeout"} 1`)
	}
}

// A drain leaves passages alone, there is no word for it in bytes, and cuts what is left at its end.
func TestADrainLeavesPassagesAlone(t *testing.T) {
	t.Parallel()
	r := start(t, bytesOnly(serve(t, echo)))
	c := dial(t, r.addr)
	say(t, c, "before")
	r.gateway.OnEach((*gateway.Worker).Drain)
	r.onEach((*engine.Worker).CloseIdle)
	if got := say(t, c, "meanwhile"); got != "meanwhile" {
		t.Errorf("came back as %q", got)
	}
	r.onEach((*engine.Worker).CloseAll)
	if got := rest(c); got != " reset" && got != " closed" {
		t.Errorf("at the end came %q", got)
	}
	r.eventually(t, `yumen_client_connections_closed_total{reason="drain"} 1`)
}
