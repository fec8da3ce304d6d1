package ws

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// frame writes a frame: its first byte, and a payload. With a key it is masked.
func frame(first byte, payload string, key ...byte) string {
	b := []byte{first, byte(len(payload))}
	switch {
	case len(payload) > math.MaxUint16:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(len(payload)))
	case len(payload) > 125:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	}
	if len(key) == 0 {
		return string(b) + payload
	}
	b[1] |= bitMask
	b = append(b, key...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return string(b)
}

// told says where a tracker says that the stream stands.
func told(t *Tracker) string {
	n, known := t.UntilBoundary()
	s := "in a header"
	switch {
	case t.Broken():
		s = "broken"
		if known || t.AtBoundary() {
			s += " and known"
		}
	case t.AtBoundary():
		s = "at a boundary"
		if !known || n != 0 {
			s += " and not"
		}
	case known:
		s = fmt.Sprintf("%d to go", n)
	}
	if t.Closed() {
		s += ", closed"
	}
	return s
}

var samples = []struct{ input, want string }{
	{"", "at a boundary"},

	// RFC 6455 5.7: its examples.
	{"\x81\x05Hello", "at a boundary"},
	{"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "at a boundary"},
	{"\x01\x03Hel", "at a boundary"},
	{"\x01\x03Hel\x80\x02lo", "at a boundary"},
	{"\x89\x05Hello", "at a boundary"},
	{"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "at a boundary"},
	{"\x82\x7e\x01\x00" + strings.Repeat("x", 256), "at a boundary"},
	{"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + strings.Repeat("x", 65536), "at a boundary"},

	// On the way.
	{"\x81", "in a header"},
	{"\x81\x7e\x01", "in a header"},
	{"\x81\x85\x37\xfa\x21", "in a header"},
	{"\x81\x05", "5 to go"},
	{"\x81\x05Hel", "2 to go"},
	{"\x81\x85\x37\xfa\x21\x3d", "5 to go"},
	{"\x82\x7e\x01\x00", "256 to go"},
	{"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xffx", "9223372036854775806 to go"},

	// Empty frames, and those between fragments (5.4).
	{"\x81\x00\x82\x00\x89\x00\x8a\x00", "at a boundary"},
	{"\x81\x80abcd\x81\x80abcd", "at a boundary"},
	{"\x01\x00\x89\x01p\x00\x00\x8a\x00\x80\x00\x82\x00", "at a boundary"},

	// Closes (5.5.1).
	{"\x88\x00", "at a boundary, closed"},
	{"\x88\x02\x03\xe8", "at a boundary, closed"},
	{"\x88\x82\x00\x00\x00\x00\x03\xe8", "at a boundary, closed"},
	{"\x88\x02\x03", "1 to go"},
	{"\x88", "in a header"},
	{"\x01\x03Hel\x88\x00", "at a boundary, closed"},
	{"\x88\x00\x81", "broken, closed"},
	{"\x88\x00\x88\x00", "broken, closed"},

	// permessage-deflate (RFC 7692 6, 7): the first frame of a message says it.
	{"\xc1\x02xx\xc2\x02xx", "at a boundary"},
	{"\x41\x02xx\x80\x02xx\x41\x02xx", "at a boundary"},
	{"\x41\x02xx\xc0", "broken"},
	{"\xc9", "broken"},
	{"\xc8", "broken"},

	// No frames.
	{"\xa1", "broken"},
	{"\x91", "broken"},
	{"\x83", "broken"},
	{"\x87\x00", "broken"},
	{"\x8b", "broken"},
	{"\x8f", "broken"},
	{"\x08", "broken"},
	{"\x09\x00", "broken"},
	{"\x0a\x00", "broken"},
	{"\x88\x7e", "broken"},
	{"\x89\xff", "broken"},
	{"\x80\x00", "broken"},
	{"\x00\x00", "broken"},
	{"\x81\x00\x80", "broken"},
	{"\x01\x00\x81", "broken"},
	{"\x01\x00\x02", "broken"},
	{"\x81\x7e\x00\x7d", "broken"},
	{"\x81\x7e\x00\x7e", "126 to go"},
	{"\x81\x7f\x00\x00\x00\x00\x00\x00\xff\xff", "broken"},
	{"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00", "broken"},
	{"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff", "broken"},
	{"\x81\x00\x81\x80", "broken"},
	{"\x81\x80abcd\x81\x00", "broken"},
	{"HTTP/1.1 200 OK\r\n\r\n", "broken"},
	{"\x81\x05Hello\xff and much more \x81\x00", "broken"},
}

// Every sample whole, byte by byte, and cut at each position.
func TestTracker(t *testing.T) {
	for _, s := range samples {
		b := []byte(s.input)
		var whole, single Tracker
		whole.Pass(b)
		if got := told(&whole); got != s.want {
			t.Errorf("%.50q\n is %s\nnot %s", b, got, s.want)
			continue
		}
		for i := range b {
			single.Pass(b[i : i+1])
			if len(b) > 300 && i%100 != 0 {
				continue
			}
			var halves Tracker
			halves.Pass(b[:i])
			halves.Pass(nil)
			halves.Pass(b[i:])
			if got := told(&halves); got != s.want {
				t.Errorf("%.50q\n cut at %d is %s\nnot %s", b, i, got, s.want)
			}
		}
		if got := told(&single); got != s.want {
			t.Errorf("%.50q\n byte by byte is %s\nnot %s", b, got, s.want)
		}
	}
}

// slow is the twin: it has all the bytes and reads them from the beginning, frame by frame. It says where the stream stands
// behind the last one, in the words of told.
func slow(b string) string {
	var (
		masked    *bool
		fragments bool
		suffix    string
	)
	for b != "" {
		if suffix != "" {
			return "broken" + suffix
		}
		first := fmt.Sprintf("%08b", b[0])
		fin, compressed, reserved, op := first[0] == '1', first[1] == '1', first[2:4], first[4:]
		legal := reserved == "00"
		switch op {
		case "0000":
			legal = legal && fragments && !compressed
		case "0001", "0010":
			legal = legal && !fragments
		case "1000", "1001", "1010":
			legal = legal && fin && !compressed
		default:
			legal = false
		}
		if !legal {
			return "broken"
		}
		if len(b) == 1 {
			return "in a header"
		}
		mask := b[1] >= 128
		if masked != nil && *masked != mask {
			return "broken"
		}
		length, rest := uint64(b[1]%128), b[2:]
		if op[0] == '1' && length > 125 {
			return "broken"
		}
		var long, least uint64
		switch length {
		case 126:
			long, least = 2, 126
		case 127:
			long, least = 8, 65536
		}
		if uint64(len(rest)) < long {
			return "in a header"
		}
		if long > 0 {
			length = 0
			for i := range long {
				length = length*256 + uint64(rest[i])
			}
			if length < least || length > math.MaxInt64 {
				return "broken"
			}
		}
		rest = rest[long:]
		if mask {
			if len(rest) < 4 {
				return "in a header"
			}
			rest = rest[4:]
		}
		if uint64(len(rest)) < length {
			return fmt.Sprintf("%d to go", length-uint64(len(rest)))
		}
		masked, b = &mask, rest[length:]
		if op[0] == '0' {
			fragments = !fin
		}
		if op == "1000" {
			suffix = ", closed"
		}
	}
	return "at a boundary" + suffix
}

// compareWithSlow lets b pass in pieces of the given sizes, over and over, and asks the twin after each. A Pass must be as
// many steps of PassFrame, and each of those ends at a boundary or takes everything.
func compareWithSlow(t interface{ Fatalf(string, ...any) }, b string, sizes []int) {
	var whole, frames Tracker
	for at, i := 0, 0; at < len(b); i++ {
		end := min(len(b), at+sizes[i%len(sizes)])
		piece := []byte(b[at:end])
		whole.Pass(piece)
		for len(piece) > 0 {
			n, known := frames.UntilBoundary()
			taken := frames.PassFrame(piece)
			switch {
			case taken < 1 || taken > len(piece):
				t.Fatalf("%q: of %d bytes %d pass", b, len(piece), taken)
			case taken < len(piece) && !frames.AtBoundary():
				t.Fatalf("%q: of %d bytes %d pass, and no frame ends there", b, len(piece), taken)
			case known && n > 0 && int64(taken) != min(n, int64(len(piece))):
				t.Fatalf("%q: %d of %d bytes pass, where %d lead to the boundary", b, taken, len(piece), n)
			}
			piece = piece[taken:]
		}
		at = end
		want := slow(b[:at])
		if got := told(&whole); got != want {
			t.Fatalf("%q\n is %s\nnot %s", b[:at], got, want)
		}
		if got := told(&frames); got != want {
			t.Fatalf("%q\n frame by frame is %s\nnot %s", b[:at], got, want)
		}
	}
	if got, want := told(&whole), slow(b); got != want {
		t.Fatalf("%q\n is %s\nnot %s", b, got, want)
	}
}

func TestTwinAgreesOnSamples(t *testing.T) {
	for _, s := range samples {
		for _, sizes := range [][]int{{1}, {2}, {3, 1}, {7}, {1 << 20}} {
			if len(s.input) < 1000 || sizes[0] > 1000 {
				compareWithSlow(t, s.input, sizes)
			}
		}
	}
}

// Streams of good frames, mostly, in any pieces.
func TestTwinAgreesOnStreams(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var (
			stream string
			key    []byte
		)
		if rapid.Bool().Draw(t, "masked") {
			key = []byte("\x00\x81\x7e\xff")
		}
		firsts := rapid.SampledFrom([]byte{0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8a, 0xc1, 0x41, 0x88, 0x83})
		for range rapid.IntRange(0, 8).Draw(t, "frames") {
			first := firsts.Draw(t, "first")
			size := rapid.SampledFrom([]int{0, 1, 2, 5, 124, 125, 126, 127, 300}).Draw(t, "size")
			stream += frame(first, strings.Repeat("\x81", size), key...)
		}
		sizes := rapid.SliceOfN(rapid.IntRange(1, 200), 1, 5).Draw(t, "pieces")
		compareWithSlow(t, stream, sizes)
	})
}

// Whatever passes: no panic, and what the twin says, however it is cut.
func FuzzTracker(f *testing.F) {
	for _, s := range samples {
		if len(s.input) < 1000 {
			f.Add([]byte(s.input), []byte{1})
			f.Add([]byte(s.input), []byte{2, 5})
		}
	}
	f.Fuzz(func(t *testing.T, b, cuts []byte) {
		if len(b) > 2000 {
			return // the twin begins anew for each piece
		}
		sizes := []int{1}
		for _, c := range cuts {
			sizes = append(sizes, int(c)+1)
		}
		compareWithSlow(t, string(b), sizes[min(1, len(cuts)):])
	})
}

func TestAppendClose(t *testing.T) {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	umlauts := strings.Repeat("ü", 100)
	for _, s := range []struct {
		code   uint16
		reason string
		mask   bool
		want   string
	}{
		{GoingAway, "", false, "\x88\x02\x03\xe9"},
		{GoingAway, "restart", false, "\x88\x09\x03\xe9restart"},
		{GoingAway, "restart", true, frame(0x88, "\x03\xe9restart", key[:]...)},
		{0, "nobody reads this", false, "\x88\x00"},
		{0, "", true, "\x88\x80\x37\xfa\x21\x3d"},
		{1000, strings.Repeat("x", 123), false, "\x88\x7d\x03\xe8" + strings.Repeat("x", 123)},
		{1000, strings.Repeat("x", 124), false, "\x88\x7d\x03\xe8" + strings.Repeat("x", 123)},
		{1000, umlauts, false, "\x88\x7c\x03\xe8" + umlauts[:122]},
		{1000, "x" + umlauts, true, frame(0x88, "\x03\xe8x"+umlauts[:122], key[:]...)},
	} {
		got := string(AppendClose([]byte("."), s.code, s.reason, s.mask, key))
		if got != "."+s.want {
			t.Errorf("%d %q: %q, want %q", s.code, s.reason, got, s.want)
		}
		var tracker Tracker
		tracker.Pass([]byte(got[1:]))
		if where := told(&tracker); where != "at a boundary, closed" {
			t.Errorf("%q is %s", got, where)
		}
		if !s.mask && !utf8.ValidString(got[min(5, len(got)):]) {
			t.Errorf("%q is cut within a character", got)
		}
	}
}

// What a drain does: the stream stands within a frame, the goodbye is put behind that, and the other end reads frames.
func TestGoodbyeBehindAFrame(t *testing.T) {
	stream := frame(0x01, strings.Repeat("a", 300)) + frame(0x89, "ping") + frame(0x80, strings.Repeat("b", 70000)) + frame(0x82, "more")
	for at := 0; at < len(stream); at += 1 + at/50 {
		var here, there Tracker
		out, in := []byte(stream[:at]), []byte(stream[at:])
		here.Pass(out)
		if !here.AtBoundary() {
			n := here.PassFrame(in)
			out = append(out, in[:n]...)
			if !here.AtBoundary() {
				t.Fatalf("%d: %d bytes passed", at, n)
			}
		}
		there.Pass(AppendClose(out, GoingAway, "restart", false, [4]byte{}))
		if got := told(&there); got != "at a boundary, closed" {
			t.Errorf("cut at %d: %s", at, got)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	stream := []byte(frame(0x81, "hello") + frame(0x82, strings.Repeat("x", 70000)) + frame(0x88, "\x03\xe9"))
	out := make([]byte, 0, 200)
	if n := testing.AllocsPerRun(100, func() {
		var t Tracker
		t.Pass(stream[:1])
		t.Pass(stream[1:100])
		t.Pass(stream[100:])
		out = AppendClose(out[:0], GoingAway, "restart", t.Closed(), [4]byte{1, 2, 3, 4})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPass(b *testing.B) {
	for _, size := range []int{16, 125, 1000, 60000, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			one := frame(0x82, strings.Repeat("x", size), 1, 2, 3, 4)
			stream := []byte(strings.Repeat(one, 1+64<<10/len(one)))
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			var t Tracker
			for b.Loop() {
				for rest := stream; len(rest) > 0; {
					n := min(len(rest), 64<<10)
					t.Pass(rest[:n])
					rest = rest[n:]
				}
			}
			if !t.AtBoundary() {
				b.Fatal(told(&t))
			}
		})
	}
}

// How long a copy of the same takes, to compare.
func BenchmarkCopy(b *testing.B) {
	from, to := make([]byte, 64<<10), make([]byte, 64<<10)
	b.SetBytes(int64(len(from)))
	for b.Loop() {
		copy(to, from)
	}
}
