package filters_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/yumen-io/yumen/filters"
	"github.com/yumen-io/yumen/filters/transcode"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/retry"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// shelfJSON is a message of 200 bytes, as many are.
const shelfJSON = `{"name":"shelves/7","items":[{"name":"a pound of tea","price":1200},{"name":"a pot","price":4500},` +
	`{"name":"two cups and saucers","price":990},{"name":"sugar","price":85}],"shelfId":"1234567890","blob":"AAECAwQFBgcICQ=="}`

// BenchmarkTranscode is a passage of shelfJSON there and back, over HTTP/1 in front and h2c behind: proxied as it is, and as a call.
// Client and origin do the same and allocate nothing. loop-ns/op is the time of the processor that the gateway took.
func BenchmarkTranscode(b *testing.B) {
	b.Run("proxied", func(b *testing.B) {
		benchmark(b, nil, fixedAnswer("application/json", shelfJSON))
	})
	b.Run("transcoded", func(b *testing.B) {
		benchmark(b, transcodeSpec(b), fixedAnswer("application/grpc", shelfFrame(b)))
	})
}

// TestTranscodedCallsAllocateNothing holds the benchmark's figure.
func TestTranscodedCallsAllocateNothing(t *testing.T) {
	r := start(t, transcodeSpec(t), retry.Config{}, fixedOrigin(t, fixedAnswer("application/grpc", shelfFrame(t))))
	c := newFixedClient(t, r.addr)
	for range 100 { // buffers, heads and maps find their size
		c.do(t)
	}
	// The background of a Go process allocates now and then, so a fraction is allowed; one in each request is not.
	if n := testing.AllocsPerRun(2000, func() { c.do(t) }); n >= 0.5 {
		t.Errorf("a transcoded call allocates %v times, want 0", n)
	}
}

func benchmark(b *testing.B, specs []filters.Spec, answers [2][]byte) {
	r := start(b, specs, retry.Config{}, fixedOrigin(b, answers))
	c := newFixedClient(b, r.addr)
	for range 100 {
		c.do(b)
	}
	b.ReportAllocs()
	before := r.loopTime(b)
	for b.Loop() {
		c.do(b)
	}
	b.ReportMetric(float64(r.loopTime(b)-before)/float64(b.N), "loop-ns/op")
}

// loopTime is how much of a processor the gateway's loop has had, in ns: a loop has a thread of its own.
func (r *running) loopTime(tb testing.TB) (ns int64) {
	r.gateway.OnEach(func(*gateway.Worker) {
		var ts unix.Timespec
		check(tb, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts))
		ns = ts.Nano()
	})
	return ns
}

// shelfFrame is shelfJSON as gRPC sends it.
func shelfFrame(tb testing.TB) string {
	m := messages(tb)("library.Shelf")
	check(tb, protojson.Unmarshal([]byte(shelfJSON), m))
	wire, err := proto.Marshal(m)
	check(tb, err)
	return string(transcode.AppendFrame(nil, wire))
}

// fixedClient sends shelfJSON again and again.
type fixedClient struct {
	net.Conn
	request []byte
	buf     [4096]byte
}

func newFixedClient(tb testing.TB, addr string) *fixedClient {
	conn, err := net.Dial("tcp", addr)
	check(tb, err)
	tb.Cleanup(func() { conn.Close() })
	return &fixedClient{Conn: conn, request: fmt.Appendf(nil, "POST /v1/shelves HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: bench/1\r\n"+
		"Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(shelfJSON), shelfJSON)}
}

func (c *fixedClient) do(tb testing.TB) {
	if _, err := c.Write(c.request); err != nil {
		tb.Fatal(err)
	}
	for have := 0; ; {
		n, err := c.Read(c.buf[have:])
		if err != nil {
			tb.Fatalf("%v behind %q", err, c.buf[:have])
		}
		have += n
		// The answer ends with shelfJSON, in chunks or not.
		if b := c.buf[:have]; bytes.HasSuffix(b, []byte("==\"}")) || bytes.HasSuffix(b, []byte("0\r\n\r\n")) {
			if !bytes.HasPrefix(b, []byte("HTTP/1.1 200 ")) || !bytes.Contains(b, []byte(shelfJSON)) {
				tb.Fatalf("%q", b)
			}
			return
		}
	}
}

// appendFrame appends a frame of HTTP/2 (RFC 9113 4.1).
func appendFrame(b []byte, kind, flags byte, payload string) []byte {
	b = append(b, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags, 0, 0, 0, 0)
	return append(b, payload...)
}

// fixedAnswer is an answer in frames whose stream is to be filled in: a head, a body and, for a call, trailers. The first on
// a connection puts its fields into the table of the compression (RFC 7541 6.2.1), as real servers do, and later ones refer to it.
func fixedAnswer(kind, body string) (answers [2][]byte) {
	const data, headers, endStream, endHeaders = 0, 1, 1, 4
	typed, status := "\x88\x5f"+string(rune(len(kind)))+kind, "\x40\x0bgrpc-status\x010"
	for i := range answers {
		call := kind == "application/grpc"
		switch {
		case i == 0:
		case call:
			typed, status = "\x88\xbf", "\xbe"
		default:
			typed = "\x88\xbe"
		}
		b := appendFrame(nil, headers, endHeaders, typed)
		if call {
			b = appendFrame(b, data, 0, body)
			b = appendFrame(b, headers, endHeaders|endStream, status)
		} else {
			b = appendFrame(b, data, endStream, body)
		}
		answers[i] = b
	}
	return answers
}

// fixedOrigin speaks as much of HTTP/2 as it takes to give that answer to each request, and allocates nothing.
func fixedOrigin(tb testing.TB, answers [2][]byte) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(tb, err)
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveFixed(conn, answers)
		}
	}()
	return l.Addr().String()
}

func serveFixed(conn net.Conn, answers [2][]byte) {
	defer conn.Close()
	var in [16 << 10]byte
	if _, err := io.ReadFull(conn, in[:24]); err != nil { // the preface
		return
	}
	out := appendFrame(make([]byte, 0, 4096), 4, 0, "") // SETTINGS
	have := 0
	for {
		if _, err := conn.Write(out); err != nil {
			return
		}
		out = out[:0]
		n, err := conn.Read(in[have:])
		if err != nil {
			return
		}
		have += n
		rest := in[:have]
		for len(rest) >= 9 {
			size := 9 + int(rest[0])<<16 + int(rest[1])<<8 + int(rest[2])
			if len(rest) < size {
				break
			}
			var answered bool
			if out, answered = reply(out, rest[:size], answers[0]); answered {
				answers[0] = answers[1]
			}
			rest = rest[size:]
		}
		have = copy(in[:], rest)
	}
}

// reply appends what one frame is answered with, and tells whether that was the answer.
func reply(out, frame, answer []byte) ([]byte, bool) {
	const data, headers, settings, ping, endStream = 0, 1, 4, 6, 1
	switch kind, flags := frame[3], frame[4]; {
	case kind == settings && flags == 0:
		out = appendFrame(out, settings, 1, "")
	case kind == ping && flags == 0:
		out = append(append(out, 0, 0, 8, ping, 1, 0, 0, 0, 0), frame[9:]...)
	case kind == data || kind == headers:
		if kind == data && len(frame) > 9 { // what came may come again: WINDOW_UPDATE of the connection
			out = append(out, 0, 0, 4, 8, 0, 0, 0, 0, 0)
			out = binary.BigEndian.AppendUint32(out, uint32(len(frame)-9))
		}
		if flags&endStream == 0 {
			break
		}
		at := len(out)
		out = append(out, answer...)
		for at < len(out) { // fills in the stream
			copy(out[at+5:], frame[5:9])
			at += 9 + int(out[at])<<16 + int(out[at+1])<<8 + int(out[at+2])
		}
		return out, true
	}
	return out, false
}
