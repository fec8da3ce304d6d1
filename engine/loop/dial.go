package loop

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// DialOptions are the choices of Dial. The zero value is what most want.
type DialOptions struct {
	// Source, if valid, is the local address to connect from; the kernel picks the port.
	Source netip.Addr
}

// Dial begins to connect to addr and returns at once a non-blocking descriptor without delay of small segments
// (TCP_NODELAY). The caller adopts it; the first Writable or Hangup says that ConnectResult knows the outcome. An error
// means that there is no descriptor. Safe from any goroutine.
func Dial(addr netip.AddrPort, opts DialOptions) (int, error) {
	sa, family, err := sockaddr(addr)
	if err != nil {
		return -1, fmt.Errorf("connect to %s: %w", addr, err)
	}
	fd, err := streamSocket(family)
	if err != nil {
		return -1, fmt.Errorf("connect to %s: %w", addr, os.NewSyscallError("socket", err))
	}
	if err := connect(fd, sa, opts); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return fd, nil
}

func connect(fd int, to unix.Sockaddr, opts DialOptions) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return os.NewSyscallError("setsockopt TCP_NODELAY", err)
	}
	if opts.Source.IsValid() {
		from, _, err := sockaddr(netip.AddrPortFrom(opts.Source, 0))
		if err != nil {
			return fmt.Errorf("from %s: %w", opts.Source, err)
		}
		if err := bindLater(fd); err != nil {
			return os.NewSyscallError("setsockopt IP_BIND_ADDRESS_NO_PORT", err)
		}
		if err := unix.Bind(fd, from); err != nil {
			return fmt.Errorf("from %s: %w", opts.Source, os.NewSyscallError("bind", err))
		}
	}
	// An interrupted connect goes on in the background like any other (POSIX).
	if err := unix.Connect(fd, to); err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		return os.NewSyscallError("connect", err)
	}
	return nil
}
