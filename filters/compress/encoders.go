package compress

import (
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// encoder is what the libraries have in common.
type encoder interface {
	io.Writer
	Flush() error
	Close() error
	Reset(io.Writer)
}

// Levels says how hard each coding tries. Zero is the default. What a level costs is in docs/guide/compression.md.
type Levels struct {
	Gzip   int // 1 to 6; 0: 3
	Brotli int // 1 to 4; 0: 2
	Zstd   int // 1 to 3; 0: 1
}

// levels has what is known of each coding's levels. A loop serves all of its connections between two parts of one answer, so a
// level that takes more than about 2.5 ms for 64 kB, or 5 MB for each answer, is for those who compress in advance: it is refused.
// The default is the one that gains most for its time.
var levels = [codings]struct {
	most, usual int
	// bytes is what an encoder of the level takes, measured after half a megabyte of text, and rounded up.
	bytes []int
}{
	Gzip:   {6, 3, []int{1: 850 << 10, 2: 1250 << 10, 3: 1250 << 10, 4: 1000 << 10, 5: 1100 << 10, 6: 1100 << 10}},
	Brotli: {4, 2, []int{1: 2300 << 10, 2: 1400 << 10, 3: 1400 << 10, 4: 4000 << 10}},
	Zstd:   {3, 1, []int{1: 1000 << 10, 2: 2400 << 10, 3: 5200 << 10}},
}

// Windows, as the base 2 logarithm: how far back a match may lie. They are smaller than the libraries' own, which are meant for
// one file and not for a thousand answers at once; 256 kB costs two or three percent of size. A window of zstd up to 8 MB must be
// readable for any client (RFC 9659), that of gzip is 32 kB always.
const (
	brotliWindow = 18
	zstdWindow   = 18
)

func newEncoder(c Coding, level int) encoder {
	switch c {
	case Gzip:
		e, err := gzip.NewWriterLevel(io.Discard, level)
		must(err)
		return e
	case Brotli:
		return brotli.NewWriterOptions(io.Discard, brotli.WriterOptions{Quality: level, LGWin: brotliWindow})
	case Zstd:
		// One at a time: everything happens within Write, on the loop, and no goroutine is behind it.
		e, err := zstd.NewWriter(io.Discard, zstd.WithEncoderLevel(zstd.EncoderLevel(level)), zstd.WithEncoderConcurrency(1),
			zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<zstdWindow))
		must(err)
		return e
	}
	panic(fmt.Sprintf("compress: no encoder of %v", c))
}

// must is for options that are constants.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// idleMax is how many encoders of a kind a loop keeps for the next answers. Most answers come in one turn, so that very few are in
// use at once; the rest of a burst goes to the garbage collector.
const idleMax = 8

// kind is a coding at a level.
type kind struct {
	coding Coding
	level  int
}

func (k kind) bytes() int { return levels[k.coding].bytes[k.level] }

// encoders are those of one loop, and the streams that use them.
type encoders struct {
	idle    [codings][levelsMost + 1][]encoder
	streams []*stream
	inUse   int // bytes, by what encoders of their levels take
}

// levelsMost is the highest level of any coding.
const levelsMost = 6

// open takes a stream that encodes so, nil if encoders would have more than most bytes with it.
func (p *encoders) open(k kind, most int) *stream {
	if p.inUse+k.bytes() > most {
		return nil
	}
	p.inUse += k.bytes()
	var s *stream
	if n := len(p.streams); n > 0 {
		s = p.streams[n-1]
		p.streams = p.streams[:n-1]
	} else {
		s = &stream{from: p}
	}
	s.kind = k
	idle := &p.idle[k.coding][k.level]
	if n := len(*idle); n > 0 {
		s.encoder = (*idle)[n-1]
		*idle = (*idle)[:n-1]
	} else {
		s.encoder = newEncoder(k.coding, k.level)
	}
	s.encoder.Reset(&s.sink)
	return s
}

// close takes a stream back.
func (p *encoders) close(s *stream) {
	p.inUse -= s.kind.bytes()
	if idle := &p.idle[s.kind.coding][s.kind.level]; len(*idle) < idleMax {
		*idle = append(*idle, s.encoder)
	}
	s.encoder = nil
	if len(p.streams) < idleMax {
		p.streams = append(p.streams, s)
	}
}
