package h1

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

// The slow twin of the chunk decoder reads a whole body at once, with regular expressions written off RFC 9112 7.1 (less the
// white space that we refuse). It says what the body is and how long its coding, or that the bytes are no chunked body.
const token = "[-!#$%&'*+.^_`|~0-9A-Za-z]+"

var (
	chunkLine = regexp.MustCompile(`^([0-9A-Fa-f]{1,16})((?:;` + token + `(?:=(?:` + token + `|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"))?)*)\r\n`)
	fieldLine = regexp.MustCompile(`^` + token + `:[\t -~\x80-\xff]*\r\n`)
)

func slowChunked(b []byte) (body string, length int, ok bool) {
	rest := latin1(b)
	whole := len([]rune(rest))
	for {
		m := chunkLine.FindStringSubmatch(rest)
		if m == nil || len([]rune(m[0])) > standard.ChunkLineBytesMax {
			return "", 0, false
		}
		size, err := strconv.ParseUint(m[1], 16, 63)
		if err != nil {
			return "", 0, false
		}
		rest = rest[len(m[0]):]
		if size == 0 {
			break
		}
		runes := []rune(rest)
		if uint64(len(runes)) < size+2 || string(runes[size:size+2]) != "\r\n" {
			return "", 0, false
		}
		body += string(runes[:size])
		rest = string(runes[size+2:])
	}
	for !strings.HasPrefix(rest, "\r\n") {
		m := fieldLine.FindString(rest)
		if m == "" {
			return "", 0, false
		}
		rest = rest[len(m):]
	}
	return body, whole - len([]rune(rest)) + 2, true
}

// latin1 makes a rune of each byte, so that regular expressions match bytes.
func latin1(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(rune(c))
	}
	return s.String()
}

// fastChunked is the codec's opinion on the same question, with the bytes arriving in pieces of the given size.
func fastChunked(b []byte, piece int) (body string, length int, ok bool) {
	var (
		in   buf.Chain
		r    = reader{limits: standard}
		h    message.Head
		p    = buf.NewPool(0)
		data []byte
	)
	r.beginBody(message.UnknownLength)
	given := 0
	for given < len(b) {
		n := min(piece, len(b)-given)
		in.Append(p, b[given:given+n])
		given += n
		for {
			e, err := r.body(&in, p, &h)
			if err != nil {
				return "", 0, false
			}
			if e.Kind == message.None {
				break
			}
			data = append(data, in.Pull(p, e.N)[:e.N]...)
			in.Skip(p, e.N)
			if e.End {
				return latin1(data), given - in.Len(), true
			}
		}
	}
	return "", 0, false
}

func compareWithSlow(t interface{ Fatalf(string, ...any) }, b []byte, piece int) {
	body, length, ok := fastChunked(b, piece)
	wantBody, wantLength, want := slowChunked(b)
	if body != wantBody || length != wantLength || ok != want {
		t.Fatalf("%q in pieces of %d\n got %q, %d, %v\nwant %q, %d, %v", b, piece, body, length, ok, wantBody, wantLength, want)
	}
}

// Bodies that are right, and the same with a few bytes changed, mean to the codec what they mean to its slow twin.
func TestChunkedAgainstSlowTwinRFC9112_7_1(t *testing.T) {
	piece := rapid.OneOf(
		rapid.StringMatching(`[0-9a-fA-F]{1,3}`),
		rapid.SampledFrom([]string{"\r\n", "0\r\n", "0\r\n\r\n", "5\r\nhello\r\n", ";", ";a", ";a=b", `;a="b\"c"`, "A: b\r\n", "\n", "\r", " ", "1\r\nx\r\n", "00000000000000001\r\n", "x", "\x00", "\xff"}),
	)
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		for range rapid.IntRange(0, 3).Draw(t, "chunks") {
			data := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "data")
			b = fmt.Appendf(b, "%x%s\r\n%s\r\n", len(data), rapid.SampledFrom([]string{"", ";a", ";a=b;c", `;a="; \" "`}).Draw(t, "extension"), data)
		}
		b = append(b, rapid.SampledFrom([]string{"0\r\n\r\n", "0;a\r\nA: b\r\n\r\n", "000\r\nA:\t\r\nB:\xff\r\n\r\nrest", ""}).Draw(t, "end")...)
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			at := rapid.IntRange(0, len(b)).Draw(t, "at")
			drop := rapid.IntRange(0, min(2, len(b)-at)).Draw(t, "drop")
			b = append(b[:at:at], append([]byte(piece.Draw(t, "piece")), b[at+drop:]...)...)
		}
		compareWithSlow(t, b, rapid.SampledFrom([]int{1, 3, 1 << 20}).Draw(t, "piece size"))
	})
}

func FuzzChunked(f *testing.F) {
	for _, s := range []string{"5\r\nhello\r\n0\r\n\r\n", "5;a=\"b\\\"\"\r\nhello\r\n0\r\nA: b\r\n\r\n", "0\r\n\r\n", "ffffffffffffffff\r\n", "2;\nxx\r\n"} {
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s), uint8(255))
	}
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		if len(b) > 1000 {
			return // the twin knows no budget for extensions, and no bound on trailers
		}
		compareWithSlow(t, b, int(piece)+1)
	})
}

// What one side writes in chunks the other reads as what it was, whatever the chunk sizes.
func TestChunkedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			out  buf.Chain
			w    = writer{delimiter: byChunks}
			p    = buf.NewPool(0)
			want []byte
		)
		for range rapid.IntRange(0, 4).Draw(t, "pieces") {
			data := bytes.Repeat([]byte{'x'}, rapid.IntRange(0, 20000).Draw(t, "size"))
			var src buf.Chain
			src.Append(p, data)
			if err := w.data(&out, p, &src, len(data)); err != nil {
				t.Fatal(err)
			}
			src.Release(p)
			want = append(want, data...)
		}
		if err := w.end(&out, p, nil); err != nil {
			t.Fatal(err)
		}
		body, length, ok := fastChunked(out.Pull(p, out.Len()), 1000)
		if !ok || body != string(want) || length != out.Len() {
			t.Fatalf("%d bytes became %d", len(want), len(body))
		}
		out.Release(p)
		if p.InUse() != 0 {
			t.Fatalf("%d bytes of chunks were lost", p.InUse())
		}
	})
}

// Extensions are paid for by data: a signature on each big chunk passes for ever, a kilobyte on each byte does not.
func TestExtensionBudgetGrowsWithData(t *testing.T) {
	signed := []byte(strings.Repeat("600;chunk-signature="+strings.Repeat("a", 64)+"\r\n"+strings.Repeat("x", 0x600)+"\r\n", 1000) + "0\r\n\r\n")
	if body, _, ok := fastChunked(signed, 16<<10); !ok || len(body) != 0x600*1000 {
		t.Error("signed chunks are refused")
	}
	padded := []byte(strings.Repeat("1;"+strings.Repeat("e", 100)+"\r\nx\r\n", 3000) + "0\r\n\r\n")
	if _, _, ok := fastChunked(padded, 16<<10); ok {
		t.Error("a body of extensions is taken")
	}
}
