//go:build linux

package guards

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// serve runs an upstream.
func serve(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// patient is an upstream whose health is what the test says at the moment.
type patient struct {
	addr string
	// mood is well, 500, 404, reset (it ends the connection), torn (by a RST), hang, slow, garbage, or cut (the answer ends in its middle).
	mood  atomic.Value
	asked atomic.Int64  // requests that came
	left  atomic.Int64  // those that were given up while they hung
	slow  time.Duration // how long it takes while it is slow

	server *http.Server
}

// newPatient starts one that is well, and then answers with 200.
func newPatient(t *testing.T) *patient {
	return newPatientThat(t, 60*time.Millisecond, func(http.ResponseWriter, *http.Request) {})
}

// newPatientThat starts one that does this while it is well, and when it is slow.
func newPatientThat(t *testing.T, slow time.Duration, well http.HandlerFunc) *patient {
	t.Helper()
	u := &patient{slow: slow}
	u.mood.Store("well")
	ended := make(chan struct{})
	u.addr = gateway.FreeAddr(t) // nobody else gets it when refuse was called
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", u.addr)
	if err != nil {
		t.Fatal(err)
	}
	u.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.asked.Add(1)
		switch u.mood.Load().(string) {
		case "500":
			w.WriteHeader(500)
		case "404":
			w.WriteHeader(404)
		case "well":
			well(w, r)
		case "reset", "torn", "garbage", "cut":
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			switch u.mood.Load() {
			case "garbage":
				c.Write([]byte("HTTP/1.1 2OO OK\r\n\r\n"))
			case "cut":
				c.Write([]byte("HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: 9000\r\n\r\nonly this"))
			case "torn":
				c.(*net.TCPConn).SetLinger(0)
			}
			c.Close()
		case "hang":
			select {
			case <-r.Context().Done():
				u.left.Add(1)
			case <-ended:
			}
		case "slow":
			select {
			case <-time.After(u.slow):
			case <-ended:
			}
			well(w, r)
		}
	})}
	go u.server.Serve(l)
	t.Cleanup(func() { close(ended); u.server.Close() })
	return u
}

// refuse ends it with its connections: nobody listens any more.
func (u *patient) refuse() { u.server.Close() }

// fail brings one of the faults about; the others are none of its own.
func (u *patient) fail(fault string) {
	switch fault {
	case "refused":
		u.refuse()
	case "dns", "redis":
	default:
		u.mood.Store(fault)
	}
}

// unwell starts one that fails in this way from the beginning, and returns its address.
func unwell(t *testing.T, fault string) string {
	t.Helper()
	u := newPatient(t)
	u.fail(fault)
	return u.addr
}

// serveBytes runs a server that does not speak HTTP, and returns its address.
func serveBytes(t *testing.T, serve func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { <-ended; c.Close() }()
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	t.Cleanup(func() { l.Close(); close(ended) })
	return l.Addr().String()
}
