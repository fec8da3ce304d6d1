package gateway_test

import (
	"bytes"
	"io"
	"net"
	"testing"
)

// BenchmarkProxy is a whole passage: a request over a client's connection, through the gateway, to an origin and back.
// Client and origin allocate nothing, so that what is reported is the gateway's.
func BenchmarkProxy(b *testing.B) { benchmarkProxy(b, false) }

// BenchmarkProxyThatTellsIDs is the same with request_id: {answer: on}.
func BenchmarkProxyThatTellsIDs(b *testing.B) { benchmarkProxy(b, true) }

func benchmarkProxy(b *testing.B, answerID bool) {
	origin := startOrigin(b, "HTTP/1.1 200 OK\r\nServer: o\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n"+
		string(bytes.Repeat([]byte{'x'}, 128)))
	s := usual(origin)
	s.listener.AnswerID = answerID
	c := newFixedClient(b, start(b, s).addr)
	c.do(b) // connects to the origin
	b.ReportAllocs()
	for b.Loop() {
		c.do(b)
	}
}

// TestProxyAllocatesNothing holds the benchmark's figure.
func TestProxyAllocatesNothing(t *testing.T) {
	origin := startOrigin(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
	r := start(t, usual(origin))
	c := newFixedClient(t, r.addr)
	for range 100 { // buffers, heads and maps find their size
		c.do(t)
	}
	// The background of a Go process allocates now and then, so a fraction is allowed; one in each request is not.
	if n := testing.AllocsPerRun(2000, func() { c.do(t) }); n >= 0.5 {
		t.Errorf("a proxied request allocates %v times, want 0", n)
	}
}

// fixedClient sends one request again and again.
type fixedClient struct {
	net.Conn
	request []byte
	buf     [4096]byte
}

func newFixedClient(tb testing.TB, addr string) *fixedClient {
	conn, err := net.Dial("tcp", addr)
	check(tb, err)
	tb.Cleanup(func() { conn.Close() })
	return &fixedClient{Conn: conn, request: []byte("GET /api/v1/users/42?type=full HTTP/1.1\r\nHost: bench.local\r\n" +
		"User-Agent: bench/1\r\nAccept: application/json\r\nAccept-Language: en\r\n\r\n")}
}

func (c *fixedClient) do(tb testing.TB) {
	if _, err := c.Write(c.request); err != nil {
		tb.Fatal(err)
	}
	for have := 0; ; {
		n, err := c.Read(c.buf[have:])
		if err != nil {
			tb.Fatal(err)
		}
		have += n
		if i := bytes.Index(c.buf[:have], []byte("\r\n\r\n")); i >= 0 && (have > i+100 || bytes.HasSuffix(c.buf[:have], []byte("hi"))) {
			return
		}
	}
}

// startOrigin serves one fixed answer to whatever has an empty line in it.
func startOrigin(tb testing.TB, answer string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(tb, err)
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveFixed(conn, []byte(answer))
		}
	}()
	return l.Addr().String()
}

func serveFixed(conn net.Conn, answer []byte) {
	defer conn.Close()
	var buf [8192]byte
	have := 0
	for {
		n, err := conn.Read(buf[have:])
		if err == io.EOF || err != nil {
			return
		}
		have += n
		for {
			i := bytes.Index(buf[:have], []byte("\r\n\r\n"))
			if i < 0 {
				break
			}
			have = copy(buf[:], buf[i+4:have])
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
	}
}
