//go:build unix

package observe

import (
	"syscall"
	"time"
)

// cpuUsed is the CPU time of the process so far, in user and system mode.
func cpuUsed() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
