//go:build linux

package gateway

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ticksPerSecond is USER_HZ, the unit of the times in /proc/PID/stat: 100 on every Linux architecture Go runs on.
const ticksPerSecond = 100

// adoptOrphans makes this process the parent of its descendants' orphans. After an upgrade the old gateway, parent of
// the new one, leaves; without this the new one's exit status would go to PID 1.
func adoptOrphans(t testing.TB) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatalf("becoming a subreaper: %v", err)
	}
}

// awaitAdopted waits for a process that is not yet our child but will be once its parent has gone.
func awaitAdopted(pid int) (status int, err error) {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(pid, &ws, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err == syscall.ECHILD: // its parent still lives; if the process itself is gone, its parent has reaped it
			if syscall.Kill(pid, 0) != nil {
				return 0, fmt.Errorf("process %d left before it became ours", pid)
			}
			<-time.After(pollEvery)
		case err != nil:
			return 0, err
		case got == pid:
			return exitStatus(ws), nil
		}
	}
}

// CPUTime is what the process has used so far, user and system.
func (p *Process) CPUTime() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return 0, err
	}
	// The command name, second field, may hold spaces: count from its closing bracket. utime and stime are fields 14, 15.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("reading /proc/%d/stat: %d fields", p.pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading /proc/%d/stat: %w", p.pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// RSS is the resident memory of the process in bytes.
func (p *Process) RSS() (int64, error) { return ResidentBytes(p.pid) }

// ResidentBytes is the resident memory of any process in bytes.
func ResidentBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kB << 10, err
		}
	}
	return 0, fmt.Errorf("reading /proc/%d/status: no VmRSS", pid)
}

// Descriptors is the number of file descriptors the process has open.
func (p *Process) Descriptors() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
	return len(entries), err
}
