// Package kept runs the programs of test servers so that none of them, nor its data, outlives the test binary.
package kept

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/yumen-io/yumen/kit/internal/servers/halt"
)

// Process is a program under a shell that outlives neither of us: see keeper.
type Process struct {
	shell *exec.Cmd
	stdin io.WriteCloser
	pid   int
}

// keeper starts "$@", says its process id and waits for a line. At the line, or at the end of input, which comes when the
// test binary ends in whatever way, it kills the program; in the second case it removes the folder too. The shell does
// not wait for the program before, so that the process id stays its own even when it has ended by itself.
const keeper = `"$@" </dev/null >>"$KEEPER_LOG" 2>&1 &
echo $!
read -r line; given=$?
kill -9 $! 2>/dev/null
wait $! 2>/dev/null
[ $given -eq 0 ] || rm -rf "$KEEPER_DIR"`

// Start starts a program whose data is in dir, and whose output is added to a file there.
func Start(dir, log string, args []string) (*Process, error) {
	cmd := exec.Command("/bin/sh", append([]string{"-c", keeper, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "KEEPER_DIR="+dir, "KEEPER_LOG="+filepath.Join(dir, log))
	// Not in our group: an interrupt at the terminal must leave the shell alive to clean up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", args[0], err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", args[0], err)
	}
	return &Process{shell: cmd, stdin: stdin, pid: pid}, nil
}

// Signal sends a signal to the program.
func (p *Process) Signal(sig syscall.Signal) { _ = syscall.Kill(p.pid, sig) }

// Freeze stops the program with SIGSTOP, and returns when it stands still.
func (p *Process) Freeze() { _ = halt.Process(p.pid) }

// Kill ends the program at once, frozen or not, and waits for it.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	_, _ = io.WriteString(p.stdin, "\n")
	_ = p.stdin.Close()
	_ = p.shell.Wait()
}

// Exited tells whether the program has ended by itself. Where there is no /proc it says no, and the wait gets longer.
func (p *Process) Exited() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		_, proc := os.Stat("/proc/self/stat")
		return errors.Is(err, os.ErrNotExist) && proc == nil
	}
	return strings.Contains(string(stat), ") Z ")
}

// Wait asks ready again and again until it says yes or the time is up.
func Wait(atMost time.Duration, ready func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(atMost); ; <-tick.C {
		if ready() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
