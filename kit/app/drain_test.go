package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// TestTheDrainInItsOrder samples a drain in virtual time, with a registry that takes half a second, a request that takes ten, and a component that
// takes one.
func TestTheDrainInItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		cfg := Config{
			Logger:     j.logger(),
			Components: []Component{{Name: "database", Stop: func(ctx context.Context) error { return spend(ctx, time.Second) }}},
			Checks:     []Check{{Name: "redis", Critical: true, Run: func(context.Context) error { return nil }}},
			Register: []Registrar{func(context.Context, Addresses) (Registration, error) {
				return &fakeRegistration{takes: 500 * time.Millisecond}, nil
			}},
		}
		a, ended := ready(t, cfg)
		began := time.Now()
		request(a, 10*time.Second)
		stopping := make(chan struct{})
		go func() { defer close(stopping); must(t, a.Shutdown(context.Background())) }()
		var told []string
		last := ""
		for over := false; !over; pass(50 * time.Millisecond) {
			synctest.Wait()
			select {
			case <-stopping:
				over = true
			default:
			}
			p, code := seen(t, a, "/readyz")
			_, live := seen(t, a, "/healthz")
			now := fmt.Sprintf("%s %s %d live %d", p.Phase, p.Status, code, live)
			if now != last {
				told = append(told, fmt.Sprintf("%v %s", time.Since(began).Round(500*time.Millisecond), now))
			}
			last = now
		}
		want := []string{
			"0s deregister draining 200 live 200",
			"500ms wait draining 200 live 200",
			"3.5s unready draining 503 live 200",
			"5.5s finish draining 503 live 200", // nobody to send a GOAWAY to
			"10s stop draining 503 live 200",
			"11s stopped draining 503 live 200",
		}
		if strings.Join(told, "\n") != strings.Join(want, "\n") {
			t.Errorf("it went\n%s", strings.Join(told, "\n"))
		}
		must(t, <-ended)
		var phases []string
		for _, line := range j.all() {
			if _, p, found := strings.Cut(line, `msg="the service drains" phase=`); found {
				phases = append(phases, p)
			}
		}
		if got := strings.Join(phases, " "); got != "deregister wait unready goaway finish stop" {
			t.Errorf("the log says %s", got)
		}
		p, _ := seen(t, a, "/readyz")
		if n := len(p.Past); n != 9 || p.Past[3].Phase != "deregister" || p.Past[3].TookMS != 500 || p.Reason != "shutdown" {
			t.Errorf("the page says %+v", p)
		}
	})
}

// request has a request run so long, without sockets.
func request(a *App, takes time.Duration) {
	e := &entrance{a: a, next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { pass(takes) })}
	go e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/slow", nil))
}

func TestARegistryThatDoesNotAnswerHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, deregister := range map[string]func(context.Context) error{
			"waits":  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
			"hangs":  func(ctx context.Context) error { pass(time.Hour); return nil },
			"panics": func(ctx context.Context) error { panic("closed") },
		} {
			a, ended := ready(t, Config{Register: []Registrar{func(context.Context, Addresses) (Registration, error) {
				return &fakeRegistration{deregister: deregister}, nil
			}}})
			if err := end(t, a, ended); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if p, _ := seen(t, a, "/readyz"); p.Past[3].TookMS > 2200 {
				t.Errorf("%s: it was waited for %+v", name, p.Past[3])
			}
		}
		thaw()
	})
}

func TestARegistrarThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		register Registrar
		want     string
	}{
		"fails":   {func(context.Context, Addresses) (Registration, error) { return nil, errors.New("bad address") }, "app: register: bad address"},
		"panics":  {func(context.Context, Addresses) (Registration, error) { panic("nil registry") }, "app: register: panic: nil registry"},
		"nothing": {func(context.Context, Addresses) (Registration, error) { return nil, nil }, "app: Config.Register[1] has returned neither a Registration nor an error"},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &diary{}
			good := func(context.Context, Addresses) (Registration, error) { return &fakeRegistration{diary: d}, nil }
			_, ended := run(t, Config{Register: []Registrar{good, c.register}})
			if err := <-ended; err == nil || err.Error() != c.want {
				t.Errorf("%s: %v", name, err)
			}
			d.is(t, "deregister")
		})
	}
}

// bench is a service on real ports, and its callers.
type bench struct {
	*App
	ended  <-chan error
	work   *worker
	web    *http.Transport // HTTP/1
	h2     *http.Transport // HTTP/2 in clear
	conn   *grpc.ClientConn
	health grpc_health_v1.HealthClient
}

// newBench serves the handler and the worker. change may change the Config.
func newBench(t *testing.T, handler http.HandlerFunc, work *worker, change func(*Config)) *bench {
	t.Helper()
	cfg := Config{HTTP: HTTPConfig{Address: "127.0.0.1:0", Handler: handler}, Admin: AdminConfig{Address: "127.0.0.1:0"},
		GRPC: GRPCConfig{Address: "127.0.0.1:0", Register: work.register}, Drain: atOnce}
	if change != nil {
		change(&cfg)
	}
	b := &bench{work: work, web: &http.Transport{}, h2: &http.Transport{Protocols: &http.Protocols{}}}
	b.h2.Protocols.SetUnencryptedHTTP2(true)
	b.App, b.ended = ready(t, cfg)
	var err error
	b.conn, err = grpc.NewClient("passthrough:///"+b.Addresses().GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	b.health = grpc_health_v1.NewHealthClient(b.conn)
	t.Cleanup(func() {
		_ = b.conn.Close()
		b.web.CloseIdleConnections()
		b.h2.CloseIdleConnections()
	})
	return b
}

// get asks the service over one of its transports.
func (b *bench) get(ctx context.Context, over *http.Transport, path string) (body string, closing bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.Addresses().HTTP+path, nil)
	if err != nil {
		return "", false, err
	}
	a, err := over.RoundTrip(r)
	if err != nil {
		return "", false, err
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	return string(text), a.Close, err
}

// phase is that which /readyz shows.
func (b *bench) phase() string { return b.Stats().Phase }

func (b *bench) begins(t *testing.T, phase string) {
	t.Helper()
	eventually(t, "phase "+phase, func() bool { return b.phase() == phase })
}

// gate is what handlers wait at.
type door struct {
	entered chan struct{}
	open    chan struct{}
}

func newDoor() *door { return &door{make(chan struct{}, 100), make(chan struct{})} }

func (d *door) pass(ctx context.Context) error {
	d.entered <- struct{}{}
	select {
	case <-d.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestWhatRunsIsFinished(t *testing.T) {
	d := newDoor()
	work := &worker{do: func(ctx context.Context) (string, error) { return "done", d.pass(ctx) }}
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		if err := d.pass(r.Context()); err == nil {
			_, _ = io.WriteString(w, "done")
		}
	}, work, nil)
	var all sync.WaitGroup
	for range 3 {
		for _, over := range []*http.Transport{b.web, b.h2} {
			all.Go(func() {
				if body, _, err := b.get(t.Context(), over, "/"); body != "done" || err != nil {
					t.Errorf("a request: %q, %v", body, err)
				}
			})
		}
		all.Go(func() {
			if text, err := call(t.Context(), b.conn); text != "done" || err != nil {
				t.Errorf("a call: %q, %v", text, err)
			}
		})
	}
	for range 9 {
		<-d.entered
	}
	// Accepted, and silent so far.
	late, err := net.Dial("tcp", b.Addresses().HTTP)
	must(t, err)
	defer late.Close()
	eventually(t, "it is accepted", func() bool { return b.App.web.l.silent() == 1 })

	go func() { _ = b.Shutdown(context.Background()) }()
	b.begins(t, "finish")
	if _, err := net.Dial("tcp", b.Addresses().HTTP); err == nil {
		t.Error("the port is still open")
	}
	if n := b.Stats().InFlight; n != 9 {
		t.Errorf("%d are in flight", n)
	}
	// net/http's Shutdown would read this and close the connection.
	_, err = io.WriteString(late, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	must(t, err)
	<-d.entered
	close(d.open)
	all.Wait()
	answer, err := http.ReadResponse(bufio.NewReader(late), nil)
	must(t, err)
	if answer.StatusCode != 200 || !answer.Close {
		t.Errorf("the late one got %d, close %t", answer.StatusCode, answer.Close)
	}
	must(t, outcome(t, b.ended))
	// Liveness was there all the time, and the operators' port goes last.
	if s := b.Stats(); s.Phase != "stopped" || s.InFlight != 0 || s.Ready {
		t.Errorf("%+v", s)
	}
}

func TestCallersAreToldToGo(t *testing.T) {
	work := &worker{do: func(context.Context) (string, error) { return "done", nil }}
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) }, work,
		func(cfg *Config) { cfg.Drain.GoAway = patience })
	asked := func(over *http.Transport) (peer string, closing bool) {
		t.Helper()
		peer, closing, err := b.get(t.Context(), over, "/")
		must(t, err)
		return peer, closing
	}
	one, closing := asked(b.web)
	if again, _ := asked(b.web); again != one || closing {
		t.Errorf("HTTP/1.1 is not kept alive: %s, %s", one, again)
	}
	two, _ := asked(b.h2)
	if again, _ := asked(b.h2); again != two {
		t.Errorf("HTTP/2 is not kept alive: %s, %s", two, again)
	}
	_, err := call(t.Context(), b.conn)
	must(t, err)
	watching, err := b.health.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	must(t, err)
	news, err := watching.Recv()
	must(t, err)
	if news.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health is %v", news.Status)
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() { _ = b.Shutdown(ctx) }()
	b.begins(t, "goaway")
	if again, closing := asked(b.web); again != one || !closing {
		t.Errorf("HTTP/1.1 is answered on %s, not %s, with close %t", again, one, closing)
	}
	if again, _ := asked(b.h2); again != two {
		t.Errorf("HTTP/2 is answered on %s, not %s", again, two)
	}
	eventually(t, "HTTP/2 was told GOAWAY", func() bool { again, _ := asked(b.h2); return again != two })
	if news, err = watching.Recv(); err != nil || news.Status != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health is %v, %v", news, err)
	}
	if _, err = watching.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("who watches health is not told to go: %v", err)
	}
	eventually(t, "gRPC was told GOAWAY", func() bool { return b.conn.GetState() != connectivity.Ready })
	cancel()
	if err := outcome(t, b.ended); !errors.Is(err, ErrForced) || err.Error() != ErrForced.Error() {
		t.Errorf("nothing but the end was hurried: %v", err)
	}
}

func TestStreamsLearnOfTheDrain(t *testing.T) {
	work := &worker{watch: func(ctx context.Context, say func() error) error {
		must(t, say())
		<-Draining(ctx)
		return status.Error(codes.Aborted, "come again")
	}}
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-Draining(r.Context())
		_, _ = io.WriteString(w, "bye")
	}, work, nil)
	stream := watch(t, t.Context(), b.conn)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.Addresses().HTTP, nil)
	must(t, err)
	answer, err := b.web.RoundTrip(r) // the head is there
	must(t, err)
	defer answer.Body.Close()
	go func() { _ = b.Shutdown(context.Background()) }()
	if err := stream.RecvMsg(nil); status.Code(err) != codes.Aborted {
		t.Errorf("the stream ends with %v", err)
	}
	if body, err := io.ReadAll(answer.Body); string(body) != "bye" || err != nil {
		t.Errorf("the answer ends with %q, %v", body, err)
	}
	must(t, outcome(t, b.ended))
	if Draining(t.Context()) != nil {
		t.Error("any other context is never done")
	}
}

func TestWhatRunsTooLongIsCutOffAndNamed(t *testing.T) {
	d := newDoor()
	defer close(d.open)
	work := &worker{do: func(ctx context.Context) (string, error) { return "", d.pass(ctx) }}
	stopped := make(chan int, 1)
	var b *bench
	b = newBench(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/socket" {
			c, _, err := http.NewResponseController(w).Hijack()
			must(t, err)
			d.entered <- struct{}{}
			_, _ = c.Read(make([]byte, 1)) // until it is closed
			return
		}
		_ = d.pass(r.Context()) // its body was not read, so net/http does not notice that the client is gone
	}, work, func(cfg *Config) {
		cfg.Drain.Finish = 20 * time.Millisecond
		cfg.Components = []Component{{Name: "database", Stop: func(context.Context) error { stopped <- b.Stats().InFlight; return nil }}}
	})
	var all sync.WaitGroup
	all.Go(func() { _, _ = call(t.Context(), b.conn) })
	all.Go(func() { _, _, _ = b.get(t.Context(), b.web, "/report") })
	all.Go(func() { _, _, _ = b.get(t.Context(), b.web, "/socket") })
	for range 3 {
		<-d.entered
	}
	go func() { _ = b.Shutdown(context.Background()) }()
	err := outcome(t, b.ended)
	cut := (*CutOff)(nil)
	if !errors.As(err, &cut) || len(cut.Requests) != 3 {
		t.Fatalf("the error should name three: %v", err)
	}
	for _, name := range []string{"GET /report for ", "GET /socket for ", workMethod + " for "} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %q: %v", name, err)
		}
	}
	if n := <-stopped; n != 0 {
		t.Errorf("%d still ran when the database went away", n)
	}
	all.Wait()
}

func TestASecondSignalEndsItAtOnce(t *testing.T) {
	d := newDoor()
	defer close(d.open)
	cfg := Config{HTTP: HTTPConfig{Address: "127.0.0.1:0", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = d.pass(context.Background()) })},
		Signals:    []os.Signal{syscall.SIGUSR1},
		Components: []Component{{Name: "database", Stop: func(context.Context) error { return errors.New("was asked to") }}},
		Drain:      DrainConfig{Wait: time.Hour}, Logger: silent}
	a, err := New(cfg)
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(t.Context()) }()
	<-a.Ready()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if answer, err := http.Get("http://" + a.Addresses().HTTP + "/slow"); err == nil {
			answer.Body.Close()
		}
	}()
	<-d.entered
	must(t, syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	eventually(t, "it drains", func() bool { return a.Stats().Phase == "wait" })
	must(t, syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	err = outcome(t, ended)
	cut := (*CutOff)(nil)
	if !errors.Is(err, ErrForced) || !errors.As(err, &cut) || len(cut.Requests) != 1 || len(cut.Components) != 1 || cut.Components[0] != "database (not stopped)" {
		t.Errorf("%v", err)
	}
	<-asked
}

func TestTheContextOfShutdownEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, ended := ready(t, Config{})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := a.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, ErrForced) {
			t.Error(err)
		}
	})
}

func TestSilentConnectionsHoldUpNothing(t *testing.T) {
	work := &worker{do: func(context.Context) (string, error) { return "", nil }}
	b := newBench(t, http.NotFound, work, func(cfg *Config) { cfg.GRPC.ConnectTimeout, cfg.HTTP.ReadHeaderTimeout = time.Hour, time.Hour })
	for _, address := range []string{b.Addresses().HTTP, b.Addresses().GRPC} {
		c, err := net.Dial("tcp", address)
		must(t, err)
		defer c.Close()
	}
	eventually(t, "both are accepted", func() bool { return b.Stats().Connections == 2 })
	go func() { _ = b.Shutdown(context.Background()) }()
	must(t, outcome(t, b.ended))
}

func TestHandlersThatPanic(t *testing.T) {
	work := &worker{do: func(context.Context) (string, error) { panic("unary") },
		watch: func(_ context.Context, say func() error) error { must(t, say()); panic("stream") }}
	b := newBench(t, func(http.ResponseWriter, *http.Request) { panic("request") }, work, nil)
	if _, _, err := b.get(t.Context(), b.web, "/"); err == nil {
		t.Error("the request was answered")
	}
	if _, err := call(t.Context(), b.conn); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "unary") {
		t.Errorf("the call: %v", err)
	}
	if err := watch(t, t.Context(), b.conn).RecvMsg(nil); status.Code(err) != codes.Internal {
		t.Errorf("the stream: %v", err)
	}
	eventually(t, "nothing is in flight", func() bool { return b.Stats().InFlight == 0 })
	if !b.Stats().Ready {
		t.Error("the service has ended")
	}
}

func TestConnectionsAboveTheBoundAreClosed(t *testing.T) {
	work := &worker{do: func(context.Context) (string, error) { return "", nil }}
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") }, work,
		func(cfg *Config) { cfg.HTTP.ConnectionsMax = 2 })
	var held []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", b.Addresses().HTTP)
		must(t, err)
		defer c.Close()
		held = append(held, c)
	}
	eventually(t, "both are accepted", func() bool { return b.Stats().Connections == 2 })
	if _, _, err := b.get(t.Context(), b.web, "/"); err == nil {
		t.Error("a third was served")
	}
	if s := b.Stats(); s.RefusedConnections == 0 {
		t.Errorf("%+v", s)
	}
	held[0].Close()
	eventually(t, "there is room again", func() bool { body, _, err := b.get(t.Context(), b.web, "/"); return err == nil && body == "hello" })
}

// counting is a chain that counts what goes through it.
type counting struct {
	mu   sync.Mutex
	seen []string
}

func (c *counting) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, what)
}

func (c *counting) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.add(r.URL.Path); next.ServeHTTP(w, r) })
}

func (c *counting) Unary() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, in any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		c.add(info.FullMethod)
		return next(ctx, in)
	}
}

func (c *counting) Stream() grpc.StreamServerInterceptor {
	return func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		c.add(info.FullMethod)
		return next(srv, s)
	}
}

func TestTheChainSeesAllButProbes(t *testing.T) {
	c := &counting{}
	work := &worker{do: func(context.Context) (string, error) { return "", nil }, watch: func(_ context.Context, say func() error) error { return say() }}
	b := newBench(t, func(http.ResponseWriter, *http.Request) {}, work, func(cfg *Config) { cfg.Chain, cfg.Admin = c, AdminConfig{} })
	for _, path := range []string{"/healthz", "/orders", "/readyz"} {
		_, _, err := b.get(t.Context(), b.web, path)
		must(t, err)
	}
	_, err := b.health.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "test.Work"})
	must(t, err)
	_, err = call(t.Context(), b.conn)
	must(t, err)
	watch(t, t.Context(), b.conn)
	if got := strings.Join(c.seen, " "); got != "/orders "+workMethod+" "+watchMethod {
		t.Errorf("it saw %s", got)
	}
}

// TestCallersThatGoWhenToldLoseNothing has callers without a registry: each stays on its connection until the service tells it to go. POSTs with a
// body that cannot be read again are sent once or not at all, so one that is dropped shows.
func TestCallersThatGoWhenToldLoseNothing(t *testing.T) {
	work := &worker{do: func(context.Context) (string, error) { return "", nil }}
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Peer", r.RemoteAddr)
		_, _ = io.WriteString(w, "done")
	}, work, func(cfg *Config) { cfg.Drain.GoAway = 2 * time.Second })
	once := func(over *http.Transport) (peer string, closing bool, err error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+b.Addresses().HTTP, io.NopCloser(strings.NewReader("order")))
		if err != nil {
			return "", false, err
		}
		a, err := over.RoundTrip(r)
		if err != nil {
			return "", false, err
		}
		defer a.Body.Close()
		body, err := io.ReadAll(a.Body)
		if err == nil && string(body) != "done" {
			err = fmt.Errorf("%d %q", a.StatusCode, body)
		}
		return a.Header.Get("Peer"), a.Close, err
	}
	var all sync.WaitGroup
	served := make(chan struct{}, 1<<20)
	for n := range 8 {
		over := &http.Transport{Protocols: &http.Protocols{}}
		over.Protocols.SetUnencryptedHTTP2(n%2 == 1)
		over.Protocols.SetHTTP1(n%2 == 0)
		all.Go(func() {
			defer over.CloseIdleConnections()
			first := ""
			for {
				peer, closing, err := once(over)
				if err != nil {
					t.Errorf("caller %d: %v", n, err)
					return
				}
				if first == "" {
					first = peer
				}
				if closing || peer != first { // HTTP/2's transport has taken another connection: it was told
					return
				}
				served <- struct{}{}
			}
		})
	}
	for range 500 {
		<-served
	}
	go func() { _ = b.Shutdown(context.Background()) }()
	all.Wait()
	must(t, outcome(t, b.ended))
}
