package loop

import "golang.org/x/sys/unix"

// reusePort lets sockets share an address and has the kernel spread connections among them (FreeBSD 12 and later; plain
// SO_REUSEPORT does not spread).
const reusePort = unix.SO_REUSEPORT_LB
