package loop

import (
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BenchmarkRecv compares what a raw system call saves over one that tells the scheduler.
func BenchmarkRecv(b *testing.B) {
	ours, theirs := pair(b)
	defer unix.Close(ours)
	defer unix.Close(theirs)
	p := make([]byte, 128)
	for _, c := range []struct {
		name string
		recv func() syscall.Errno
	}{
		{"raw", func() syscall.Errno { _, errno := recv(int32(ours), p); return errno }},
		{"told to the scheduler", func() syscall.Errno {
			_, _, errno := syscall.Syscall6(unix.SYS_RECVFROM, uintptr(ours), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
			return errno
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if errno := c.recv(); errno != unix.EAGAIN {
					b.Fatal(errno)
				}
			}
		})
	}
}
