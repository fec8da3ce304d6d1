package h1

import (
	"bytes"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

const (
	curlRequest    = "GET /api/users/42 HTTP/1.1\r\nHost: exam.test:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"
	browserRequest = "GET /api/users/42?fields=name,mail HTTP/1.1\r\n" +
		"Host: www.exam.test\r\n" +
		"Connection: keep-alive\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n" +
		"Accept-Encoding: gzip, deflate, br\r\n" +
		"Accept-Language: en-US,en;q=0.9\r\n" +
		"Cookie: sid=0123456789abcdef0123456789abcdef\r\n\r\n"
	smallResponse = "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 06 Jan 2025 10:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)

// exchange is everything that one request and its response need on a warm loop.
type exchange struct {
	p       *buf.Pool
	in, out buf.Chain
	h       message.Head
	answer  *message.Head
	server  Server
	client  Client
}

func newExchange() *exchange {
	x := &exchange{p: buf.NewPool(0), answer: response(200, 2, "Server", "origin", "Date", "Mon, 06 Jan 2025 10:00:00 GMT", "Content-Type", "application/json")}
	x.server.Init(standard)
	x.client.Init(standard)
	// The chains keep a chunk each, as those of a busy connection do within a turn.
	x.in.Append(x.p, make([]byte, 1))
	x.out.Append(x.p, make([]byte, 1))
	return x
}

func (x *exchange) fill(c *buf.Chain, raw string) {
	c.Release(x.p)
	c.AppendString(x.p, raw)
}

func (x *exchange) read(tb testing.TB, raw string) {
	x.fill(&x.in, raw)
	x.server.Init(standard)
	if e, err := x.server.Next(&x.in, x.p, &x.h); e.Kind != message.GotHead {
		tb.Fatal(e, err)
	}
}

func (x *exchange) forward(tb testing.TB) {
	x.out.Release(x.p)
	x.client.Init(standard)
	if _, err := x.client.AppendHead(&x.out, x.p, &x.h, true); err != nil {
		tb.Fatal(err)
	}
}

func (x *exchange) readResponse(tb testing.TB, raw string) {
	x.fill(&x.in, raw)
	if e, err := x.client.Next(&x.in, x.p, &x.h); e.Kind != message.GotHead {
		tb.Fatal(e, err)
	}
	if e, err := x.client.Next(&x.in, x.p, &x.h); e.N != 2 {
		tb.Fatal(e, err)
	}
}

func (x *exchange) reply(tb testing.TB, h *message.Head) {
	x.out.Release(x.p)
	if err := x.server.AppendHead(&x.out, x.p, 0, h, false); err != nil {
		tb.Fatal(err)
	}
	if err := x.server.AppendData(&x.out, x.p, 0, &x.in, 2); err != nil {
		tb.Fatal(err)
	}
	if err := x.server.AppendEnd(&x.out, x.p, 0, nil); err != nil || !x.server.Finished() {
		tb.Fatal(err)
	}
}

func TestExchangeAllocatesNothing(t *testing.T) {
	x := newExchange()
	dripped := strings.Split(browserRequest, "")
	for situation, run := range map[string]func(){
		"a proxied exchange": func() {
			x.read(t, browserRequest)
			x.forward(t)
			x.readResponse(t, smallResponse)
			x.reply(t, &x.h)
		},
		"a request byte by byte": func() {
			x.server.Init(standard)
			x.in.Release(x.p)
			for _, piece := range dripped {
				x.in.AppendString(x.p, piece)
				if _, err := x.server.Next(&x.in, x.p, &x.h); err != nil {
					t.Fatal(err)
				}
			}
		},
		"an IPv6 host": func() {
			x.read(t, "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n")
		},
		"a refused request": func() {
			x.server.Init(standard)
			x.fill(&x.in, "GET / HTTP/1.1\r\nHost: [::1]:99999\r\n\r\n")
			if _, err := x.server.Next(&x.in, x.p, &x.h); err != badHost {
				t.Fatal(err)
			}
		},
		"a path that needs work": func() {
			x.read(t, "GET /a/./b/%2e%2e/%7e%e4//c HTTP/1.1\r\nHost: x\r\n\r\n")
			if message.NormalizePath(&x.h, message.PathPolicy{}) != nil || string(x.h.PathBytes()) != "/a/~%E4/c" {
				t.Fatalf("%s", x.h.PathBytes())
			}
		},
	} {
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("%s allocates %v times", situation, n)
		}
	}
}

func BenchmarkParseRequest(b *testing.B) {
	for name, raw := range map[string]string{"curl": curlRequest, "browser": browserRequest} {
		b.Run(name, func(b *testing.B) {
			x := newExchange()
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				x.read(b, raw)
			}
		})
	}
}

func BenchmarkForwardRequest(b *testing.B) {
	x := newExchange()
	x.read(b, browserRequest)
	b.ReportAllocs()
	for b.Loop() {
		x.forward(b)
	}
}

func BenchmarkParseResponse(b *testing.B) {
	x := newExchange()
	x.read(b, curlRequest)
	b.ReportAllocs()
	for b.Loop() {
		x.client.Init(standard)
		x.out.Release(x.p)
		x.client.sent = 1
		x.readResponse(b, smallResponse)
	}
}

// BenchmarkReply sends a response of the gateway's own, whose fields do not lie in memory as they go out, and one that
// was read from an upstream, whose fields do.
func BenchmarkReply(b *testing.B) {
	run := func(b *testing.B, x *exchange, h *message.Head) {
		b.ReportAllocs()
		for b.Loop() {
			x.server = Server{in: reader{limits: standard, state: complete}, persists: true}
			x.fill(&x.in, "{}")
			x.reply(b, h)
		}
	}
	b.Run("own", func(b *testing.B) {
		x := newExchange()
		run(b, x, x.answer)
	})
	b.Run("forwarded", func(b *testing.B) {
		x := newExchange()
		x.read(b, curlRequest)
		x.forward(b)
		x.readResponse(b, smallResponse)
		run(b, x, &x.h)
	})
}

// BenchmarkChunked passes 1 MB on in chunks of 16 kB, from an upstream to a client.
func BenchmarkChunked(b *testing.B) {
	var raw []byte
	for range 64 {
		raw = append(append(append(raw, "4000\r\n"...), bytes.Repeat([]byte{'x'}, 0x4000)...), "\r\n"...)
	}
	raw = append(raw, "0\r\n\r\n"...)
	var (
		in, out buf.Chain
		h       message.Head
		p       = buf.NewPool(0)
	)
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		r, w := reader{limits: standard}, writer{delimiter: byChunks}
		r.beginBody(message.UnknownLength)
		for rest := raw; len(rest) > 0; {
			n := copy(in.Room(p, buf.Large), rest) // what a receive puts there
			in.Fill(n)
			rest = rest[n:]
			for {
				e, err := r.body(&in, p, &h)
				if err != nil {
					b.Fatal(err)
				}
				if e.Kind != message.GotData {
					break
				}
				if err := w.data(&out, p, &in, e.N); err != nil {
					b.Fatal(err)
				}
			}
			out.Release(p) // a send took everything
		}
		if r.state != complete {
			b.Fatal("the body did not end")
		}
	}
}
