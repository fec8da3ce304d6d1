//go:build linux

package gateway

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// FreeAddr is a loopback address that nobody else is given before the test ends. A config file must name a port, and a
// port that was merely free a moment ago may meanwhile be the near end of somebody's connection. So the kernel picks one
// for a socket that is bound and never listens: it is out of the kernel's choice as long as that socket lives, and
// servers that set SO_REUSEADDR or SO_REUSEPORT, as all do, may listen on it nevertheless, again and again.
func FreeAddr(t testing.TB) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("opening a socket to hold a port: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			t.Fatalf("setting option %d of a socket to hold a port: %v", option, err)
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatalf("asking the kernel for a port: %v", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatalf("asking which port the kernel picked: %v", err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
}
