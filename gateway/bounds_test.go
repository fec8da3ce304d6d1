package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
)

// answersAtOnce is a gateway whose one route answers without waiting for a request's body.
func answersAtOnce() settings {
	s := usual(net.JoinHostPort("127.0.0.1", "1"))
	s.routes[0].respond = &gateway.Respond{Status: 403, Body: []byte("no")}
	return s
}

// An unread body is read to keep the connection if it is known to be small; else the connection ends with the answer.
func TestAnUnreadBodyIsReadToKeepTheConnection(t *testing.T) {
	t.Parallel()
	const most = 64 << 10
	r := start(t, answersAtOnce())
	f := func(head, body string, kept bool) {
		t.Helper()
		c := dial(t, r.addr)
		defer c.Close()
		br := bufio.NewReader(c)
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", head)
		got, end := readMessage(br) // before any of the body is sent
		if !bytes.Contains(got, []byte("403")) || bytes.Contains(got, []byte("Connection: close")) == kept || end != "" {
			t.Errorf("%s: got %q %s", head, got, end)
		}
		if !kept {
			if got, end := readRest(br); len(got) > 0 || end != "closed" {
				t.Errorf("%s: behind the answer came %q %s", head, got, end)
			}
			return
		}
		fmt.Fprint(c, body)
		if got := ask(t, c, "/next"); !strings.Contains(got, "403") {
			t.Errorf("%s: the next request got %q", head, got)
		}
	}
	f(fmt.Sprint("Content-Length: ", most), strings.Repeat("x", most), true)
	f(fmt.Sprint("Content-Length: ", most+1), "", false)
	f("Content-Length: 10\r\nExpect: 100-continue", "", false) // it may never come (RFC 9110 10.1.1)
	f("Transfer-Encoding: chunked", "", false)                 // nobody knows how long it is
	r.nothingHeld(t)
}

// After the last answer, so much is read and no more, and nobody is waited for who neither sends nor leaves.
func TestLingeringHasAnEnd(t *testing.T) {
	t.Parallel()
	r := start(t, answersAtOnce())
	refused := func() (*net.TCPConn, *bufio.Reader) {
		c := dial(t, r.addr)
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", 1<<40)
		br := bufio.NewReader(c)
		if got, end := readMessage(br); !bytes.Contains(got, []byte("Connection: close")) {
			t.Fatalf("got %q %s", got, end)
		}
		return c, br
	}
	flood, _ := refused()
	if n, err := io.Copy(flood, io.LimitReader(zeros{}, 1<<30)); err == nil {
		t.Errorf("the gateway took %d bytes behind its last answer", n)
	}
	_, silent := refused()
	if got, end := readRest(silent); len(got) > 0 || end != "closed" {
		t.Errorf("a client that stays was told %q %s", got, end)
	}
	for deadline := time.Now().Add(patience); r.open() > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are waited for", r.open())
		}
	}
	r.nothingHeld(t)
}

// With body_min_rate off, one byte in each window keeps a request alive; with a rate, that is too little.
func TestADripIsEnoughWhenTheRateIsOff(t *testing.T) {
	t.Parallel()
	const window = 50 * time.Millisecond
	s := usual(serve(t, answerWith(1)))
	s.server.BodyWindow = window
	// drip sends a byte ten times a window, for so many windows, and tells whether no pause between two was too long.
	drip := func(c net.Conn, windows int) (steady bool) {
		steady = true
		tick := time.NewTicker(window / 10)
		defer tick.Stop()
		last := time.Now()
		for range 10 * windows {
			<-tick.C
			_, _ = c.Write([]byte{'x'})
			steady = steady && time.Since(last) < window/2
			last = time.Now()
		}
		return steady
	}
	for _, rate := range []int64{0, 1 << 20} {
		s.server.BodyRateMin = rate
		r := start(t, s)
		for attempt := 0; ; attempt++ {
			c := dial(t, r.addr)
			fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 31\r\n\r\n")
			steady := drip(c, 3)
			fmt.Fprint(c, "x")
			got, _ := readMessage(bufio.NewReader(c))
			c.Close()
			if rate == 0 && !steady && attempt < 10 {
				continue // the machine was busy: this says nothing
			}
			if ok := bytes.Contains(got, []byte("200 OK")); ok != (rate == 0) || !ok && !bytes.Contains(got, []byte("body_rate")) {
				t.Errorf("at least %d bytes a second: got %q", rate, got)
			}
			break
		}
		// And who stops is given up either way.
		c := dial(t, r.addr)
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 31\r\n\r\nx")
		if got, end := readRest(bufio.NewReader(c)); !bytes.Contains(got, []byte("body_rate")) {
			t.Errorf("at least %d bytes a second: who stopped got %q %s", rate, got, end)
		}
		c.Close()
		r.nothingHeld(t)
	}
}
