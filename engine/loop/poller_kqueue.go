//go:build darwin || (freebsd && (amd64 || arm64))

package loop

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller is the kernel's side of a loop. Its methods but wake are for the loop's goroutine; here it is kqueue, and a user
// event for wake-ups. A socket has two filters, so a batch may hold two events for it.
type poller struct {
	kq     int
	events []kevent
}

// kevent is a unix.Kevent_t whose user data is a number. In the type of x/sys it is a pointer, which the garbage
// collector would take at its word.
type kevent [unsafe.Sizeof(unix.Kevent_t{}) / 8]uint64

const udata = unsafe.Offsetof(unix.Kevent_t{}.Udata) / 8

func (e *kevent) std() *unix.Kevent_t { return (*unix.Kevent_t)(unsafe.Pointer(e)) }

func makeKevent(ident, filter, flags int, w word) kevent {
	var e kevent
	unix.SetKevent(e.std(), ident, filter, flags)
	e[udata] = uint64(w)
	return e
}

func (p *poller) open(eventsMax int) (err error) {
	p.events = make([]kevent, eventsMax)
	if p.kq, err = unix.Kqueue(); err != nil {
		return os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(p.kq)
	if err = p.control(makeKevent(0, unix.EVFILT_USER, unix.EV_ADD|unix.EV_CLEAR, makeWord(wakeSlot, 0))); err != nil {
		p.close()
		return err
	}
	return nil
}

// add registers a socket for everything there is to know of it.
func (p *poller) add(fd int, w word) error {
	return p.control(
		makeKevent(fd, unix.EVFILT_READ, unix.EV_ADD|unix.EV_CLEAR, w),
		makeKevent(fd, unix.EVFILT_WRITE, unix.EV_ADD|unix.EV_CLEAR, w))
}

// addListener registers a listening socket. There is no waking of one loop alone.
func (p *poller) addListener(fd int, w word, _ bool) error {
	return p.control(makeKevent(fd, unix.EVFILT_READ, unix.EV_ADD|unix.EV_CLEAR, w))
}

// remove takes a listening descriptor out. A connection's needs no removing, for closing does it.
func (p *poller) remove(fd int) error {
	return p.control(makeKevent(fd, unix.EVFILT_READ, unix.EV_DELETE, 0))
}

func (p *poller) control(changes ...kevent) error {
	if _, err := unix.Kevent(p.kq, unsafe.Slice(changes[0].std(), len(changes)), nil, nil); err != nil {
		return os.NewSyscallError("kevent", err)
	}
	return nil
}

// peek fills the batch with what is ready now and returns how many events that is.
func (p *poller) peek() int { return p.wait(&unix.Timespec{}) }

// sleep is peek that waits for the first event, but no longer than the timeout if that is not negative.
func (p *poller) sleep(timeout time.Duration) int {
	if timeout < 0 {
		return p.wait(nil)
	}
	ts := unix.NsecToTimespec(int64(timeout))
	return p.wait(&ts)
}

func (p *poller) wait(timeout *unix.Timespec) int {
	n, err := unix.Kevent(p.kq, nil, unsafe.Slice(p.events[0].std(), len(p.events)), timeout)
	switch err {
	case nil:
		return n
	case unix.EINTR:
		return 0
	}
	panic(fmt.Sprintf("kevent: %v", err)) // EBADF, EFAULT, EINVAL: we broke the poller
}

// event returns the i-th event of the batch.
func (p *poller) event(i int) (word, Events) {
	e := p.events[i].std()
	var ev Events
	switch e.Filter {
	case unix.EVFILT_READ:
		ev = Readable
	case unix.EVFILT_WRITE:
		ev = Writable
	}
	if e.Flags&unix.EV_EOF != 0 {
		ev |= Hangup
	}
	return word(p.events[i][udata]), ev
}

// wake makes a sleep under way, or else the next peek or sleep, return. Any goroutine.
func (p *poller) wake() {
	e := makeKevent(0, unix.EVFILT_USER, 0, makeWord(wakeSlot, 0))
	e.std().Fflags = unix.NOTE_TRIGGER
	_ = p.control(e) // fails only for a kqueue that is closed, which wake's caller rules out
}

// close leaves a number behind that is no descriptor: who comes late must not reach somebody else's.
func (p *poller) close() {
	_ = unix.Close(p.kq)
	p.kq = -1
}
