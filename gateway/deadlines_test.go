package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
)

// ask sends a request without a body and returns the answer.
func ask(tb testing.TB, c io.ReadWriter, path string) string {
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
	got, end := readMessage(bufio.NewReader(c))
	return string(got) + end
}

func TestABodyThatStopsIsGivenUp(t *testing.T) {
	t.Parallel()
	for _, framing := range []string{"Content-Length: 100\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"} {
		s := usual(serve(t, answerWith(1)))
		s.server.BodyWindow = 30 * time.Millisecond
		r := start(t, s)
		c := dial(t, r.addr)
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\n", framing)
		if got, end := readRest(bufio.NewReader(c)); !bytes.Contains(got, []byte("408")) || !bytes.Contains(got, []byte("body_rate")) || end != "closed" {
			t.Errorf("got %q %s", got, end)
		}
		c.Close()
		r.nothingHeld(t)
		if got := r.metricLines(t, "yumen_upstream_attempts_total"); !strings.Contains(got, `"aborted"} 1`) {
			t.Errorf("the upstream's record says %q", got)
		}
	}
}

func TestAClientThatTakesNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	s := usual(serve(t, answerWith(100<<20)))
	s.server.SendTimeout = 50 * time.Millisecond
	r := start(t, s)
	c := dial(t, r.addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	r.eventually(t, `yumen_client_connections_closed_total{reason="send_timeout"} 1`)
}

// eventually waits for a line of the page of metrics and then checks what is held.
func (r *running) eventually(tb testing.TB, line string) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(r.metricLines(tb, "yumen_"), line); runtime.Gosched() {
		if time.Now().After(deadline) {
			tb.Fatalf("no %s in\n%s", line, r.metricLines(tb, "yumen_client"))
		}
	}
	r.nothingHeld(tb)
}

func TestOneConnectionTooManyIsToldSo(t *testing.T) {
	t.Parallel()
	s := usual(serve(t, answerWith(1)))
	s.connsMax = 2
	r := start(t, s)
	first, second := dial(t, r.addr), dial(t, r.addr)
	ask(t, first, "/")
	ask(t, second, "/")
	third := dial(t, r.addr)
	if got, end := readRest(bufio.NewReader(third)); !bytes.Contains(got, []byte("503")) || !bytes.Contains(got, []byte("connection_limit")) {
		t.Errorf("got %q %s", got, end)
	}
	first.Close()
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		fourth := dial(t, r.addr)
		got := ask(t, fourth, "/")
		fourth.Close()
		if strings.Contains(got, "200 OK") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("there is room again, and a client got %q", got)
		}
	}
	second.Close()
	r.nothingHeld(t)
}

func TestDraining(t *testing.T) {
	t.Parallel()
	r := start(t, usual(serve(t, answerWith(1))))
	busy, idle, fresh := dial(t, r.addr), dial(t, r.addr), dial(t, r.addr)
	for _, c := range []io.ReadWriter{busy, idle} {
		if got := ask(t, c, "/"); strings.Contains(got, "Connection: close") {
			t.Errorf("before the drain: %q", got)
		}
	}
	half := dial(t, r.addr) // in the middle of a head
	fmt.Fprint(half, "GET / HTTP/1.1\r\nHo")
	for deadline := time.Now().Add(patience); r.open() < 4 || r.held() == 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections, %d bytes", r.open(), r.held())
		}
	}
	r.gateway.OnEach(func(w *gateway.Worker) { w.Engine().Drain() })
	if got := ask(t, busy, "/"); !strings.Contains(got, "200 OK") || !strings.Contains(got, "Connection: close") {
		t.Errorf("while draining: %q", got)
	}
	r.gateway.OnEach(func(w *gateway.Worker) { w.Engine().CloseIdle() })
	for _, c := range []io.Reader{busy, idle, fresh} {
		if got, end := readRest(bufio.NewReader(c)); len(got) > 0 || end != "closed" {
			t.Errorf("an idle connection saw %q %s", got, end)
		}
	}
	fmt.Fprint(half, "st: a\r\n\r\n")
	if got, end := readRest(bufio.NewReader(half)); !bytes.Contains(got, []byte("200 OK")) || end != "closed" {
		t.Errorf("the one that had begun saw %q %s", got, end)
	}
	r.nothingHeld(t)
}

func (r *running) open() (n int) {
	r.gateway.OnEach(func(w *gateway.Worker) { n += w.Engine().Open() })
	return n
}
