package etcd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/yumen-io/yumen/kit/internal/servers/halt"
)

// T is what this package needs of a *testing.T or *testing.B.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	TempDir() string
	Cleanup(f func())
}

// readyMax is how long a member may take to answer. It takes under a second on a quiet machine.
const readyMax = 60 * time.Second

// Options of a member. The zero value is what Start uses.
type Options struct {
	// AuthTokenTTL is how long a token of a login is good without being used, in seconds; 0 means etcd's 300.
	AuthTokenTTL uint
}

// Server is a member of etcd in a process of its own.
type Server struct {
	t       T
	dir     string // holds the data and the log
	member  member
	process *process
	wiped   int
}

// Start runs a cluster of one member and returns when it answers.
func Start(t T) *Server {
	t.Helper()
	return StartWith(t, Options{})
}

// StartWith is Start with options.
func StartWith(t T, o Options) *Server {
	t.Helper()
	s := newServer(t, "m0", o)
	s.member.Cluster = s.member.Name + "=" + s.member.Peer
	s.member.TickMs = 10
	s.run()
	s.await()
	return s
}

func newServer(t T, name string, o Options) *Server {
	t.Helper()
	if os.Getenv(memberVariable) != "" {
		t.Fatalf("etcd: call etcd.Main() at the beginning of this package's TestMain")
	}
	s := &Server{t: t, dir: t.TempDir()}
	s.member = member{Name: name, Dir: filepath.Join(s.dir, "data"), Token: "test", AuthTokenTTL: o.AuthTokenTTL,
		Client: "http://" + freeAddress(t), Peer: "http://" + freeAddress(t)}
	t.Cleanup(s.Stop)
	return s
}

// Endpoints are the addresses of its client port, as clientv3.Config wants them.
func (s *Server) Endpoints() []string { return []string{s.member.Client[len("http://"):]} }

// Kill ends the process with SIGKILL and waits until it is gone. Data and ports are kept for Restart.
func (s *Server) Kill() {
	if s.process != nil {
		s.process.kill()
		s.process = nil
	}
}

// Stop is Kill, by the name that Cleanup and readers look for.
func (s *Server) Stop() { s.Kill() }

// Freeze stops the process with SIGSTOP: connections stay open and nothing answers.
func (s *Server) Freeze() {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatalf("etcd: %s cannot be frozen: it is not running", s.member.Name)
	}
	if err := halt.Process(s.process.cmd.Process.Pid); err != nil {
		s.t.Fatalf("etcd: freeze %s: %v", s.member.Name, err)
	}
}

// Thaw lets a frozen process go on.
func (s *Server) Thaw() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
}

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatalf("etcd: %s cannot be sent %v: it is not running", s.member.Name, sig)
	}
	if err := s.process.signal(sig); err != nil {
		s.t.Fatalf("etcd: send %v to %s: %v", sig, s.member.Name, err)
	}
}

// Restart kills the process if it runs, starts it again on the same data and ports, and returns when it answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.RestartNoWait()
	s.await()
}

// RestartNoWait is Restart that does not wait until it answers: clients find out by themselves.
func (s *Server) RestartNoWait() {
	s.t.Helper()
	s.Kill()
	s.run()
}

// Wipe kills the process, removes its data, and starts it again on the same ports: an empty cluster with another id,
// whose revisions begin at one. For a member of StartCluster use the cluster's Wipe.
func (s *Server) Wipe() {
	s.t.Helper()
	s.erase()
	s.run()
	s.await()
}

func (s *Server) erase() {
	s.t.Helper()
	s.Kill()
	if err := os.RemoveAll(s.member.Dir); err != nil {
		s.t.Fatalf("etcd: wipe: %v", err)
	}
	s.wiped++
	s.member.Token = "test-" + strconv.Itoa(s.wiped)
}

// Compact forgets all history before the newest revision, which it returns.
func (s *Server) Compact() int64 {
	s.t.Helper()
	c := s.Client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), readyMax)
	defer cancel()
	r, err := c.Get(ctx, "compact")
	if err != nil {
		s.t.Fatalf("etcd: ask for the revision: %v", err)
	}
	_, err = c.Compact(ctx, r.Header.Revision, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) { // compacted there already
		s.t.Fatalf("etcd: compact: %v", err)
	}
	return r.Header.Revision
}

// Client returns a new quiet client, without a login, which the caller closes.
func (s *Server) Client() *clientv3.Client {
	s.t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), DialTimeout: readyMax, Logger: zap.NewNop()})
	if err != nil {
		s.t.Fatalf("etcd: make a client: %v", err)
	}
	return c
}

func (s *Server) run() {
	s.t.Helper()
	p, err := startProcess(s.member, s.logFile())
	if err != nil {
		s.t.Fatalf("etcd: %v", err)
	}
	s.process = p
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

// await asks the member for its health, which includes a leader and a read, until it is well.
func (s *Server) await() {
	s.t.Helper()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	var last error
	for end := time.Now().Add(readyMax); time.Now().Before(end); <-pause.C {
		if !s.process.running() {
			break
		}
		r, err := client.Get(s.member.Client + "/health")
		if err != nil {
			last = err
			continue
		}
		r.Body.Close()
		if r.StatusCode == http.StatusOK {
			return
		}
		last = fmt.Errorf("health is %s", r.Status)
	}
	log, _ := os.ReadFile(s.logFile()) // without it the message says less, and no more
	s.t.Fatalf("etcd: %s does not answer (does TestMain call etcd.Main?): %v\n%s", s.member.Name, last, log)
}

// freeAddress is a loopback address with a port on which nobody listens. Ports are taken below those from which the
// system chooses for outgoing connections: there, somebody else might get the port while a member is down, and a client
// that dials it again and again might be connected to itself.
func freeAddress(t T) string {
	t.Helper()
	for range 1000 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(12000+rand.IntN(20000)))
		if l, err := net.Listen("tcp4", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatalf("etcd: found no free port on 127.0.0.1")
	return ""
}
