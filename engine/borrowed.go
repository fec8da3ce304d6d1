package engine

import (
	"io"

	"github.com/yumen-io/yumen/engine/loop"
	"golang.org/x/sys/unix"
)

// borrowed is a descriptor in the hands of a handshake's goroutine. The loop that owns it meanwhile neither reads nor writes
// nor closes it, and passes on what it hears of its readiness.
type borrowed int

// Recv reads without waiting.
func (b borrowed) Recv(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(b), p)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return 0, loop.ErrAgain
		case err != nil:
			return 0, err
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Send writes without waiting.
func (b borrowed) Send(p []byte) (int, error) {
	for {
		n, err := unix.SendmsgN(int(b), p, nil, nil, unix.MSG_NOSIGNAL)
		switch err {
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, loop.ErrAgain
		default:
			return n, err
		}
	}
}
