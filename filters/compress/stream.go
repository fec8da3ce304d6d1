package compress

import (
	"github.com/yumen-io/yumen/engine/buf"
)

// stream encodes one answer. It is a stage of the gateway's: what it is given goes into an encoder, and what the encoder lets out
// goes on. Loop-owned, and pooled.
type stream struct {
	from    *encoders
	kind    kind
	encoder encoder
	sink    sink
	owes    bool // bytes were taken in since the last flush
}

// sink is where an encoder writes to: during a call, the chain of that call.
type sink struct {
	out  *buf.Chain
	pool *buf.Pool
}

// Write appends b. It does not fail.
func (s *sink) Write(b []byte) (int, error) {
	s.out.Append(s.pool, b)
	return len(b), nil
}

// Data encodes the next n bytes of in. The encoder lets them out when it has seen enough.
func (s *stream) Data(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) error {
	s.sink = sink{out, p}
	s.owes = s.owes || n > 0
	for n > 0 {
		part := in.Front()
		part = part[:min(n, len(part))]
		if _, err := s.encoder.Write(part); err != nil {
			return err
		}
		in.Skip(p, len(part))
		n -= len(part)
	}
	return nil
}

// Flush lets out everything that was taken in, so that a client can read it: the end of the turn may be followed by a long
// silence. It costs a few bytes, once a turn at most.
func (s *stream) Flush(out *buf.Chain, p *buf.Pool) error {
	if !s.owes {
		return nil
	}
	s.owes = false
	s.sink = sink{out, p}
	return s.encoder.Flush()
}

// End lets out the rest and what ends the encoding.
func (s *stream) End(out *buf.Chain, p *buf.Pool) error {
	s.sink = sink{out, p}
	return s.encoder.Close()
}

// Release gives the encoder back, whatever became of the answer.
func (s *stream) Release(*buf.Pool, bool) {
	s.sink, s.owes = sink{}, false
	s.from.close(s)
}
