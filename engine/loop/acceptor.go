package loop

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Acceptor takes connections from a listening socket's queue. Loop-owned.
type Acceptor struct {
	// Frozen.
	loop    *Loop
	handler AcceptHandler
	opts    AcceptOptions

	// Loop-owned.
	socket     Socket
	timer      Timer // ends a back-off
	incoming   incoming
	registered bool          // with the poller
	held       bool          // by Pause
	backingOff bool          // until timer
	closing    bool          // by Close, perhaps draining
	backOff    time.Duration // of the next one
	inherits   inheritance
}

// AcceptHandler is told of connections and of their failing to come.
type AcceptHandler interface {
	// Accepted hands over a connection: a non-blocking descriptor with TCP_NODELAY, the handler's from now on. The
	// address is IPv4 where an IPv4 peer came in through an IPv6 socket. The handler may pause or close the acceptor.
	Accepted(fd int, peer netip.AddrPort)

	// AcceptFailed tells, at most once a turn, that connections could not be accepted: a syscall.Errno. If paused, the
	// acceptor tries again after a back-off; if not, it refused them and goes on. It counts either way (Stats), so there
	// is nothing the handler must do.
	AcceptFailed(err error, paused bool)
}

// AcceptOptions are the choices of Accept.
type AcceptOptions struct {
	// Budget is how many connections, failed ones included, are taken in one turn before the others on the loop get
	// their share; 0 means 64.
	Budget int

	// Exclusive wakes one of the loops that share a listening socket instead of all. It has no effect but on Linux.
	Exclusive bool
}

const (
	acceptBudgetDefault = 64

	// A back-off lasts as long as it takes connections to end by themselves, roughly; meanwhile the kernel's queue holds
	// those that come.
	backOffMin = 50 * time.Millisecond
	backOffMax = time.Second

	// drainMax bounds what Close takes from the queue: no kernel's backlog is longer.
	drainMax = 1 << 16
)

// inheritance is whether this kernel gives accepted connections the TCP_NODELAY of their listening socket.
type inheritance uint8

const (
	inheritanceUnknown inheritance = iota
	inherited
	notInherited
)

// Accept begins to accept connections on a non-blocking, listening TCP descriptor, which the acceptor owns from then on
// (loops that share one socket are each given a duplicate). If it fails the descriptor remains the caller's.
func (l *Loop) Accept(fd int, h AcceptHandler, opts AcceptOptions) (*Acceptor, error) {
	l.check()
	if opts.Budget == 0 {
		opts.Budget = acceptBudgetDefault
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return nil, fmt.Errorf("accept on descriptor %d: %w", fd, os.NewSyscallError("setsockopt TCP_NODELAY", err))
	}
	a := &Acceptor{loop: l, handler: h, opts: opts, backOff: backOffMin}
	a.timer.Init(a)
	l.enter(&a.socket, fd, a)
	if err := a.register(); err != nil {
		l.leave(&a.socket)
		return nil, fmt.Errorf("accept on descriptor %d: %w", fd, err)
	}
	l.takeReserve()
	return a, nil
}

// FD returns the listening descriptor, or -1 after Close. It stays the acceptor's.
func (a *Acceptor) FD() int { return a.socket.FD() }

// Pause stops accepting: connections wait in the kernel's queue. Loops sharing the socket get them instead.
func (a *Acceptor) Pause() {
	a.loop.check()
	a.held = true
	a.unregister()
}

// Resume ends a Pause. What waits in the queue is accepted from the next turn on. It cannot end a back-off.
func (a *Acceptor) Resume() {
	a.loop.check()
	a.held = false
	a.proceed()
}

// Close stops accepting for good and closes the descriptor. The kernel resets the connections that wait in the queue of
// a socket when its last descriptor closes; with drainQueue they are accepted first and handed to the handler.
func (a *Acceptor) Close(drainQueue bool) {
	a.loop.check()
	if a.closing {
		return
	}
	a.closing = true
	a.loop.wheel.cancel(&a.timer)
	a.unregister()
	if drainQueue {
		a.drain()
	}
	a.socket.Close()
}

// Ready implements Handler: connections wait.
func (a *Acceptor) Ready(Events) {
	if a.stopped() {
		return // told before it stopped, looked at after
	}
	var refused error
	for range a.opts.Budget {
		errno := a.acceptOne()
		if cause := errno; cause == unix.EMFILE || cause == unix.ENFILE {
			if errno = a.refuse(cause); errno == 0 {
				refused = cause
			}
		}
		if errno == unix.EAGAIN {
			a.report(refused)
			return
		}
		if errno != 0 && !transient(errno) {
			a.pauseFor(errno)
			return
		}
		if a.stopped() {
			a.report(refused)
			return
		}
	}
	a.report(refused)
	a.loop.ReadyLater(&a.socket, Readable)
}

// Expire implements Expirer: the back-off is over.
func (a *Acceptor) Expire(*Timer) {
	a.backingOff = false
	a.loop.takeReserve()
	a.proceed()
}

func (a *Acceptor) stopped() bool { return a.held || a.backingOff || a.closing }

func (a *Acceptor) report(refused error) {
	if refused != nil {
		a.handler.AcceptFailed(refused, false)
	}
}

// acceptOne accepts a connection and hands it over.
func (a *Acceptor) acceptOne() syscall.Errno {
	fd, peer, errno := a.incoming.accept(a.socket.fd)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EMFILE, unix.ENFILE: // refuse counts the latter two
		return errno
	default:
		a.loop.stats.AcceptErrors.Add(1)
		return errno
	}
	a.noDelay(fd)
	a.backOff = backOffMin
	a.loop.stats.Accepted.Add(1)
	a.handler.Accepted(fd, peer)
	return 0
}

// noDelay makes sure that the connection has TCP_NODELAY. The first one tells whether the others need to be asked. If
// setting it fails the connection is dead already, as its first Recv will say.
func (a *Acceptor) noDelay(fd int) {
	if a.inherits == inheritanceUnknown {
		a.inherits = notInherited
		if v, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); err == nil && v != 0 {
			a.inherits = inherited
		}
	}
	if a.inherits == notInherited {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
}

// refuse closes the connection at the head of the queue, for which there is no descriptor: the reserved one is given up
// for a moment. So the client learns at once, rather than by its timeout; and the queue, which reports only what is new,
// goes on reporting. It returns 0 if it closed one, EAGAIN if there was none (Linux looks for a descriptor first, and for
// a connection after), and what is wrong still if there is no reserve or another thread was quicker to take its number.
func (a *Acceptor) refuse(cause syscall.Errno) syscall.Errno {
	if a.loop.reserve < 0 {
		a.exhausted()
		return cause
	}
	a.loop.releaseReserve()
	fd, _, errno := a.incoming.accept(a.socket.fd)
	if errno == 0 {
		closeFD(int32(fd))
		a.loop.stats.Refused.Add(1)
	}
	a.loop.takeReserve()
	if errno != unix.EAGAIN {
		a.exhausted()
	}
	return errno
}

func (a *Acceptor) exhausted() {
	a.loop.stats.AcceptErrors.Add(1)
	a.loop.stats.FDExhausted.Add(1)
}

// pauseFor stops accepting for a while, which doubles until a connection is accepted.
func (a *Acceptor) pauseFor(errno syscall.Errno) {
	a.loop.stats.AcceptPauses.Add(1)
	a.backingOff = true
	a.unregister()
	a.loop.wheel.arm(&a.timer, a.loop.now.Add(a.backOff))
	a.backOff = min(2*a.backOff, backOffMax)
	a.handler.AcceptFailed(errno, true)
}

// proceed registers the socket again unless something still holds it. Registering a socket whose queue is not empty is
// an event.
func (a *Acceptor) proceed() {
	if a.stopped() {
		return
	}
	if err := a.register(); err != nil {
		a.pauseFor(unix.ENOMEM) // the only way left to fail for a descriptor that was registered before
	}
}

func (a *Acceptor) register() error {
	if err := a.loop.poller.addListener(int(a.socket.fd), a.loop.slots.word(a.socket.slot), a.opts.Exclusive); err != nil {
		return err
	}
	a.registered = true
	return nil
}

// unregister cannot fail for a descriptor that is registered.
func (a *Acceptor) unregister() {
	if a.registered {
		_ = a.loop.poller.remove(int(a.socket.fd))
		a.registered = false
	}
}

// drain accepts everything that waits. An error other than a transient one ends it: the handler is not told, for there
// is nothing left to try.
func (a *Acceptor) drain() {
	for range drainMax {
		if errno := a.acceptOne(); errno != 0 && !transient(errno) {
			return
		}
	}
}

// transient tells whether accept failed for a connection that died in the queue, and not for the queue itself. Linux
// reports network errors of the connection this way (accept(2), "Error handling").
func transient(errno syscall.Errno) bool {
	switch errno {
	case unix.EINTR, unix.ECONNABORTED, unix.EPERM, unix.EPROTO, unix.ENOPROTOOPT, unix.EOPNOTSUPP,
		unix.ENETDOWN, unix.ENETUNREACH, unix.EHOSTDOWN, unix.EHOSTUNREACH:
		return true
	}
	return false
}

// takeReserve opens the reserved descriptor unless there is one. Failing is no error: an acceptor backs off instead.
func (l *Loop) takeReserve() {
	if l.reserve >= 0 {
		return
	}
	if fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		l.reserve = fd
	}
}

func (l *Loop) releaseReserve() {
	if l.reserve >= 0 {
		closeFD(int32(l.reserve))
		l.reserve = -1
	}
}
