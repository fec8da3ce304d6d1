package decompress

import (
	"errors"
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"
)

// layer takes one coding off a body. The library's decoder reads in a coroutine, which stops where it would have to wait for
// bytes, and where it has made some.
type layer struct {
	of      *stream
	library *library
	charged int // bytes of memory

	// Between the two sides of the coroutine.
	in      []byte // what came and was not read yet
	ended   bool   // nothing follows behind in
	made    []byte // what was decoded
	failure error

	next func() (step, bool)
	stop func()

	head   [headMax]byte // the beginning of the body, read to see the window
	headed int           // bytes of it
	read   int           // of them given to the decoder

	room [roomLen]byte // where the decoder writes to
}

// roomLen is how much is decoded at a time, before bounds are asked: small beside them, large beside a step of 0.2 us.
const roomLen = 16 << 10

// headMax is the length of the longest head of a frame (RFC 8878 3.1.1).
const headMax = 18

// step is why the coroutine has stopped.
type step uint8

const (
	wantsBytes step = iota
	hasMade
	over // failure says how
)

// errStopped ends a decoder whose body nobody wants any more.
var errStopped = errors.New("the exchange is over")

// begin starts a coroutine; it runs when it is first asked for.
func (l *layer) begin(of *stream, library *library) {
	l.of, l.library = of, library
	l.charged = 0
	l.in, l.ended, l.made, l.failure, l.headed, l.read = nil, false, nil, nil, 0, 0
	l.next, l.stop = iter.Pull(l.run)
}

// end stops the coroutine, wherever it is.
func (l *layer) end() {
	l.stop()
	l.next, l.stop = nil, nil
	l.in, l.made = nil, nil
}

// run is the coroutine.
func (l *layer) run(yield func(step) bool) {
	src := source{l, yield}
	l.failure = l.decode(src, yield)
	if l.failure == nil {
		l.failure = l.atEnd(src)
	}
	yield(over)
}

func (l *layer) decode(src source, yield func(step) bool) error {
	window, err := l.window(src)
	if err != nil {
		return err
	}
	if err := l.of.charge(l, baseBytes[l.library.coding]+window); err != nil {
		return err
	}
	r, err := l.library.open(src, window)
	for err == nil {
		var n int
		n, err = r.Read(l.room[:])
		if n > 0 {
			l.made = l.room[:n]
			if !yield(hasMade) {
				return errStopped
			}
		}
	}
	return meaning(err)
}

// meaning says what a decoder's error says of the body; nil: it is complete.
func meaning(err error) error {
	switch {
	case err == io.EOF:
		return nil
	case errors.Is(err, errStopped):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return truncated
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return windowTooLarge
	case err.Error() == "brotli: excessive input": // which has no name
		return trailing
	}
	return malformed
}

// atEnd finds what follows behind a body whose coding is complete.
func (l *layer) atEnd(src source) error {
	if b := l.library.buffer; b != nil && b.Buffered() > 0 {
		return trailing
	}
	var one [1]byte
	switch n, err := src.Read(one[:]); {
	case n > 0:
		return trailing
	case err == io.EOF:
		return nil
	default:
		return err
	}
}

// window reads how far back a decoder has to remember, of codings that say so at their beginning. What is read for this is given to
// the decoder all the same.
func (l *layer) window(src source) (int, error) {
	switch l.library.coding {
	case Brotli:
		if err := src.peek(1); err != nil {
			return 0, err
		}
		bits := brotliWindow(l.head[0])
		if bits == 0 {
			return 0, malformed
		}
		return l.of.bounded(1 << bits)
	case Zstd:
		return l.zstdWindow(src)
	}
	return 0, src.peek(1)
}

func (l *layer) zstdWindow(src source) (int, error) {
	var h zstd.Header
	for n := 5; ; n++ { // the shortest is a magic number, a byte that says what follows, and that
		if err := src.peek(n); err != nil {
			return 0, err
		}
		switch err := h.Decode(l.head[:l.headed]); {
		case err == nil && h.Skippable: // which window its successor has is not known yet
			return l.of.limits.windowMax, nil
		case err == nil && h.SingleSegment:
			return l.of.bounded(h.FrameContentSize)
		case err == nil:
			return l.of.bounded(h.WindowSize)
		case n == headMax || !errors.Is(err, io.ErrUnexpectedEOF):
			return 0, malformed
		}
	}
}

// brotliWindow reads the window's bits of RFC 7932 9.1; 0 is no window.
func brotliWindow(b byte) (bits int) {
	switch low, high := b>>1&7, b>>4&7; {
	case b&1 == 0:
		return 16
	case low != 0:
		return 17 + int(low)
	case high == 0:
		return 17
	case high == 1:
		return 0 // a large window, which is no content coding
	default:
		return 8 + int(high)
	}
}

// source is what a library reads from, within the coroutine.
type source struct {
	l     *layer
	yield func(step) bool
}

// await returns when there are bytes to be read, or nothing follows (io.EOF).
func (s source) await() error {
	for len(s.l.in) == 0 {
		if s.l.ended {
			return io.EOF
		}
		if !s.yield(wantsBytes) {
			return errStopped
		}
	}
	return nil
}

// peek has the first n bytes of the body in the layer's head. A body without a byte is the decoder's to judge.
func (s source) peek(n int) error {
	l := s.l
	for l.headed < n {
		if err := s.await(); err == io.EOF {
			return truncated
		} else if err != nil {
			return err
		}
		k := copy(l.head[l.headed:n], l.in)
		l.headed += k
		l.in = l.in[k:]
	}
	return nil
}

// Read gives the library what has come.
func (s source) Read(p []byte) (int, error) {
	l := s.l
	if l.read < l.headed {
		n := copy(p, l.head[l.read:l.headed])
		l.read += n
		return n, nil
	}
	if err := s.await(); err != nil {
		return 0, err
	}
	n := copy(p, l.in)
	l.in = l.in[n:]
	return n, nil
}
