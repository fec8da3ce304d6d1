package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/policy/retry"
)

// trying is a filter that answers every failure by another cluster, which is the same; tried counts how often it could.
func trying(tried, refused *atomic.Int64) gateway.Hooks {
	return gateway.Hooks{Name: "try", Failed: func(x *gateway.Exchange, _ *gateway.Failure) gateway.Verdict {
		if x.TryCluster(gateway.ClusterRef{Name: "app"}) {
			tried.Add(1)
			return gateway.Answered
		}
		refused.Add(1)
		return gateway.GoOn
	}}
}

// No time is left for another cluster.
func TestNobodyElseIsAskedWhenTheTimeIsOver(t *testing.T) {
	var tried, refused atomic.Int64
	u := newStubborn(t, "a")
	u.silent.Store(true)
	s := usual(u.Listener.Addr().String())
	s.routes[0].filters = []gateway.Hooks{trying(&tried, &refused)}
	s.routes[0].request = 30 * time.Millisecond
	r := start(t, s)
	r.wants(t, "GET", "/", "", "504 request_timeout")
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
	if tried.Load() != 0 || refused.Load() != 1 {
		t.Errorf("tried %d times, refused %d times, want once", tried.Load(), refused.Load())
	}
}

// A translator that has some of an answer cannot begin with another.
func TestNobodyElseIsAskedWithHalfAnAnswer(t *testing.T) {
	var released, tried, refused atomic.Int64
	u := httptest.NewServer(http.HandlerFunc(sayer))
	defer u.Close()
	s := shouting(&released, u.Listener.Addr().String())
	s.routes[0].filters = append(s.routes[0].filters, trying(&tried, &refused))
	s.routes[0].retry.Attempts = 1
	r := start(t, s)
	r.wants(t, "GET", "/held-cut", "", "502 upstream_closed explained: upstream_closed")
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
	if tried.Load() != 0 || refused.Load() != 1 {
		t.Errorf("tried %d times, refused %d times, want once", tried.Load(), refused.Load())
	}
}

// A body of which a part is missing is nobody's.
func TestNobodyElseIsAskedWithHalfABody(t *testing.T) {
	var tried, refused atomic.Int64
	got := make(chan string, 10)
	s := usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		if req, err := http.ReadRequest(br); err == nil {
			four := make([]byte, 4)
			_, _ = io.ReadFull(req.Body, four)
			got <- string(four)
			body, err := io.ReadAll(req.Body)
			got <- fmt.Sprintf("%q %v", body, err != nil)
		}
	}))
	s.routes[0].filters = []gateway.Hooks{trying(&tried, &refused)}
	s.listener.BodyBytesMax = 8
	r := start(t, s)
	c := dial(t, r.addr)
	fmt.Fprint(c, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n")
	if part := <-got; part != "four" {
		t.Fatal(part)
	}
	fmt.Fprint(c, "6\r\nsix...\r\n0\r\n\r\n")
	if answer, _ := readMessage(bufio.NewReader(c)); !strings.Contains(string(answer), "body_too_large") {
		t.Errorf("the client got %s", answer)
	}
	if body := <-got; body != `"" true` {
		t.Errorf("the upstream got %s", body)
	}
	c.Close()
	r.nothingHeld(t)
	if tried.Load() != 0 || refused.Load() != 1 || len(got) > 0 {
		t.Errorf("tried %d times, refused %d times, want once", tried.Load(), refused.Load())
	}
}

// A guard refuses what another cluster may have: it is translated as on any other way.
func TestARefusalThatIsLedElsewhereIsTranslated(t *testing.T) {
	var released, tried, refused atomic.Int64
	g := gateway.NewGuard("limit", "per-path", gateway.Enforce, nil)
	s := shouting(&released, echoer(t))
	s.routes[0].filters = []gateway.Hooks{trying(&tried, &refused), s.routes[0].filters[0], {Name: "no",
		Request: func(x *gateway.Exchange) gateway.Verdict {
			j := x.Judgement(g)
			j.Outcome, j.Status, j.Reason = gateway.Refused, 429, "too_many"
			return x.Judge(j)
		}}}
	r := start(t, s)
	r.wants(t, "GET", "/a", "", "200  GET /A ?!")
	r.wants(t, "POST", "/a", "body", "200  POST /A BODY?!")
	r.wants(t, "POST", "/whole", "body", "200  POST /WHOLE BODY?!")
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
	if tried.Load() != 3 {
		t.Errorf("tried %d times, want 3", tried.Load())
	}
}

// The answer to a body that is too large waits for a client that sends on: it is not cut for what follows.
func TestALargeAnswerToALargeBodyIsNotCut(t *testing.T) {
	const size = 16 << 20 // more than sockets hold
	s := filtered(t, gateway.Hooks{Name: "say", Failed: func(x *gateway.Exchange, f *gateway.Failure) gateway.Verdict {
		return x.Answer(&gateway.Respond{Status: f.Status, Reason: f.Reason, Body: []byte(strings.Repeat("y", size))})
	}})
	s.listener.BodyBytesMax = 8
	r := start(t, s)
	c := dial(t, r.addr)
	fmt.Fprint(c, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nnine.....\r\n")
	first := make([]byte, 1)
	_, err := io.ReadFull(c, first)
	check(t, err)
	for range 10 {
		fmt.Fprint(c, "9\r\nnine.....\r\n")
		r.gateway.OnEach(nothing)
	}
	all, _ := readRest(bufio.NewReader(c))
	if n := strings.Count(string(all), "y"); n < size {
		t.Errorf("%d bytes came of %d", n, size)
	}
	c.Close()
	r.nothingHeld(t)
}

// An answer that the route would rather have again is the client's, if there is hardly time for another.
func TestAnAnswerIsBetterThanNoTime(t *testing.T) {
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
		io.WriteString(w, "busy")
	}))
	defer u.Close()
	s := usual(u.Listener.Addr().String())
	s.routes[0].retry = retry.Config{Attempts: 3, Statuses: []int{503}, BackoffBase: -1}
	s.routes[0].request = time.Minute
	lines := logged(t, s, func(r *running) {
		r.gateway.OnEach(func(*gateway.Worker) {
			for range 1000 { // as if answers took an hour to begin
				r.group.On(0).Pace().Observe(time.Hour)
			}
		})
		r.wants(t, "GET", "/", "", "503  busy")
		http.DefaultClient.CloseIdleConnections()
	})
	if strings.Contains(lines, `"attempts"`) { // it is said of more than one
		t.Errorf("the log says %s", lines)
	}
}

// What Done is told is of this exchange, and not of a former one in the same memory nor of a former try.
func TestOutcomesAreOfTheirOwnExchange(t *testing.T) {
	outcomes := make(chan gateway.Outcome, 10)
	u := newStubborn(t, "a")
	s := usual(u.Listener.Addr().String())
	s.routes[0].filters = []gateway.Hooks{{Name: "done", Done: func(x *gateway.Exchange) { outcomes <- x.Outcome() }}}
	r := start(t, s)
	r.wants(t, "GET", "/", "", "200  a")
	if o := <-outcomes; o.FirstByte < 0 || o.Attempts != 1 || o.Failure != nil {
		t.Errorf("an answer: %+v", o)
	}
	check(t, r.group.SetTargets([]upstream.Target{}))
	r.gateway.OnEach(nothing)
	r.wants(t, "GET", "/", "", "503 no_endpoint")
	if o := <-outcomes; o.FirstByte >= 0 || o.Failure == nil || o.Failure.Reason != "no_endpoint" {
		t.Errorf("no endpoint: %+v", o)
	}

	u.silent.Store(true)
	s.endpoints = []string{refusing(t), u.Listener.Addr().String()}
	r = start(t, s)
	for range 2 { // one of them is asked the refusing one first
		asked := u.asked.Load()
		c := dial(t, r.addr)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		for u.asked.Load() == asked {
			r.gateway.OnEach(nothing)
		}
		check(t, c.SetLinger(0))
		c.Close()
		if o := <-outcomes; !o.ClientGone || o.Failure == nil || o.Failure.Reason != "client_gone" {
			t.Errorf("a client that left: %+v", o)
		}
	}
}
