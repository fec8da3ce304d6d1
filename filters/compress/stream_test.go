package compress

import (
	"bytes"
	stdgzip "compress/gzip"
	"fmt"
	"io"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/yumen-io/yumen/engine/buf"
	"pgregory.net/rapid"
)

// decode reads what one coding made, with a decoder that is not the encoder's own where there is one. It returns what could be read
// when the bytes ended too early.
func decode(c Coding, b []byte) ([]byte, error) {
	var r io.Reader
	var err error
	switch c {
	case Gzip:
		r, err = stdgzip.NewReader(bytes.NewReader(b))
	case Brotli:
		r = brotli.NewReader(bytes.NewReader(b))
	case Zstd:
		var d *zstd.Decoder
		if d, err = zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1)); err == nil {
			defer d.Close()
			r = d
		}
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// encoderKinds are the usual level of each coding, and the others that a document can ask for.
func encoderKinds() (list []kind) {
	for c := Gzip; c < codings; c++ {
		list = append(list, kind{c, levels[c].usual})
	}
	for c := Gzip; c < codings; c++ {
		for level := 1; level <= levels[c].most; level++ {
			if level == levels[c].usual {
				continue
			}
			list = append(list, kind{c, level})
		}
	}
	return list
}

func bytesOf(c *buf.Chain) []byte { return bytes.Join(c.Pieces(make([][]byte, 0, 10000)), nil) }

// text is n bytes that look like what servers send.
func text(n int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, `{"id": %d, "name": "item %d", "price": %d.%02d, "tags": ["a%d", "b"]},`+"\n", i, i*7%1000, i%97, i%100, i%13)
	}
	return b[:n]
}

func TestWhatIsEncodedIsDecoded(t *testing.T) {
	p := buf.NewPool(0)
	var pool encoders
	for _, k := range encoderKinds()[:3] {
		t.Run(fmt.Sprint(k.coding, k.level), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				plain := text(rapid.SampledFrom([]int{0, 1, 100, 5000, 150_000}).Draw(t, "size"))
				s := pool.open(k, 1<<30)
				var in, out buf.Chain
				for rest := plain; len(rest) > 0; {
					n := min(len(rest), rapid.SampledFrom([]int{1, 10, 1000, 64 << 10, 200_000}).Draw(t, "part"))
					in.Append(p, rest[:n])
					in.AppendString(p, "next")
					if err := s.Data(&in, n, &out, p); err != nil {
						t.Fatal(err)
					}
					if got := string(in.Front()); got != "next" {
						t.Fatalf("of what is not its own it left %q", got)
					}
					in.Release(p)
					rest = rest[n:]
					if rapid.IntRange(0, 3).Draw(t, "flush") == 0 {
						if err := s.Flush(&out, p); err != nil {
							t.Fatal(err)
						}
						sofar := plain[:len(plain)-len(rest)]
						if got, _ := decode(k.coding, bytesOf(&out)); !bytes.Equal(got, sofar) {
							t.Fatalf("after a flush %d bytes can be read of %d", len(got), len(sofar))
						}
					}
				}
				if err := s.End(&out, p); err != nil {
					t.Fatal(err)
				}
				got, err := decode(k.coding, bytesOf(&out))
				if err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("%d bytes of %d, %v", len(got), len(plain), err)
				}
				out.Release(p)
				s.Release(p, true)
				if p.InUse() != 0 || pool.inUse != 0 {
					t.Fatalf("%d bytes of chunks are held, %d of encoders", p.InUse(), pool.inUse)
				}
			})
		})
	}
}

func TestFlushWithoutNewsSaysNothing(t *testing.T) {
	p := buf.NewPool(0)
	for _, k := range encoderKinds() {
		var pool encoders
		var in, out buf.Chain
		s := pool.open(k, 1<<30)
		for range 3 {
			in.AppendString(p, "data: 1\n\n")
			check(t, s.Data(&in, in.Len(), &out, p))
			check(t, s.Flush(&out, p))
			n := out.Len()
			check(t, s.Flush(&out, p))
			if out.Len() != n {
				t.Errorf("%v: %d bytes for nothing", k, out.Len()-n)
			}
		}
		out.Release(p)
		s.Release(p, false)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An answer that was broken off leaves nothing in the encoder that the next one would get.
func TestAnEncoderForgetsAnAnswerThatWasBrokenOff(t *testing.T) {
	p := buf.NewPool(0)
	for _, k := range encoderKinds() {
		var pool encoders
		var in, out buf.Chain
		s := pool.open(k, 1<<30)
		in.Append(p, text(100_000))
		check(t, s.Data(&in, in.Len(), &out, p))
		out.Release(p)
		s.Release(p, false)
		s = pool.open(k, 1<<30)
		in.AppendString(p, "hello")
		check(t, s.Data(&in, 5, &out, p))
		check(t, s.End(&out, p))
		if got, err := decode(k.coding, bytesOf(&out)); string(got) != "hello" {
			t.Errorf("%v: %q, %v", k, got, err)
		}
		out.Release(p)
		s.Release(p, true)
	}
}

func TestMemoryOfEncodersIsBounded(t *testing.T) {
	var pool encoders
	k := kind{Gzip, 3}
	var open []*stream
	for {
		s := pool.open(k, 20<<20)
		if s == nil {
			break
		}
		open = append(open, s)
	}
	if want := (20 << 20) / k.bytes(); len(open) != want {
		t.Errorf("%d encoders of %d bytes in 20 MiB, want %d", len(open), k.bytes(), want)
	}
	for _, s := range open {
		s.Release(nil, true)
	}
	if pool.inUse != 0 || len(pool.idle[Gzip][3]) != idleMax || len(pool.streams) != idleMax {
		t.Errorf("%d bytes in use, %d encoders and %d streams kept", pool.inUse, len(pool.idle[Gzip][3]), len(pool.streams))
	}
}

// With an encoder that was in use before, an answer costs no memory; but zstd's library makes two closures. Brotli's keeps tables in
// a sync.Pool, of which the race detector throws some away.
func TestEncodingAllocatesNothingInTheLongRun(t *testing.T) {
	p := buf.NewPool(0)
	var pool encoders
	var in, out buf.Chain
	body := text(20_000)
	for _, k := range encoderKinds() {
		answer := func() {
			s := pool.open(k, 1<<30)
			in.Append(p, body)
			check(t, s.Data(&in, in.Len(), &out, p))
			check(t, s.Flush(&out, p))
			check(t, s.End(&out, p))
			out.Release(p)
			s.Release(p, true)
		}
		answer()
		most := map[Coding]float64{Gzip: 0, Brotli: 10, Zstd: 2}[k.coding]
		if n := testing.AllocsPerRun(20, answer); n > most {
			t.Errorf("%v: %v allocations", k, n)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	p := buf.NewPool(0)
	for _, size := range []int{4 << 10, 64 << 10} {
		body := text(size)
		for _, k := range encoderKinds() {
			b.Run(fmt.Sprintf("%s-%d/%dkB", k.coding, k.level, size>>10), func(b *testing.B) {
				var pool encoders
				b.ReportAllocs()
				b.SetBytes(int64(size))
				sent := 0
				for b.Loop() {
					s := pool.open(k, 1<<30)
					var in, out buf.Chain
					in.Append(p, body)
					check(b, s.Data(&in, size, &out, p))
					check(b, s.End(&out, p))
					sent = out.Len()
					out.Release(p)
					s.Release(p, true)
				}
				b.ReportMetric(100*float64(sent)/float64(size), "%")
			})
		}
	}
}
