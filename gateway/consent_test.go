package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine"
	"golang.org/x/net/http2"
)

// A tunnel stands when both sides have agreed, and no byte goes through before. The stories of websocket_*.txt tell it of
// HTTP/1 on both sides; these are about HTTP/2, whose clients may send ahead of the answer.

// asks sends an extended CONNECT.
func (f *frames) asks(stream uint32, path string, end bool) {
	f.tb.Helper()
	f.request(stream, "CONNECT", path, end, ":protocol: websocket", "sec-websocket-version: 13")
}

// smuggled is what a client sends that hopes to speak to the upstream behind the gateway's back.
const smuggled = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"

// What a client sends ahead of the answer waits for it. If that is a refusal, it is never sent; if not, it comes first.
func TestNothingPassesBeforeBothAgree(t *testing.T) {
	for _, refused := range []bool{true, false} {
		t.Run(fmt.Sprint("refused ", refused), func(t *testing.T) {
			asked, answer := make(chan struct{}), make(chan struct{})
			seen := make(chan string, 1)
			r := start(t, many1(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
				req, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				close(asked)
				<-answer
				if refused {
					io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
					next, err := http.ReadRequest(br)
					if err != nil {
						seen <- err.Error()
						return
					}
					seen <- next.URL.Path
					io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					return
				}
				fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n",
					acceptOf(req.Header.Get("Sec-Websocket-Key")))
				seen <- string(read(t, br, len(smuggled)))
				io.Copy(c, br)
			})))
			c := clientFrames(t, r.addr)
			c.asks(1, "/ws", false)
			check(t, c.WriteData(1, false, []byte(smuggled)))
			<-asked
			// All of it has been read when the answer to this PING comes.
			check(t, c.WritePing(false, [8]byte{1}))
			for {
				fr, err := c.ReadFrame()
				check(t, err)
				if ping, ok := fr.(*http2.PingFrame); ok && ping.IsAck() {
					break
				}
			}
			close(answer)
			if refused {
				c.wants("1 head 403")
				if n, end := c.body(1); n != 2 || end != "end" {
					t.Errorf("a body of %d bytes, %s", n, end)
				}
				c.wants("1 reset NO_ERROR")
				c.request(3, "GET", "/next", true)
				c.wants("3 head 200 end")
				if got := <-seen; got != "/next" {
					t.Errorf("behind the refused handshake the upstream saw %s", got)
				}
			} else {
				c.wants("1 head 200")
				if got := <-seen; got != smuggled {
					t.Errorf("the tunnel begins with %q", got)
				}
				check(t, c.WriteData(1, false, []byte("ping")))
				c.wants("1 data 4")
				check(t, c.WriteData(1, true, nil))
				c.wants("1 data 0 end")
			}
			c.Close()
			r.nothingHeld(t)
		})
	}
}

// many1 is a listener of both versions in front of a cluster of HTTP/1.
func many1(endpoints ...string) settings {
	s := usual(endpoints...)
	s.server.Protocols = engine.HTTP1 | engine.HTTP2
	return s
}

// A client may end its side with the request already: the upstream hears of it when the tunnel stands.
func TestATunnelWhoseClientHasNothingToSay(t *testing.T) {
	r := start(t, many1(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			acceptOf(req.Header.Get("Sec-Websocket-Key")))
		n, err := io.Copy(io.Discard, br)
		fmt.Fprintf(c, "%d %v", n, err)
	})))
	c := clientFrames(t, r.addr)
	c.asks(1, "/ws", true)
	c.wants("1 head 200")
	if n, end := c.body(1); n != len("0 <nil>") || end != "end" {
		t.Errorf("%d bytes, %s", n, end)
	}
	c.Close()
	r.nothingHeld(t)
}

// A 101 that does not prove that the question was read is none, and a 200 is none in HTTP/1; in HTTP/2 it would look like one.
func TestAnswersThatAreNoAgreement(t *testing.T) {
	everyPair(t, nil, func(t *testing.T, front, back speech, r *running, pool *x509.CertPool, u *sockets) {
		if back.two {
			return
		}
		resp, c := front.open(t, r.addr, "/lies", pool)
		if c != nil || resp.StatusCode != 502 || resp.Header.Get("X-Yumen-Reason") != "bad_response" {
			t.Errorf("a wrong accept: %v %v", resp.Status, resp.Header)
		}
		resp.Body.Close()
		want := "200 "
		if front.two {
			want = "502 no_tunnel"
		}
		resp, _ = front.open(t, r.addr, "/200", pool)
		if got := fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Yumen-Reason")); got != want {
			t.Errorf("a 200: %s", got)
		}
		text, err := io.ReadAll(resp.Body)
		if !front.two && (string(text) != "refused" || err != nil) {
			t.Errorf("a 200 with %q, %v", text, err)
		}
		resp.Body.Close()
	})
}

// websocketTo asks for a WebSocket by HTTP/1 and returns the answer's status line and reason.
func (r *running) websocketTo(t *testing.T) string {
	t.Helper()
	c := dial(t, r.addr)
	defer c.Close()
	fmt.Fprint(c, handshake)
	head, _ := readMessage(bufio.NewReader(c))
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), nil)
	check(t, err)
	return fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Yumen-Reason"))
}

// An upstream that has not said that it knows the extended CONNECT is not asked, and other requests on its connection are not
// disturbed. Whether it knows is known when its SETTINGS have come: until then, the request waits.
func TestAnUpstreamWithoutTunnels(t *testing.T) {
	connected, settle := make(chan struct{}, 10), make(chan struct{})
	r := start(t, many(serveFrames(t, func(f *frames) {
		connected <- struct{}{}
		<-settle
		f.WriteSettings()
		echoes(f, func(stream uint32) { f.head(stream, true, ":status: 204") })
	})))
	first := make(chan string)
	go func() { first <- r.websocketTo(t) }()
	<-connected
	if got := r.metric(t, "yumen_requests_running"); got != 1 {
		t.Errorf("%v requests wait for the SETTINGS", got)
	}
	close(settle)
	if got := <-first; got != "502 no_tunnel" {
		t.Errorf("before the SETTINGS: %s", got)
	}
	for range 3 {
		if got := r.get("GET", "/", ""); !strings.HasPrefix(got, "204") {
			t.Errorf("an ordinary request: %s", got)
		}
		if got := r.websocketTo(t); got != "502 no_tunnel" {
			t.Errorf("behind them: %s", got)
		}
	}
	if n := len(connected); n != 0 {
		t.Errorf("%d further connections were needed", n)
	}
}

// A client that goes while its request waits for the SETTINGS leaves nothing behind, and an upstream that goes fails it.
func TestWhoWaitsForSettings(t *testing.T) {
	connected, settle := make(chan struct{}, 10), make(chan bool)
	r := start(t, many(serveFrames(t, func(f *frames) {
		connected <- struct{}{}
		if !<-settle {
			return
		}
		f.WriteSettings(http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
		echoes(f, func(stream uint32) { f.head(stream, true, ":status: 204", fmt.Sprint("x-stream: ", stream)) })
	})))
	c := dial(t, r.addr)
	fmt.Fprint(c, handshake)
	<-connected
	check(t, c.SetLinger(0)) // a mere end may only be that of its sending
	c.Close()
	r.nothingHeld(t)
	settle <- true
	other := dial(t, r.addr)
	if got := ask(t, other, "/"); !strings.Contains(got, "X-Stream: 1\r\n") && !strings.Contains(got, "x-stream: 1\r\n") {
		t.Errorf("the request that was given up was sent: %q", got)
	}
	other.Close()

	r = start(t, many(serveFrames(t, func(f *frames) {})))
	if got := r.websocketTo(t); !strings.HasPrefix(got, "50") {
		t.Errorf("an upstream that goes: %s", got)
	}
	r.nothingHeld(t)
}
