package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/control/acme/acmetest"
	"go.uber.org/goleak"
)

// patience is how long a test waits for what must happen; nothing in a test takes so long.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if how, ok := os.LookupEnv(successorEnv); ok {
		os.Exit(runGateway(how))
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction(acmetest.Lasting))
}

// origin is an upstream that says its name and counts its connections.
type origin struct {
	addr     string
	name     string
	accepted atomic.Int64
	gate     chan struct{} // requests for /waits wait for it
	waiting  chan struct{} // and say so here
}

func startOrigin(t *testing.T, name string) *origin {
	t.Helper()
	o := &origin{name: name, gate: make(chan struct{}), waiting: make(chan struct{}, 100)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = l.Addr().String()
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/waits" {
				o.waiting <- struct{}{}
				<-o.gate
			}
			fmt.Fprint(w, name)
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				o.accepted.Add(1)
			}
		},
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	return o
}

// lines collects the log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// gw is a controller under test.
type gw struct {
	*Controller
	t   *testing.T
	log *lines
}

// start starts a gateway with two loops on a document.
func start(t *testing.T, document string, options Options) *gw {
	t.Helper()
	return startWith(t, document, options, func(*Controller) {})
}

// startWith lets something be done to the controller before it starts.
func startWith(t *testing.T, document string, options Options, prepare func(*Controller)) *gw {
	t.Helper()
	g := &gw{t: t, log: &lines{}}
	options.Logger = slog.New(slog.NewTextHandler(g.log, nil))
	if options.Loops == 0 {
		options.Loops = 2
	}
	if options.File == "" {
		options.Document = []byte(document)
	}
	c, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	g.Controller = c
	prepare(c)
	t.Cleanup(func() {
		c.Stop()
		if t.Failed() {
			t.Logf("the log:\n%s", g.log)
		}
	})
	if r, err := c.Start(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, r.Report)
	}
	return g
}

// apply puts a document into force and returns the revision.
func (g *gw) apply(document string) uint64 {
	g.t.Helper()
	r, err := g.Apply(g.t.Context(), Change{Origin: "admin", Text: []byte(document)})
	if err != nil {
		g.t.Fatalf("%v\n%s", err, r.Report)
	}
	return r.Revision
}

// addr is where the listener of a name is.
func (g *gw) addr(name string) string {
	g.t.Helper()
	for _, l := range g.Listeners() {
		if l.Name == name {
			return l.Bound
		}
	}
	g.t.Fatalf("there is no listener %s", name)
	return ""
}

// conn is a client that takes nothing for granted: whatever is not a whole answer is an error. It never sends twice.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &conn{c, bufio.NewReader(c)}, nil
}

// answer is an answer as tests look at it.
type answer struct {
	status int
	body   string
	close  bool
}

func (a answer) String() string {
	s := fmt.Sprintf("%d %s", a.status, a.body)
	if a.close {
		s += " (last)"
	}
	return s
}

func (c *conn) get(path string) (answer, error) {
	c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: exam.test\r\nX-Test: yes\r\n\r\n", path); err != nil {
		return answer{}, err
	}
	return c.read()
}

func (c *conn) read() (answer, error) {
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(body), resp.Close}, err
}

// get asks once on a connection of its own.
func get(t *testing.T, addr, path string) answer {
	t.Helper()
	c, err := dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := c.get(path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// want compares one answer.
func want(t *testing.T, got answer, text string) {
	t.Helper()
	if got.String() != text {
		t.Errorf("got %q, want %q", got, text)
	}
}

// traffic is clients that ask without a pause, half of them on connections they keep.
type traffic struct {
	dial    func() (*conn, error)
	stop    chan struct{}
	done    sync.WaitGroup
	answers atomic.Int64
	last    atomic.Int64 // answers that were the last of a kept connection
	mu      sync.Mutex
	failed  []string
}

// startTraffic sends to an address. check judges each answer. With untilRefused, a refused connection ends a client in peace.
func startTraffic(addr string, clients int, untilRefused bool, check func(answer) error) *traffic {
	return startTrafficBy(func() (*conn, error) { return dial(addr) }, clients, untilRefused, check)
}

// startTrafficBy sends over connections that dial makes.
func startTrafficBy(dial func() (*conn, error), clients int, untilRefused bool, check func(answer) error) *traffic {
	tr := &traffic{dial: dial, stop: make(chan struct{})}
	for i := range clients {
		tr.done.Go(func() { tr.client(i%2 == 0, untilRefused, check) })
	}
	return tr
}

func (tr *traffic) client(keep, untilRefused bool, check func(answer) error) {
	var c *conn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for {
		select {
		case <-tr.stop:
			return
		default:
		}
		var err error
		if c == nil {
			if c, err = tr.dial(); err != nil {
				c = nil
				if !untilRefused {
					tr.fail("dial: %v", err)
				}
				return
			}
		}
		a, err := c.get("/x")
		if err == nil {
			err = check(a)
		}
		if err != nil {
			tr.fail("%v", err)
			return
		}
		tr.answers.Add(1)
		if a.close && keep {
			tr.last.Add(1)
		}
		if a.close || !keep {
			c.Close()
			c = nil
		}
	}
}

func (tr *traffic) fail(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.failed = append(tr.failed, fmt.Sprintf(format, args...))
}

// more waits until n further requests were answered.
func (tr *traffic) more(t *testing.T, n int64) {
	t.Helper()
	until := tr.answers.Load() + n
	eventually(t, "traffic flows", func() bool { return tr.answers.Load() >= until || tr.failures() > 0 })
}

func (tr *traffic) failures() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.failed)
}

// end stops the clients and reports what failed.
func (tr *traffic) end(t *testing.T) {
	t.Helper()
	close(tr.stop)
	tr.done.Wait()
	t.Logf("%d answers, %d of them the last on a kept connection", tr.answers.Load(), tr.last.Load())
	for _, f := range tr.failed {
		t.Errorf("a request failed: %s", f)
	}
}

// eventually waits for a state that must come.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// descriptorsOpen counts this process's descriptors.
func descriptorsOpen(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc here")
	}
	return len(entries)
}

// refused tells whether nobody listens at an address.
func refused(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err == nil {
		c.Close()
	}
	return err != nil
}

// freeAddr returns an address that nobody has, as far as one can know.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

var errWrong = errors.New("wrong answer")

// says checks for one of several bodies.
func says(bodies ...string) func(answer) error {
	return func(a answer) error {
		for _, b := range bodies {
			if a.status == http.StatusOK && a.body == b {
				return nil
			}
		}
		return fmt.Errorf("%w: %s", errWrong, a)
	}
}

// document is a gateway with one listener, one cluster and one route.
func document(o *origin, more ...string) string {
	return fmt.Sprintf("listeners: [{name: web, address: \"127.0.0.1:0\"}]\nadmin: off\ndrain: {timeout: 10s, idle: 200ms}\n"+
		"clusters: {app: {endpoints: [%q]}}\nroutes:\n  - {path: /*, cluster: app}\n", o.addr) + strings.Join(more, "")
}
