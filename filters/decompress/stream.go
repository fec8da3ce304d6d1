package decompress

import (
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/gateway"
)

// limits are the bounds of one body. Zero values are none.
type limits struct {
	decodedMax int64 // bytes
	ratioMax   int64 // decoded bytes for each encoded one, from ratioFree on
	windowMax  int   // bytes
	loopMax    int   // bytes of all decoders of the loop
}

// ratioFree is how much may be decoded whatever the ratio: short bodies that repeat themselves are common, and harmless.
const ratioFree = 1 << 20

// stream decodes one request's body. It is a stage of the gateway's. Loop-owned, and pooled.
type stream struct {
	from   *decoders
	limits limits
	layers [codingsMax]layer
	count  int

	// Shadow: the body goes on as it came, and is decoded only to be judged.
	shadow  bool
	judged  func(x *gateway.Exchange, s *stream)
	x       *gateway.Exchange
	out     *buf.Chain // during a call
	pool    *buf.Pool
	came    int64             // encoded bytes
	made    [codingsMax]int64 // decoded ones, of each layer
	failure *refusal          // why the body is refused
}

// open begins a body with these codings.
func (d *decoders) open(a applied, l limits) *stream {
	var s *stream
	if n := len(d.streams); n > 0 {
		s = d.streams[n-1]
		d.streams = d.streams[:n-1]
	} else {
		s = &stream{from: d}
	}
	s.limits, s.count, s.came, s.failure = l, a.count, 0, nil
	s.made = [codingsMax]int64{}
	for i := range a.count {
		s.layers[i].begin(s, d.take(a.list[i]))
	}
	return s
}

// Data decodes the next n bytes of in.
func (s *stream) Data(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) error {
	s.out, s.pool = out, p
	s.came += int64(n)
	for n > 0 {
		part := in.Front()
		part = part[:min(n, len(part))]
		if s.failure == nil {
			s.judge(s.feed(0, part, false))
		}
		if s.failure != nil && !s.shadow {
			in.Skip(p, n)
			return s.failure
		}
		if s.shadow {
			out.Append(p, part)
		}
		in.Skip(p, len(part))
		n -= len(part)
	}
	return nil
}

// Flush has nothing to let out: what can be decoded goes on at once.
func (s *stream) Flush(*buf.Chain, *buf.Pool) error { return nil }

// End tells the decoders that nothing follows.
func (s *stream) End(out *buf.Chain, p *buf.Pool) error {
	s.out, s.pool = out, p
	if s.failure == nil {
		s.judge(s.feed(0, nil, true))
		if s.failure == nil && s.judged != nil {
			s.judged(s.x, s)
		}
	}
	if s.failure != nil && !s.shadow {
		return s.failure
	}
	return nil
}

// judge notes the first failure.
func (s *stream) judge(err error) {
	if err == nil {
		return
	}
	f, ok := err.(*refusal)
	if !ok {
		f = malformed
	}
	s.failure = f
	if s.shadow && s.judged != nil {
		s.judged(s.x, s)
	}
}

// feed gives bytes to a layer and what it makes of them to the next.
func (s *stream) feed(i int, b []byte, end bool) error {
	if i == s.count {
		if !s.shadow {
			s.out.Append(s.pool, b)
		}
		return nil
	}
	l := &s.layers[i]
	l.in, l.ended = b, end
	for {
		what, running := l.next()
		switch {
		case !running, what == over:
			if l.failure != nil || !end {
				return l.failure
			}
			return s.feed(i+1, nil, true)
		case what == wantsBytes:
			return nil
		}
		s.made[i] += int64(len(l.made))
		if err := s.exceeded(s.made[i]); err != nil {
			return err
		}
		if err := s.feed(i+1, l.made, false); err != nil {
			return err
		}
	}
}

// exceeded tells which bound so many decoded bytes are over.
func (s *stream) exceeded(made int64) error {
	switch l := &s.limits; {
	case l.decodedMax > 0 && made > l.decodedMax:
		return decodedTooLarge
	case l.ratioMax > 0 && made > ratioFree && made > l.ratioMax*s.came:
		return decodedRatio
	}
	return nil
}

// bounded holds a window against its bound.
func (s *stream) bounded(window uint64) (int, error) {
	if window > uint64(s.limits.windowMax) {
		return 0, windowTooLarge
	}
	return int(window), nil
}

// charge takes memory for a decoder out of what its loop has for all.
func (s *stream) charge(l *layer, n int) error {
	if s.limits.loopMax > 0 && s.from.inUse+n > s.limits.loopMax {
		return busy
	}
	s.from.inUse += n
	l.charged = n
	return nil
}

// Release gives the decoders back, wherever they are.
func (s *stream) Release(*buf.Pool, bool) {
	for i := range s.count {
		l := &s.layers[i]
		l.end()
		s.from.inUse -= l.charged
		s.from.put(l.library, l.charged)
		l.library = nil
	}
	s.count, s.x, s.out, s.pool, s.judged, s.shadow = 0, nil, nil, nil, nil, false
	if len(s.from.streams) < idleMax {
		s.from.streams = append(s.from.streams, s)
	}
}
