package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/route"
)

// What a WebSocket carries in these tests (RFC 6455 5.2).
var (
	hello        = []byte("\x81\x05hello")                                       // a text, as servers send it
	maskedHello  = []byte("\x81\x85\x00\x00\x00\x00hello")                       // as clients do; a key of zeros changes nothing
	goingAway    = []byte("\x88\x02\x03\xe9")                                    // Close, 1001
	maskedAnswer = []byte("\x88\x82\x00\x00\x00\x00\x03\xe9")                    // a client's
	maskedLong   = append([]byte("\x82\xfe\x10\x00abcd"), make([]byte, 4096)...) // 4096 bytes of a client's
)

// readFrame reads a small frame and says what it is: opcode, whether it was masked, and the payload in hexadecimal.
func readFrame(r io.Reader) string {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err.Error()
	}
	n, masked := int(head[1]&127), head[1]&128 != 0
	var key [4]byte
	if masked {
		if _, err := io.ReadFull(r, key[:]); err != nil {
			return err.Error()
		}
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return err.Error()
	}
	for i := range payload {
		payload[i] ^= key[i&3]
	}
	return fmt.Sprintf("%x %v %x", head[0]&15, masked, payload)
}

const (
	closeOfClient   = "8 true 03e9"
	closeOfUpstream = "8 false 03e9"
)

// drain lets the gateway begin with that.
func (r *running) drain() { r.gateway.OnEach((*gateway.Worker).Drain) }

// politely is an upstream's end of a WebSocket that answers a Close with a Close, and everything else with a greeting. What it
// was sent goes to got.
func politely(got chan<- string) func(io.Reader, io.Writer) {
	return func(in io.Reader, out io.Writer) {
		for {
			frame := readFrame(in)
			got <- frame
			switch frame {
			case closeOfClient:
				out.Write(goingAway)
			case io.EOF.Error(), io.ErrUnexpectedEOF.Error():
				return
			default:
				out.Write(hello)
			}
		}
	}
}

// Both ends are told with 1001 that the gateway goes away, and when both have answered, the tunnel is over.
func TestADrainSaysGoodbyeInEveryPair(t *testing.T) {
	everyPair(t, nil, func(t *testing.T, front, back speech, r *running, pool *x509.CertPool, u *sockets) {
		got := make(chan string, 10)
		u.frames = politely(got)
		_, c := front.open(t, r.addr, "/frames", pool)
		defer c.close()
		c.send(t, maskedHello, 1)
		c.expect(t, hello)
		if frame := <-got; frame != "1 true 68656c6c6f" {
			t.Errorf("the upstream got %s", frame)
		}
		r.drain()
		if frame := readFrame(c); frame != closeOfUpstream {
			t.Errorf("the client got %s", frame)
		}
		if frame := <-got; frame != closeOfClient {
			t.Errorf("the upstream got %s", frame)
		}
		c.send(t, maskedAnswer, 3)
		if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
			t.Errorf("behind the goodbye came %x, %v", rest, err)
		}
		c.close()
		r.nothingHeld(t)
	})
}

// websocket starts a gateway before one upstream of frames, and opens a tunnel to it. The upstream's end is handed over.
func websocket(t *testing.T) (*running, *net.TCPConn, *bufio.Reader, *actor) {
	t.Helper()
	upstream, over := make(chan *actor), make(chan struct{})
	r := start(t, usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		if agree(c, br) == nil {
			upstream <- &actor{c, br}
			<-over
		}
	})))
	t.Cleanup(func() { close(over) })
	c, br := r.tunnel(t)
	return r, c, br, <-upstream
}

// read reads so many bytes.
func read(t *testing.T, r io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	check(t, err)
	return b
}

// A Close does not come in the middle of a frame, wherever that is cut; the rest of it arrives first.
func TestAGoodbyeWaitsForTheEndOfTheFrame(t *testing.T) {
	for cut := 1; cut < len(hello); cut++ {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			r, c, br, u := websocket(t)
			_, err := u.Write(hello[:cut])
			check(t, err)
			read(t, br, cut)
			r.drain()
			if frame := readFrame(u.r); frame != closeOfClient { // its own direction stands between frames
				t.Errorf("the upstream got %s", frame)
			}
			_, err = u.Write(append(bytes.Clone(hello[cut:]), hello...)) // and what is behind the frame comes too late
			check(t, err)
			if rest := read(t, br, len(hello)-cut); !bytes.Equal(rest, hello[cut:]) {
				t.Errorf("the rest of the frame is %x", rest)
			}
			if frame := readFrame(br); frame != closeOfUpstream {
				t.Errorf("the client got %s", frame)
			}
			_, err = c.Write(maskedAnswer)
			check(t, err)
			_, err = u.Write(goingAway)
			check(t, err)
			if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
				t.Errorf("behind the goodbye came %x, %v", rest, err)
			}
			c.Close()
			r.nothingHeld(t)
		})
	}
}

// The same for a client that is in the middle of a long frame: the upstream gets all of it.
func TestAGoodbyeToTheUpstreamWaitsForTheClientsFrame(t *testing.T) {
	r, c, br, u := websocket(t)
	_, err := c.Write(maskedLong[:1000])
	check(t, err)
	read(t, u.r, 1000)
	r.drain()
	if frame := readFrame(br); frame != closeOfUpstream {
		t.Errorf("the client got %s", frame)
	}
	_, err = c.Write(append(bytes.Clone(maskedLong[1000:]), maskedAnswer...))
	check(t, err)
	if rest := read(t, u.r, len(maskedLong)-1000); !bytes.Equal(rest, maskedLong[1000:]) {
		t.Error("the client's frame is not what it was")
	}
	if frame := readFrame(u.r); frame != closeOfClient { // one, whoever wrote it
		t.Errorf("the upstream got %s", frame)
	}
	_, err = u.Write(goingAway)
	check(t, err)
	if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
		t.Errorf("behind the goodbye came %x, %v", rest, err)
	}
	c.Close()
	r.nothingHeld(t)
}

// A side that has said goodbye by itself is not told again.
func TestAGoodbyeIsSaidOnce(t *testing.T) {
	r, c, br, u := websocket(t)
	_, err := u.Write(goingAway)
	check(t, err)
	read(t, br, len(goingAway))
	r.drain()
	r.drain()
	if frame := readFrame(u.r); frame != closeOfClient {
		t.Errorf("the upstream got %s", frame)
	}
	_, err = c.Write(maskedAnswer)
	check(t, err)
	if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
		t.Errorf("behind the upstream's goodbye came %x, %v", rest, err)
	}
	if rest, _ := io.ReadAll(u.r); len(rest) > 0 {
		t.Errorf("behind ours came %x", rest)
	}
	c.Close()
	r.nothingHeld(t)
}

// A tunnel that comes about while the gateway drains is ended at once.
func TestAHandshakeDuringADrain(t *testing.T) {
	asked, agreed := make(chan struct{}), make(chan struct{})
	r := start(t, usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		read(t, br, 1)
		close(asked)
		<-agreed
		br.UnreadByte()
		if agree(c, br) == nil {
			politely(make(chan string, 10))(br, c)
		}
	})))
	c := dial(t, r.addr)
	fmt.Fprint(c, handshake)
	<-asked
	r.drain()
	close(agreed)
	br := bufio.NewReader(c)
	if got := read(t, br, len(switched)); !bytes.Contains(got, []byte("101 Switching")) {
		t.Errorf("the handshake is answered with %q", got)
	}
	if frame := readFrame(br); frame != closeOfUpstream {
		t.Errorf("the client got %s", frame)
	}
	fmt.Fprintf(c, "%s", maskedAnswer)
	if rest, err := io.ReadAll(br); len(rest) > 0 || err != nil {
		t.Errorf("behind the goodbye came %x, %v", rest, err)
	}
	c.Close()
	r.nothingHeld(t)
}

// An end that does not answer has until the drain is over, and so has a tunnel in which no frames can be told; then both are
// cut.
func TestWhoDoesNotAnswerAGoodbyeIsCut(t *testing.T) {
	for _, spoken := range []string{"", "no frames at all"} {
		r, c, br, u := websocket(t)
		fmt.Fprint(c, spoken)
		fmt.Fprint(u, spoken)
		read(t, u.r, len(spoken))
		read(t, br, len(spoken))
		r.drain()
		if spoken == "" {
			if frame := readFrame(br); frame != closeOfUpstream {
				t.Errorf("the client got %s", frame)
			}
		} else {
			fmt.Fprint(u, spoken)
			read(t, br, len(spoken))
		}
		r.onEach((*engine.Worker).CloseIdle)
		if n := r.open(); n != 1 {
			t.Errorf("%d connections are open", n)
		}
		r.onEach((*engine.Worker).CloseAll)
		if _, err := br.ReadByte(); err == nil {
			t.Error("the client's end goes on")
		}
		io.Copy(io.Discard, u.r)
		r.nothingHeld(t)
	}
}

// A new configuration leaves tunnels alone, also when their route is not in it any more.
func TestAConfigurationLeavesTunnelsAlone(t *testing.T) {
	r, c, br, u := websocket(t)
	s := usual()
	s.routes[0] = routeSettings{spec: route.Spec{Name: "all", Path: "/elsewhere"}, respond: &gateway.Respond{Status: 204}}
	prepared, err := r.group.Prepare(nil, nil, nil)
	check(t, err)
	prepared.Commit()
	r.gateway.Swap(snapshot(t, s, r.metrics.View([]string{"all"}, []string{"app"}), r.group, prepared))
	for range 3 {
		_, err := c.Write(maskedHello)
		check(t, err)
		if got := read(t, u.r, len(maskedHello)); !bytes.Equal(got, maskedHello) {
			t.Errorf("the upstream got %x", got)
		}
		_, err = u.Write(hello)
		check(t, err)
		read(t, br, len(hello))
	}
	other := dial(t, r.addr)
	if got := ask(t, other, "/ws"); !strings.Contains(got, " 404 ") {
		t.Errorf("the new configuration answers %q", got)
	}
	other.Close()
	c.Close()
	u.Close()
	r.eventually(t, `yumen_client_connections_closed_total{reason="tunnel"} 1`)
}
