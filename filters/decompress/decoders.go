package decompress

import (
	"bufio"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// library is one of the libraries' decoders, which is used again and again.
type library struct {
	coding  Coding
	buffer  *bufio.Reader // before gzip and deflate, which want to read byte by byte and no further than they need
	gzip    *gzip.Reader
	deflate io.ReadCloser
	brotli  *brotli.Reader
	zstd    *zstd.Decoder
}

// open makes the decoder read from src. What is wrong with the beginning is told here or by the first Read.
func (l *library) open(src io.Reader, window int) (io.Reader, error) {
	var err error
	switch l.coding {
	case Gzip:
		l.rebuffer(src)
		if l.gzip == nil {
			l.gzip = new(gzip.Reader)
		}
		err = l.gzip.Reset(l.buffer)
		return l.gzip, err
	case Deflate:
		l.rebuffer(src)
		if l.deflate == nil {
			l.deflate, err = zlib.NewReader(l.buffer)
		} else {
			err = l.deflate.(zlib.Resetter).Reset(l.buffer, nil)
		}
		return l.deflate, err
	case Brotli:
		if l.brotli == nil {
			l.brotli = brotli.NewReader(src)
			return l.brotli, nil
		}
		return l.brotli, l.brotli.Reset(src)
	case Zstd:
		// A frame says how far back it goes by its window, or by its size if it is one segment. The library bounds these apart.
		window = max(window, zstd.MinWindowSize)
		if l.zstd == nil {
			l.zstd, err = zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxWindow(uint64(window)), zstd.WithDecoderMaxMemory(uint64(window)))
			return l.zstd, err
		}
		return l.zstd, l.zstd.ResetWithOptions(src, zstd.WithDecoderMaxWindow(uint64(window)), zstd.WithDecoderMaxMemory(uint64(window)))
	}
	panic(fmt.Sprintf("decompress: no decoder of %v", l.coding))
}

func (l *library) rebuffer(src io.Reader) {
	if l.buffer == nil {
		l.buffer = bufio.NewReader(src)
		return
	}
	l.buffer.Reset(src)
}

// forget lets go of what was read from.
func (l *library) forget() {
	if l.zstd != nil {
		_ = l.zstd.Reset(nil) // which cannot fail
	}
	if l.buffer != nil {
		l.buffer.Reset(nil)
	}
}

// baseBytes is what a decoder takes beside its window, measured, and rounded up.
var baseBytes = [codings]int{Gzip: 64 << 10, Deflate: 64 << 10, Brotli: 256 << 10, Zstd: 768 << 10}

// idleMax is how many decoders of a coding a loop keeps for the next requests, and idleBytesMax how large one of them may have
// become: the window of one client must not be paid for ever after.
const (
	idleMax      = 8
	idleBytesMax = 3 << 20
)

// decoders are those of one loop. Loop-owned.
type decoders struct {
	idle    [codings][]*library
	streams []*stream
	inUse   int // bytes, by windows that were asked for
}

func (d *decoders) take(c Coding) *library {
	if list := d.idle[c]; len(list) > 0 {
		l := list[len(list)-1]
		d.idle[c] = list[:len(list)-1]
		return l
	}
	return &library{coding: c}
}

func (d *decoders) put(l *library, size int) {
	l.forget()
	if size <= idleBytesMax && len(d.idle[l.coding]) < idleMax {
		d.idle[l.coding] = append(d.idle[l.coding], l)
		return
	}
	if l.zstd != nil {
		l.zstd.Close()
	}
}
