package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/yumen-io/yumen/kit/internal/servers/etcd"
	"github.com/yumen-io/yumen/kit/registry"
	"github.com/yumen-io/yumen/kit/rpc"
)

// instanceVariable makes the test binary an instance of a service. It holds an instanceConfig.
const instanceVariable = "YUMEN_APP_INSTANCE"

type instanceConfig struct {
	ID   string
	Etcd []string
}

const (
	callService = "work"     // by gRPC
	webService  = "work-web" // by HTTP
	workTakes   = 3 * time.Millisecond
	hearAfter   = 150 * time.Millisecond
	longTakes   = 400 * time.Millisecond // longer than some phases of the drain
)

// runInstance is a service as a user would write it.
func runInstance(text string) error {
	var of instanceConfig
	if err := json.Unmarshal([]byte(text), &of); err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); os.Exit(2) }() // the test has died
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("instance", of.ID)
	reg, err := registry.New(registry.Config{Endpoints: of.Etcd, TTL: 5 * time.Second, Logger: log})
	if err != nil {
		return err
	}
	load, err := rpc.NewReporter(rpc.ReporterConfig{})
	if err != nil {
		return err
	}
	work := &worker{do: func(ctx context.Context) (string, error) { return of.ID, spend(ctx, workTakes) }}
	work.watch = func(ctx context.Context, say func() error) error { // a call that takes long
		if err := spend(ctx, longTakes); err != nil {
			return err
		}
		return say()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/work", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = spend(r.Context(), workTakes)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "%s %s", of.ID, body)
	})
	announce := func(service, protocol string, address func(Addresses) string) Registrar {
		return func(ctx context.Context, at Addresses) (Registration, error) {
			return reg.Register(ctx, registry.Instance{Service: service, ID: of.ID, Address: address(at), Protocols: []string{protocol}})
		}
	}
	a, err := New(Config{
		Name:  "work",
		HTTP:  HTTPConfig{Address: "127.0.0.1:0", Handler: mux},
		Admin: AdminConfig{Address: "127.0.0.1:0"},
		GRPC: GRPCConfig{Address: "127.0.0.1:0", Options: load.ServerOptions(), Register: func(s *grpc.Server) {
			rpc.RegisterStats(s, load)
			work.register(s)
		}},
		Components: []Component{{Name: "registry", Stop: reg.Shutdown}},
		Register: []Registrar{
			announce(callService, "grpc", func(at Addresses) string { return at.GRPC }),
			announce(webService, "http", func(at Addresses) string { return at.HTTP }),
		},
		Drain:  DrainConfig{Wait: 300 * time.Millisecond, Unready: 200 * time.Millisecond, GoAway: 200 * time.Millisecond, Finish: 10 * time.Second},
		Logger: log,
	})
	if err != nil {
		return err
	}
	return a.Run(context.Background())
}

// process is an instance in a process of its own.
type process struct {
	id     string
	cmd    *exec.Cmd
	hold   io.Closer
	log    strings.Builder
	exited chan struct{}
	err    error
}

func startInstance(t *testing.T, id string, endpoints []string) *process {
	t.Helper()
	text, err := json.Marshal(instanceConfig{ID: id, Etcd: endpoints})
	must(t, err)
	p := &process{id: id, cmd: exec.Command(os.Args[0], "-test.run=^$"), exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), instanceVariable+"="+string(text))
	p.cmd.Stderr = &p.log
	p.hold, err = p.cmd.StdinPipe() // it ends when we do
	must(t, err)
	must(t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%s:\n%s", id, p.log.String())
		}
	})
	return p
}

func (p *process) await(t *testing.T) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-p.exited:
	case <-late.C:
		t.Fatalf("%s does not end", p.id)
	}
}

// tally is what callers have met.
type tally struct {
	sync.Mutex
	calls  map[string]int // answers by "grpc i0.1"
	failed []string
	total  atomic.Int64
}

func (c *tally) note(kind, who string, err error) {
	c.total.Add(1)
	c.Lock()
	defer c.Unlock()
	if err != nil {
		if len(c.failed) < 20 {
			c.failed = append(c.failed, fmt.Sprintf("%s %s: %v", kind, who, err))
		}
		return
	}
	c.calls[kind+" "+who]++
}

func (c *tally) of(kind, who string) int {
	c.Lock()
	defer c.Unlock()
	return c.calls[kind+" "+who]
}

func (c *tally) failures() []string {
	c.Lock()
	defer c.Unlock()
	return append([]string(nil), c.failed...)
}

// TestThreeInstancesAreRestartedUnderLoad is the sum of this package: real processes, a real registry, callers of both kinds that never stop, and
// not one call that fails.
func TestThreeInstancesAreRestartedUnderLoad(t *testing.T) {
	s := etcd.Start(t)
	reg, err := registry.New(registry.Config{Endpoints: s.Endpoints(), Logger: silent})
	must(t, err)
	t.Cleanup(func() { _ = reg.Close() })
	webs, err := reg.Watch(webService)
	must(t, err)
	client, err := rpc.New(rpc.Config{Registry: reg, ProbeInterval: 500 * time.Millisecond, Logger: silent})
	must(t, err)
	conn, err := client.Dial("yumen:///"+callService, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	conn.Connect()

	var instances []*process
	for i := range 3 {
		instances = append(instances, startInstance(t, fmt.Sprintf("i%d.0", i), s.Endpoints()))
	}
	known := func(ids ...string) func() bool {
		return func() bool {
			found := 0
			for _, i := range webs.Set().Instances {
				for _, id := range ids {
					if i.ID == id {
						found++
					}
				}
			}
			return found == len(ids) && client.Stats().Ready == 3
		}
	}
	eventually(t, "all three are known", known("i0.0", "i1.0", "i2.0"))

	c := &tally{calls: map[string]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	stopCallers := sync.OnceFunc(func() { cancel(); callers.Wait() })
	t.Cleanup(stopCallers)
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	again := func(kind string, once func(n int) (string, error)) {
		callers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				who, err := once(n)
				if ctx.Err() == nil {
					c.note(kind, who, err)
				}
			}
		})
	}
	for range 6 {
		again("grpc", func(int) (string, error) {
			// A deadline, as every call should have one; far above what a busy machine takes.
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			return call(ctx, conn)
		})
	}
	again("long", func(int) (string, error) {
		s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, watchMethod)
		if err != nil {
			return "", err
		}
		return "", longCall(s)
	})
	for first := range 6 {
		// These callers hear late: they look at who is registered now and then, as one does who asks a name server.
		set, heard := webs.Set().Instances, time.Now()
		again("http", func(n int) (string, error) {
			if time.Since(heard) > hearAfter {
				set, heard = webs.Set().Instances, time.Now()
			}
			i := set[(first+n)%len(set)]
			// POST, which no transport sends twice: what is lost shows.
			return i.ID, post(ctx, transport, "http://"+i.Address+"/work", i.ID)
		})
	}

	for i, old := range instances {
		next := fmt.Sprintf("i%d.1", i)
		must(t, old.cmd.Process.Signal(syscall.SIGTERM))
		old.await(t)
		if old.err != nil {
			t.Fatalf("%s has ended with %v", old.id, old.err)
		}
		instances[i] = startInstance(t, next, s.Endpoints())
		ids := []string{"i0.1", "i1.1", "i2.1"}[:i+1]
		eventually(t, next+" is known", known(ids...))
		eventually(t, next+" gets calls", func() bool { return c.of("grpc", next) > 0 && c.of("http", next) > 0 })
	}
	if failed := c.failures(); len(failed) > 0 {
		t.Errorf("%d calls failed of %d:\n%s", len(failed), c.total.Load(), strings.Join(failed, "\n"))
	}
	t.Logf("%d calls", c.total.Load())

	// That the callers would notice: an instance that is killed costs them some.
	must(t, instances[0].cmd.Process.Kill())
	eventually(t, "calls fail after a kill", func() bool { return len(c.failures()) > 0 })
	stopCallers()
}

// longCall is what a call of Watch has to bring.
func longCall(s grpc.ClientStream) error {
	if err := s.SendMsg(&emptypb.Empty{}); err != nil && err != io.EOF { // io.EOF: the end of the stream says why
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if err := s.RecvMsg(&wrapperspb.StringValue{}); err != nil {
		return err
	}
	if err := s.RecvMsg(&wrapperspb.StringValue{}); err != io.EOF {
		return fmt.Errorf("after the last message came %w", err)
	}
	return nil
}

// post sends who it is meant for, and expects to hear it back from who that is.
func post(ctx context.Context, through http.RoundTripper, url, id string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, io.NopCloser(strings.NewReader("to "+id))) // NopCloser: it cannot be read again
	if err != nil {
		return err
	}
	a, err := through.RoundTrip(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		return err
	}
	if got, want := string(body), id+" to "+id; a.StatusCode != http.StatusOK || got != want {
		return fmt.Errorf("status %d, body %q, not %q", a.StatusCode, got, want)
	}
	return nil
}
