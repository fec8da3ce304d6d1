//go:build linux

package gateway

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Load is a number of clients that each send one request after another and judge each answer. It is written on raw
// connections, because net/http's client would quietly send a request again that the gateway lost.
type Load struct {
	Addr    string
	Clients int  // concurrent connections
	Fresh   bool // a new connection for each request
	// TLS is what connections are secured by; nil leaves them in the clear.
	TLS *tls.Config
	// Request writes the n-th request of a client; nil sends GET / with a Host.
	Request func(client, n int) string
	// Check says what is wrong with an answer; nil wants status 200.
	Check func(client, n int, a *Answer) error
	// Timeout bounds one request from dial to the last byte; 0 means 10 s.
	Timeout time.Duration
	// EndWhenRefused makes a refused dial the quiet end of that client rather than a failure: for a gateway that
	// is being stopped.
	EndWhenRefused bool
}

// Answer is a complete response.
type Answer struct {
	Status int
	Header http.Header
	Body   string
	Close  bool // the gateway said it closes the connection
}

// Tally is what became of the requests.
type Tally struct {
	OK       int
	Failed   map[string]int // reason to count
	Announce int            // answers that said `Connection: close`
	Latency  []time.Duration
}

// Running is a load that has been started.
type Running struct {
	load   Load
	limit  int64 // requests in all; 0 is no limit
	sent   atomic.Int64
	done   atomic.Int64
	stop   atomic.Bool
	ended  sync.WaitGroup
	merged struct {
		sync.Mutex
		Tally
	}
}

// Start begins to send; limit is the number of requests of all clients together, 0 for as many as fit until Stop.
func (l Load) Start(limit int) *Running {
	if l.Timeout == 0 {
		l.Timeout = 10 * time.Second
	}
	if l.Request == nil {
		l.Request = func(int, int) string { return "GET / HTTP/1.1\r\nHost: exam.test\r\n\r\n" }
	}
	if l.Check == nil {
		l.Check = want200
	}
	r := &Running{load: l, limit: int64(limit)}
	r.merged.Failed = map[string]int{}
	for client := range l.Clients {
		r.ended.Go(func() { r.run(client) })
	}
	return r
}

// Run sends that many requests and returns what became of them.
func (l Load) Run(requests int) Tally { return l.Start(requests).Wait() }

func want200(_, _ int, a *Answer) error {
	if a.Status != http.StatusOK {
		return fmt.Errorf("status %d (%s)", a.Status, a.Header.Get("X-Yumen-Reason"))
	}
	return nil
}

// Done is the number of requests that have ended so far, well or badly.
func (r *Running) Done() int { return int(r.done.Load()) }

// Stop lets the requests on their way finish and returns the tally.
func (r *Running) Stop() Tally {
	r.stop.Store(true)
	return r.Wait()
}

// Wait waits until the limit is reached.
func (r *Running) Wait() Tally {
	r.ended.Wait()
	r.merged.Lock()
	defer r.merged.Unlock()
	return r.merged.Tally
}

func (r *Running) run(client int) {
	mine := Tally{Failed: map[string]int{}}
	defer func() {
		r.merged.Lock()
		defer r.merged.Unlock()
		r.merged.OK += mine.OK
		r.merged.Announce += mine.Announce
		r.merged.Latency = append(r.merged.Latency, mine.Latency...)
		for reason, n := range mine.Failed {
			r.merged.Failed[reason] += n
		}
	}()
	var c *Conn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for n := 0; !r.stop.Load(); n++ {
		if r.limit > 0 && r.sent.Add(1) > r.limit {
			return
		}
		began := time.Now()
		if c == nil {
			var err error
			if c, err = r.load.dial(); err != nil {
				if r.load.EndWhenRefused && errors.Is(err, syscall.ECONNREFUSED) {
					return
				}
				mine.Failed[reason("dial", err)]++
				r.done.Add(1)
				continue
			}
		}
		a, err := c.Do(r.load.Request(client, n), r.load.Timeout)
		if err == nil {
			err = r.load.Check(client, n, a)
		}
		if err != nil {
			mine.Failed[err.Error()]++
		} else {
			mine.OK++
			mine.Latency = append(mine.Latency, time.Since(began))
		}
		if a != nil && a.Close {
			mine.Announce++
		}
		if a == nil || a.Close || r.load.Fresh {
			c.Close()
			c = nil
		}
		r.done.Add(1)
	}
}

func (l *Load) dial() (*Conn, error) {
	if l.TLS != nil {
		return DialTLS(l.Addr, l.TLS, l.Timeout)
	}
	return Dial(l.Addr, l.Timeout)
}

// P99 is the latency that one request in a hundred exceeded; 0 when none succeeded.
func (t Tally) P99() time.Duration {
	if len(t.Latency) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(t.Latency))
	return sorted[len(sorted)*99/100]
}

// Failures is the number of failed requests.
func (t Tally) Failures() int {
	sum := 0
	for _, n := range t.Failed {
		sum += n
	}
	return sum
}

func (t Tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d ok, %d failed", t.OK, t.Failures())
	for _, reason := range slices.Sorted(maps.Keys(t.Failed)) {
		fmt.Fprintf(&b, "; %d x %s", t.Failed[reason], reason)
	}
	return b.String()
}

// Conn is a client's connection.
type Conn struct {
	net.Conn
	in *bufio.Reader
}

// Dial connects to the gateway.
func Dial(addr string, timeout time.Duration) (*Conn, error) {
	c, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, in: bufio.NewReaderSize(c, 16<<10)}, nil
}

// DialTLS connects and shakes hands.
func DialTLS(addr string, config *tls.Config, timeout time.Duration) (*Conn, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: timeout}, "tcp", addr, config)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, in: bufio.NewReaderSize(c, 16<<10)}, nil
}

// Do sends one request and reads its answer to the last byte. An error means that there is no whole answer: its text is
// short and without addresses, so that equal failures count as one reason.
func (c *Conn) Do(request string, timeout time.Duration) (*Answer, error) {
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, errors.New(reason("deadline", err))
	}
	if _, err := io.WriteString(c, request); err != nil {
		return nil, errors.New(reason("write", err))
	}
	method, _, _ := strings.Cut(request, " ")
	return c.ReadAnswer(method)
}

// ReadAnswer reads one answer to a request of the method; the deadline is the caller's.
func (c *Conn) ReadAnswer(method string) (*Answer, error) {
	resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
	if err != nil {
		return nil, errors.New(reason("read head", err))
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, errors.New(reason("read body", err))
	}
	return &Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(body), Close: resp.Close}, nil
}

// reason names a failure without the addresses in it.
func reason(doing string, err error) string {
	var errno syscall.Errno
	var netErr net.Error
	switch {
	case errors.As(err, &errno):
		return doing + ": " + errno.Error()
	case errors.As(err, &netErr) && netErr.Timeout():
		return doing + ": no answer in time"
	}
	return doing + ": " + err.Error()
}
