package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/gateway"
)

const (
	handshake = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

// agree is the upstream's side of a handshake.
func agree(c *net.TCPConn, r *bufio.Reader) error {
	if _, err := http.ReadRequest(r); err != nil {
		return err
	}
	_, err := io.WriteString(c, switched)
	return err
}

// tunnel opens one from the client's side.
func (r *running) tunnel(t *testing.T) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	c := dial(t, r.addr)
	fmt.Fprint(c, handshake)
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	check(t, err)
	if resp.StatusCode != 101 {
		t.Fatal(resp.Status)
	}
	return c, br
}

func (r *running) onEach(do func(*engine.Worker)) {
	r.gateway.OnEach(func(w *gateway.Worker) { do(w.Engine()) })
}

// Both ends of a tunnel send and nobody reads: the gateway holds little and asks both to wait. Then both read, and nothing
// is missing, in spite of a body limit and a deadline that the request had.
func TestATunnelHoldsBackBothSides(t *testing.T) {
	const size = 32 << 20
	var sent, arrived atomic.Int64
	read := make(chan struct{})
	done := make(chan struct{})
	settings := usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		if agree(c, br) != nil {
			return
		}
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			io.Copy(counting{c, &sent}, io.LimitReader(zeros{}, size))
		}()
		<-read
		io.Copy(counting{io.Discard, &arrived}, br)
		<-wrote
		close(done)
	}))
	settings.listener.BodyBytesMax = 1
	settings.routes[0].request = 100 * time.Millisecond // less than stalled watches
	r := start(t, settings)
	c, br := r.tunnel(t)
	go func() {
		io.Copy(counting{c, &sent}, io.LimitReader(zeros{}, size))
		c.CloseWrite()
	}()
	if most := r.stalled(t, &sent); most > 2*heldPerConn {
		t.Errorf("%d bytes are held for a tunnel", most)
	}
	if n := sent.Load(); n == 2*size {
		t.Errorf("all %d bytes went somewhere while nobody read", n)
	}
	close(read)
	back, err := io.Copy(io.Discard, br)
	<-done
	if back != size || arrived.Load() != size || err != nil {
		t.Errorf("of %d bytes %d came to the client and %d to the upstream, %v", size, back, arrived.Load(), err)
	}
	r.nothingHeld(t)
}

// Tunnels that stand cost no buffer, and are on their endpoint's load: that is how least_request levels them.
func TestStandingTunnels(t *testing.T) {
	const n = 50
	settings := usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		if agree(c, br) == nil {
			io.Copy(c, br)
		}
	}))
	r := start(t, settings)
	var conns []*net.TCPConn
	for range n {
		c, br := r.tunnel(t)
		fmt.Fprint(c, "ping")
		_, err := io.ReadFull(br, make([]byte, 4))
		check(t, err)
		conns = append(conns, c)
	}
	if held := r.held(); held != 0 {
		t.Errorf("%d bytes are held for %d tunnels in which nothing moves", held, n)
	}
	for addr, l := range r.group.Loads() {
		if l.InFlight != n || l.Connections != n || l.Idle != 0 {
			t.Errorf("endpoint %s: %+v", addr, l)
		}
	}
	if got := r.metric(t, `yumen_upstream_attempts_total{cluster="app",outcome="ok"}`); got != n {
		t.Errorf("%v attempts are counted while the tunnels stand", got)
	}
	for _, c := range conns {
		c.Close()
	}
	r.nothingHeld(t)
}

// A draining gateway leaves tunnels alone; when it cannot wait any longer it cuts them, and both ends hear of it.
func TestDrainAndTunnels(t *testing.T) {
	ended := make(chan struct{})
	r := start(t, usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		if agree(c, br) == nil {
			io.Copy(c, br)
		}
		close(ended)
	})))
	c, br := r.tunnel(t)
	echo := func() {
		t.Helper()
		fmt.Fprint(c, "ping")
		_, err := io.ReadFull(br, make([]byte, 4))
		check(t, err)
	}
	echo()
	r.onEach((*engine.Worker).Drain)
	r.onEach((*engine.Worker).CloseIdle)
	echo()
	r.onEach((*engine.Worker).CloseAll)
	if _, err := br.ReadByte(); err == nil {
		t.Error("the client's end goes on")
	}
	<-ended
	if got := r.metric(t, `yumen_client_connections_closed_total{reason="drain"}`); got != 1 {
		t.Errorf("%v connections are counted as closed by the drain", got)
	}
	r.nothingHeld(t)
}
