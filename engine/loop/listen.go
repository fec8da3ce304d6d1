package loop

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// ListenOptions are the choices of Listen.
type ListenOptions struct {
	// Backlog is how many connections may wait to be accepted; 0 means 4096. The kernel has a limit of its own
	// (net.core.somaxconn, 4096 by default) and silently takes the smaller.
	Backlog int

	// ReusePort lets several sockets listen on the address, among which the kernel spreads connections: one for each
	// loop. The first one that does not ask for it, or belongs to another user, finds the address in use. So does not,
	// mind, a second copy of the program.
	ReusePort bool

	// V6Only keeps IPv4 off a socket that listens on the unspecified IPv6 address, which otherwise serves both.
	V6Only bool
}

const backlogDefault = 4096

// Listen returns a non-blocking listening descriptor; Address tells its port if addr has none. A dual-stack address
// ([::] without V6Only) falls back to IPv4 on a machine without IPv6. Accepted connections inherit TCP_NODELAY from it,
// which saves a system call each. An error names the address. Safe from any goroutine.
func Listen(addr netip.AddrPort, opts ListenOptions) (int, error) {
	if opts.Backlog == 0 {
		opts.Backlog = backlogDefault
	}
	fd, err := listen(addr, opts)
	if errors.Is(err, unix.EAFNOSUPPORT) && addr.Addr() == netip.IPv6Unspecified() && !opts.V6Only {
		fd, err = listen(netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port()), opts)
	}
	if err != nil {
		return -1, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return fd, nil
}

func listen(addr netip.AddrPort, opts ListenOptions) (int, error) {
	sa, family, err := sockaddr(addr)
	if err != nil {
		return -1, err
	}
	fd, err := streamSocket(family)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := bindAndListen(fd, sa, family, opts); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func bindAndListen(fd int, sa unix.Sockaddr, family int, opts ListenOptions) error {
	type option struct {
		name               string
		level, what, value int
	}
	options := []option{
		{"SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	}
	if opts.ReusePort {
		options = append(options, option{"SO_REUSEPORT", unix.SOL_SOCKET, reusePort, 1})
	}
	if family == unix.AF_INET6 {
		v6Only := 0
		if opts.V6Only {
			v6Only = 1
		}
		options = append(options, option{"IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6Only})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.what, o.value); err != nil {
			return os.NewSyscallError("setsockopt "+o.name, err)
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(fd, opts.Backlog); err != nil {
		return os.NewSyscallError("listen", err)
	}
	return nil
}
