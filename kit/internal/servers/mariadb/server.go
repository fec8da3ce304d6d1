//go:build unix

package mariadb

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"

	"github.com/yumen-io/yumen/kit/internal/servers/kept"
)

// T is what of *testing.T and *testing.B is needed here.
type T interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// readyMax is how long a server may take until it answers. It takes 0.2 s on a machine with nothing else to do.
const readyMax = 60 * time.Second

// Server is a mariadbd with its data. Its user is root without a password.
type Server struct {
	port  int
	dir   string
	flags []string

	process atomic.Pointer[kept.Process] // nil while it is killed or stopped
	fresh   atomic.Int64
}

// Start starts a server for t alone, with flags after (and so instead of) those of this package: "--max-connections=10".
// It answers when Start returns, and is gone with its data when t ends.
func Start(t T, flags ...string) *Server {
	t.Helper()
	needPrograms(t)
	dir, err := os.MkdirTemp("", "mariadb")
	if err != nil {
		t.Fatalf("mariadb: %v", err)
	}
	s := &Server{dir: dir, flags: flags}
	t.Cleanup(func() {
		s.kill()
		_ = os.RemoveAll(dir)
	})
	if err := s.start(); err != nil {
		t.Fatalf("mariadb: %v", err)
	}
	return s
}

var shared struct {
	sync.Mutex
	server *Server
}

// Shared returns the server that all tests of the binary share, and starts it for the first of them. It ends with the
// binary.
func Shared(t T) *Server {
	t.Helper()
	needPrograms(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		return shared.server
	}
	dir, err := os.MkdirTemp("", "mariadb")
	if err != nil {
		t.Fatalf("mariadb: %v", err)
	}
	s := &Server{dir: dir}
	if err := s.start(); err != nil {
		s.kill()
		_ = os.RemoveAll(dir)
		t.Fatalf("mariadb: %v", err)
	}
	shared.server = s
	return s
}

// Database makes an empty database, and drops it when t ends and the server still answers.
func (s *Server) Database(t T) string {
	t.Helper()
	name := fmt.Sprintf("test_%d", s.fresh.Add(1))
	if err := s.exec("CREATE DATABASE " + name); err != nil {
		t.Fatalf("mariadb: a database for the test: %v", err)
	}
	t.Cleanup(func() {
		if s == shared.server {
			_ = s.exec("DROP DATABASE IF EXISTS " + name)
		}
	})
	return name
}

// Open opens a database, which may be "", by database/sql, and closes it when t ends.
func (s *Server) Open(t T, database string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", s.DSN(database))
	if err != nil {
		t.Fatalf("mariadb: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// DSN is how github.com/go-sql-driver/mysql finds a database, which may be "". Further parameters are appended with "&".
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("root@tcp(%s)/%s?parseTime=true", s.Addr(), database)
}

// Addr is host and port, which stay the same over Restart.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Port is the port on 127.0.0.1, which stays the same over Restart.
func (s *Server) Port() int { return s.port }

// Kill ends the server by SIGKILL, as a power cut would if the disk kept what it was told to sync. Killing a server that
// does not run is no error.
func (s *Server) Kill() { s.kill() }

// Stop ends the server as an operator would, by SIGTERM, and waits for it.
func (s *Server) Stop(t T) {
	t.Helper()
	p := s.process.Load()
	if p == nil {
		return
	}
	p.Signal(syscall.SIGTERM)
	if !kept.Wait(readyMax, p.Exited) {
		t.Fatalf("mariadb: the server does not stop:\n%s", s.log())
	}
	s.kill()
}

// Freeze halts the server by SIGSTOP: connections stay, new ones are accepted by the kernel, and nothing is answered.
func (s *Server) Freeze() {
	if p := s.process.Load(); p != nil {
		p.Freeze()
	}
}

// Thaw undoes Freeze.
func (s *Server) Thaw() {
	if p := s.process.Load(); p != nil {
		p.Signal(syscall.SIGCONT)
	}
}

// Restart starts the server again, with its data and port, after killing it if it runs. It answers when Restart returns.
func (s *Server) Restart(t T) {
	t.Helper()
	s.kill()
	if err := s.start(); err != nil {
		t.Fatalf("mariadb: %v", err)
	}
}

func (s *Server) kill() {
	if p := s.process.Swap(nil); p != nil {
		p.Kill()
	}
}

// start starts the program and waits until it answers. The first time it makes the data, and takes another port if
// somebody was faster to take the one that was free.
func (s *Server) start() error {
	data := filepath.Join(s.dir, "data")
	first := s.port == 0
	if first {
		from, err := template()
		if err != nil {
			return err
		}
		if err := os.CopyFS(data, os.DirFS(from)); err != nil {
			return fmt.Errorf("copying the fresh data directory: %w", err)
		}
	}
	for tries := 1; ; tries++ {
		if first {
			port, err := freePort()
			if err != nil {
				return err
			}
			s.port = port
		}
		err := s.startOnce(data)
		if err == nil {
			return nil
		}
		s.kill()
		if !first || tries == 3 {
			return err
		}
	}
}

func (s *Server) startOnce(data string) error {
	args := []string{
		program("mariadbd"), "--no-defaults", "--datadir=" + data, "--tmpdir=" + s.dir, "--socket=" + filepath.Join(s.dir, "socket"),
		"--pid-file=" + filepath.Join(s.dir, "pid"), "--port=" + strconv.Itoa(s.port), "--bind-address=127.0.0.1", "--skip-name-resolve",
		// A binlog that a reader of changes can use, and commits that are on the disk when they are answered.
		"--log-bin=binlog", "--binlog-format=ROW", "--binlog-row-image=FULL", "--binlog-row-metadata=FULL", "--server-id=1",
		"--gtid-strict-mode=1", "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1",
		// Several of them run on a small machine.
		"--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--key-buffer-size=1M", "--aria-pagecache-buffer-size=8M",
		"--performance-schema=OFF", "--max-connections=300",
	}
	if os.Getuid() == 0 {
		args = append(args, "--user=root")
	}
	p, err := kept.Start(s.dir, "log", append(args, s.flags...))
	if err != nil {
		return err
	}
	s.process.Store(p)
	var last error
	ready := kept.Wait(readyMax, func() bool {
		last = s.exec("DO 1")
		return last == nil || p.Exited()
	})
	if !ready || last != nil {
		return fmt.Errorf("mariadbd does not answer at %s: %w; its log ends:\n%s", s.Addr(), last, s.log())
	}
	return nil
}

// exec runs one statement over a connection of its own.
func (s *Server) exec(statement string) error {
	db, err := sql.Open("mysql", s.DSN("")+"&timeout=1s")
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = db.ExecContext(ctx, statement)
	return err
}

// log is the end of what the server wrote about itself.
func (s *Server) log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

var fresh struct {
	sync.Mutex
	data   string
	keeper *kept.Process // held, because a collected pipe is a closed one
}

// template makes the data directory of a server that nobody has used yet, once for the binary. It is removed by a shell
// that waits for the binary's end.
func template() (string, error) {
	fresh.Lock()
	defer fresh.Unlock()
	if fresh.data != "" {
		return fresh.data, nil
	}
	dir, err := os.MkdirTemp("", "mariadb")
	if err != nil {
		return "", err
	}
	keeper, err := kept.Start(dir, "log", []string{"true"})
	if err != nil {
		return "", err
	}
	data := filepath.Join(dir, "data")
	args := []string{
		"--no-defaults", "--datadir=" + data, "--auth-root-authentication-method=normal", "--skip-test-db",
		// A server that starts removes the temporary tables of all that share its folder for them.
		"--tmpdir=" + dir,
		// The data is copied before anybody trusts it, so nothing has to reach the disk here.
		"--innodb-log-file-size=16M", "--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=0",
	}
	if os.Getuid() == 0 {
		args = append(args, "--user=root")
	}
	if out, err := exec.Command(program("mariadb-install-db"), args...).CombinedOutput(); err != nil {
		keeper.Kill()
		_ = os.RemoveAll(dir)
		return "", fmt.Errorf("mariadb-install-db: %w\n%s", err, out)
	}
	fresh.data, fresh.keeper = data, keeper
	return data, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// program is where Debian has it, which is not always in the path of somebody who is not root.
func program(name string) string {
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	return filepath.Join("/usr/sbin", name)
}

func needPrograms(t T) {
	t.Helper()
	for _, name := range []string{"mariadbd", "mariadb-install-db"} {
		if _, err := exec.LookPath(program(name)); err != nil {
			missing := t.Skipf
			if os.Getenv("CI") != "" {
				missing = t.Fatalf
			}
			missing("%s is not installed: it is in Debian's package mariadb-server-core", name)
		}
	}
}
