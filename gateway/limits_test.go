package gateway_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
)

// heldPerConn is what a connection may make the gateway hold, whatever its two sides do.
const heldPerConn = 256 << 10

// serve runs an upstream that treats each connection as it is told.
func serve(tb testing.TB, treat func(c *net.TCPConn, r *bufio.Reader)) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(tb, err)
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				treat(c.(*net.TCPConn), bufio.NewReader(c))
			}()
		}
	}()
	return l.Addr().String()
}

// answerWith answers every request with a body of n bytes.
func answerWith(n int) func(*net.TCPConn, *bufio.Reader) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	return func(c *net.TCPConn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", n)
			for left := n; left > 0; left -= len(body) {
				if _, err := c.Write(body[:min(left, len(body))]); err != nil {
					return
				}
			}
		}
	}
}

func dial(tb testing.TB, addr string) *net.TCPConn {
	c, err := net.Dial("tcp", addr)
	check(tb, err)
	tb.Cleanup(func() { c.Close() })
	check(tb, c.SetDeadline(time.Now().Add(patience)))
	return c.(*net.TCPConn)
}

func (r *running) held() (n int) {
	r.gateway.OnEach(func(w *gateway.Worker) { n += w.Engine().Bufs.InUse() })
	return n
}

// stalled waits until a number does not grow for a while, and returns the most that the gateway held meanwhile.
func (r *running) stalled(tb testing.TB, moved *atomic.Int64) (most int) {
	const still = 200 * time.Millisecond
	look := time.NewTicker(time.Millisecond) // less often than it can be asked: asking takes the loop's time
	defer look.Stop()
	for last, since := int64(-1), time.Now(); time.Since(since) < still; <-look.C {
		if n := moved.Load(); n != last {
			last, since = n, time.Now()
		}
		most = max(most, r.held())
	}
	return most
}

// counting counts what passes.
type counting struct {
	io.Writer
	n *atomic.Int64
}

func (c counting) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func TestAHalfClosedClientGetsAllOfALongAnswer(t *testing.T) {
	t.Parallel()
	const size = 8 << 20
	r := start(t, usual(serve(t, answerWith(size))))
	c := dial(t, r.addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	check(t, c.CloseWrite())
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	check(t, err)
	n, err := io.Copy(io.Discard, resp.Body)
	if n != size || err != nil {
		t.Errorf("%d of %d bytes came, %v", n, size, err)
	}
	r.nothingHeld(t)
}

func TestAClientThatReadsNothingMakesTheGatewayHoldLittle(t *testing.T) {
	t.Parallel()
	const size = 100 << 20
	for _, framing := range []string{"length", "small writes", "chunked"} {
		t.Run(framing, func(t *testing.T) {
			t.Parallel()
			var sent atomic.Int64
			r := start(t, usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				switch out := (counting{c, &sent}); framing {
				case "length":
					fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
					io.Copy(out, io.LimitReader(zeros{}, size))
				case "small writes":
					fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
					for piece := make([]byte, 9000); sent.Load() < size; {
						if _, err := out.Write(piece[:min(len(piece), int(size-sent.Load()))]); err != nil {
							return
						}
						<-time.After(50 * time.Microsecond)
					}
				case "chunked":
					fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
					chunk := "2400\r\n" + strings.Repeat("x", 0x2400) + "\r\n"
					for range size / 0x2400 {
						if _, err := io.WriteString(out, chunk); err != nil {
							return
						}
					}
				}
			})))
			c := dial(t, r.addr)
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if most := r.stalled(t, &sent); most > heldPerConn {
				t.Errorf("the gateway held %d bytes for a client that reads nothing, want at most %d", most, heldPerConn)
			}
			if sent.Load() > size/2 {
				t.Errorf("the upstream could send %d bytes to nobody", sent.Load())
			}
			c.Close()
			r.nothingHeld(t)
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestAnUpstreamThatReadsNothingMakesTheGatewayHoldLittleAndEnds(t *testing.T) {
	t.Parallel()
	s := usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) { <-time.After(patience) }))
	s.routes[0].firstByte = 500 * time.Millisecond
	s.routes[0].retry.Attempts = 1
	r := start(t, s)
	c := dial(t, r.addr)
	fmt.Fprintf(c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", 100<<20)
	var sent atomic.Int64
	go io.Copy(counting{c, &sent}, io.LimitReader(zeros{}, 100<<20))
	if most := r.stalled(t, &sent); most > heldPerConn {
		t.Errorf("the gateway held %d bytes for an upstream that reads nothing, want at most %d", most, heldPerConn)
	}
	// The upstream is at fault, not the client, although the request is not all sent.
	if got, end := readMessage(bufio.NewReader(c)); !bytes.Contains(got, []byte("first_byte_timeout")) {
		t.Errorf("got %q %s", got, end)
	}
	c.Close()
	r.nothingHeld(t)
}

// A client that sends requests and reads no answer is not read any more, and served on when it reads.
func TestPipelinedRequestsAreNotServedAheadOfTheReader(t *testing.T) {
	t.Parallel()
	s := usual(serve(t, answerWith(3000)))
	s.routes = append(s.routes, routeSettings{respond: &gateway.Respond{Status: 200, Body: make([]byte, 3000)}})
	s.routes[1].spec.Name, s.routes[1].spec.Path = "here", "/here"
	for _, path := range []string{"/here", "/there"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			const requests = 6000
			r := start(t, s)
			c := dial(t, r.addr)
			check(t, c.SetReadBuffer(64<<10))
			var sent atomic.Int64
			go io.Copy(counting{c, &sent}, strings.NewReader(strings.Repeat("GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n", requests)))
			if most := r.stalled(t, &sent); most > heldPerConn {
				t.Errorf("the gateway held %d bytes for a client that reads nothing, want at most %d", most, heldPerConn)
			}
			br := bufio.NewReader(c)
			for i := range requests {
				check(t, c.SetDeadline(time.Now().Add(patience)))
				resp, err := http.ReadResponse(br, nil)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
				}
				if err != nil {
					t.Fatalf("answer %d: %v", i, err)
				}
			}
			c.Close()
			r.nothingHeld(t)
		})
	}
}

// The client is slow, the upstream has done its part: between the marks, where the client has taken something but nobody
// reads on yet, that is no fault of the upstream's.
func TestASlowReaderIsNotTheUpstreamsFault(t *testing.T) {
	t.Parallel()
	const size = 6 << 20
	s := usual(serve(t, answerWith(size)))
	s.routes[0].betweenBytes = 50 * time.Millisecond
	r := start(t, s)
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<10) })
	}}
	c, err := d.Dial("tcp", r.addr)
	check(t, err)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	check(t, err)
	got := 0
	for piece := make([]byte, 16<<10); err == nil; {
		var n int
		n, err = io.ReadFull(resp.Body, piece)
		got += n
		if got < size/2 {
			<-time.After(5 * time.Millisecond)
		}
	}
	if got != size {
		t.Errorf("%d of %d bytes came, %v", got, size, err)
	}
	c.Close()
	r.nothingHeld(t)
}

// RFC 9112 9.6: a server that closes at once resets what is still on its way, and the client may never see the answer.
func TestAClientStillSendingGetsItsRefusal(t *testing.T) {
	t.Parallel()
	s := usual(serve(t, answerWith(1)))
	s.listener.BodyBytesMax = 1000
	r := start(t, s)
	for _, head := range []string{"Content-Length: 100000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n10000\r\n"} {
		c := dial(t, r.addr)
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\n", head)
		br := bufio.NewReader(c)
		for i := range 50 {
			if _, err := c.Write(make([]byte, 1000)); err != nil {
				t.Fatalf("%q: after %d kB of the body: %v", head, i, err)
			}
			if i == 20 { // the answer is there by now, and the client goes on regardless
				_, err := br.Peek(1)
				check(t, err)
			}
		}
		check(t, c.CloseWrite())
		if got, end := readRest(br); !bytes.Contains(got, []byte("body_too_large")) || end != "closed" {
			t.Errorf("%q: got %q %s", head, got, end)
		}
	}
	r.nothingHeld(t)
}

// An upstream that answers early and closes resets the connection with what is still on its way to it. Its answer is there
// all the same.
func TestAnEarlyAnswerSurvivesTheReset(t *testing.T) {
	t.Parallel()
	r := start(t, usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err == nil {
			fmt.Fprint(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
		}
	})))
	for i := range 50 {
		c := dial(t, r.addr)
		go func() {
			fmt.Fprint(c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
			for piece := make([]byte, 20_000); ; <-time.After(100 * time.Microsecond) { // until it is closed
				if _, err := c.Write(piece); err != nil {
					return
				}
			}
		}()
		if got, end := readMessage(bufio.NewReader(c)); !bytes.HasSuffix(got, []byte("\r\n\r\nno")) {
			t.Fatalf("request %d: got %q %s", i, got, end)
		}
		c.Close()
	}
	r.nothingHeld(t)
}

// Who asks for much does not starve those who ask for little.
func TestALongAnswerDoesNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	const size = 100 << 20
	r := start(t, usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			n := int64(1)
			if req.URL.Path == "/long" {
				n = size
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", n)
			if _, err := io.CopyBuffer(struct{ io.Writer }{c}, io.LimitReader(zeros{}, n), make([]byte, 256<<10)); err != nil {
				return
			}
		}
	})))
	c := dial(t, r.addr)
	fmt.Fprint(c, "GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
	var done atomic.Bool
	go func() {
		io.CopyN(io.Discard, c, size)
		done.Store(true)
	}()
	other := dial(t, r.addr)
	br, answered := bufio.NewReader(other), 0
	for ; !done.Load(); answered++ {
		fmt.Fprint(other, "GET /short HTTP/1.1\r\nHost: a\r\n\r\n")
		if got, end := readMessage(br); end != "" {
			t.Fatalf("got %q %s", got, end)
		}
	}
	if answered < 5 { // each turn of the loop serves both, so there are hundreds; on a busy machine the others are slow
		t.Errorf("%d requests were answered while one connection had 100 MB", answered)
	}
}

// When the loop's memory is used up, what has begun goes on; who has not begun waits, and is served when there is memory again.
func TestRequestsWaitForMemory(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	s := usual(serve(t, func(c *net.TCPConn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err == nil {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 100<<20)
			io.Copy(counting{c, &sent}, io.LimitReader(zeros{}, 100<<20))
		}
	}))
	s.routes = append(s.routes, routeSettings{respond: &gateway.Respond{Status: 200, Body: []byte("here")}})
	s.routes[1].spec.Name, s.routes[1].spec.Path = "here", "/here"
	s.bufBytesMax = 64 << 10
	r := start(t, s)
	greedy := dial(t, r.addr)
	fmt.Fprint(greedy, "GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
	r.stalled(t, &sent)

	var waiting []*net.TCPConn
	for range 3 {
		c := dial(t, r.addr)
		fmt.Fprint(c, "GET /here HTTP/1.1\r\nHost: a\r\n\r\n")
		waiting = append(waiting, c)
	}
	starved := func() (n uint64) {
		r.gateway.OnEach(func(w *gateway.Worker) { n += w.Engine().Starved() })
		return n
	}
	for deadline := time.Now().Add(patience); starved() < 3; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections wait, want 3", starved())
		}
	}
	waiting[1].Close()
	greedy.Close()
	for _, i := range []int{0, 2} {
		if got, end := readMessage(bufio.NewReader(waiting[i])); !bytes.HasSuffix(got, []byte("here")) {
			t.Errorf("client %d got %q %s", i, got, end)
		}
		waiting[i].Close()
	}
	r.nothingHeld(t)
}
