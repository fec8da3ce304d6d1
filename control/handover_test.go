package control

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/yumen-io/yumen/control/upgrade"
)

// successorEnv makes the test binary a gateway: its value is the folder with gateway.yaml and pid.
const successorEnv = "YUMEN_TEST_GATEWAY"

// runGateway is a program like cmd/yumen, without an admin API.
func runGateway(dir string) int {
	in, err := upgrade.Inherit()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	c, err := New(Options{
		File: filepath.Join(dir, "gateway.yaml"), PIDFile: filepath.Join(dir, "pid"), Inherited: in, Loops: loopsOf(in),
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if r, err := c.Start(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err, r.Report)
		_ = c.Stop()
		return 1
	}
	if err := c.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// loopsOf lets successors run with another number of loops than the first process.
func loopsOf(in *upgrade.Inheritance) int {
	n, err := strconv.Atoi(os.Getenv("YUMEN_TEST_LOOPS"))
	if err != nil || in == nil {
		return 2
	}
	return n
}

// process is the first process of a gateway that upgrades; those after it are known by the pid file.
type process struct {
	t    *testing.T
	dir  string
	cmd  *exec.Cmd
	done chan struct{}
}

func startProcess(t *testing.T, doc string, loops int) *process {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, dir: t.TempDir(), done: make(chan struct{})}
	p.save(doc)
	log, err := os.Create(p.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// Run from a copy: an upgrade starts what is on disk by then.
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p.install(binary)
	p.cmd = exec.Command(p.path("program"))
	p.cmd.Env = append(os.Environ(), successorEnv+"="+p.dir, "YUMEN_TEST_LOOPS="+strconv.Itoa(loops))
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(p.done); _ = p.cmd.Wait() }()
	t.Cleanup(func() {
		if pid := p.pid(); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("the log:\n%s", p.log())
		}
	})
	eventually(t, "the first process serves", func() bool { return p.pid() != 0 })
	return p
}

func (p *process) path(name string) string { return filepath.Join(p.dir, name) }

func (p *process) save(doc string) {
	p.t.Helper()
	if err := os.WriteFile(p.path("gateway.yaml"), []byte(doc), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// install puts a program in the place of the present one. Nothing in this process may fork meanwhile: the child would hold
// the file open for writing, and the kernel does not run such a file (ETXTBSY).
func (p *process) install(program []byte) {
	p.t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(p.path("next"), program, 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(p.path("next"), p.path("program")); err != nil {
		p.t.Fatal(err)
	}
}

// pid is what the pid file says, 0 if there is none.
func (p *process) pid() int {
	text, err := os.ReadFile(p.path("pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

func (p *process) log() string {
	text, _ := os.ReadFile(p.path("log"))
	return string(text)
}

// gone tells whether a process has ended; orphans are reaped by whoever adopts them.
func gone(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(text), ") Z ")
}

// Three upgrades under traffic, to more and to fewer loops than the first process has: no request fails, on kept or on
// fresh connections; each process drains and ends, and the pid file names the one that serves.
func TestUpgradeUnderTrafficFailsNoRequest(t *testing.T) {
	for _, loops := range []int{3, 1} {
		t.Run(fmt.Sprintf("to %d loops", loops), func(t *testing.T) {
			o, addr := startOrigin(t, "app"), freeAddr(t)
			p := startProcess(t, strings.Replace(document(o), "127.0.0.1:0", addr, 1), loops)
			tr := startTraffic(addr, 6, false, says("app"))
			for range 3 {
				tr.more(t, 100)
				old := p.pid()
				if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
					t.Fatal(err)
				}
				eventually(t, "another process serves", func() bool { return p.pid() != old || tr.failures() > 0 })
				tr.more(t, 100)
				eventually(t, "the old process ends", func() bool { return gone(old) || tr.failures() > 0 })
			}
			tr.more(t, 100)
			tr.end(t)
			if code := p.cmd.ProcessState; !p.ended() || code.ExitCode() != 0 {
				t.Errorf("the first process: %v", code)
			}
		})
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	case <-time.After(patience):
		return false
	}
}

// The program on disk is broken, then the document is: the old process carries on and says why; nobody noticed.
func TestUpgradeThatFailsCarriesOn(t *testing.T) {
	o, addr := startOrigin(t, "app"), freeAddr(t)
	doc := strings.Replace(document(o, "watch: off\n"), "127.0.0.1:0", addr, 1)
	p := startProcess(t, doc, 2)
	pid := p.pid()
	tr := startTraffic(addr, 4, false, says("app"))
	upgradeFails := func(why string) {
		t.Helper()
		if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the log says "+why, func() bool {
			for line := range strings.Lines(p.log()) {
				if strings.Contains(line, "upgrade failed") && strings.Contains(line, why) {
					return true
				}
			}
			return false
		})
		tr.more(t, 100)
		if p.pid() != pid {
			t.Errorf("the pid file says %d, %d serves", p.pid(), pid)
		}
	}
	program, err := os.ReadFile(p.path("program"))
	if err != nil {
		t.Fatal(err)
	}
	p.install([]byte("#!/bin/sh\nexit 3\n"))
	upgradeFails("exit status 3")
	p.install(program)
	p.save("listen: what")
	upgradeFails("the configuration has errors")
	tr.end(t)
	if tr.last.Load() > 0 {
		t.Errorf("%d connections were told to close", tr.last.Load())
	}
	// And after all that an upgrade works.
	p.save(doc)
	if err := syscall.Kill(pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another process serves", func() bool { return p.pid() != pid })
	if a := get(t, addr, "/"); a.status != 200 || a.body != "app" { // perhaps the old one's last
		t.Errorf("after the upgrade: %v", a)
	}
}

// An upgrade and a certificate that is replaced between two, under traffic over TLS: no request fails, and the last process
// shows the last certificate.
func TestUpgradeUnderTLSTraffic(t *testing.T) {
	o, s, addr := startOrigin(t, "app"), newSite(t), freeAddr(t)
	files := s.pair("a", s.issue("a.test"))
	p := startProcess(t, strings.Replace(secure(o, files), "127.0.0.1:0", addr, 1), 2)
	tr := startTrafficBy(func() (*conn, error) {
		c, _, err := dialTLS(addr, s.client("a.test"))
		return c, err
	}, 4, false, says("app"))
	next := s.issue("a.test")
	for n := range 2 {
		tr.more(t, 50)
		old := p.pid()
		if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another process serves", func() bool { return p.pid() != old || tr.failures() > 0 })
		tr.more(t, 50)
		eventually(t, "the old process ends", func() bool { return gone(old) || tr.failures() > 0 })
		if n == 0 {
			s.pair("a", next)
		}
	}
	awaitShown(t, addr, "", next)
	tr.end(t)
}
