package loop

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// patience bounds a wait for what must happen; a test that needs it has failed.
const patience = 20 * time.Second

func newLoop(t testing.TB) *Loop {
	t.Helper()
	l, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// startLoop runs a loop until the test ends.
func startLoop(t testing.TB) *Loop {
	t.Helper()
	l := newLoop(t)
	go l.Run()
	t.Cleanup(func() {
		l.Stop()
		<-l.Done()
	})
	return l
}

// stepLoop returns a loop that the test turns by hand.
func stepLoop(t testing.TB) *Loop {
	t.Helper()
	l := newLoop(t)
	t.Cleanup(func() {
		l.Stop()
		l.Run()
	})
	return l
}

// step makes one turn that does not sleep.
func (l *Loop) step() {
	l.Post(func() {})
	l.turn()
}

// on runs f on the loop and waits for it.
func on(t testing.TB, l *Loop, f func()) {
	t.Helper()
	ran := make(chan struct{})
	if !l.Post(func() { f(); close(ran) }) {
		t.Fatal("Post: the loop has ended")
	}
	await(t, ran, "a posted function to run")
}

func await[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// pair returns two connected, non-blocking stream sockets.
func pair(t testing.TB) (ours, theirs int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if err := unix.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
	}
	return fds[0], fds[1]
}

// handlerFunc is a Handler in one function.
type handlerFunc func(Events)

func (f handlerFunc) Ready(ev Events) { f(ev) }

// acceptFunc is an AcceptHandler that hears of connections alone.
type acceptFunc func(fd int, peer netip.AddrPort)

func (f acceptFunc) Accepted(fd int, peer netip.AddrPort) { f(fd, peer) }
func (acceptFunc) AcceptFailed(error, bool)               {}

// serve accepts on a fresh port of the loopback interface.
func serve(t testing.TB, l *Loop, h AcceptHandler, opts AcceptOptions) (a *Acceptor, addr netip.AddrPort) {
	t.Helper()
	fd, err := Listen(loopback, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if addr, err = Address(fd); err != nil {
		t.Fatal(err)
	}
	on(t, l, func() { a, err = l.Accept(fd, h, opts) })
	if err != nil {
		t.Fatal(err)
	}
	return a, addr
}

func dialTCP(t testing.TB, addr netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// echo says back what it hears, with the manners of a real connection: it remembers what it was told, reads a budget a
// turn, writes in the flush step, and reads no more while too much waits to be written.
type echo struct {
	socket   Socket
	loop     *Loop
	out      []byte
	readable bool
	writable bool
	hangup   bool
	ended    bool // the peer said all
	signedUp bool
	outMax   int
	stalled  chan struct{} // if not nil, sent to when reading stops for a full output
	gone     chan error    // if not nil, sent the reason of the end
}

const (
	echoBudget = 16 << 10
	echoHigh   = 64 << 10
)

func (e *echo) Ready(ev Events) {
	e.readable = e.readable || ev&Readable != 0
	e.writable = e.writable || ev&Writable != 0
	e.hangup = e.hangup || ev&Hangup != 0
	e.read()
	if (len(e.out) > 0 || e.ended) && !e.signedUp {
		e.signedUp = true
		e.loop.FlushLater(e)
	}
}

func (e *echo) read() {
	for budget := echoBudget; e.readable && !e.ended; {
		if len(e.out) >= echoHigh {
			if e.stalled != nil && !e.writable {
				e.stalled <- struct{}{}
				e.stalled = nil
			}
			return
		}
		if budget <= 0 {
			e.loop.ReadyLater(&e.socket, Readable)
			return
		}
		var chunk [4096]byte
		n, err := e.socket.Recv(chunk[:])
		e.out = append(e.out, chunk[:n]...)
		e.outMax = max(e.outMax, len(e.out))
		budget -= n
		switch {
		case err == io.EOF:
			e.ended = true
		case err == ErrAgain, err == nil && n < len(chunk) && !e.hangup:
			e.readable = false
		case err != nil:
			e.close(err)
			return
		}
	}
}

func (e *echo) Flush() {
	e.signedUp = false
	for e.socket.Open() && e.writable && len(e.out) > 0 {
		half := len(e.out) / 2
		n, err := e.socket.Sendv([][]byte{e.out[:half], nil, e.out[half:]})
		switch {
		case err == ErrAgain:
			e.writable = false
		case err != nil:
			e.close(err)
		default:
			e.out = append(e.out[:0], e.out[n:]...)
		}
	}
	switch {
	case !e.socket.Open() || len(e.out) >= echoHigh:
	case len(e.out) == 0 && e.ended:
		e.close(io.EOF)
	case e.readable:
		e.loop.ReadyLater(&e.socket, Readable)
	}
}

func (e *echo) close(err error) {
	e.socket.Close()
	if e.gone != nil {
		e.gone <- err
	}
}

// serveEcho serves echo connections; each is shown to with, if that is not nil, before it is adopted.
func serveEcho(t testing.TB, l *Loop, with func(*echo)) netip.AddrPort {
	t.Helper()
	_, addr := serve(t, l, acceptFunc(func(fd int, _ netip.AddrPort) {
		e := &echo{loop: l}
		if with != nil {
			with(e)
		}
		if err := l.Adopt(&e.socket, fd, e); err != nil {
			t.Error(errors.Join(err, unix.Close(fd)))
		}
	}), AcceptOptions{})
	return addr
}
