package gateway_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/tlsconn"
	"github.com/yumen-io/yumen/gateway"
)

// delayed is how many connections had to wait.
func (r *running) delayed() (n uint64) {
	r.gateway.OnEach(func(w *gateway.Worker) { n += w.Engine().Delayed() })
	return n
}

// offend is an address that breaks HTTP/2 until its connections wait. prefix is what a connection begins with.
func (r *running) offend(t *testing.T, prefix string) {
	t.Helper()
	for deadline := time.Now().Add(patience); r.delayed() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no connection ever had to wait")
		}
		c := dial(t, r.addr)
		// A frame of no stream where one is needed.
		fmt.Fprint(c, prefix, http2.ClientPreface, "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x01\x00\x00\x00\x00\x00\x00x")
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	}
}

// owing is a listener for both protocols whose clients pay for what they waste.
func owing(t *testing.T) settings {
	s := answersAtOnce()
	s.server.Protocols = engine.HTTP1 | engine.HTTP2
	s.server.DebtMax = 200 * time.Millisecond
	return s
}

// Connections that stand are served as ever. New ones are served when it is their turn, whatever they speak, and whether
// they have said it meanwhile or not.
func TestNewConnectionsOfAnAddressThatWastesWait(t *testing.T) {
	t.Parallel()
	r := start(t, owing(t))
	before := dial(t, r.addr)
	if got := ask(t, before, "/"); !strings.Contains(got, " 403 ") {
		t.Fatal(got)
	}
	r.offend(t, "")
	silent, speaks, two := dial(t, r.addr), dial(t, r.addr), clientFrames(t, r.addr)
	fmt.Fprint(speaks, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	two.request(1, "GET", "/", true)
	if got := ask(t, before, "/"); !strings.Contains(got, " 403 ") {
		t.Errorf("on a connection that stood before: %s", got)
	}
	if got, end := readMessage(bufio.NewReader(speaks)); !strings.Contains(string(got), " 403 ") {
		t.Errorf("got %q %s", got, end)
	}
	for {
		fr, err := two.next()
		if err != nil {
			t.Fatal(err)
		}
		if fr.Header().StreamID == 1 && fr.Header().Flags.Has(http2.FlagDataEndStream) {
			break
		}
	}
	if got := ask(t, silent, "/"); !strings.Contains(got, " 403 ") {
		t.Errorf("got %q", got)
	}
	for _, c := range []io.Closer{before, silent, speaks, two} {
		c.Close()
	}
	r.nothingHeld(t)
}

// A client that leaves while it waits, and a gateway that does.
func TestWaitingConnectionsEnd(t *testing.T) {
	t.Parallel()
	s := owing(t)
	s.server.DebtMax = time.Hour
	r := start(t, s)
	r.offend(t, "")
	waits := dial(t, r.addr)
	fmt.Fprint(waits, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	for deadline := time.Now().Add(patience); r.delayed() < 2; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it does not wait")
		}
	}
	r.gateway.OnEach(func(w *gateway.Worker) { w.Engine().CloseAll() })
	if got, end := readRest(bufio.NewReader(waits)); len(got) > 0 || end == "timeout" {
		t.Errorf("got %q %s", got, end)
	}
	r.nothingHeld(t)
}

// Who wastes is who a trusted proxy says the client is, not the proxy.
func TestDebtsBehindAProxy(t *testing.T) {
	t.Parallel()
	r := start(t, proxied(t, owing(t), "127.0.0.0/8", true))
	r.offend(t, lineOfProxy)
	n := r.delayed()
	other := dial(t, r.addr)
	fmt.Fprint(other, strings.Replace(lineOfProxy, "192.0.2.7", "192.0.2.8", 1))
	if got := ask(t, other, "/"); !strings.Contains(got, " 403 ") || r.delayed() != n {
		t.Errorf("got %q, %d have waited, %d before", got, r.delayed(), n)
	}
	same := byteByByte{dial(t, r.addr)}
	fmt.Fprint(same, lineOfProxy)
	if got := ask(t, same, "/"); !strings.Contains(got, " 403 ") || r.delayed() != n+1 {
		t.Errorf("got %q, %d have waited, %d before", got, r.delayed(), n)
	}
	other.Close()
	same.Close()
	r.nothingHeld(t)
}

// A handshake that fails costs a signature.
func TestFailedHandshakesArePaidFor(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t)
	s := answersAtOnce()
	s.server.DebtMax = 200 * time.Millisecond
	speech{secure: true}.listen(t, &s.server, cert, tlsconn.NewHandshaker(tlsconn.HandshakerConfig{}))
	r := start(t, s)
	for deadline := time.Now().Add(patience); r.delayed() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no connection ever had to wait")
		}
		c := tls.Client(dial(t, r.addr), &tls.Config{ServerName: "localhost"}) // which trusts nobody of ours
		if c.Handshake() == nil {
			t.Fatal("the handshake succeeded")
		}
		c.Close()
	}
	c := tls.Client(dial(t, r.addr), &tls.Config{RootCAs: pool, ServerName: "localhost"})
	if got := ask(t, c, "/"); !strings.Contains(got, " 403 ") {
		t.Errorf("got %q", got)
	}
	c.Close()
	r.nothingHeld(t)
}
