//go:build darwin || (freebsd && (amd64 || arm64))

package loop

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// The system calls of a connection's life. Here they go through x/sys, for darwin has no stable numbers to call by; a
// Mac is for development, and the raw path is Linux's. SIGPIPE needs no flag: the Go runtime swallows it for sockets.

// threadID is a constant, which turns the owner check off: neither system has a portable call for it.
func threadID() int64 { return 1 }

func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	return err.(syscall.Errno) // x/sys returns nothing else from a system call
}

// recv reads into p, which must not be empty.
func recv(fd int32, p []byte) (int, syscall.Errno) {
	for {
		n, err := unix.Read(int(fd), p)
		if err != unix.EINTR {
			return n, errnoOf(err)
		}
	}
}

// peek returns 0 if a byte or the end of the stream could be read, EAGAIN if nothing can.
func peek(fd int32) syscall.Errno {
	var b [1]byte
	for {
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return errnoOf(err)
		}
	}
}

// send writes from p, which must not be empty.
func send(fd int32, p []byte) (int, syscall.Errno) {
	for {
		n, err := unix.Write(int(fd), p)
		if err != unix.EINTR {
			return n, errnoOf(err)
		}
	}
}

// vector is a loop's room for the arguments of one sendmsg; x/sys brings its own.
type vector struct{}

func (*vector) send(fd int32, pieces [][]byte) (int, syscall.Errno) {
	for {
		n, err := unix.SendmsgBuffers(int(fd), pieces, nil, nil, unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return n, errnoOf(err)
		}
	}
}

func closeFD(fd int32) { _ = unix.Close(int(fd)) }

// streamSocket opens a non-blocking TCP socket.
func streamSocket(family int) (int, error) {
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(family, unix.SOCK_STREAM, unix.IPPROTO_TCP)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bindLater does nothing: only Linux can leave the choice of the port to connect.
func bindLater(int) error { return nil }

// incoming is an acceptor's room for the address of one peer; x/sys brings its own.
type incoming struct{}

// accept takes one connection from the queue, non-blocking.
func (incoming) accept(fd int32) (int, netip.AddrPort, syscall.Errno) {
	syscall.ForkLock.RLock()
	n, sa, err := unix.Accept(int(fd))
	if err == nil {
		unix.CloseOnExec(n)
	}
	syscall.ForkLock.RUnlock()
	if err == nil && sa == nil {
		_ = unix.Close(n) // darwin: the peer was gone before it could be named
		return -1, netip.AddrPort{}, unix.ECONNABORTED
	}
	if err != nil {
		return -1, netip.AddrPort{}, errnoOf(err)
	}
	if err := unix.SetNonblock(n, true); err != nil {
		_ = unix.Close(n)
		return -1, netip.AddrPort{}, errnoOf(err)
	}
	return n, fromSockaddr(sa), 0
}
