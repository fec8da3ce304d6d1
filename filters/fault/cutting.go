package fault

import (
	"errors"

	"github.com/yumen-io/yumen/engine/buf"
)

// cutting is the stage that lets so much of a body pass and then breaks the answer off. Loop-owned.
type cutting struct {
	left     int64
	over     bool // the next call breaks it off
	released bool
}

var errCut = errors.New("the answer is cut off on purpose")

// attached tells whether the gateway may still call.
func (c *cutting) attached() bool { return (c.left > 0 || c.over) && !c.released }

// Data lets pass what may. What came is on its way before the answer is broken off, so that its client sees how far it got.
func (c *cutting) Data(in *buf.Chain, n int, out *buf.Chain, p *buf.Pool) error {
	if c.over {
		in.Skip(p, n)
		return errCut
	}
	pass := int(min(int64(n), c.left))
	out.Take(p, in, pass)
	in.Skip(p, n-pass)
	if c.left -= int64(pass); pass < n {
		c.over = true
	}
	return nil
}

// Flush has nothing to let out.
func (c *cutting) Flush(*buf.Chain, *buf.Pool) error { return nil }

// End breaks off what was too long.
func (c *cutting) End(*buf.Chain, *buf.Pool) error {
	if c.over {
		return errCut
	}
	return nil
}

// Release is the end of the stage.
func (c *cutting) Release(*buf.Pool, bool) { c.released = true }
