package engine

import (
	"io"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/tlsconn"
)

// tlsLayer is the TLS of a wire.
type tlsLayer struct {
	conn   *tlsconn.Conn
	sealed buf.Chain // records, to be sent

	farewell bool // close_notify is among them, or was
}

// sealMost is how much is encrypted at once: no more than one send takes, so that what a peer does not read waits as it was
// given, and counts as such.
const sealMost = 64 << 10

// receiveTLS reads and decrypts. It returns 0 if there was nothing, or the connection ended or failed.
func (c *wire) receiveTLS() int {
	t := c.tls.conn
	n, err := t.Open(&c.sock, &c.in, c.w.Bufs, buf.Large)
	if t.Owed() {
		c.flushLater() // TLS has an answer of its own to something
	}
	c.readable = err == nil && (!t.Drained() || c.hungUp || t.Pending(c.w.Bufs))
	switch {
	case n > 0:
		// What err says, it says again.
		c.readable = c.readable || err != nil && err != loop.ErrAgain
		return n
	case err == nil:
		if c.readable { // a record that held nothing for us
			c.w.Loop.ReadyLater(&c.sock, loop.Readable)
		}
	case err == loop.ErrAgain:
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		c.ended, c.cut = true, err == io.ErrUnexpectedEOF
		c.user.endOfInput()
	default:
		c.fail(err)
	}
	return 0
}

// seal encrypts what is to be sent, if nothing encrypted is left.
func (c *wire) seal() (*buf.Chain, error) {
	t := c.tls
	n := min(c.out.Len(), sealMost)
	if (n > 0 || t.conn.Owed()) && t.sealed.Len() < sealMost {
		if err := t.conn.Seal(&t.sealed, c.w.Bufs, &c.out, n); err != nil {
			return nil, err
		}
		// From here on it cannot be told how much of it the peer may have got.
		c.sent += int64(n)
	}
	return &t.sealed, nil
}

// farewell tells the peer that the connection ends here and was not cut, as far as the socket takes it. One that failed was
// cut, and all that is said is what TLS itself has to say to that.
func (c *wire) farewell() {
	t := c.tls
	if t.farewell {
		return
	}
	t.farewell = true
	if !c.failed {
		t.conn.Close(&t.sealed, c.w.Bufs)
	} else if t.conn.Owed() {
		_ = t.conn.Seal(&t.sealed, c.w.Bufs, nil, 0) // which only moves the records
	}
	if !c.blocked && t.sealed.Len() > 0 {
		n, err := c.send(&t.sealed)
		if err != nil && err != loop.ErrAgain {
			n = t.sealed.Len() // there is nobody to be told
		}
		t.sealed.Skip(c.w.Bufs, n)
	}
}
