package upstream_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/buf"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway/upstream"
)

// origin is an upstream that answers when it is told to.
type origin struct {
	addr     string
	requests chan request
	open     atomic.Int64
}

// request is one that the origin has read and not answered.
type request struct {
	path string
	conn net.Conn
}

func newOrigin(tb testing.TB) *origin {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(tb, err)
	o := &origin{addr: l.Addr().String(), requests: make(chan request, 100)}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			o.open.Add(1)
			go func() {
				defer o.open.Add(-1)
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					o.requests <- request{req.URL.Path, c}
				}
			}()
		}
	}()
	return o
}

// next returns the next request that came in.
func (o *origin) next(tb testing.TB) request {
	tb.Helper()
	select {
	case r := <-o.requests:
		return r
	case <-time.After(patience):
		tb.Fatal("no request came")
		return request{}
	}
}

func (r request) answer() { fmt.Fprint(r.conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi") }

// user asks for a connection and makes one request on it.
type user struct {
	b       *bench
	path    string
	ticket  upstream.Ticket
	stream  *engine.Stream
	outcome chan string
}

// ask has a user ask for a connection to the only endpoint.
func (b *bench) ask(path string, r upstream.Request) *user {
	u := &user{b: b, path: path, outcome: make(chan string, 1)}
	u.ticket.Init(u)
	b.onLoop(func() {
		e, _ := b.group.On(0).Pick(0, 0, nil)
		switch c, err := e.Acquire(&u.ticket, r); {
		case err != nil:
			u.outcome <- err.Error()
		case c != nil:
			u.ConnReady(c)
		}
	})
	return u
}

func (u *user) ConnReady(c *engine.ClientConn) {
	h := u.b.worker.Heads.Get()
	h.Method, h.Path = h.StoreString("GET"), h.StoreString(u.path)
	h.SetAuthority("app.example")
	var err error
	if u.stream, err = c.Request(h, true, u); err != nil {
		u.outcome <- err.Error()
	}
	u.b.worker.Heads.Put(h)
}

func (u *user) ConnFailed(err error) { u.outcome <- err.Error() }

func (u *user) ReceiveHead(_ *engine.Stream, h *message.Head, end bool) { u.b.worker.Heads.Put(h) }
func (u *user) ReceiveInterim(*engine.Stream, *message.Head)            {}
func (u *user) ReceiveData(_ *engine.Stream, src *buf.Chain, n int, end bool) {
	src.Skip(u.b.worker.Bufs, n)
	if end {
		u.outcome <- "answered"
	}
}
func (u *user) ReceiveEnd(*engine.Stream, *message.Fields) { u.outcome <- "answered" }
func (u *user) Drained(*engine.Stream)                     {}
func (u *user) Failed(_ *engine.Stream, err error)         { u.outcome <- err.Error() }

// wait returns how it ended for the user.
func (u *user) wait() string {
	u.b.tb.Helper()
	select {
	case s := <-u.outcome:
		return s
	case <-time.After(patience):
		u.b.tb.Fatalf("nothing became of %s", u.path)
		return ""
	}
}

func (u *user) wants(want string) {
	u.b.tb.Helper()
	if got := u.wait(); !strings.Contains(got, want) {
		u.b.tb.Errorf("%s: %s, want %s", u.path, got, want)
	}
}

// load waits until the endpoint's connections, idle ones and waiting requests have these numbers.
func (b *bench) load(conns, idle, waiting int) {
	b.tb.Helper()
	var have upstream.Load
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); runtime.Gosched() {
		for _, have = range b.group.Loads() {
		}
		if have.Connections == conns && have.Idle == idle && have.Waiting == waiting {
			return
		}
	}
	b.tb.Fatalf("load is %+v, want %d connections, %d idle, %d waiting", have, conns, idle, waiting)
}

// pooled returns a bench with one origin and a pool as given, with generous defaults.
func pooled(t *testing.T, change func(*upstream.PoolConfig)) (*bench, *origin) {
	o := newOrigin(t)
	b := newBench(t)
	spec := &upstream.Spec{Name: "app", Dial: engine.DialConfig{H1: h1.NewLimits(h1.Limits{})}, Pool: upstream.PoolConfig{
		IdleMax: 100, IdleTimeout: time.Minute, QueueMax: 100, ConnectTimeout: 5 * time.Second, QueueTimeout: time.Minute}}
	if change != nil {
		change(&spec.Pool)
	}
	b.apply(spec, o.addr)
	return b, o
}

func TestConnectionsAreCappedAndTheQueueIsServedInOrder(t *testing.T) {
	b, o := pooled(t, func(p *upstream.PoolConfig) { p.ConnsMax, p.QueueMax = 2, 3 })
	var users []*user
	for i := range 5 {
		users = append(users, b.ask(fmt.Sprintf("/%d", i), upstream.Request{}))
	}
	first, second := o.next(t), o.next(t)
	b.load(2, 0, 3)
	b.ask("/6", upstream.Request{}).wants(upstream.ErrQueueFull.Error())
	if got := []string{first.path, second.path}; !slices.Contains(got, "/0") || !slices.Contains(got, "/1") {
		t.Errorf("%v were first", got)
	}
	b.onLoop(users[3].ticket.Leave) // one in the middle has had enough
	b.load(2, 0, 2)
	first.answer()
	third := o.next(t)
	third.answer()
	fourth := o.next(t)
	fourth.answer()
	second.answer()
	if third.path != "/2" || fourth.path != "/4" {
		t.Errorf("%s and %s came next", third.path, fourth.path)
	}
	for _, i := range []int{0, 1, 2, 4} {
		users[i].wants("answered")
	}
	b.load(2, 2, 0)
}

func TestSharedConnectionsOfABurst(t *testing.T) {
	b, o := pooled(t, func(p *upstream.PoolConfig) { p.Pipeline, p.QueueMax = 8, 1 })
	var users []*user
	for i := range 40 {
		users = append(users, b.ask(fmt.Sprintf("/%d", i), upstream.Request{Pipelined: true}))
	}
	for range users {
		o.next(t).answer()
	}
	for _, u := range users {
		u.wants("answered")
	}
}

func TestIdleConnectionsAreFewAndEnd(t *testing.T) {
	for _, c := range []struct {
		timeout time.Duration
		idle    int
	}{
		{time.Minute, 2},
		{10 * time.Millisecond, 0},
	} {
		b, o := pooled(t, func(p *upstream.PoolConfig) { p.IdleMax, p.IdleTimeout = 2, c.timeout })
		var users []*user
		for i := range 4 {
			users = append(users, b.ask(fmt.Sprintf("/%d", i), upstream.Request{}))
		}
		var requests []request
		for range users {
			requests = append(requests, o.next(t))
		}
		for _, r := range requests {
			r.answer()
		}
		for _, u := range users {
			u.wants("answered")
		}
		b.load(c.idle, c.idle, 0)
	}
}

func TestConnectionsEndByAgeAndByCount(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*upstream.PoolConfig)
		conns  int // of three requests, one after the other
	}{
		{"neither", func(p *upstream.PoolConfig) {}, 1},
		{"age", func(p *upstream.PoolConfig) { p.AgeMax = 1 }, 3},
		{"count", func(p *upstream.PoolConfig) { p.ServedMax = 2 }, 2},
		{"age, shared", func(p *upstream.PoolConfig) { p.AgeMax, p.Pipeline = 1, 4 }, 3},
		{"count, shared", func(p *upstream.PoolConfig) { p.ServedMax, p.Pipeline = 2, 4 }, 2},
	} {
		b, o := pooled(t, c.change)
		seen := map[net.Conn]bool{}
		for i := range 3 {
			u := b.ask(fmt.Sprintf("/%d", i), upstream.Request{Pipelined: true})
			r := o.next(t)
			<-time.After(time.Millisecond) // it grows older
			seen[r.conn] = true
			r.answer()
			u.wants("answered")
		}
		if len(seen) != c.conns {
			t.Errorf("%s: %d connections, want %d", c.name, len(seen), c.conns)
		}
	}
}

func TestIdleConnectionsThatDieAreNotOffered(t *testing.T) {
	b, o := pooled(t, nil)
	u := b.ask("/0", upstream.Request{})
	r := o.next(t)
	r.answer()
	u.wants("answered")
	b.load(1, 1, 0)
	r.conn.Close()
	b.load(0, 0, 0)
	u = b.ask("/1", upstream.Request{Once: true})
	o.next(t).answer()
	u.wants("answered")

	// Bytes that nobody asked for would be the answer to whatever is sent next.
	u = b.ask("/2", upstream.Request{})
	r = o.next(t)
	r.answer()
	u.wants("answered")
	fmt.Fprint(r.conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
	b.load(0, 0, 0)
}

func TestAFreshConnectionIsDialledPastIdleOnes(t *testing.T) {
	b, o := pooled(t, nil)
	u := b.ask("/0", upstream.Request{})
	r := o.next(t)
	r.answer()
	u.wants("answered")
	u = b.ask("/1", upstream.Request{Fresh: true})
	if again := o.next(t); again.conn == r.conn {
		t.Error("the idle connection was used")
	} else {
		again.answer()
	}
	u.wants("answered")
	b.load(2, 2, 0)
}

func TestADialThatFailsAtOnceIsToldLater(t *testing.T) {
	b, _ := pooled(t, nil)
	// A broadcast address cannot be connected to: the system call says so by itself, as it does for want of descriptors.
	b.apply(nil, netip.AddrPortFrom(netip.MustParseAddr("255.255.255.255"), 9).String())
	var users []*user
	for i := range 3 {
		u := b.ask(fmt.Sprintf("/%d", i), upstream.Request{})
		users = append(users, u)
	}
	for _, u := range users {
		if got := u.wait(); got == "answered" || got == upstream.ErrQueueFull.Error() {
			t.Errorf("%s: %s", u.path, got)
		}
	}
	b.load(0, 0, 0)
}

func TestARefusedConnectionFailsAllWhoWouldHaveSharedIt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	l.Close()
	b, _ := pooled(t, func(p *upstream.PoolConfig) { p.Pipeline = 8 })
	b.apply(nil, l.Addr().String())
	for i := range 20 {
		b.ask(fmt.Sprintf("/%d", i), upstream.Request{Pipelined: true}).wants("connection refused")
	}
	b.load(0, 0, 0)
}

// A client that does not take its answer lets those behind it wait a moment, no longer.
func TestNeighboursOfAHeldAnswerGoElsewhere(t *testing.T) {
	b, o := pooled(t, func(p *upstream.PoolConfig) { p.Pipeline, p.ConnsMax = 8, 1 })
	busy := b.ask("/busy", upstream.Request{})
	held := b.ask("/held", upstream.Request{Pipelined: true})
	behind := b.ask("/behind", upstream.Request{Pipelined: true})
	o.next(t).answer()
	busy.wants("answered")
	r := o.next(t)
	o.next(t)
	b.onLoop(func() { held.stream.Pause() })
	behind.wants(engine.ErrNeighbour.Error())
	b.onLoop(func() { held.stream.Resume() })
	r.answer()
	held.wants("answered")
	b.load(0, 0, 0)
}

func TestRequestsThatWaitForAnEndpointThatLeavesAreServed(t *testing.T) {
	b, o := pooled(t, func(p *upstream.PoolConfig) { p.ConnsMax = 1 })
	first, second := b.ask("/0", upstream.Request{}), b.ask("/1", upstream.Request{})
	r := o.next(t)
	b.apply(nil, "127.0.0.1:1")
	r.answer()
	first.wants("answered")
	o.next(t).answer()
	second.wants("answered")
	for deadline := time.Now().Add(patience); o.open.Load() != 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("a connection to the endpoint is left")
		}
	}
}
