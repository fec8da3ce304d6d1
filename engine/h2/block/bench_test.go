package block

import (
	"bytes"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/yumen-io/yumen/engine/message"
)

// browserHead is what a browser asks for, as it is forwarded: eight fields.
func browserHead() *message.Head {
	return request("GET", "www.exam.test", "/api/users/42", "?fields=name,mail",
		"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
		"accept", "text/html,application/xhtml+xml,*/*;q=0.8",
		"accept-encoding", "gzip, deflate, br",
		"accept-language", "en-US,en;q=0.9",
		"cookie", "sid=0123456789abcdef0123456789abcdef",
		"x-forwarded-for", "192.0.2.7",
		"x-forwarded-proto", "https",
		"x-request-id", "0123456789abcdef0123456789abcdef")
}

func smallHead() *message.Head {
	return response(200, 128, "server", "origin", "date", "Mon, 06 Jan 2025 10:00:00 GMT", "content-type", "application/json",
		"cache-control", "no-store", "etag", `"0123456789abcdef"`)
}

// BenchmarkReader reads a request that is all in the table, as of a client that repeats itself, and one of literals.
func BenchmarkReader(b *testing.B) {
	var w Writer
	blocks := map[string][]byte{"literals": w.AppendRequest(nil, browserHead())}
	var indexed bytes.Buffer
	e := hpack.NewEncoder(&indexed)
	list := decoded(b, blocks["literals"])
	for range 2 {
		indexed.Reset()
		for _, f := range list {
			if err := e.WriteField(hpack.HeaderField{Name: f.Name, Value: f.Value}); err != nil {
				b.Fatal(err)
			}
		}
	}
	blocks["indexed"] = indexed.Bytes()
	for name, block := range blocks {
		b.Run(name, func(b *testing.B) {
			var (
				r Reader
				h message.Head
			)
			r.Init(nil)
			for _, f := range list { // fills the table as the encoder has it
				r.decoder.SetEmitEnabled(false)
				if _, err := r.decoder.Write(appendText(appendText([]byte{0x40}, f.Name), f.Value)); err != nil && name == "indexed" {
					b.Fatal(err)
				}
				r.decoder.SetEmitEnabled(true)
			}
			b.ReportAllocs()
			for b.Loop() {
				r.Begin(Request, &h)
				if err := r.Write(block); err != nil {
					b.Fatal(err)
				}
				if stream, connection := r.End(); stream != nil || connection != nil {
					b.Fatal(stream, connection)
				}
			}
		})
	}
}

func BenchmarkWriter(b *testing.B) {
	var w Writer
	req, resp := browserHead(), smallHead()
	room := make([]byte, 0, 4096)
	for name, write := range map[string]func() []byte{
		"request":  func() []byte { return w.AppendRequest(room, req) },
		"response": func() []byte { return w.AppendResponse(room, resp) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				write()
			}
			b.ReportMetric(float64(len(write())), "bytes")
		})
	}
}

// BenchmarkLibraryEncoder writes the same request with the encoder that lost: what repeats is in its table, what does not is
// sensitive to it. Strings are at hand, which a Head would have to find first.
func BenchmarkLibraryEncoder(b *testing.B) {
	var w Writer
	for name, block := range map[string][]byte{
		"request":  w.AppendRequest(nil, browserHead()),
		"response": w.AppendResponse(nil, smallHead()),
	} {
		b.Run(name, func(b *testing.B) {
			list := decoded(b, block)
			for i := range list {
				switch list[i].Name {
				case ":path", "cookie", "x-request-id", "x-forwarded-for", "date", "etag", "content-length":
					list[i].Sensitive = true
				default:
					list[i].Sensitive = false
				}
			}
			var out bytes.Buffer
			e := hpack.NewEncoder(&out)
			b.ReportAllocs()
			for b.Loop() {
				out.Reset()
				for _, f := range list {
					if err := e.WriteField(f); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(out.Len()), "bytes")
		})
	}
}
