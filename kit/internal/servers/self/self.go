//go:build unix

// Package self runs the test binary a second time, as a process that does a part of the work, so that a test can kill it with
// SIGKILL at any moment, freeze it and start another one. A package that uses it calls Main at the beginning of its TestMain.
//
//	func TestMain(m *testing.M) {
//		self.Main(work)
//		goleak.VerifyTestMain(m)
//	}
package self

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
)

// T is what this package needs of a *testing.T or *testing.B.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// variable holds what a process is told.
const variable = "YUMEN_TEST_SELF"

// Main runs work and ends the process, if this is one that Start has started. work gets what Start was told, and calls Ready when it
// can do something. The end of the test is that of the process.
func Main(work func(ctx context.Context, told string) error) {
	told, ok := os.LookupEnv(variable)
	if !ok {
		return
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // whose end is that of the test
		os.Exit(2)
	}()
	if err := work(ctx, told); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

const ready = "ready\n"

// Ready has Start return.
func Ready() { fmt.Print(ready) }

// Process is one run of the test binary. Its methods are for one goroutine at a time.
type Process struct {
	t    T
	cmd  *exec.Cmd
	once sync.Once
}

// Start starts a process, tells it something, and returns when it is ready. It is killed at the end of the test.
func Start(t T, told string) *Process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), variable+"="+told), os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // it stays open until this process ends
		t.Fatalf("self: %v", err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("self: %v", err)
	}
	p := &Process{t: t, cmd: cmd}
	t.Cleanup(p.Kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != ready {
		t.Fatalf("self: a process says %q, %v (does TestMain call self.Main, and the work Ready?)", line, err)
	}
	return p
}

// Kill ends it with SIGKILL, at whatever it is.
func (p *Process) Kill() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill() // an error says that it is gone already
		_ = p.cmd.Wait()
	})
}

// Freeze stops it with SIGSTOP, holding whatever it holds.
func (p *Process) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (p *Process) Thaw() { p.signal(syscall.SIGCONT) }

func (p *Process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("self: send %v: %v", s, err)
	}
}
