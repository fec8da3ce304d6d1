//go:build linux

package drills

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

// secureLoad is clients that ask over TLS without a pause: on HTTP/1.1 connections they keep, on a new one for each request,
// and on HTTP/2. None of them sends a request again that may have been carried out.
type secureLoad struct {
	addr   string
	config *tls.Config // without protocols
	// untilRefused makes a refused dial the quiet end of a client.
	untilRefused bool

	stop  atomic.Bool
	ended sync.WaitGroup
	done  atomic.Int64
	mu    struct {
		sync.Mutex
		secureTally
	}
}

// secureTally is what became of the requests.
type secureTally struct {
	ok       map[string]int // by kind of client
	failed   map[string]int // by reason
	announce int            // HTTP/1.1: answers that said Connection: close
	goaways  int            // HTTP/2: connections that were told to go
	refused  int            // HTTP/2: requests that were given back untouched, to be sent elsewhere
}

func (t *secureTally) String() string {
	s := fmt.Sprintf("%v ok, %d closed, %d GOAWAY, %d given back", t.ok, t.announce, t.goaways, t.refused)
	for _, reason := range slices.Sorted(maps.Keys(t.failed)) {
		s += fmt.Sprintf("; %d x %s", t.failed[reason], reason)
	}
	return s
}

// The kinds of clients. Each load has two of each.
var secureKinds = map[string]func(*secureLoad) error{
	"kept":  func(l *secureLoad) error { return l.http1(true) },
	"fresh": func(l *secureLoad) error { return l.http1(false) },
	"h2":    func(l *secureLoad) error { return l.http2() },
}

// errRefused ends a client whose dial was refused.
var errRefused = errors.New("refused")

func (l *secureLoad) start() *secureLoad {
	l.mu.ok, l.mu.failed = map[string]int{}, map[string]int{}
	for kind, connection := range secureKinds {
		for range 2 {
			l.ended.Go(func() {
				for !l.stop.Load() {
					if err := connection(l); errors.Is(err, errRefused) && l.untilRefused {
						return
					} else if err != nil {
						l.count(func(t *secureTally) { t.failed[kind+": "+err.Error()]++ })
						l.done.Add(1)
					}
				}
			})
		}
	}
	return l
}

func (l *secureLoad) count(f func(*secureTally)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.mu.secureTally)
}

func (l *secureLoad) answered(kind string) {
	l.count(func(t *secureTally) { t.ok[kind]++ })
	l.done.Add(1)
}

// end lets requests on their way finish and returns the tally.
func (l *secureLoad) end() *secureTally {
	l.stop.Store(true)
	return l.wait()
}

func (l *secureLoad) wait() *secureTally {
	l.ended.Wait()
	return &l.mu.secureTally
}

// dial connects and shakes hands.
func (l *secureLoad) dial(protocol string) (*tls.Conn, error) {
	raw, err := net.DialTimeout("tcp", l.addr, patience)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errRefused
	}
	if err != nil {
		return nil, plain("dial", err)
	}
	config := l.config.Clone()
	config.NextProtos = []string{protocol}
	c := tls.Client(raw, config)
	c.SetDeadline(time.Now().Add(patience))
	if err := c.Handshake(); err != nil {
		raw.Close()
		return nil, plain("handshake", err)
	}
	return c, nil
}

// plain names a failure without addresses, so that equal ones count as one.
func plain(doing string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// http1 is a connection's life: one request, or as many as it gets answered.
func (l *secureLoad) http1(keep bool) error {
	c, err := l.dial("http/1.1")
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		c.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: exam.test\r\n\r\n"); err != nil {
			return plain("write", err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return plain("read head", err)
		}
		if _, err = io.Copy(io.Discard, resp.Body); err != nil {
			return plain("read body", err)
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d (%s)", resp.StatusCode, resp.Header.Get("X-Yumen-Reason"))
		}
		if !keep {
			l.answered("fresh")
			return nil
		}
		l.answered("kept")
		if resp.Close {
			l.count(func(t *secureTally) { t.announce++ })
			return nil
		}
		if l.stop.Load() {
			return nil
		}
	}
}

// http2 is a connection's life. It is written on frames, because net/http's client would quietly send a request again.
func (l *secureLoad) http2() error {
	c, err := l.dial("h2")
	if err != nil {
		return err
	}
	defer c.Close()
	s := newStreams(c, "/")
	ended, err := s.run(func() bool { return !l.stop.Load() }, func() { l.answered("h2") })
	l.count(func(t *secureTally) {
		t.refused += ended.refused
		if ended.goaway {
			t.goaways++
		}
	})
	var cut *net.OpError
	if errors.As(err, &cut) {
		return plain("streams", err)
	}
	if err != nil && strings.Contains(err.Error(), "EOF") {
		return errors.New("streams were cut off")
	}
	return err
}
