package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
)

// listener knows the connections that it has accepted: how many there may be, which have said nothing yet, and how to end them all. It
// is asked once for a connection and never for a request.
type listener struct {
	*net.TCPListener
	what           string // for logs
	connectionsMax int
	log            *slog.Logger
	refused        atomic.Uint64

	mu struct {
		sync.Mutex
		open map[*conn]struct{}
		full bool // connections are being refused: tells when that begins and ends
	}
}

// listen opens a port. MPTCP, which Go asks for by default, is switched off: nothing here has two paths, and sockets lose abilities by it.
func listen(ctx context.Context, what, address string, connectionsMax int, log *slog.Logger) (*listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("app: listen for %s: %w", what, err)
	}
	of := &listener{TCPListener: l.(*net.TCPListener), what: what, connectionsMax: connectionsMax, log: log}
	of.mu.open = map[*conn]struct{}{}
	return of, nil
}

// Accept closes connections above the bound, too_many_connections, and never returns them.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		if own := l.take(c); own != nil {
			return own, nil
		}
		_ = c.Close()
	}
}

func (l *listener) take(c *net.TCPConn) *conn {
	l.mu.Lock()
	full := l.mu.full
	var own *conn
	switch n := len(l.mu.open); {
	case n >= l.connectionsMax:
		l.refused.Add(1)
		l.mu.full = true
	default:
		own = &conn{TCPConn: c, of: l}
		l.mu.open[own] = struct{}{}
		// At the bound one goes and one comes all the time: only when there is room for a tenth it is over.
		l.mu.full = l.mu.full && n >= l.connectionsMax-l.connectionsMax/10
	}
	changed, full := l.mu.full != full, l.mu.full
	l.mu.Unlock()
	switch {
	case !changed:
	case full:
		l.log.Warn("connections are refused", "reason", "too_many_connections", "server", l.what, "max", l.connectionsMax)
	default:
		l.log.Info("connections are taken again", "server", l.what)
	}
	return own
}

// open is how many connections there are.
func (l *listener) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.mu.open)
}

// silent is how many of them have not sent a byte.
func (l *listener) silent() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.mu.open {
		if !c.spoke.Load() {
			n++
		}
	}
	return n
}

// closeAll ends the connections: those that were silent only, or all.
func (l *listener) closeAll(silent bool) {
	l.mu.Lock()
	var all []*conn
	for c := range l.mu.open {
		if !silent || !c.spoke.Load() {
			all = append(all, c)
		}
	}
	l.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
}

// conn is a TCP connection with all that one can do, sending files included.
type conn struct {
	*net.TCPConn
	of    *listener
	spoke atomic.Bool
	once  sync.Once
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if n > 0 && !c.spoke.Load() {
		c.spoke.Store(true)
	}
	return n, err
}

func (c *conn) Close() error {
	c.once.Do(func() {
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		delete(c.of.mu.open, c)
	})
	return c.TCPConn.Close()
}
