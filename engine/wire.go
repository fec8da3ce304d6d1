package engine

import (
	"errors"
	"io"
	"syscall"

	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/loop"
)

// Marks and budgets of one connection. They bound what one connection can hold: outHigh and one receive above it, in chunks
// that may be half full, which keeps a client that does not read below 256 kB.
const (
	// outHigh is how much may wait to be sent before whoever feeds the connection is told to pause; outLow is where it is
	// told to go on. More than one receive, so that one is sent while the next is read.
	outHigh = 64 << 10
	outLow  = 32 << 10
	// outSparse is from where on not only the bytes are counted but the memory they lie in: below it, it cannot be much.
	outSparse = 16 << 10
	// readBudget is how much one connection may read in one turn before the others have theirs.
	readBudget = 256 << 10
	// framesBudget is the same where the bytes may be thousands of tiny frames, each with work of its own.
	framesBudget = 32 << 10
	// piecesMax is how many chunks leave in one gathering write: more than outHigh can consist of in bodies.
	piecesMax = 16
	// keepChunk is how little may be left of a receive before it is moved to a small chunk: a peer that sends half a head
	// and waits costs 4 kB, not 64.
	keepChunk = buf.Small
)

// wire carries the bytes of one connection: it receives into a chain, sends from another, and keeps both within their marks.
// It knows nothing of HTTP; its user parses and decides. Loop-owned.
type wire struct {
	// Set at birth.
	w    *Worker
	user wireUser

	// Loop-owned.
	sock  loop.Socket
	timer loop.Timer
	in    buf.Chain // received, not yet parsed
	out   buf.Chain // to be sent at the end of the turn
	sent  int64     // bytes of out, ever
	took  int64     // bytes that the socket took, ever
	tls   *tlsLayer // nil: bytes travel as they are
	mux   filler    // nil unless what is sent is chosen at the last moment

	readable bool // the socket may hold bytes; edge-triggered, so nobody will say it again
	hungUp   bool // the peer's end or an error was announced: read until it shows
	bulk     bool // the last receive was filled to the brim: the next one is given more room
	sated    bool // nothing is read until some of out has been sent
	ended    bool // the peer will send nothing more
	cut      bool // and did not say so as its TLS has it: what only the end delimits may be incomplete
	blocked  bool // the socket's buffer is full
	working  bool // on the loop's work list
	flushing bool // on the loop's flush list
	failed   bool // it is being closed because of an error
	dead     bool
}

// wireUser is what a wire serves: the server's or the client's side of a connection.
type wireUser interface {
	// hungry tells whether further bytes are wanted now. Whoever becomes hungry again calls resume.
	hungry() bool
	// received: there are new bytes in the chain.
	received()
	// endOfInput: the peer closed its side, everything it sent has been received.
	endOfInput()
	// flushed: as much was sent as the socket took.
	flushed()
	// unsendable: the peer takes no further bytes, because of err. What it sent may still be read.
	unsendable(err error)
	// broken: the connection failed and is closed.
	broken(err error)
}

// filler is a protocol that shares its connection among streams and fills out as far as there is room, just before it is
// sent.
type filler interface{ fill() }

// errHangUp is what a wire is broken with when the socket reports an error without naming it.
var errHangUp = errors.New("connection hung up")

// Ready is called by the loop. It receives once, and leaves what follows to the work step: see the loop's package doc for
// why the two are apart.
func (c *wire) Ready(ev loop.Events) {
	if c.dead {
		return
	}
	if ev&loop.Writable != 0 && c.blocked {
		c.blocked = false
		c.flushLater()
	}
	if ev&loop.Hangup != 0 {
		c.hungUp = true
	}
	if ev&(loop.Readable|loop.Hangup) != 0 {
		c.readable = true
	}
	if c.readable && c.in.Len() == 0 && c.user.hungry() {
		if c.receive() == 0 {
			return
		}
	}
	if !c.working {
		c.working = true
		c.w.Loop.WorkLater(c)
	}
}

// Work is called by the loop. It goes on with what was received, and with what can be received beyond it.
func (c *wire) Work() {
	c.working = false
	if c.dead {
		return
	}
	if c.in.Len() > 0 && c.user.hungry() {
		c.user.received()
		c.shrink()
	}
	budget := readBudget
	if c.mux != nil {
		budget = framesBudget
	}
	for c.readable && !c.dead && c.user.hungry() {
		if budget <= 0 {
			c.w.Loop.ReadyLater(&c.sock, loop.Readable)
			return
		}
		n := c.receive()
		if n == 0 {
			return
		}
		budget -= n
		c.user.received()
		c.shrink()
	}
}

// receive reads once. It returns 0 if there was nothing, or the connection ended or failed.
func (c *wire) receive() int {
	if c.tls != nil {
		return c.receiveTLS()
	}
	size := buf.Small
	if c.bulk {
		size = buf.Large
	}
	b := c.w.Bufs.Get(size)
	room := b.Room()
	n, err := c.sock.Recv(room)
	if err != nil {
		c.w.Bufs.Put(b)
		c.readable = false
		switch {
		case err == loop.ErrAgain:
		case err == io.EOF:
			c.ended = true
			c.user.endOfInput()
		default:
			c.fail(err)
		}
		return 0
	}
	c.bulk = n == len(room)
	if n < len(room) && !c.hungUp {
		// The socket is drained: whatever comes next is announced again.
		c.readable = false
	}
	b.Fill(n)
	if c.in.Len() == 0 || n >= len(room)/2 {
		c.in.Push(b)
	} else {
		c.in.Append(c.w.Bufs, b.Bytes())
		c.w.Bufs.Put(b)
	}
	return n
}

// shrink moves a small remainder out of a large chunk.
func (c *wire) shrink() {
	n := c.in.Len()
	if n == 0 || n > keepChunk {
		return
	}
	small := c.w.Bufs.Get(n)
	small.Fill(copy(small.Room(), c.in.Pull(c.w.Bufs, n)))
	c.in.Release(c.w.Bufs)
	c.in.Push(small)
}

// resume goes on with received and further bytes in the next turn.
func (c *wire) resume() {
	if !c.dead && (c.in.Len() > 0 || c.readable) {
		c.w.Loop.ReadyLater(&c.sock, loop.Readable)
	}
}

// flushLater puts the connection on the list of those that send at the end of the turn.
func (c *wire) flushLater() {
	if !c.flushing {
		c.flushing = true
		c.w.Loop.FlushLater(c)
	}
}

// Flush sends what the turn produced. It is called by the loop.
func (c *wire) Flush() {
	c.flushing = false
	if c.dead {
		return
	}
	for !c.blocked {
		if c.mux != nil {
			c.mux.fill()
		}
		from := &c.out
		if c.tls != nil {
			var err error
			if from, err = c.seal(); err != nil {
				c.user.unsendable(err)
				return
			}
		}
		if from.Len() == 0 {
			break
		}
		n, err := c.send(from)
		if err != nil {
			if err != loop.ErrAgain {
				c.user.unsendable(err)
				return
			}
			c.blocked = true
		}
		c.took += int64(n)
		if c.tls == nil {
			c.sent += int64(n)
		}
		from.Skip(c.w.Bufs, n)
	}
	c.user.flushed()
}

// send writes once. A short write means a full buffer, of which an event will tell.
func (c *wire) send(from *buf.Chain) (n int, err error) {
	front := from.Front()
	if len(front) == from.Len() {
		n, err = c.sock.Send(front)
		c.blocked = n < len(front)
		return n, err
	}
	pieces := from.Pieces(c.w.pieces[:0])
	want := 0
	for _, p := range pieces {
		want += len(p)
	}
	n, err = c.sock.Sendv(pieces)
	c.blocked = n < want
	return n, err
}

// unsent returns how many bytes the socket has not taken yet.
func (c *wire) unsent() int {
	n := c.out.Len()
	if c.tls != nil {
		n += c.tls.sealed.Len()
	}
	return n
}

// tookLeave tells whether the peer was told, in its TLS, that nothing more comes. That may have to wait until the socket takes
// it: flushed is called again then.
func (c *wire) tookLeave() bool {
	if c.tls == nil {
		return true
	}
	c.farewell()
	if c.tls.sealed.Len() > 0 {
		c.flushLater()
		return false
	}
	return true
}

// mute gives up sending, because the peer takes nothing any more: what it has sent is still read, to the end.
func (c *wire) mute() {
	c.out.Release(c.w.Bufs)
	if c.tls != nil {
		c.tls.sealed.Release(c.w.Bufs)
	}
	c.blocked, c.hungUp, c.readable = true, true, true
	c.resume()
}

// full tells whoever feeds the connection to pause until flushed.
func (c *wire) full() bool {
	n := c.unsent()
	return n >= outHigh || n >= outSparse && c.held() >= outHigh
}

// roomy tells that what is to be sent leaves room for answers to what is read. If it does not, readOn goes on when it does.
func (c *wire) roomy() bool {
	c.sated = c.out.Len() >= 2*outHigh
	return !c.sated
}

// readOn is called when some was sent.
func (c *wire) readOn() {
	if c.sated && c.roomy() {
		c.resume()
	}
}

// low tells that whoever was told to pause can go on.
func (c *wire) low() bool { return c.unsent() <= outLow && !c.full() }

// held is about how much memory the bytes to be sent lie in. Chunks are handed on as they were received, and those that an
// upstream filled by a part only can hold several times the bytes in them.
func (c *wire) held() (n int) {
	pieces := c.out.Pieces(c.w.pieces[:0])
	if len(pieces) == piecesMax {
		return outHigh // what is behind them is not looked at
	}
	for _, p := range pieces {
		n += cap(p)
	}
	return n
}

// fail closes the connection because of err and tells the user.
func (c *wire) fail(err error) {
	if c.dead {
		return
	}
	if err == nil {
		err = errHangUp
	}
	c.failed = true
	c.close()
	c.user.broken(err)
}

// close closes the socket and gives back the memory.
func (c *wire) close() {
	if c.dead {
		return
	}
	c.dead = true
	if c.sock.Open() {
		if c.tls != nil {
			c.farewell()
		}
		c.sock.Close()
	}
	c.w.Loop.Cancel(&c.timer)
	c.in.Release(c.w.Bufs)
	c.out.Release(c.w.Bufs)
	if c.tls != nil {
		c.tls.sealed.Release(c.w.Bufs)
		c.tls.conn.Release(c.w.Bufs)
	}
}

// isReset tells whether err means that the peer slammed the door, as against a fault of ours.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
