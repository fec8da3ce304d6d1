//go:build linux

package loop

import (
	"fmt"
	"math"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller is the kernel's side of a loop. Its methods but wake are for the loop's goroutine; here it is epoll, and an
// eventfd for wake-ups.
type poller struct {
	epfd   int
	wakefd int
	one    uint64 // what a wake-up adds to the eventfd
	events []unix.EpollEvent
}

func (p *poller) open(eventsMax int) (err error) {
	p.one = 1
	p.events = make([]unix.EpollEvent, eventsMax)
	if p.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if p.wakefd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		_ = unix.Close(p.epfd)
		return os.NewSyscallError("eventfd", err)
	}
	if err = p.control(unix.EPOLL_CTL_ADD, p.wakefd, unix.EPOLLIN|unix.EPOLLET, makeWord(wakeSlot, 0)); err != nil {
		p.close()
		return err
	}
	return nil
}

// add registers a socket for everything there is to know of it.
func (p *poller) add(fd int, w word) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET, w)
}

// addListener registers a listening socket. Of the loops that wait for the same queue, one that asked for exclusiveness
// is woken for a connection (EPOLLEXCLUSIVE), rather than all of them.
func (p *poller) addListener(fd int, w word, exclusive bool) error {
	events := uint32(unix.EPOLLIN | unix.EPOLLET)
	if exclusive {
		events |= unix.EPOLLEXCLUSIVE
	}
	return p.control(unix.EPOLL_CTL_ADD, fd, events, w)
}

// remove takes a descriptor out. A connection's needs no removing, for closing does it; a listening one does, for another
// process may hold the same socket, which then would go on reporting to this poller.
func (p *poller) remove(fd int) error { return p.control(unix.EPOLL_CTL_DEL, fd, 0, 0) }

func (p *poller) control(op, fd int, events uint32, w word) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(w.slot()), Pad: int32(w.generation())}
	if err := unix.EpollCtl(p.epfd, op, fd, &ev); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// peek fills the batch with what is ready now and returns how many events that is.
func (p *poller) peek() int {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd), uintptr(unsafe.Pointer(&p.events[0])),
		uintptr(len(p.events)), 0, 0, 0)
	return waited(n, errno)
}

// sleep is peek that waits for the first event, but no longer than the timeout if that is not negative.
func (p *poller) sleep(timeout time.Duration) int {
	millis := -1
	if timeout >= 0 {
		millis = int(min((timeout+time.Millisecond-1)/time.Millisecond, math.MaxInt32))
	}
	n, _, errno := syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd), uintptr(unsafe.Pointer(&p.events[0])),
		uintptr(len(p.events)), uintptr(millis), 0, 0)
	return waited(n, errno)
}

func waited(n uintptr, errno syscall.Errno) int {
	switch errno {
	case 0:
		return int(n)
	case unix.EINTR:
		return 0
	}
	panic(fmt.Sprintf("epoll_pwait: %v", errno)) // EBADF, EFAULT, EINVAL: we broke the poller
}

// event returns the i-th event of the batch. An error or a dead connection concerns both directions, whichever the
// handler looks at.
func (p *poller) event(i int) (word, Events) {
	e := &p.events[i]
	var ev Events
	if e.Events&unix.EPOLLIN != 0 {
		ev |= Readable
	}
	if e.Events&unix.EPOLLOUT != 0 {
		ev |= Writable
	}
	if e.Events&unix.EPOLLRDHUP != 0 {
		ev |= Readable | Hangup
	}
	if e.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		ev |= Readable | Writable | Hangup
	}
	return makeWord(uint32(e.Fd), uint32(e.Pad)), ev
}

// wake makes a sleep under way, or else the next peek or sleep, return. Any goroutine. Nobody ever reads the eventfd:
// edge-triggered, each write is an event of its own, and 2^64 of them would have to come before one fails, which even
// then would mean that an event is pending.
func (p *poller) wake() {
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, uintptr(p.wakefd), uintptr(unsafe.Pointer(&p.one)), unsafe.Sizeof(p.one))
}

// close leaves numbers behind that are no descriptors: who comes late must not reach somebody else's.
func (p *poller) close() {
	_ = unix.Close(p.wakefd)
	_ = unix.Close(p.epfd)
	p.wakefd, p.epfd = -1, -1
}
