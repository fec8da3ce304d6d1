package decompress

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/message"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// encode is the other direction, by the libraries' encoders, of Go's own where there is one.
func encode(t testing.TB, c Coding, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch c {
	case Gzip:
		w = gzip.NewWriter(&b)
	case Deflate:
		w = zlib.NewWriter(&b)
	case Brotli:
		w = brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: 5, LGWin: 20})
	case Zstd:
		e, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
		check(t, err)
		w = e
	}
	_, err := w.Write(plain)
	check(t, err)
	check(t, w.Close())
	return b.Bytes()
}

var everyCoding = []Coding{Gzip, Deflate, Brotli, Zstd}

// wide are limits that nothing here reaches.
var wide = limits{decodedMax: 1 << 30, ratioMax: 1 << 30, windowMax: 8 << 20, loopMax: 1 << 30}

// text is n bytes that look like what clients send.
func text(n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, `{"id": %d, "name": "item %d", "price": %d.%02d}`+"\n", i, i*7%1000, i%97, i%100)
	}
	return b[:n]
}

// decoded sends a body in parts of some size through a stream, and returns what came out and why it ended.
func decoded(t testing.TB, d *decoders, codings []Coding, l limits, body []byte, part int) (string, string) {
	t.Helper()
	p := buf.NewPool(0)
	a := applied{count: len(codings)}
	copy(a.list[:], codings)
	s := d.open(a, l)
	var in, out buf.Chain
	var err error
	for rest := body; err == nil && len(rest) > 0; {
		n := min(part, len(rest))
		in.Append(p, rest[:n])
		rest = rest[n:]
		err = s.Data(&in, n, &out, p)
		if in.Len() != 0 {
			t.Fatalf("%d bytes were not taken", in.Len())
		}
	}
	if err == nil {
		err = s.End(&out, p)
	}
	got := string(bytes.Join(out.Pieces(make([][]byte, 0, 100000)), nil))
	out.Release(p)
	s.Release(p, err == nil)
	if p.InUse() != 0 || d.inUse != 0 {
		t.Fatalf("%d bytes of chunks are held, %d of decoders", p.InUse(), d.inUse)
	}
	why := ""
	if err != nil {
		why = err.(*refusal).Reason
	}
	return got, why
}

func TestBodiesAreDecodedHoweverTheyCome(t *testing.T) {
	var d decoders
	for _, c := range everyCoding {
		for _, size := range []int{0, 1, 1000, 100_000} {
			plain := text(size)
			body := encode(t, c, plain)
			for _, part := range []int{1, 7, 1000, 1 << 20} {
				if got, why := decoded(t, &d, []Coding{c}, wide, body, part); got != string(plain) || why != "" {
					t.Errorf("%v of %d bytes in parts of %d: %d bytes, %s", c, size, part, len(got), why)
				}
			}
		}
	}
	twice := encode(t, Gzip, encode(t, Brotli, text(100_000)))
	if got, why := decoded(t, &d, []Coding{Gzip, Brotli}, wide, twice, 100); got != string(text(100_000)) || why != "" {
		t.Errorf("two codings: %d bytes, %s", len(got), why)
	}
}

// What may follow itself may do so here: members of gzip (RFC 1952 2.2), frames of zstd (RFC 8878 3).
func TestSeveralMembersAreOneBody(t *testing.T) {
	var d decoders
	for _, c := range []Coding{Gzip, Zstd} {
		body := append(encode(t, c, []byte("one, ")), encode(t, c, []byte("two"))...)
		for part := range len(body) {
			if got, why := decoded(t, &d, []Coding{c}, wide, body, part+1); got != "one, two" || why != "" {
				t.Errorf("%v in parts of %d: %q, %s", c, part+1, got, why)
			}
		}
	}
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'x', 'y', 'z'}, encode(t, Zstd, []byte("one"))...)
	if got, why := decoded(t, &d, []Coding{Zstd}, wide, skippable, 1); got != "one" || why != "" {
		t.Errorf("behind a frame to be skipped: %q, %s", got, why)
	}
}

func TestABodyThatEndsTooEarlyIsNeverComplete(t *testing.T) {
	var d decoders
	for _, c := range everyCoding {
		body := encode(t, c, text(200))
		for n := range len(body) {
			if _, why := decoded(t, &d, []Coding{c}, wide, body[:n], 1+n%50); why != "encoding_truncated" {
				t.Fatalf("%v: %d bytes of %d: %q", c, n, len(body), why)
			}
		}
	}
	twice := encode(t, Gzip, encode(t, Brotli, text(2000))[:100])
	if _, why := decoded(t, &d, []Coding{Gzip, Brotli}, wide, twice, 10); why != "encoding_truncated" {
		t.Errorf("within a whole one: %q", why)
	}
}

func TestABodyThatGoesOnBehindItsEndIsRefused(t *testing.T) {
	var d decoders
	for _, c := range everyCoding {
		for _, more := range []string{"x", strings.Repeat("x", 100_000), "\x00"} {
			body := append(encode(t, c, text(2000)), more...)
			for _, part := range []int{1, 10, len(body)} {
				_, why := decoded(t, &d, []Coding{c}, wide, body, part)
				if why != "encoding_trailing" && why != "encoding_malformed" && why != "encoding_truncated" { // of what would be the next member
					t.Errorf("%v with %d bytes more, in parts of %d: %q", c, len(more), part, why)
				}
			}
		}
	}
}

func TestWhatIsNoCodingIsMalformed(t *testing.T) {
	var d decoders
	f := func(c Coding, body string) {
		t.Helper()
		if _, why := decoded(t, &d, []Coding{c}, wide, []byte(body), 5); why != "encoding_malformed" {
			t.Errorf("%v: %q", c, why)
		}
	}
	for _, c := range everyCoding {
		f(c, strings.Repeat("{\"a\": 1}", 100))
	}
	flipped := encode(t, Gzip, text(5000))
	flipped[len(flipped)-6] ^= 1 // the checksum
	f(Gzip, string(flipped))
	var raw bytes.Buffer // deflate without the frame that RFC 9110 8.4.1.2 asks for
	w, err := flate.NewWriter(&raw, 5)
	check(t, err)
	_, _ = w.Write(text(5000))
	check(t, w.Close())
	f(Deflate, raw.String())
	f(Brotli, "\x11\x00\x00\x00\x00\x00") // a large window
}

// Bombs. What is let through before a bound is reached is not more than the bound and what is decoded at a time.
func TestBombsAreStoppedWhileTheyGoOff(t *testing.T) {
	var d decoders
	zeros := make([]byte, 6<<20)
	for _, c := range everyCoding {
		bomb := encode(t, c, zeros)
		f := func(l limits, most int, want string) {
			t.Helper()
			l.windowMax, l.loopMax = 8<<20, 64<<20
			for _, part := range []int{100, 1 << 20} {
				got, why := decoded(t, &d, []Coding{c}, l, bomb, part)
				if why != want || len(got) > most {
					t.Errorf("%v, %d bytes: %d bytes, %q, want %q", c, len(bomb), len(got), why, want)
				}
			}
		}
		f(limits{decodedMax: 2 << 20}, 2<<20, "decoded_too_large")
		f(limits{decodedMax: 1 << 30, ratioMax: 100}, max(ratioFree, 100*len(bomb)), "decoded_ratio")
	}
	// One within the other multiplies.
	twice := encode(t, Gzip, encode(t, Gzip, zeros))
	got, why := decoded(t, &d, []Coding{Gzip, Gzip}, limits{decodedMax: 1 << 30, ratioMax: 1000, windowMax: 8 << 20, loopMax: 64 << 20}, twice, 100)
	if why != "decoded_ratio" || len(got) > max(ratioFree, 1000*len(twice)) {
		t.Errorf("two codings, %d bytes: %d bytes, %q", len(twice), len(got), why)
	}
}

func TestSmallBodiesMayRepeatThemselves(t *testing.T) {
	var d decoders
	plain := bytes.Repeat([]byte("a"), 1<<20)
	l := wide
	l.ratioMax = 10
	if got, why := decoded(t, &d, []Coding{Gzip}, l, encode(t, Gzip, plain), 100); len(got) != len(plain) || why != "" {
		t.Errorf("%d bytes, %q", len(got), why)
	}
}

func TestWindowsAreBounded(t *testing.T) {
	var d decoders
	f := func(c Coding, body []byte, windowMax int, want string) {
		t.Helper()
		l := wide
		l.windowMax = windowMax
		if _, why := decoded(t, &d, []Coding{c}, l, body, 3); why != want {
			t.Errorf("%v with a window up to %d: %q, want %q", c, windowMax, why, want)
		}
	}
	// A window of a megabyte, as the encoders here were told, for a body that needs it.
	for _, c := range []Coding{Brotli, Zstd} {
		body := encode(t, c, text(200_000))
		f(c, body, 1<<20, "")
		f(c, body, 1<<19, "window_too_large")
	}
	one, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true), zstd.WithEncoderConcurrency(1))
	check(t, err)
	segment := one.EncodeAll(text(100_000), nil)
	f(Zstd, segment, 100_000, "")
	f(Zstd, segment, 99_999, "window_too_large")
	// The first frame tells, and the next may not ask for more.
	f(Zstd, append(one.EncodeAll([]byte("small"), nil), segment...), 1<<20, "window_too_large")
}

func TestMemoryOfDecodersIsBounded(t *testing.T) {
	var d decoders
	p := buf.NewPool(0)
	l := wide
	l.loopMax = 5 << 20
	body := encode(t, Brotli, text(1000)) // a window of a megabyte
	var open []*stream
	for {
		s := d.open(applied{list: [codingsMax]Coding{Brotli}, count: 1}, l)
		var in, out buf.Chain
		in.Append(p, body[:5])
		err := s.Data(&in, 5, &out, p)
		out.Release(p)
		if err != nil {
			if err != busy {
				t.Error(err)
			}
			s.Release(p, false)
			break
		}
		open = append(open, s)
	}
	if len(open) != 4 {
		t.Errorf("%d decoders of a megabyte in 5 MiB", len(open))
	}
	for _, s := range open {
		s.Release(p, false)
	}
	if d.inUse != 0 {
		t.Errorf("%d bytes are held", d.inUse)
	}
}

// A body that was given up leaves nothing that the next one would get.
func TestADecoderForgetsABodyThatWasGivenUp(t *testing.T) {
	var d decoders
	for _, c := range everyCoding {
		body := encode(t, c, text(50_000))
		for range 3 {
			if _, why := decoded(t, &d, []Coding{c}, wide, body[:len(body)/2], 1000); why != "encoding_truncated" {
				t.Errorf("%v: %q", c, why)
			}
			if got, why := decoded(t, &d, []Coding{c}, wide, body, 1000); got != string(text(50_000)) || why != "" {
				t.Errorf("%v: %d bytes, %q", c, len(got), why)
			}
			if _, why := decoded(t, &d, []Coding{c}, wide, []byte("no coding at all, but long enough"), 1000); why != "encoding_malformed" {
				t.Errorf("%v: %q", c, why)
			}
		}
	}
}

func TestInShadowTheBodyGoesOnAsItCame(t *testing.T) {
	p := buf.NewPool(0)
	for _, body := range [][]byte{encode(t, Gzip, text(3000)), []byte("nothing of the kind"), encode(t, Gzip, text(3000))[:100]} {
		var d decoders
		s := d.open(applied{count: 1}, wide)
		s.shadow = true
		var in, out buf.Chain
		in.Append(p, body)
		check(t, s.Data(&in, len(body), &out, p))
		check(t, s.End(&out, p))
		if got := bytes.Join(out.Pieces(make([][]byte, 0, 10)), nil); !bytes.Equal(got, body) {
			t.Errorf("%d bytes of %d", len(got), len(body))
		}
		out.Release(p)
		s.Release(p, true)
	}
}

// RFC 9110 8.4.
func TestContentEncoding(t *testing.T) {
	all := [codings]bool{true, true, true, true}
	some := all
	some[Deflate] = false
	f := func(field string, accepted *[codings]bool, want string) {
		t.Helper()
		h := &message.Head{}
		for line := range strings.SplitSeq(field, "|") {
			h.AddString("Content-Encoding", line)
		}
		a, wrong := appliedTo(&h.Fields, accepted)
		got := fmt.Sprint(a.list[:a.count])
		if wrong != nil {
			got = wrong.Reason
		}
		if got != want {
			t.Errorf("%s: %s, want %s", field, got, want)
		}
	}
	f("gzip", &all, "[gzip]")
	f("X-GZIP", &all, "[gzip]")
	f("gzip, br", &all, "[br gzip]")
	f("gzip|zstd", &all, "[zstd gzip]")
	f("identity", &all, "[]")
	f("", &all, "[]")
	f(", identity ,gzip", &all, "[gzip]")
	f("deflate", &all, "[deflate]")
	f("deflate", &some, "unsupported_encoding")
	f("compress", &all, "unsupported_encoding")
	f("gzip;q=1", &all, "unsupported_encoding")
	f("gzip, gzip, gzip", &all, "too_many_encodings")
}

func FuzzDecode(f *testing.F) {
	for _, c := range everyCoding {
		f.Add(byte(c), encode(f, c, []byte("hello hello hello")), uint8(3))
	}
	var d decoders
	f.Fuzz(func(t *testing.T, c byte, body []byte, part uint8) {
		l := limits{decodedMax: 1 << 20, ratioMax: 100, windowMax: 1 << 20, loopMax: 8 << 20}
		coding := everyCoding[int(c)%len(everyCoding)]
		whole, why := decoded(t, &d, []Coding{coding}, l, body, len(body)+1)
		parts, whyParts := decoded(t, &d, []Coding{coding}, l, body, int(part)+1)
		if why == "" && whyParts == "" && whole != parts || (why == "") != (whyParts == "") {
			t.Errorf("%v: whole %d bytes, %q; in parts %d bytes, %q", coding, len(whole), why, len(parts), whyParts)
		}
		if len(whole) > 1<<20 {
			t.Errorf("%d bytes", len(whole))
		}
	})
}

func TestDecodingAllocatesLittle(t *testing.T) {
	p := buf.NewPool(0)
	var d decoders
	var in, out buf.Chain
	for _, c := range everyCoding {
		body := encode(t, c, text(5000))
		request := func() {
			s := d.open(applied{list: [codingsMax]Coding{c}, count: 1}, wide)
			in.Append(p, body)
			check(t, s.Data(&in, len(body), &out, p))
			check(t, s.End(&out, p))
			out.Release(p)
			s.Release(p, true)
		}
		request()
		// The coroutine is eight small pieces; the libraries make tables anew for some blocks.
		if n := testing.AllocsPerRun(20, request); n > 60 {
			t.Errorf("%v: %v allocations", c, n)
		} else {
			t.Logf("%v: %v allocations", c, n)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	p := buf.NewPool(0)
	var d decoders
	for _, c := range everyCoding {
		b.Run(c.String(), func(b *testing.B) {
			plain := text(256 << 10)
			body := encode(b, c, plain)
			b.ReportAllocs()
			b.SetBytes(int64(len(plain)))
			var in, out buf.Chain
			for b.Loop() {
				s := d.open(applied{list: [codingsMax]Coding{c}, count: 1}, wide)
				in.Append(p, body)
				check(b, s.Data(&in, len(body), &out, p))
				check(b, s.End(&out, p))
				out.Release(p)
				s.Release(p, true)
			}
		})
	}
}
