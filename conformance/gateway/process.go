//go:build linux

package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// readyWithin bounds the time from exec to the first 200 of /readyz; generous, because CI machines are shared.
	readyWithin = 20 * time.Second
	// stopWithin is the gateway's own drain deadline (30 s) and a little more.
	stopWithin = 35 * time.Second
	// logTailBytes is how much of the log a failed test prints.
	logTailBytes = 8 << 10
)

// Options say how a process is started. The zero value runs the binary of BinaryEnv with nothing special.
type Options struct {
	Binary    string   // path; "" means the one BinaryEnv names
	FilesMax  int      // RLIMIT_NOFILE of the process, both limits; 0 inherits ours
	ExtraArgs []string // appended to `run -c FILE --pid-file FILE`
	ExtraEnv  []string // NAME=value, appended to ours
}

// Process is one running gateway. Its methods may be called from any goroutine, except Stop, WriteConfig and Upgrade,
// which belong to the test's own.
type Process struct {
	t       testing.TB
	dir     string
	binary  string
	admin   string
	adminDo *http.Client

	pid    int
	exited chan struct{} // closed once the process is reaped

	result struct {
		sync.Mutex
		status  int // exit status; 128 + signal when killed by one
		stopped bool
	}
}

// Start writes the config (an admin section is put before it: the caller's text must not have one), starts
// `yumen run` and waits until /readyz says 200. The process is stopped, and its exit status judged, when the test ends.
func Start(t testing.TB, config string, options Options) *Process {
	t.Helper()
	if options.Binary == "" {
		options.Binary = os.Getenv(BinaryEnv)
	}
	adoptOrphans(t)
	p := &Process{
		t: t, dir: t.TempDir(), binary: options.Binary, admin: FreeAddr(t),
		exited:  make(chan struct{}),
		adminDo: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	p.WriteConfig(config)
	log, err := os.Create(p.logPath())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()

	args := append([]string{"run", "-c", p.ConfigPath(), "--pid-file", p.pidPath()}, options.ExtraArgs...)
	cmd := exec.Command(options.Binary, args...)
	if options.FilesMax > 0 {
		// exec keeps the PID, so the limited process is the one we signal and measure.
		shell := fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, options.FilesMax)
		cmd = exec.Command("/bin/sh", append([]string{"-c", shell, options.Binary}, args...)...)
	}
	cmd.Env = append(os.Environ(), options.ExtraEnv...)
	cmd.Stdout, cmd.Stderr = log, log // a file, not a pipe: an upgraded process inherits it and must not keep Wait waiting
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting the gateway: %v", err)
	}
	p.pid = cmd.Process.Pid
	go p.reap(func() (int, error) {
		err := cmd.Wait()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return 0, err
		}
		return exitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus)), nil
	})
	t.Cleanup(p.end)
	p.awaitReady()
	return p
}

// reap waits for the process and publishes its status.
func (p *Process) reap(wait func() (status int, err error)) {
	status, err := wait()
	if err != nil {
		status = -1
	}
	p.result.Lock()
	p.result.status = status
	p.result.Unlock()
	close(p.exited)
}

func exitStatus(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

func (p *Process) awaitReady() {
	p.t.Helper()
	Eventually(p.t, readyWithin, "the gateway is ready", func() error {
		select {
		case <-p.exited:
			p.t.Fatalf("the gateway left with status %d before it was ready; its log:\n%s", p.ExitStatus(), p.Log())
		default:
		}
		status, body, err := p.AdminGet("/readyz")
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("/readyz says %d: %s", status, body)
		}
		return nil
	})
}

// PID is the process id; after an upgrade the process that took over has another.
func (p *Process) PID() int { return p.pid }

// ConfigPath is the config file the process watches.
func (p *Process) ConfigPath() string { return filepath.Join(p.dir, "yumen.yaml") }

func (p *Process) pidPath() string { return filepath.Join(p.dir, "yumen.pid") }
func (p *Process) logPath() string { return filepath.Join(p.dir, "yumen.log") }

// WriteConfig replaces the config file in one step (a new file renamed over the old), as an editor or a config
// manager would. The running process sees it by itself.
func (p *Process) WriteConfig(config string) {
	p.t.Helper()
	text := fmt.Sprintf("admin: {address: %q}\n%s", p.admin, config)
	next := p.ConfigPath() + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		p.t.Fatalf("writing the config: %v", err)
	}
	if err := os.Rename(next, p.ConfigPath()); err != nil {
		p.t.Fatalf("replacing the config: %v", err)
	}
}

// Log is everything the process, and the processes it upgraded to, wrote so far.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.logPath())
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(text)
}

// Signal sends a signal to the process.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(p.pid, sig); err != nil {
		p.t.Fatalf("sending %v to the gateway: %v", sig, err)
	}
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitStatus is meaningful once Exited is closed.
func (p *Process) ExitStatus() int {
	p.result.Lock()
	defer p.result.Unlock()
	return p.result.status
}

// Stop sends SIGTERM and fails the test unless the process leaves with status 0 in time. A second call does nothing.
func (p *Process) Stop() {
	p.t.Helper()
	p.result.Lock()
	again := p.result.stopped
	p.result.stopped = true
	p.result.Unlock()
	if again {
		return
	}
	select {
	case <-p.exited:
	default:
		p.Signal(syscall.SIGTERM)
	}
	p.AwaitExit(stopWithin)
}

// Kill ends the process at once, as the kernel does when memory runs out. It counts as the stop, whatever the status.
func (p *Process) Kill() {
	p.t.Helper()
	p.result.Lock()
	p.result.stopped = true
	p.result.Unlock()
	p.Signal(syscall.SIGKILL)
	<-p.exited
}

// AwaitExit fails the test unless the process has ended within the time, with status 0. It counts as the stop.
func (p *Process) AwaitExit(within time.Duration) {
	p.t.Helper()
	p.result.Lock()
	p.result.stopped = true
	p.result.Unlock()
	select {
	case <-p.exited:
		if status := p.ExitStatus(); status != 0 {
			p.t.Errorf("the gateway left with status %d, want 0", status)
		}
	case <-time.After(within):
		p.t.Errorf("the gateway still runs %v after it was told to stop", within)
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
		<-p.exited
	}
}

// end is the process's part of the test's cleanup.
func (p *Process) end() {
	p.Stop()
	if p.t.Failed() {
		log := p.Log()
		if len(log) > logTailBytes {
			log = "..." + log[len(log)-logTailBytes:]
		}
		p.t.Logf("log of gateway %d:\n%s", p.pid, log)
	}
}

// Upgrade sends SIGUSR2 and waits until another process has taken over: the pid file names it and it is ready. The
// old process is expected to drain and leave by itself; the caller may await that. The new one is stopped with the test.
func (p *Process) Upgrade() *Process {
	p.t.Helper()
	p.Signal(syscall.SIGUSR2)
	next := &Process{
		t: p.t, dir: p.dir, binary: p.binary, admin: p.admin, adminDo: p.adminDo,
		exited: make(chan struct{}),
	}
	Eventually(p.t, readyWithin, "the pid file names the new process", func() error {
		pid, err := p.PIDFile()
		if err != nil {
			return err
		}
		if pid == p.pid {
			return errors.New("it still names the old one")
		}
		next.pid = pid
		return nil
	})
	go next.reap(func() (int, error) { return awaitAdopted(next.pid) })
	p.t.Cleanup(next.end)
	next.awaitReady()
	return next
}

// PIDFile reads the process id the gateway wrote.
func (p *Process) PIDFile() (int, error) {
	text, err := os.ReadFile(p.pidPath())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// AdminGet asks the admin API for a path.
func (p *Process) AdminGet(path string) (status int, body []byte, err error) {
	resp, err := p.adminDo.Get("http://" + p.admin + path)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	return resp.StatusCode, bytes.TrimSpace(body), err
}

// Admin is the address of the admin API.
func (p *Process) Admin() string { return p.admin }
