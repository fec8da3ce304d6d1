// Package halt freezes the processes of test servers.
package halt

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// patience is how long a process may take to stand still: its threads stop when they next leave the kernel.
const patience = 10 * time.Second

// Process sends SIGSTOP to a process, and returns when none of its threads runs any more: the signal alone takes effect some
// time later, and what was asked meanwhile would be answered. Where there is no /proc it does not wait.
func Process(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	for deadline := time.Now().Add(patience); !stands(pid); runtime.Gosched() {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d still runs %v after it was stopped", pid, patience)
		}
	}
	return nil
}

// stands tells whether every thread of a process is stopped, or gone.
func stands(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if err != nil {
			continue
		}
		// The state stands behind the name, which may hold anything in its parentheses (proc(5)).
		text := string(stat)
		state := strings.TrimSpace(text[strings.LastIndexByte(text, ')')+1:])
		if !strings.HasPrefix(state, "T") && !strings.HasPrefix(state, "t") && !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X") {
			return false
		}
	}
	return true
}
