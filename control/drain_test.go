package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A drain with one request waiting for its upstream, one idle connection, one that never said a word, and traffic: every
// request that is sent is answered, the last of a connection says so, and the drain ends by itself.
func TestDrainAnswersEverything(t *testing.T) {
	o := startOrigin(t, "app")
	g := start(t, strings.Replace(document(o), "idle: 200ms", "idle: 300ms", 1), Options{})
	addr := g.addr("web")
	idle, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if _, err := idle.get("/"); err != nil {
		t.Fatal(err)
	}
	silent, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	waiting, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	fmt.Fprint(waiting, "GET /waits HTTP/1.1\r\nHost: exam.test\r\n\r\n")
	<-o.waiting
	tr := startTraffic(addr, 6, true, says("app"))
	tr.more(t, 100)

	drained := make(chan error, 1)
	go func() { drained <- g.Drain(t.Context()) }()

	tr.done.Wait() // each client ends when it is refused
	tr.end(t)
	if ready, deps := g.Ready(); ready || !strings.Contains(deps[0].Why, "draining") {
		t.Errorf("ready while draining: %v", deps)
	}
	a, err := idle.get("/")
	if err != nil {
		t.Fatal(err)
	}
	want(t, a, "200 app (last)")
	close(o.gate)
	if a, err = waiting.read(); err != nil {
		t.Fatal(err)
	}
	want(t, a, "200 app (last)")
	silent.SetDeadline(time.Now().Add(patience))
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the silent connection: %v", err)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	<-g.Stopped()
}

func TestDrainWithoutConnectionsEndsAtOnce(t *testing.T) {
	o := startOrigin(t, "app")
	g := start(t, strings.Replace(document(o), "timeout: 10s, idle: 200ms", "timeout: 1h, idle: 1h", 1), Options{})
	want(t, get(t, g.addr("web"), "/"), "200 app")
	if err := g.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDrainCutsWhatIsLeftAtItsDeadline(t *testing.T) {
	o := startOrigin(t, "app")
	g := start(t, strings.Replace(document(o), "timeout: 10s, idle: 200ms", "timeout: 50ms, idle: 1h", 1), Options{})
	c, err := dial(g.addr("web"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /waits HTTP/1.1\r\nHost: exam.test\r\n\r\n")
	<-o.waiting
	defer close(o.gate)
	if err := g.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if a, err := c.read(); err == nil {
		t.Errorf("a request past the deadline was answered: %v", a)
	}
	if !strings.Contains(g.log.String(), "are cut") {
		t.Error("the log does not say that a connection was cut")
	}
}

// SIGTERM drains; a second one does not wait.
func TestSecondSignalStopsAtOnce(t *testing.T) {
	o := startOrigin(t, "app")
	pid := filepath.Join(t.TempDir(), "pid")
	g := start(t, strings.Replace(document(o), "timeout: 10s, idle: 200ms", "timeout: 1h, idle: 1h", 1), Options{PIDFile: pid})
	if text, err := os.ReadFile(pid); err != nil || string(text) != fmt.Sprintf("%d\n", os.Getpid()) {
		t.Errorf("the pid file says %q, %v", text, err)
	}
	c, err := dial(g.addr("web"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /waits HTTP/1.1\r\nHost: exam.test\r\n\r\n")
	<-o.waiting
	defer close(o.gate)
	ended := make(chan error, 1)
	running := make(chan struct{})
	go func() { close(running); ended <- g.Run(t.Context()) }()
	<-running
	signalSelf := func(s syscall.Signal, word string) {
		t.Helper()
		// Until the signal is taken note of; the first may come before Run asks for signals, and is then ignored below.
		eventually(t, "the log says "+word, func() bool {
			if strings.Contains(g.log.String(), word) {
				return true
			}
			_ = syscall.Kill(os.Getpid(), s)
			return false
		})
	}
	signalSelf(syscall.SIGHUP, "hangup")
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "draining", func() bool { return g.stopping.Load() })
	select {
	case err := <-ended:
		t.Fatalf("ended by one signal: %v", err)
	default:
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrCut) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pid file is still there: %v", err)
	}
}
