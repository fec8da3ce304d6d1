package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// deaf returns the address of a socket that listens and whose queue is full: Linux drops what else wants to connect, as a
// host does that is not there.
func deaf(tb testing.TB) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	check(tb, err)
	tb.Cleanup(func() { syscall.Close(fd) })
	check(tb, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	check(tb, syscall.Listen(fd, 0))
	sa, err := syscall.Getsockname(fd)
	check(tb, err)
	addr := fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port)
	for range 100 {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		tb.Cleanup(func() { c.Close() })
	}
	tb.Fatal("a queue for one takes a hundred")
	return ""
}

func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	s := usual(deaf(t))
	s.pool.ConnectTimeout = 50 * time.Millisecond
	s.routes[0].retry.Attempts = 1
	r := start(t, s)
	c := dial(t, r.addr)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
	if got, end := readMessage(bufio.NewReader(c)); !bytes.Contains(got, []byte("504 ")) || !bytes.Contains(got, []byte("connect_timeout")) {
		t.Errorf("got %q %s", got, end)
	}
	c.Close()
	r.nothingHeld(t)

	// Nothing was sent, so also what must not be sent twice goes to another endpoint.
	s.routes[0].retry.Attempts, s.routes[0].retry.BackoffBase = 2, -1
	s.endpoints = append(s.endpoints, serve(t, answerWith(1)))
	r = start(t, s)
	for range 2 { // one of them begins with the deaf one
		c := dial(t, r.addr)
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
		if got, end := readMessage(bufio.NewReader(c)); !bytes.Contains(got, []byte("200 OK")) {
			t.Errorf("got %q %s", got, end)
		}
		c.Close()
	}
	r.eventually(t, `yumen_upstream_attempts_total{cluster="app",outcome="connect_failure"} 1`)
}
