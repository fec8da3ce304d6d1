package engine

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/yumen-io/yumen/engine/loop"
)

// Sockets are listening descriptors of one address, bound but not yet served: one for each loop, which the kernel
// spreads connections over (SO_REUSEPORT). Bound ahead, they let a new configuration fail before the old one is touched;
// passed to another process, they let it take over without a connection being refused.
type Sockets struct {
	Address string
	FDs     []int
}

// Bind binds n sockets to an address, "host:port" with a numeric or empty host. An empty host means every address, IPv6
// and IPv4. Port 0 picks a free port, the same for all.
func Bind(address string, n int) (*Sockets, error) {
	addr, err := ParseListen(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", address, err)
	}
	s := &Sockets{Address: address}
	for range n {
		fd, err := loop.Listen(addr, loop.ListenOptions{ReusePort: true})
		if err != nil {
			s.Close()
			return nil, err
		}
		s.FDs = append(s.FDs, fd)
		if addr.Port() == 0 {
			addr = s.Bound()
		}
	}
	return s, nil
}

// ParseListen parses an address to listen on: "host:port" with a numeric or empty host, which means every address.
func ParseListen(address string) (netip.AddrPort, error) {
	if len(address) > 0 && address[0] == ':' {
		address = "[::]" + address
	}
	return netip.ParseAddrPort(address)
}

// Bound returns the address the sockets are bound to, with the port the kernel picked.
func (s *Sockets) Bound() netip.AddrPort { return boundAddr(s.FDs[0]) }

// boundAddr returns the local address of a socket.
func boundAddr(fd int) netip.AddrPort {
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// Close closes sockets that are not served.
func (s *Sockets) Close() {
	for _, fd := range s.FDs {
		syscall.Close(fd)
	}
	s.FDs = nil
}

// Quota bounds the connections of several listeners together: descriptors and memory belong to the process. The zero value
// has no bound.
type Quota struct {
	max, open atomic.Int64
}

// SetMax changes the bound for connections to come; zero is none.
func (q *Quota) SetMax(n int) { q.max.Store(int64(n)) }

// Open returns the number of connections.
func (q *Quota) Open() int64 { return q.open.Load() }

// Listener accepts connections on one address for every worker. Its methods are for the control plane's goroutine.
type Listener struct {
	Name    string
	sockets *Sockets
	ports   []*port
	max     atomic.Int64
	open    atomic.Int64 // connections on all workers
	quota   *Quota       // shared with others

	// Published counters.
	Accepted  atomic.Int64 // connections taken
	Turned    atomic.Int64 // connections answered 503 because the limit was reached
	Exhausted atomic.Int64 // accepts that failed for want of descriptors or memory
	Moved     atomic.Int64 // connections handed to a less busy worker
}

// port is a listener on one worker. Loop-owned, but for what is said otherwise.
type port struct {
	// Set at birth.
	w        *Worker
	listener *Listener

	// Loop-owned.
	handler   Handler
	config    *ServerConfig
	acceptors []*loop.Acceptor
	closing   bool // connections end at their next answer

	// Published: connections this worker has or is about to get.
	load atomic.Int64
}

// ListenerConfig says how a listener treats its connections.
type ListenerConfig struct {
	Name string
	// ConnectionsMax is how many connections it holds at most over all workers; zero is no limit.
	ConnectionsMax int
	// Quota bounds them together with those of others; nil: it does not.
	Quota  *Quota
	Server *ServerConfig
	// Handlers are who gets the requests, one for each worker.
	Handlers []Handler
}

// Listen serves sockets on workers, which must be running. It returns when every worker accepts. The listener owns the
// sockets from now on.
func Listen(workers []*Worker, sockets *Sockets, cfg ListenerConfig) (*Listener, error) {
	l := &Listener{Name: cfg.Name, sockets: sockets, quota: cfg.Quota}
	if l.quota == nil {
		l.quota = new(Quota)
	}
	l.max.Store(int64(cfg.ConnectionsMax))
	for i, w := range workers {
		l.ports = append(l.ports, &port{w: w, listener: l, handler: cfg.Handlers[i], config: cfg.Server})
	}
	var failed error
	l.onEach(func(i int, p *port) {
		// More sockets than workers come from a process that ran more of them.
		for j := i; j < len(sockets.FDs); j += len(workers) {
			a, err := p.w.Loop.Accept(sockets.FDs[j], p, loop.AcceptOptions{})
			if err != nil {
				failed = fmt.Errorf("accept on %s: %w", sockets.Address, err)
				return
			}
			p.acceptors = append(p.acceptors, a)
		}
	})
	if failed != nil {
		l.closeUnserved()
		l.Close()
		return nil, failed
	}
	return l, nil
}

// closeUnserved closes the sockets that got no acceptor.
func (l *Listener) closeUnserved() {
	served := map[int]bool{}
	l.onEach(func(_ int, p *port) {
		for _, a := range p.acceptors {
			served[a.FD()] = true
		}
	})
	for _, fd := range l.sockets.FDs {
		if !served[fd] {
			syscall.Close(fd)
		}
	}
}

// onEach runs do on each worker's loop, one after the other, and waits.
func (l *Listener) onEach(do func(i int, p *port)) {
	var wg sync.WaitGroup
	for i, p := range l.ports {
		wg.Add(1)
		if !p.w.Loop.Post(func() { defer wg.Done(); do(i, p) }) {
			wg.Done()
		}
		wg.Wait()
	}
}

// Update changes limits and deadlines for connections accepted from now on.
func (l *Listener) Update(server *ServerConfig, connectionsMax int) {
	l.onEach(func(_ int, p *port) { p.config = server })
	l.max.Store(int64(connectionsMax))
}

// Sockets returns the listening descriptors, to be passed to another process.
func (l *Listener) Sockets() *Sockets { return l.sockets }

// Open returns the number of connections.
func (l *Listener) Open() int64 { return l.open.Load() }

// Close stops accepting. Connections that wait in the kernel's queues are taken first, so that none is reset. Those that
// are open go on until their next answer, which says that it is the last.
func (l *Listener) Close() {
	l.onEach(func(_ int, p *port) {
		p.closing = true
		p.w.servers.each(func(s server) {
			if s.conn().port == p {
				s.drain()
			}
		})
		for _, a := range p.acceptors {
			a.Close(true)
		}
		p.acceptors = nil
	})
	l.sockets.FDs = nil
}

// Accepted is called by the loop with a new connection. The kernel spreads connections by a hash, which leaves workers
// uneven when they are few and long-lived, so a connection goes to the worker that has the fewest.
func (p *port) Accepted(fd int, peer netip.AddrPort) {
	l := p.listener
	if l.full() {
		l.Turned.Add(1)
		turnAway(fd, p.config)
		p.handler.TurnedAway()
		return
	}
	l.Accepted.Add(1)
	l.open.Add(1)
	l.quota.open.Add(1)
	t := l.lightest(p)
	t.load.Add(1)
	if t != p {
		l.Moved.Add(1)
		p.w.moved.Add(1)
		if t.w.Loop.Post(func() { t.adopt(fd, peer) }) {
			return
		}
		t.load.Add(-1)
		p.load.Add(1)
	}
	p.adopt(fd, peer)
}

// full tells whether one of the limits on connections is reached. Workers that ask at the same moment may each take one:
// the limits can be exceeded by as many as there are workers.
func (l *Listener) full() bool {
	most, all := l.max.Load(), l.quota.max.Load()
	return most > 0 && l.open.Load() >= most || all > 0 && l.quota.open.Load() >= all
}

// AcceptFailed is called by the loop when a connection could not be taken.
func (p *port) AcceptFailed(err error, paused bool) { p.listener.Exhausted.Add(1) }

// lightest returns the port with the fewest connections, p itself unless another has at least two fewer: a difference of
// one is no reason to move.
func (l *Listener) lightest(p *port) *port {
	best, least := p, p.load.Load()-1
	for _, q := range l.ports {
		if n := q.load.Load(); n < least {
			best, least = q, n
		}
	}
	return best
}

func (p *port) adopt(fd int, peer netip.AddrPort) {
	if err := p.begin(fd, peer); err != nil {
		syscall.Close(fd)
		p.listener.Exhausted.Add(1)
		p.forget()
		return
	}
}

// begin makes a connection of a descriptor.
func (p *port) begin(fd int, peer netip.AddrPort) error {
	wait := p.w.debts.wait(peer.Addr(), p.w.Loop.Now())
	if wait > 0 || p.config.greets() {
		return greet(p, fd, peer, wait)
	}
	s := newServer(p, p.config, peer, p.config.Protocols)
	c := s.conn()
	if err := c.w.Loop.Adopt(&c.sock, fd, s); err != nil {
		return err
	}
	p.handler.Opened()
	c.enter(p.config.Protocols, nil)
	return nil
}

func (p *port) closed(why CloseReason) {
	p.forget()
	p.handler.Closed(why)
}

func (p *port) forget() {
	p.load.Add(-1)
	p.listener.open.Add(-1)
	p.listener.quota.open.Add(-1)
}

// overloaded is the one answer made without an exchange: the connection limit is there to keep memory for those inside.
var overloaded = []byte("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n" +
	"X-Yumen-Reason: connection_limit\r\nContent-Length: 0\r\n\r\n")

// turnAway answers a connection that is one too many, as far as its empty send buffer takes it, and closes it. Where the
// client would not understand, the close has to do.
func turnAway(fd int, c *ServerConfig) {
	if c.TLS == nil && (c.Protocols == 0 || c.Protocols&HTTP1 != 0) {
		// Best effort: a client that is gone already does not matter.
		_, _ = syscall.Write(fd, overloaded)
	}
	syscall.Close(fd)
}
