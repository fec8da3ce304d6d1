package loop

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/yumen-io/yumen/internal/invariant"
	"golang.org/x/sys/unix"
)

// ErrAgain is what Recv, Send and Sendv say when the socket is not ready; the loop will tell when it is.
var ErrAgain = errors.New("socket is not ready")

// Socket is a non-blocking descriptor registered with a loop. It is meant to be embedded by value in a connection (40
// bytes); the zero value is a closed socket, and a closed one can be given another descriptor by Adopt. Loop-owned.
//
// The methods that do I/O allocate nothing, never block, retry when a signal interrupts, and return every error but
// ErrAgain and io.EOF as a syscall.Errno. On a closed socket they fail with EBADF.
type Socket struct {
	loop    *Loop // nil: closed
	handler Handler
	fd      int32
	slot    uint32
	later   Events // asked for by ReadyLater and not told yet
	round   uint8  // of the turn in which they were asked for
}

// Adopt registers a non-blocking descriptor with the loop, for reading and writing at once and for good. From then on
// the socket owns the descriptor, and h is told of its readiness, the first time in the next turn at the earliest. If it
// fails the descriptor remains the caller's.
func (l *Loop) Adopt(s *Socket, fd int, h Handler) error {
	l.check()
	l.enter(s, fd, h)
	if err := l.poller.add(fd, l.slots.word(s.slot)); err != nil {
		l.leave(s)
		return fmt.Errorf("register descriptor %d with loop %d: %w", fd, l.id, err)
	}
	return nil
}

// enter gives the socket its slot.
func (l *Loop) enter(s *Socket, fd int, h Handler) {
	if invariant.Enabled {
		invariant.Check(!s.Open(), "a socket is adopted while it is open")
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		invariant.Check(err == nil && flags&unix.O_NONBLOCK != 0, "a descriptor that blocks is adopted")
	}
	*s = Socket{loop: l, handler: h, fd: int32(fd), slot: l.slots.take(s)}
	l.stats.Sockets.Add(1)
}

// leave is the reverse of enter: every event for the socket still under way is stale now.
func (l *Loop) leave(s *Socket) {
	l.slots.release(s.slot)
	*s = Socket{}
	l.stats.Sockets.Add(-1)
}

// MoveTo makes d, which must be closed, the holder of the descriptor, and h the handler of its events: what began as one kind
// of connection goes on as another. What was announced and not told yet is told to h. s is closed afterwards, without a
// system call.
func (s *Socket) MoveTo(d *Socket, h Handler) {
	s.check()
	invariant.Check(s.Open() && !d.Open(), "an open socket is moved to a closed one")
	*d = *s
	d.handler = h
	d.loop.slots.entries[d.slot].socket = d
	*s = Socket{}
}

// tell calls the handler with ev and with what was put off until now.
func (s *Socket) tell(ev Events) {
	ev |= s.later
	s.later = 0
	s.handler.Ready(ev)
}

// Open tells whether the socket has a descriptor.
func (s *Socket) Open() bool { return s.loop != nil }

// FD returns the descriptor, or -1 if the socket is closed. It stays the socket's.
func (s *Socket) FD() int { return int(s.descriptor()) }

// Recv reads into p. It returns io.EOF when the peer has closed its side, and ErrAgain when nothing has arrived. Fewer
// bytes than p can hold mean that nothing more has arrived, unless Hangup was told: then read on until io.EOF.
func (s *Socket) Recv(p []byte) (int, error) {
	asked := len(p)
	if invariant.Enabled {
		s.check()
		if p = p[:s.disturb(len(p), Readable)]; len(p) == 0 && asked > 0 {
			return 0, ErrAgain
		}
	}
	if asked == 0 {
		return 0, nil
	}
	n, errno := recv(s.descriptor(), p)
	switch errno {
	case 0:
		if n == 0 {
			return 0, io.EOF
		}
		return n, nil
	case unix.EAGAIN:
		return 0, ErrAgain
	}
	return 0, errno
}

// Send writes p or a part of it. Fewer bytes than p holds mean that the socket is full: Writable will be told.
func (s *Socket) Send(p []byte) (int, error) {
	asked := len(p)
	if invariant.Enabled {
		s.check()
		if p = p[:s.disturb(len(p), Writable)]; len(p) == 0 && asked > 0 {
			return 0, ErrAgain
		}
	}
	if asked == 0 {
		return 0, nil
	}
	return sent(send(s.descriptor(), p))
}

// vectorMax is the number of pieces that leave in one system call. 64 iovecs are 1 kB of loop memory, and beyond some
// ten pieces the saving over another call is gone.
const vectorMax = 64

// Sendv writes the pieces of v in order, as if they were one. Of more than 64 pieces it writes the first 64, which looks
// like a full socket but is none; the caller goes on with the rest.
func (s *Socket) Sendv(v [][]byte) (int, error) {
	if len(v) > vectorMax {
		v = v[:vectorMax]
	}
	if invariant.Enabled {
		s.check()
		if len(v) > 1 && s.Open() && invariant.Sometimes(disturbOneIn) {
			s.loop.ReadyLater(s, Writable) // the caller takes it for a full socket, of which the kernel will not tell
			return s.Send(v[0])
		}
	}
	if s.loop == nil {
		return 0, unix.EBADF
	}
	return sent(s.loop.vector.send(s.fd, v))
}

func sent(n int, errno syscall.Errno) (int, error) {
	switch errno {
	case 0:
		return n, nil
	case unix.EAGAIN:
		return 0, ErrAgain
	}
	return 0, errno
}

// disturbOneIn is how often, under the tag `invariants`, a call is cut short or refused.
const disturbOneIn = 16

// disturb returns how many of n bytes a call may move: now and then fewer, or none. The handler takes that for "not
// ready" and waits for an event that the kernel has no reason to send, so the loop sends it.
func (s *Socket) disturb(n int, ev Events) int {
	switch {
	case n == 0 || !s.Open():
		return n
	case invariant.Sometimes(disturbOneIn):
		n = 0
	case n > 1 && invariant.Sometimes(disturbOneIn):
		n = 1 + n/3
	default:
		return n
	}
	s.loop.ReadyLater(s, ev)
	return n
}

// Alive tells whether an idle connection may be used for another request: false if the peer has closed it or sent bytes
// nobody asked for. True is a guess all the same, for the peer's close may be on its way.
func (s *Socket) Alive() bool {
	s.check()
	return peek(s.descriptor()) == unix.EAGAIN
}

// CloseWrite tells the peer that no more bytes will come (FIN, after those already written).
func (s *Socket) CloseWrite() error {
	s.check()
	return unix.Shutdown(s.FD(), unix.SHUT_WR)
}

// ConnectResult returns what became of a connect begun by Dial: call it at the first Writable or Hangup. It returns nil,
// or a syscall.Errno such as ECONNREFUSED. Reading the error removes it from the socket.
func (s *Socket) ConnectResult() error {
	s.check()
	code, err := unix.GetsockoptInt(s.FD(), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if code != 0 {
		return syscall.Errno(code)
	}
	return nil
}

// Close closes the descriptor: bytes already written still go out, in the background. After it no handler is called for
// this socket, not even for events the loop already holds. Closing a closed socket does nothing.
func (s *Socket) Close() {
	if !s.Open() {
		return
	}
	s.check()
	fd := s.fd
	s.loop.leave(s)
	closeFD(fd)
}

// Reset closes the descriptor with an RST: the peer learns at once, and what was not sent yet is thrown away.
func (s *Socket) Reset() {
	if !s.Open() {
		return
	}
	// If it fails the connection has no peer any more, and Close does the same.
	_ = unix.SetsockoptLinger(int(s.fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 0})
	s.Close()
}

// descriptor returns the number to make a system call with: one that is nobody's if the socket is closed.
func (s *Socket) descriptor() int32 {
	if s.loop == nil {
		return -1
	}
	return s.fd
}

func (s *Socket) check() {
	if invariant.Enabled && s.loop != nil {
		s.loop.check()
	}
}
