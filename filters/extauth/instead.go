package extauth

import "github.com/yumen-io/yumen/engine/buf"

// instead is the stage that sends the service's words in the place of the gateway's. Loop-owned.
type instead struct{ body []byte }

// Data drops the gateway's words.
func (s *instead) Data(in *buf.Chain, n int, _ *buf.Chain, p *buf.Pool) error {
	in.Skip(p, n)
	return nil
}

// Flush has nothing to let out.
func (s *instead) Flush(*buf.Chain, *buf.Pool) error { return nil }

// End sends the service's.
func (s *instead) End(out *buf.Chain, p *buf.Pool) error {
	out.Append(p, s.body)
	return nil
}

// Release has nothing to give back: the verdict's memory is its own.
func (s *instead) Release(*buf.Pool, bool) {}
