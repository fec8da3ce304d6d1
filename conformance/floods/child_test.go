//go:build linux

package floods

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What a child process is, and for an attacker what it does and to whom.
const (
	roleEnv      = "YUMEN_FLOOD_ROLE"
	roleAttacker = "attacker"
	roleUpstream = "upstream"
	roleDistant  = "distant" // the upstream of what attackers ask for
	attackEnv    = "YUMEN_FLOOD_ATTACK"
	victimEnv    = "YUMEN_FLOOD_VICTIM" // host:port
)

// largeBytes is the body of /large: more than any buffer between the upstream and a client that does not read.
const largeBytes = 4 << 20

// child is a process that lives until its standard input is closed.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

func startChild(t *testing.T, environment ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(exe)}
	c.cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), environment...) // else each waits a second at its end
	c.cmd.Stderr = os.Stderr
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin, c.out = stdin, bufio.NewReader(stdout)
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("starting a child: %v", err)
	}
	t.Cleanup(func() { c.end() })
	return c
}

// line is the next line it prints.
func (c *child) line() string {
	c.t.Helper()
	s, err := c.out.ReadString('\n')
	if err != nil {
		c.t.Fatalf("a child said nothing: %v", err)
	}
	return strings.TrimSpace(s)
}

// end lets it finish and returns what it still prints. A second call does nothing.
func (c *child) end() string {
	if c.stdin == nil {
		return ""
	}
	c.stdin.Close()
	c.stdin = nil
	rest, _ := io.ReadAll(c.out)
	_ = c.cmd.Wait()
	return string(rest)
}

// told is closed when the parent closes our standard input, or dies.
func told() <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	return over
}

// serveUpstream is the life of an upstream: / is short, /large is long. It prints where it listens.
func serveUpstream() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "upstream:", err)
		return 1
	}
	large := bytes.Repeat([]byte("x"), largeBytes)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, honestBody)
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(large) })
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }() // ends with Close
	fmt.Println(l.Addr())
	<-told()
	server.Close()
	return 0
}

// harm is what an attacker did, for the log: an attack that did nothing proves nothing.
type harm struct {
	Connections, Closed, Frames int64
}

// attackUntilTold is the life of an attacker.
func attackUntilTold(name, victim string) int {
	stepBack()
	for _, a := range attacks {
		if a.name == name {
			result := a.rage(victim, told())
			if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
				return 1
			}
			return 0
		}
	}
	fmt.Fprintf(os.Stderr, "no attack is named %q\n", name)
	return 2
}

// schedIdle is SCHED_IDLE of <sched.h>.
const schedIdle = 5

// stepBack leaves the processors to whoever else wants them. Threads made later inherit it. Where it is forbidden, the
// least priority is the next best.
func stepBack() {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			continue
		}
		if unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: schedIdle}, 0) != nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, 19)
		}
	}
}
