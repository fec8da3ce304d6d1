package etcd

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// process is one run of a member.
type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	exited chan struct{} // closed when it has been waited for
}

// startProcess runs this test binary again as the member m, with its standard error added to the file named.
func startProcess(m member, logFile string) (*process, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// A test binary whose TestMain does not call Main finds no test by this name, and ends.
	cmd := exec.Command(binary, "-test.run=^$", "-test.count=1")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GOCOVERDIR=") }),
		memberVariable+"="+string(text))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = diesWithParent()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, exited: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(p.exited)
		// Linux kills the child when the thread that started it ends, so the thread stays until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is of interest only while it should be running: see await
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("run %s as an etcd member: %w", binary, err)
	}
	return p, nil
}

func (p *process) signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// kill ends it at once, frozen or not, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error says that it is gone already
	<-p.exited
	_ = p.stdin.Close()
}
