package upgrade

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// behave tells the test binary, started as a successor, what to do.
const behave = "YUMEN_TEST_SUCCESSOR"

func TestMain(m *testing.M) {
	if how, ok := os.LookupEnv(behave); ok {
		succeed(how)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// succeed is a successor: it serves each of its sockets by one answer, the key, or fails in one of the ways there are.
func succeed(how string) {
	if how == "ends at once" {
		os.Exit(3)
	}
	in, err := Inherit()
	if err != nil || in == nil {
		fmt.Fprintln(os.Stderr, "nothing inherited:", err)
		os.Exit(4)
	}
	switch how {
	case "gives up":
		in.Fail(errors.New("line 3:\n\tthe document is broken"))
		os.Exit(1)
	case "says nothing":
		select {}
	case "talks":
		in.pipe.WriteString("what is this\n")
		select {}
	}
	if again, err := Inherit(); again != nil || err != nil {
		os.Exit(5)
	}
	var listeners []net.Listener
	for _, key := range []string{"a", "b"} {
		for _, fd := range in.Take(key) {
			f := os.NewFile(uintptr(fd), key)
			l, err := net.FileListener(f)
			if err != nil {
				os.Exit(6)
			}
			f.Close()
			listeners = append(listeners, l)
		}
	}
	if len(in.Take("a")) > 0 {
		os.Exit(7)
	}
	if err := in.Ready(); err != nil {
		os.Exit(8)
	}
	if how == "dies when it is told to go" {
		os.Exit(9)
	}
	if err := in.Serving(); err != nil {
		os.Exit(10)
	}
	for _, l := range listeners {
		c, err := l.Accept()
		if err != nil {
			os.Exit(11)
		}
		fmt.Fprintf(c, "successor on %s\n", l.Addr())
		c.Close()
	}
}

// listen opens a listener and returns its descriptor for a handover.
func listen(t *testing.T) (*net.TCPListener, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	if err := raw.Control(func(n uintptr) { fd, _ = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || fd < 0 {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return l.(*net.TCPListener), fd
}

func handover(t *testing.T, how string, sockets ...Socket) Handover {
	t.Helper()
	program, err := ThisProgram()
	if err != nil {
		t.Fatal(err)
	}
	return Handover{Program: program, Sockets: sockets, Env: append(os.Environ(), behave+"="+how)}
}

// A successor gets two addresses, one of which has two sockets, and answers on all of them, also a connection that was in
// the queue before it lived.
func TestSuccessorServesTheSockets(t *testing.T) {
	a, afd := listen(t)
	b, bfd := listen(t) // the successor answers on one after the other: a, c, b
	c, cfd := listen(t)
	early, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()

	pid, err := handover(t, "serves", Socket{"a", []int{afd, cfd}}, Socket{"b", []int{bfd}}).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if pid == os.Getpid() || pid <= 0 {
		t.Errorf("the successor is process %d", pid)
	}
	for _, l := range []*net.TCPListener{a, c, b} {
		conn := early
		if l != a {
			if conn, err = net.Dial("tcp", l.Addr().String()); err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		answer := make([]byte, 100)
		n, err := conn.Read(answer)
		if want := fmt.Sprintf("successor on %s\n", l.Addr()); err != nil || string(answer[:n]) != want {
			t.Errorf("on %s: %q, %v; want %q", l.Addr(), answer[:n], err, want)
		}
	}
	awaitGone(t, pid)
}

// Each way for a successor to fail: the error says why, its process is gone and waited for, and our sockets still accept.
func TestSuccessorFails(t *testing.T) {
	script := filepath.Join(t.TempDir(), "program")
	syscall.ForkLock.RLock() // a child forked now would hold the script open for writing: it could not be run
	err := os.WriteFile(script, []byte("#!/bin/sh\nexit 3\n"), 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		how, want string
		change    func(*Handover)
	}{
		{"ends at once", "exit status 3", nil},
		{"gives up", "line 3:\n\tthe document is broken", nil},
		{"dies when it is told to go", "exit status 9", nil},
		{"talks", `"what is this"`, nil},
		{"says nothing", "within 100ms", func(h *Handover) { h.Timeout = 100 * time.Millisecond }},
		{"is another program", "exit status 3", func(h *Handover) { h.Program.Path = script }},
		{"is no program", "no such file", func(h *Handover) { h.Program.Path = script + "?" }},
	}
	for _, c := range cases {
		t.Run(c.how, func(t *testing.T) {
			l, fd := listen(t)
			h := handover(t, c.how, Socket{"a", []int{fd}})
			if c.change != nil {
				c.change(&h)
			}
			_, err := h.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ours, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			ours.Close()
		})
	}
}

// Whoever asked for the upgrade changes his mind.
func TestUpgradeIsGivenUp(t *testing.T) {
	_, fd := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := handover(t, "says nothing", Socket{"a", []int{fd}}).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNothingIsInherited(t *testing.T) {
	for text, want := range map[string]string{"x": "number of a descriptor", "1": "number of a descriptor", "-4": "number of a descriptor"} {
		t.Setenv(Environment, text)
		if in, err := Inherit(); in != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", text, in, err)
		}
	}
	if in, err := Inherit(); in != nil || err != nil {
		t.Errorf("without the variable: %v, %v", in, err)
	}
}

// The program is found by the name it was called by, so that a link to the current release leads to the next one.
func TestProgramBehindALink(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "current")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for called, want := range map[string]string{link: link, path: path, "/bin/sh": path, "no-such-program": path} {
		args := []string{called}
		if p, err := programOf(args); err != nil || p.Path != want {
			t.Errorf("called as %s: %+v, %v; want %s", called, p, err, want)
		}
	}
}

// awaitGone waits until a process was waited for: only then does its number name nobody.
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(pid, 0) == nil {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("process %d is still there", pid)
		}
	}
}
