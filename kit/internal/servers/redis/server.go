//go:build unix

package redis

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/yumen-io/yumen/kit/internal/servers/halt"
)

// T is what of *testing.T and *testing.B is needed here.
type T interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// readyMax is how long a server may take until it answers. It takes 10 ms on a machine with nothing else to do.
const readyMax = 30 * time.Second

// Server is a redis-server.
type Server struct {
	t     T
	port  int
	dir   string
	flags []string
	cmd   *exec.Cmd // nil while it is killed
	ended chan struct{}
}

// Start starts a server for t alone, with flags after (and so instead of) those of this package. It answers when Start
// returns.
func Start(t T, flags ...string) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		const text = "redis-server is not installed: apt-get install redis-server (Debian)"
		if os.Getenv("CI") != "" {
			t.Fatalf("%s", text)
		}
		t.Skipf("%s", text)
	}
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatalf("redis: %v", err)
	}
	s := &Server{t: t, dir: dir, flags: flags}
	t.Cleanup(func() {
		s.Kill()
		_ = os.RemoveAll(dir)
	})
	// Another program may take the port between the look and the start; then the next one is tried.
	for try := 0; ; try++ {
		if s.port, err = freePort(); err == nil {
			err = s.start()
		}
		if err == nil {
			return s
		}
		if try == 3 {
			t.Fatalf("redis: %v", err)
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Addr is where it listens: 127.0.0.1:40123.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

func (s *Server) start() error {
	args := append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
	}, s.flags...)
	var out strings.Builder
	cmd := exec.Command("redis-server", args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = diesWithParent()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	s.cmd, s.ended = cmd, ended
	go func() {
		cmd.Wait()
		close(ended)
	}()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for give := time.Now().Add(readyMax); time.Now().Before(give); {
		if s.answers() {
			return nil
		}
		select {
		case <-ended:
			s.cmd = nil
			return fmt.Errorf("redis-server ended by itself: %s", out.String())
		case <-ticker.C:
		}
	}
	s.Kill()
	return fmt.Errorf("redis-server did not answer in %v", readyMax)
}

// answers makes a PING. While it reads its files a server says LOADING, which is no answer.
func (s *Server) answers() bool {
	c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprintf(c, "PING\r\n")
	line, _ := bufio.NewReader(c).ReadString('\n')
	return strings.HasPrefix(line, "+PONG") || strings.HasPrefix(line, "-NOAUTH")
}

// Kill ends it with SIGKILL, also while it is frozen.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.ended
	s.cmd = nil
}

// Freeze stops it with SIGSTOP: connections stay, and nothing is answered.
func (s *Server) Freeze() { _ = halt.Process(s.cmd.Process.Pid) }

// Thaw lets it go on.
func (s *Server) Thaw() { s.cmd.Process.Signal(syscall.SIGCONT) }

// Restart starts it again after Kill, on the same port and with the same files. It answers when Restart returns.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	var err error
	for range 20 { // the port may be taken for a moment by a client's end of a dead connection
		if err = s.start(); err == nil {
			return
		}
	}
	s.t.Fatalf("redis: %v", err)
}
