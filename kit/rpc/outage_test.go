package rpc

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/internal/servers/etcd"
	"github.com/yumen-io/yumen/kit/registry"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// child is a server in a process of its own.
func child(t *testing.T) (address string, process *os.Process) {
	t.Helper()
	command := exec.Command(os.Args[0], "-test.run=^$")
	command.Env = append(os.Environ(), "YUMEN_RPC_SERVER=1")
	command.Stderr = os.Stderr
	hold, err := command.StdinPipe() // it ends when we do
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = hold.Close()
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), command.Process
}

func TestAFrozenServerGetsNothingUntilItThaws(t *testing.T) {
	servers := []*server{{}, {}, {}}
	start(t, servers...)
	address, process := child(t)
	frozen := &server{address: address, name: "child"}
	c := newClient(t, Config{ProbeInterval: 200 * time.Millisecond, ProbeTimeout: 100 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	conn := dial(t, c, static(append(servers, frozen)...))
	conn.Connect()
	until(t, "all are ready", allReady(c, 4))
	until(t, "it has a report", func() bool { return endpointOf(c, frozen).ReportAgeMS >= 0 })
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// Calls go on meanwhile. Those that are stuck end by their deadlines, and it shows how few they are.
	var stuck, all int
	for endpointOf(c, frozen).Reason != "unhealthy" {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := work(ctx, conn)
		cancel()
		if all++; status.Code(err) == codes.DeadlineExceeded {
			stuck++
		}
		if all > 1_000_000 {
			t.Fatalf("it is not found out: %+v", endpointOf(c, frozen))
		}
	}
	t.Logf("%d of %d calls were stuck before the probes had failed", stuck, all)
	if by, _ := many(t, conn, 4, 100); by[servers[0].name]+by[servers[1].name]+by[servers[2].name] != 400 {
		t.Errorf("while it is frozen: %v", by)
	}
	if c.Stats().ProbeFailures < 3 {
		t.Errorf("%+v", c.Stats())
	}
	if err := process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, "it is used again", func() bool { who, _ := work(t.Context(), conn); return who == "child" })
}

func TestMostServersAreFrozen(t *testing.T) {
	well := &server{}
	start(t, well)
	var frozen []*server
	var processes []*os.Process
	for range 2 {
		address, process := child(t)
		frozen, processes = append(frozen, &server{address: address, name: "child"}), append(processes, process)
	}
	c := newClient(t, Config{ProbeInterval: 200 * time.Millisecond, ProbeTimeout: 100 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	conn := dial(t, c, static(append(frozen, well)...))
	conn.Connect()
	until(t, "all are ready", allReady(c, 3))
	for _, p := range processes {
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "panic", func() bool { return c.Explain()[0].Panic })
	if e := endpointOf(c, frozen[0]); e.Reason != "panic" || e.Weight != e.Base {
		t.Errorf("%+v", e)
	}
	for _, p := range processes {
		if err := p.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "no panic", func() bool { return !c.Explain()[0].Panic })
	if c.Stats().Panics == 0 {
		t.Error("it was not counted")
	}
}

// A service in etcd: instances come, change, and stay known while etcd is gone.
func TestAServiceInTheRegistry(t *testing.T) {
	e := etcd.Start(t)
	reg, err := registry.New(registry.Config{Endpoints: e.Endpoints(), RequestTimeout: time.Second, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	var closing sync.Once
	end := func() { closing.Do(func() { _ = reg.Close() }) } // with etcd gone it says so
	t.Cleanup(end)
	servers := []*server{{}, {}, {}}
	start(t, servers...)
	register := func(s *server, weight uint32, protocols ...string) *registry.Registration {
		g, err := reg.Register(t.Context(), registry.Instance{Service: "orders", ID: s.name, Address: s.address, Weight: weight, Zone: "b", Version: "1.4", Protocols: protocols})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	c := newClient(t, Config{Registry: reg})
	conn := dial(t, c, "yumen:///orders")
	conn.Connect()
	first := register(servers[0], 100, "grpc")
	register(servers[1], 300)
	register(servers[2], 100, "http")
	until(t, "two of them speak gRPC and are ready", allReady(c, 2))
	if x := endpointOf(c, servers[1]); x.Base != 300 || x.Zone != "b" || x.ID != servers[1].name {
		t.Errorf("%+v", x)
	}
	if by, _ := many(t, conn, 4, 100); by[servers[1].name] < by[servers[0].name]*13/10 || by[servers[2].name] != 0 {
		t.Errorf("%v", by)
	}
	known := endpointOf(c, servers[0])
	i := first.Instance()
	i.Weight = 300
	if err := first.Update(i); err != nil {
		t.Fatal(err)
	}
	until(t, "the new weight counts", func() bool { return endpointOf(c, servers[0]).Base == 300 })
	if x := endpointOf(c, servers[0]); x.Calls != known.Calls || x.OwnMS != known.OwnMS {
		t.Errorf("%+v, before %+v", x, known)
	}
	e.Kill()
	if by, _ := many(t, conn, 4, 25); by[servers[0].name]+by[servers[1].name] != 100 {
		t.Errorf("without etcd: %v", by)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	end()
}
