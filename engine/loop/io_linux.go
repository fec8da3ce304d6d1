package loop

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of a connection's life, raw: on a non-blocking socket none of them sleeps, so the scheduler is not
// told. Telling it costs 15 to 60 ns a call (BenchmarkRecv) and, what weighs more, lets the monitor thread give the
// processor away in mid-turn: with syscall.Syscall6 in place of RawSyscall6 here, BenchmarkEchoUnderLoad took 13.0 us of
// processor time a request and not 11.5 (medians of five, two busy cores, GOMAXPROCS=4).

// threadID tells threads apart; never 0.
func threadID() int64 { return int64(unix.Gettid()) }

// recv reads into p, which must not be empty.
func recv(fd int32, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
			unix.MSG_DONTWAIT, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// peek returns 0 if a byte or the end of the stream could be read, EAGAIN if nothing can.
func peek(fd int32) syscall.Errno {
	var b byte
	for {
		_, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b)), 1,
			unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
		if errno != unix.EINTR {
			return errno
		}
	}
}

// send writes from p, which must not be empty.
func send(fd int32, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
			unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// vector is a loop's room for the arguments of one sendmsg. (writev has no flag to keep SIGPIPE away.)
type vector struct {
	msg    unix.Msghdr
	pieces [vectorMax]unix.Iovec
}

// send writes up to vectorMax pieces; the empty ones are left out, and if all are it writes nothing.
func (v *vector) send(fd int32, pieces [][]byte) (int, syscall.Errno) {
	k := 0
	for _, p := range pieces {
		if len(p) > 0 {
			v.pieces[k].Base = &p[0]
			v.pieces[k].SetLen(len(p))
			k++
		}
	}
	if k == 0 {
		return 0, 0
	}
	v.msg.Iov = &v.pieces[0]
	v.msg.SetIovlen(k)
	defer clear(v.pieces[:k]) // hold nobody's buffer
	for {
		n, _, errno := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&v.msg)),
			unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// closeFD closes a descriptor. Linux frees it whatever close returns, so there is nothing to do about an error.
func closeFD(fd int32) {
	_, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// streamSocket opens a non-blocking TCP socket. Plain TCP is asked for by its number, so that nothing makes it MPTCP.
func streamSocket(family int) (int, error) {
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
}

// bindLater has bind leave the choice of the port to connect, which can share one among many destinations.
func bindLater(fd int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
}

// reusePort lets sockets share an address and has the kernel spread connections among them.
const reusePort = unix.SO_REUSEPORT

// incoming is an acceptor's room for the address of one peer.
type incoming struct {
	addr unix.RawSockaddrAny
}

// accept takes one connection from the queue, non-blocking.
func (in *incoming) accept(fd int32) (int, netip.AddrPort, syscall.Errno) {
	size := uint32(unsafe.Sizeof(in.addr))
	n, _, errno := syscall.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&in.addr)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, netip.AddrPort{}, errno
	}
	return int(n), in.peer(), 0
}

func (in *incoming) peer() netip.AddrPort {
	switch in.addr.Addr.Family {
	case unix.AF_INET:
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&in.addr))
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), networkPort(&sa.Port))
	case unix.AF_INET6:
		sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&in.addr))
		return netip.AddrPortFrom(ipv6(sa.Addr, sa.Scope_id), networkPort(&sa.Port))
	}
	return netip.AddrPort{}
}

// networkPort reads a port as it lies in a socket address: big-endian.
func networkPort(p *uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(p))
	return uint16(b[0])<<8 | uint16(b[1])
}
