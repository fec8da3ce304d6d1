//go:build unix

package kafka

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/yumen-io/yumen/kit/internal/servers/kept"
)

// T is what of *testing.T and *testing.B is needed here.
type T interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// readyMax is how long a server may take until it answers. It takes 3 s on a machine with nothing else to do.
const readyMax = 90 * time.Second

// Server is a Kafka node with its data, or somebody else's brokers.
type Server struct {
	brokers []string
	dir     string // "" for somebody else's
	jars    string
	port    int
	control int

	process atomic.Pointer[kept.Process] // nil while it is killed
}

// Start starts a server for t alone, or returns the brokers of KAFKA_BROKERS. It answers when Start returns, and is gone
// with its data when t ends.
func Start(t T) *Server {
	t.Helper()
	if brokers := os.Getenv("KAFKA_BROKERS"); brokers != "" {
		return &Server{brokers: strings.Split(brokers, ",")}
	}
	out := need(t)
	dir, err := os.MkdirTemp("", "kafka")
	if err != nil {
		t.Fatalf("kafka: %v", err)
	}
	s := &Server{dir: dir, jars: filepath.Join(out, "jars", "*")}
	t.Cleanup(func() {
		s.Kill()
		_ = os.RemoveAll(dir)
	})
	if err := os.CopyFS(filepath.Join(dir, "log"), os.DirFS(filepath.Join(out, "empty"))); err != nil {
		t.Fatalf("kafka: copying the empty log: %v", err)
	}
	for tries := 1; ; tries++ {
		if s.port, s.control, err = freePorts(); err != nil {
			t.Fatalf("kafka: %v", err)
		}
		s.brokers = []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))}
		if err = s.start(); err == nil {
			return s
		}
		s.Kill()
		if tries == 2 { // somebody may have been faster to take the port, once
			t.Fatalf("kafka: %v", err)
		}
	}
}

// Brokers are host and port of the brokers, which stay the same over Restart.
func (s *Server) Brokers() []string { return s.brokers }

// Own tells whether the server is the test's own, to kill and freeze.
func (s *Server) Own() bool { return s.dir != "" }

// Kill ends the server by SIGKILL. Killing a server that does not run is no error.
func (s *Server) Kill() {
	if p := s.process.Swap(nil); p != nil {
		p.Kill()
	}
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
	s.Kill()
	if err := s.start(); err != nil {
		t.Fatalf("kafka: %v", err)
	}
}

// properties are the same as in build/kafka.
const properties = `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[3]d
listeners=PLAINTEXT://127.0.0.1:%[2]d,CONTROLLER://127.0.0.1:%[3]d
advertised.listeners=PLAINTEXT://127.0.0.1:%[2]d
controller.listener.names=CONTROLLER
log.dirs=%[1]s
num.partitions=4
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
`

func (s *Server) start() error {
	file := filepath.Join(s.dir, "server.properties")
	text := fmt.Sprintf(properties, filepath.Join(s.dir, "log"), s.port, s.control)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	// It begins faster with the quick compiler alone, and runs for a few seconds.
	p, err := kept.Start(s.dir, "console", []string{
		"java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", s.jars, "kafka.Kafka", file,
	})
	if err != nil {
		return err
	}
	s.process.Store(p)
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.RequestRetries(0))
	if err != nil {
		return err
	}
	defer client.Close()
	var last error
	ready := kept.Wait(readyMax, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		last = client.Ping(ctx)
		return last == nil || p.Exited()
	})
	if !ready || last != nil {
		return fmt.Errorf("the server does not answer at %s: %w; its log ends:\n%s", s.brokers[0], last, s.log())
	}
	return nil
}

// log is the end of what the server wrote about itself.
func (s *Server) log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "console"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// need returns the folder that build/kafka has filled.
func need(t T) string {
	t.Helper()
	missing := t.Skipf
	if os.Getenv("CI") != "" {
		missing = t.Fatalf
	}
	if _, err := exec.LookPath("java"); err != nil {
		missing("java is not installed: it is in Debian's package openjdk-17-jre-headless")
	}
	_, file, _, _ := runtime.Caller(0)
	out := filepath.Join(filepath.Dir(file), "../../../../build/out/kafka")
	if _, err := os.Stat(filepath.Join(out, "complete")); err != nil {
		missing("there is no Kafka: run build/kafka jars, which needs Debian's package maven, or set KAFKA_BROKERS")
	}
	return out
}

func freePorts() (a, b int, err error) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	defer first.Close()
	second, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	defer second.Close()
	return first.Addr().(*net.TCPAddr).Port, second.Addr().(*net.TCPAddr).Port, nil
}
