package h2

import (
	"bytes"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// exchange is a warm connection and a client that asks for the same again and again: eight fields beside the pseudo-fields,
// which are in the tables of both sides from the second time on.
type exchange struct {
	p       *buf.Pool
	in, out buf.Chain
	src     buf.Chain
	h       *message.Head
	answer  message.Head
	server  Server
	request []byte
	body    []byte
	id      uint32
}

func newExchange(tb testing.TB) *exchange {
	x := &exchange{p: buf.NewPool(0), h: new(message.Head), body: bytes.Repeat([]byte{'x'}, 128)}
	x.server.Init(standard)
	x.server.Start(&x.out, x.p)
	var block, wire bytes.Buffer
	encoder, framer := hpack.NewEncoder(&block), http2.NewFramer(&wire, nil)
	fields := [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/api/users/42"}, {":authority", "www.exam.test"},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}, {"accept", "text/html,application/xhtml+xml,*/*;q=0.8"},
		{"accept-encoding", "gzip, deflate, br"}, {"accept-language", "en-US,en;q=0.9"}, {"cookie", "sid=0123456789abcdef0123456789abcdef"},
		{"referer", "http://www.exam.test/"}, {"x-request-id", "0123456789abcdef"}, {"cache-control", "no-cache"}}
	encode := func() {
		block.Reset()
		for _, f := range fields {
			encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
	}
	wire.WriteString(preface)
	framer.WriteSettings()
	framer.WriteSettingsAck()
	encode()
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	x.in.Append(x.p, wire.Bytes())
	wire.Reset()
	encode()
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
	// A client gives the window back.
	framer.WriteWindowUpdate(0, 128)
	x.request = bytes.Clone(wire.Bytes())
	x.answer = message.Head{Status: 200, Length: 128}
	x.answer.AddString("Server", "origin")
	x.answer.AddString("Date", "Mon, 06 Jan 2025 10:00:00 GMT")
	x.answer.AddString("Content-Type", "application/json")
	x.serve(tb)
	for range 100 {
		x.ask(tb)
	}
	return x
}

func (x *exchange) ask(tb testing.TB) {
	x.id += 2
	frame{length: len(x.request) - frameHeadLen - frameHeadLen - windowUpdateLen, kind: typeHeaders, flags: flagEndHeaders | flagEndStream, stream: x.id}.put(x.request)
	x.in.Append(x.p, x.request)
	x.serve(tb)
}

func (x *exchange) serve(tb testing.TB) {
	for {
		e, err := x.server.Next(&x.in, &x.out, x.p, x.h)
		switch {
		case err != nil:
			tb.Fatal(err)
		case e.Kind == message.None:
			x.out.Skip(x.p, x.out.Len())
			return
		case e.Kind != message.GotHead || !e.End:
			tb.Fatal(e)
		}
		x.id = e.Stream
		x.src.Append(x.p, x.body)
		if x.server.AppendHead(&x.out, x.p, e.Stream, &x.answer, false) != nil ||
			x.server.AppendData(&x.out, x.p, e.Stream, &x.src, x.src.Len()) != nil ||
			x.server.AppendEnd(&x.out, x.p, e.Stream, nil) != nil {
			tb.Fatal("not answered")
		}
	}
}

func TestExchangeAllocatesNothing(t *testing.T) {
	x := newExchange(t)
	if n := testing.AllocsPerRun(1000, func() { x.ask(t) }); n != 0 {
		t.Errorf("a request and its answer allocate %v times", n)
	}
	if x.server.Open() != 0 {
		t.Errorf("%d streams are open", x.server.Open())
	}
}

// BenchmarkServer reads a GET with 8 fields, all of them indexed, and answers it with 128 bytes.
func BenchmarkServer(b *testing.B) {
	x := newExchange(b)
	b.ReportAllocs()
	for b.Loop() {
		x.ask(b)
	}
}

// BenchmarkBody sends 1 MB as DATA, of which 64 kB at a time are there.
func BenchmarkBody(b *testing.B) {
	x := newExchange(b)
	s := x.server.open(x.id + 2)
	s.headSent, s.reported = true, true
	part := make([]byte, buf.Large)
	b.ReportAllocs()
	b.SetBytes(1 << 20)
	for b.Loop() {
		for range 16 {
			s.sendWindow, x.server.sendWindow = 1<<20, 1<<20
			chunk := x.p.Get(buf.Large)
			chunk.Fill(len(part)) // what a receive put there
			x.src.Push(chunk)
			if err := x.server.AppendData(&x.out, x.p, s.id, &x.src, buf.Large); err != nil {
				b.Fatal(err)
			}
			x.server.Flush(&x.out, x.p, 1<<20)
			x.out.Skip(x.p, x.out.Len())
		}
	}
}
