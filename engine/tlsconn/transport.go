package tlsconn

import (
	"net"
	"time"
)

// transport is what crypto/tls takes for its network: a Conn from below. During the handshake it reads and writes the borrowed
// descriptor and waits; afterwards it reads raw and writes into a chain. It never hands out bytes beyond the record that is
// being read, so that the buffer of crypto/tls is empty after each record and does not grow for what follows.
type transport Conn

// errNothing is what crypto/tls takes for "later": a net.Error that is temporary.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "no whole record has arrived" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// Read gives out at most the rest of the current record.
func (t *transport) Read(b []byte) (int, error) {
	c := (*Conn)(t)
	if c.hs != nil {
		return c.hs.read(b)
	}
	if !c.whole(c.pool) {
		return 0, errNothing
	}
	n := 0
	for n < len(b) && c.record > 0 {
		k := copy(b[n:], c.raw.Front()[:min(len(c.raw.Front()), c.record)])
		c.raw.Skip(c.pool, k)
		c.record -= k
		n += k
	}
	return n, nil
}

// Write takes records of crypto/tls. They are copied: crypto/tls uses its memory again.
func (t *transport) Write(b []byte) (int, error) {
	c := (*Conn)(t)
	if c.hs != nil {
		return c.hs.write(b)
	}
	if c.sink != nil {
		c.sink.Append(c.pool, b)
		return len(b), nil
	}
	for rest := b; len(rest) > 0; { // in small chunks, for it may lie there for long
		n := copy(c.owed.Room(c.pool, 1), rest)
		c.owed.Fill(n)
		rest = rest[n:]
	}
	return len(b), nil
}

// Close is called by crypto/tls when a context ends; we pass none.
func (t *transport) Close() error { return nil }

// The addresses have no name: a client without a server name would otherwise keep the sessions of all its peers under one.
type nowhere struct{}

func (nowhere) Network() string { return "loop" }
func (nowhere) String() string  { return "" }

func (t *transport) LocalAddr() net.Addr  { return nowhere{} }
func (t *transport) RemoteAddr() net.Addr { return nowhere{} }

// Deadlines belong to whoever owns the timers.
func (t *transport) SetDeadline(time.Time) error      { return nil }
func (t *transport) SetReadDeadline(time.Time) error  { return nil }
func (t *transport) SetWriteDeadline(time.Time) error { return nil }

var _ net.Conn = (*transport)(nil)
