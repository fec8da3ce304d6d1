package control

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/upgrade"
	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/gateway"
	"golang.org/x/sys/unix"
)

// listener is a listener in force. It is frozen but for what the engine publishes: a change makes a new one, around the
// same sockets where the address stays.
type listener struct {
	plan   *compile.ListenerPlan
	index  int // in the plan
	socket *socket
	why    string // it does not accept; empty if it does
}

// socket is the sockets of one address with what serves them. Owned by the controller's goroutine; others read served's
// counters.
type socket struct {
	key     string
	sockets *engine.Sockets
	bound   netip.AddrPort
	fronts  []*gateway.Front // one for each loop
	// served is nil until connections are accepted. Published.
	served atomic.Pointer[engine.Listener]
}

// socketKey is by what the sockets of a listener are found again, in the next configuration and in the next process. It is
// the address, so that a listener may change its name; but several can ask for port 0, and get one each.
func socketKey(l *compile.ListenerPlan) string {
	if strings.HasSuffix(l.Address, ":0") {
		return l.Address + " " + l.Name
	}
	return l.Address
}

// bind finds or opens the sockets of every listener of the plan. What it opens is closed again if the change is given up.
func (c *Controller) bind(w *work) error {
	for index, plan := range w.plan.Listeners {
		key := socketKey(plan)
		i := slices.IndexFunc(c.listeners, func(l *listener) bool { return l.socket.key == key })
		if i >= 0 {
			w.listeners = append(w.listeners, &listener{plan: plan, index: index, socket: c.listeners[i].socket})
			continue
		}
		sockets, err := c.open(key, plan.Address)
		if err != nil {
			return fmt.Errorf("listener %q: %w", plan.Name, err)
		}
		w.undo(sockets.Close)
		w.listeners = append(w.listeners, &listener{plan: plan, index: index, socket: &socket{key: key, sockets: sockets, bound: sockets.Bound()}})
	}
	return nil
}

// open takes the sockets of an address from the predecessor, or binds them.
func (c *Controller) open(key, address string) (*engine.Sockets, error) {
	loops := len(c.plane.engines)
	sockets := &engine.Sockets{Address: address}
	if in := c.options.Inherited; in != nil {
		sockets.FDs = in.Take(socketKeyPrefix + key)
	}
	switch n := len(sockets.FDs); {
	case n == 0:
		if err := c.refuseShared(address); err != nil {
			return nil, err
		}
		return engine.Bind(address, loops)
	case n < loops:
		// The predecessor ran fewer loops. More of them than loops are served too: each is a queue that must be emptied.
		more, err := engine.Bind(sockets.Bound().String(), loops-n)
		if err != nil {
			sockets.Close()
			return nil, err
		}
		sockets.FDs = append(sockets.FDs, more.FDs...)
	}
	return sockets, nil
}

// socketKeyPrefix tells listeners from the admin API among what is passed to a successor.
const socketKeyPrefix = "listener "

// refuseShared refuses an address that another process listens on. The kernel would let us share it, since our sockets
// share addresses among themselves; but then a second gateway started by mistake would take half of the first one's
// connections without a word. Addresses whose port we have already are not looked at: what is there is ourselves, or our
// predecessor.
func (c *Controller) refuseShared(address string) error {
	addr, err := engine.ParseListen(address)
	if err != nil {
		return err
	}
	if addr.Port() == 0 || c.options.Inherited != nil ||
		slices.ContainsFunc(c.listeners, func(l *listener) bool { return l.socket.bound.Port() == addr.Port() }) {
		return nil
	}
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()})
	if addr.Addr().Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil // no such family, no descriptor: binding in earnest will tell
	}
	defer unix.Close(fd)
	unix.CloseOnExec(fd)
	// Without SO_REUSEPORT a bind fails if anybody listens there; with SO_REUSEADDR only then, and not for connections that
	// linger. It does not listen, so no client can come in meanwhile.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil
	}
	if family == unix.AF_INET6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	if err := unix.Bind(fd, sa); errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("listen on %s: another process listens there already: %w", address, err)
	}
	return nil
}

// serve puts the listeners of a change into force: new ones begin to accept, kept ones take over what changed, and those
// that are not there any more close. Requests that are under way end as they began; connections of a closed listener
// end with their next answer.
func (c *Controller) serve(w *work) error {
	var failed error
	for _, l := range w.listeners {
		if l.socket.served.Load() != nil {
			c.update(l)
			continue
		}
		if !c.accepting {
			continue // a successor does not accept before it is told to
		}
		if err := c.accept(l); err != nil {
			l.why = err.Error()
			failed = errors.Join(failed, fmt.Errorf("listener %q: %w", l.plan.Name, err))
		}
	}
	old := c.listeners
	c.listeners = w.listeners
	for _, l := range old {
		if !slices.ContainsFunc(c.listeners, func(kept *listener) bool { return kept.socket == l.socket }) {
			l.socket.close()
		}
	}
	return failed
}

// accept begins to serve sockets that were only bound.
func (c *Controller) accept(l *listener) error {
	s := l.socket
	handlers := make([]engine.Handler, len(c.plane.engines))
	s.fronts = make([]*gateway.Front, len(c.plane.engines))
	for i, w := range c.plane.gateway.Workers {
		s.fronts[i] = gateway.NewFront(w, l.plan.Gateway)
		handlers[i] = s.fronts[i]
	}
	served, err := engine.Listen(c.plane.engines, s.sockets, engine.ListenerConfig{
		Name: l.plan.Name, ConnectionsMax: l.plan.ConnectionsMax, Quota: c.plane.quota, Server: c.secrets.serverOf(l.index, l.plan), Handlers: handlers,
	})
	if err != nil {
		return err
	}
	s.served.Store(served)
	return nil
}

// update gives kept sockets what the new plan says of them.
func (c *Controller) update(l *listener) {
	i := 0
	c.plane.gateway.OnEach(func(*gateway.Worker) {
		l.socket.fronts[i].SetListener(l.plan.Gateway)
		i++
	})
	l.socket.served.Load().Update(c.secrets.serverOf(l.index, l.plan), l.plan.ConnectionsMax)
}

// close stops accepting; connections that wait in the kernel's queue are taken first.
func (s *socket) close() {
	if served := s.served.Load(); served != nil {
		served.Close()
		return
	}
	s.sockets.Close()
}

// bequeath returns the sockets for a successor.
func (s *socket) bequeath() upgrade.Socket {
	return upgrade.Socket{Key: socketKeyPrefix + s.key, FDs: s.sockets.FDs}
}

func (l *listener) status() ListenerStatus {
	s := ListenerStatus{Name: l.plan.Name, Address: l.plan.Address, Bound: l.socket.bound.String(), TLS: l.plan.TLS != nil}
	served := l.socket.served.Load()
	if served == nil {
		s.Why = l.why
		if s.Why == "" {
			s.Why = "the address is bound, connections are not accepted yet"
		}
		return s
	}
	s.Accepting = true
	s.Open, s.Accepted, s.Turned = served.Open(), served.Accepted.Load(), served.Turned.Load()
	s.Exhausted, s.Moved = served.Exhausted.Load(), served.Moved.Load()
	return s
}
