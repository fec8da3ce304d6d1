package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/yumen-io/yumen/control/upgrade"
	"golang.org/x/sys/unix"
)

// AdminServer is a server of the admin API, as far as the controller must know it: functions of a package above.
type AdminServer struct {
	// Serve serves a listener until Shutdown, and closes it. It returns http.ErrServerClosed after Shutdown.
	Serve func(net.Listener) error
	// Shutdown stops accepting at once and waits for answers under way until ctx ends, then cuts them.
	Shutdown func(context.Context) error
}

// adminSocket is where the admin API listens. It is bound like a listener: before a change is in force, kept when the
// address stays, passed on in an upgrade.
type adminSocket struct {
	address  string // as configured
	bound    string
	listener *net.TCPListener
	server   AdminServer
	served   chan struct{} // closed when Serve has returned; nil before it began
}

// adminKeyPrefix marks the admin API among what is passed to a successor.
const adminKeyPrefix = "admin "

// bindAdmin finds or opens the socket that the plan asks for.
func (c *Controller) bindAdmin(w *work) error {
	said := w.plan.Document.Admin
	if said == nil || c.options.Admin == nil {
		return nil
	}
	address := said.Address.String()
	if c.admin != nil && c.admin.address == address {
		w.admin = c.admin
		return nil
	}
	a := &adminSocket{address: address}
	l, err := c.openAdmin(address)
	if err != nil {
		return fmt.Errorf("admin API: %w", err)
	}
	a.listener, a.bound = l, l.Addr().String()
	w.undo(func() { l.Close() })
	w.admin = a
	return nil
}

func (c *Controller) openAdmin(address string) (*net.TCPListener, error) {
	if in := c.options.Inherited; in != nil {
		if fds := in.Take(adminKeyPrefix + address); len(fds) == 1 {
			f := os.NewFile(uintptr(fds[0]), "admin")
			defer f.Close() // FileListener has a duplicate
			l, err := net.FileListener(f)
			if err != nil {
				return nil, fmt.Errorf("take over the socket of %s: %w", address, err)
			}
			return l.(*net.TCPListener), nil
		}
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// serveAdmin serves a new admin socket and ends a former one.
func (c *Controller) serveAdmin(w *work) {
	former := c.admin
	c.admin = w.admin
	if c.admin != nil && c.accepting {
		c.beginAdmin()
	}
	if former != nil && former != w.admin {
		// In the background: the request that asks for this very change is answered by the former one.
		c.background.Go(func() { c.endAdmin(former) })
	}
}

// beginAdmin serves the admin socket, if there is one and it is not served yet.
func (c *Controller) beginAdmin() {
	a := c.admin
	if a == nil || a.served != nil {
		return
	}
	a.server, a.served = c.options.Admin(c, a.address), make(chan struct{})
	go func() {
		defer close(a.served)
		if err := a.server.Serve(a.listener); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			c.logger.Error("the admin API ended", "address", a.bound, "error", err)
		}
	}()
}

// adminShutdown is how long answers of the admin API may take when it ends: a profile of half a minute is cut.
const adminShutdown = 5 * time.Second

func (c *Controller) endAdmin(a *adminSocket) {
	if a.served == nil {
		a.listener.Close()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminShutdown)
	defer cancel()
	if err := a.server.Shutdown(ctx); err != nil {
		c.logger.Warn("the admin API did not end in time", "address", a.bound, "error", err)
	}
	<-a.served
}

// bequeath returns the socket for a successor: a duplicate, because the listener lets go of its own descriptor only when it
// closes. The caller closes it after the handover.
func (a *adminSocket) bequeath() (upgrade.Socket, error) {
	raw, err := a.listener.SyscallConn()
	if err != nil {
		return upgrade.Socket{}, fmt.Errorf("pass on the socket of the admin API: %w", err)
	}
	var copied int
	var failed error
	err = raw.Control(func(fd uintptr) { copied, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, failed); err != nil {
		return upgrade.Socket{}, fmt.Errorf("pass on the socket of the admin API: %w", err)
	}
	return upgrade.Socket{Key: adminKeyPrefix + a.address, FDs: []int{copied}}, nil
}
