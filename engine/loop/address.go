package loop

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Address returns the local address of a socket: of a listening one, with the port the kernel picked for port 0.
func Address(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("local address of descriptor %d: %w", fd, os.NewSyscallError("getsockname", err))
	}
	return fromSockaddr(sa), nil
}

// sockaddr returns an address in the kernel's form, and its family. An IPv4 address in IPv6 clothes becomes IPv4. A zone
// must be the number of an interface: looking up its name is work for who reads the configuration.
func sockaddr(addr netip.AddrPort) (unix.Sockaddr, int, error) {
	ip := addr.Addr().Unmap()
	switch {
	case ip.Is4():
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: ip.As4()}, unix.AF_INET, nil
	case ip.Is6():
		sa := &unix.SockaddrInet6{Port: int(addr.Port()), Addr: ip.As16()}
		if zone := ip.Zone(); zone != "" {
			id, err := strconv.ParseUint(zone, 10, 32)
			if err != nil {
				return nil, 0, fmt.Errorf("zone %q is not an interface's number", zone)
			}
			sa.ZoneId = uint32(id)
		}
		return sa, unix.AF_INET6, nil
	}
	return nil, 0, fmt.Errorf("not an IP address")
}

// fromSockaddr is the reverse of sockaddr; what is not IP becomes the zero address.
func fromSockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(ipv6(sa.Addr, sa.ZoneId), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

func ipv6(b [16]byte, zone uint32) netip.Addr {
	ip := netip.AddrFrom16(b).Unmap()
	if zone != 0 {
		ip = ip.WithZone(strconv.FormatUint(uint64(zone), 10))
	}
	return ip
}
