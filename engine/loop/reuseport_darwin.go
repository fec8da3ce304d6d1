package loop

import "golang.org/x/sys/unix"

// reusePort lets sockets share an address. Darwin gives every connection to one of them; that will do for development.
const reusePort = unix.SO_REUSEPORT
