package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/policy/retry"
)

// unwanting is trying for answers from 500 on.
func unwanting(tried, refused *atomic.Int64) gateway.Hooks {
	h := trying(tried, refused)
	h.Unwanted = func(status int) bool { return status >= 500 }
	return h
}

// moody is an upstream that answers every other request with 503, from the first on; it counts its connections.
type moody struct {
	addr  string
	asked atomic.Int64
	conns atomic.Int64
}

func newMoody(t *testing.T, h2 bool, ill http.HandlerFunc) *moody {
	m := &moody{}
	u := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if m.asked.Add(1)%2 == 1 {
			ill(w, r)
			return
		}
		fmt.Fprintf(w, "%s %s", r.Method, body)
	}))
	u.Config.Protocols = new(http.Protocols)
	u.Config.Protocols.SetHTTP1(!h2)
	u.Config.Protocols.SetUnencryptedHTTP2(h2)
	u.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			m.conns.Add(1)
		}
	}
	u.Start()
	t.Cleanup(u.Close)
	m.addr = u.Listener.Addr().String()
	return m
}

func TestAnAnswerIsDroppedForAnother(t *testing.T) {
	page := bytes.Repeat([]byte("sorry "), 1000)
	for _, c := range []struct {
		name  string
		ill   http.HandlerFunc
		conns int64 // of HTTP/1
	}{
		{"without a body", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, 1},
		{"a page", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(page)))
			w.WriteHeader(503)
			_, _ = w.Write(page)
		}, 1},
		{"a page in parts", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(503)
			for range 3 {
				_, _ = w.Write(page)
				w.(http.Flusher).Flush()
			}
		}, 1},
		{"much, as it says", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(1<<20))
			w.WriteHeader(503)
			_, _ = w.Write(make([]byte, 1<<20))
		}, 2},
		{"much, as is seen", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(503)
			_, _ = w.Write(make([]byte, 1<<20))
		}, 2},
		{"one that does not end", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(503)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, 2},
	} {
		for _, h2 := range []bool{false, true} {
			for _, again := range []bool{false, true} { // by the filter; by the route's retries, on the same way
				var tried, refused atomic.Int64
				m := newMoody(t, h2, c.ill)
				s := usual(m.addr)
				want, conns := int64(2), c.conns
				if h2 {
					s.dial.Protocols = engine.HTTP2
					conns = 1
				}
				s.pool.ConnsMax = 1 // so that connections are counted
				s.routes[0].filters = []gateway.Hooks{unwanting(&tried, &refused)}
				if again {
					s.routes[0].retry = retry.Config{Attempts: 2, Statuses: []int{503}, BackoffBase: -1}
					want = 0
				}
				lines := logged(t, s, func(r *running) {
					r.wants(t, "GET", "/", "", "200  GET")
					r.wants(t, "PUT", "/", "body", "200  PUT body")
					if got := r.metricLines(t, "yumen_upstream_attempts_total"); strings.Count(got, "\n") != 1 ||
						!strings.Contains(got, `outcome="ok"`) || !strings.Contains(got, `outcome="gateway_error"`) {
						t.Errorf("%s, HTTP/2 %v: the endpoint's record is %s", c.name, h2, got)
					}
					http.DefaultClient.CloseIdleConnections()
				})
				if tried.Load() != want || refused.Load() != 0 || strings.Count(lines, `"attempts":2`) != 2 {
					t.Errorf("%s, HTTP/2 %v: tried %d times, refused %d times: %s", c.name, h2, tried.Load(), refused.Load(), lines)
				}
				if got := m.conns.Load(); (got == 1) != (conns == 1) {
					t.Errorf("%s, HTTP/2 %v, again %v: %d connections, want %d", c.name, h2, again, got, conns)
				}
			}
		}
	}
}

// What must not be sent twice is answered as the upstream said, and so is what nobody has anything better for.
func TestAnAnswerThatNobodyTakesOverIsPassedOn(t *testing.T) {
	var tried, refused atomic.Int64
	m := newMoody(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Of", "upstream")
		w.WriteHeader(507)
		io.WriteString(w, "full")
	})
	s := usual(m.addr)
	s.routes[0].filters = []gateway.Hooks{unwanting(&tried, &refused)}
	r := start(t, s)
	r.wants(t, "POST", "/", "body", "507  full")
	m.asked.Store(0)
	r.wants(t, "PUT", "/", strings.Repeat("x", 100<<10), "507  full") // was not kept
	if tried.Load() != 0 || refused.Load() != 2 {
		t.Errorf("tried %d times, refused %d times", tried.Load(), refused.Load())
	}
	m.asked.Store(0)
	req, err := http.NewRequest("DELETE", "http://"+r.addr, nil)
	check(t, err)
	resp, err := http.DefaultClient.Do(req)
	check(t, err)
	resp.Body.Close()
	if resp.StatusCode != 200 || tried.Load() != 1 {
		t.Errorf("status %d, tried %d times", resp.StatusCode, tried.Load())
	}
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}

// Who stands behind the filter that takes over is told of the first answer, who stands before it of the last.
func TestOutcomesAreOfTheirOwnCluster(t *testing.T) {
	var tried, refused atomic.Int64
	outcomes := make(chan gateway.Outcome, 10)
	done := gateway.Hooks{Name: "done", Done: func(x *gateway.Exchange) { outcomes <- x.Outcome() }}
	wants := func(status int, o health.Outcome, attempts int, reason string) {
		t.Helper()
		if got := <-outcomes; got.Status != status || got.Health != o || got.Attempts != attempts || got.Reason != reason || (got.Failure != nil) != (reason != "") {
			t.Errorf("got %+v, want %d %v %d %s", got, status, o, attempts, reason)
		}
	}
	m := newMoody(t, false, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	s := usual(m.addr)
	s.routes[0].filters = []gateway.Hooks{done, unwanting(&tried, &refused), done}
	r := start(t, s)
	r.wants(t, "GET", "/", "", "200  GET")
	wants(503, health.GatewayError, 1, "")
	wants(200, health.OK, 2, "")

	// A failure is one for those behind, although its client gets an answer; and nothing of it is left for the next.
	s.routes[0].retry.Attempts = 1
	s.endpoints = []string{refusing(t), m.addr}
	m.asked.Store(1)
	r = start(t, s)
	r.wants(t, "GET", "/", "", "200  GET")
	m.asked.Store(1)
	first, last := <-outcomes, <-outcomes
	if first.Attempts == 1 && first.Failure != nil {
		if first.Reason != "connect_failed" || first.Status != 502 || last.Reason != "" || last.Attempts != 2 {
			t.Errorf("got %+v, then %+v", first, last)
		}
	} else if first.Reason != "" || last.Reason != "" {
		t.Errorf("got %+v, then %+v", first, last)
	}
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}

// A filter may also have an answer of its own in the place of what has come.
func TestAnAnswerIsDroppedForOneOfOurOwn(t *testing.T) {
	say := gateway.Hooks{Name: "say",
		Unwanted: func(status int) bool { return status == 503 },
		Failed: func(x *gateway.Exchange, f *gateway.Failure) gateway.Verdict {
			return x.Answer(&gateway.Respond{Status: 200, Reason: "instead", Body: fmt.Appendf(nil, "%d %s %v", f.Status, f.Reason, f.Answered())})
		}}
	u := serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			switch req.URL.Path {
			case "/empty":
				io.WriteString(c, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
			case "/late": // the rest of it never comes
				io.WriteString(c, "HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\n12345")
			case "/other":
				io.WriteString(c, "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")
			}
		}
	})
	s := usual(u)
	s.routes[0].filters = []gateway.Hooks{say}
	r := start(t, s)
	r.wants(t, "GET", "/empty", "", "200 instead 503 upstream_status true")
	r.wants(t, "GET", "/late", "", "200 instead 503 upstream_status true")
	r.wants(t, "POST", "/late", "body", "200 instead 503 upstream_status true")
	r.wants(t, "GET", "/other", "", "500  no")
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}

func TestDroppingAnswersTakesNoMemory(t *testing.T) {
	ill := []byte("HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nsorry")
	fine := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	u := serve(t, func(c *net.TCPConn, _ *bufio.Reader) {
		b := make([]byte, 4096)
		for i := 0; ; i++ {
			if _, err := c.Read(b); err != nil {
				return
			}
			answer := fine
			if i%2 == 0 {
				answer = ill
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
	var tried, refused atomic.Int64
	s := usual(u)
	s.pool.ConnsMax = 1
	s.routes[0].filters = []gateway.Hooks{unwanting(&tried, &refused)}
	r := start(t, s)
	c := dial(t, r.addr)
	request, b := []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), make([]byte, 4096)
	once := func() {
		_, err := c.Write(request)
		check(t, err)
		n := 0
		for !bytes.HasSuffix(b[:n], []byte("\r\n\r\nok")) { // it may come in pieces
			more, err := c.Read(b[n:])
			if err != nil {
				t.Fatalf("got %q, %v", b[:n], err)
			}
			n += more
		}
		if !bytes.HasPrefix(b[:n], []byte("HTTP/1.1 200")) {
			t.Fatalf("got %s", b[:n])
		}
	}
	for range 10 {
		once()
	}
	if n := testing.AllocsPerRun(100, once); n > 0 {
		t.Errorf("%v allocations", n)
	}
	c.Close()
	r.nothingHeld(t)
}
