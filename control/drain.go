package control

import (
	"context"
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/gateway"
)

// drainTick is how often a drain looks whether connections are left.
const drainTick = 10 * time.Millisecond

// Drain ends the gateway without losing a request: it accepts no more, tells every client that its next answer is the last
// on its connection, closes idle connections after drain.idle and whatever is left after drain.timeout, and stops. It
// returns when no connection is left, which may be at once. Ending ctx, or calling Stop, cuts it short.
//
// Idle connections are not closed at once, because a request may be on its way on any of them, which its client would
// then have to take for lost.
func (c *Controller) Drain(ctx context.Context) error {
	c.giveUp() // a change or an upgrade under way does not keep us
	limits := config.Drain{}
	c.do(func() {
		c.leave()
		if c.plan != nil {
			limits = c.plan.Document.Drain
		}
	})
	if c.plane != nil {
		c.finish(ctx, limits)
	}
	return c.Stop()
}

// leave stops accepting and tells everybody. It runs on the owner's goroutine; a second call does nothing.
func (c *Controller) leave() {
	if c.stopping.Swap(true) {
		return
	}
	c.watch(false, nil)
	for _, cl := range c.clusters {
		if cl.names != nil {
			cl.names.Stop()
		}
		if cl.found != nil {
			cl.found.Stop()
		}
	}
	for _, l := range c.listeners {
		l.socket.close()
	}
	// Its challenges would reach nobody, or our successor, and every order that fails counts.
	c.endAuthority(c.authority)
	if c.plane != nil {
		c.plane.gateway.OnEach(func(w *gateway.Worker) { w.Drain() })
		c.logger.Info("draining", "connections", c.plane.open())
	}
}

// finish waits until the connections have ended, and ends them when their time is up.
func (c *Controller) finish(ctx context.Context, limits config.Drain) {
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	idle, timeout := time.After(limits.Idle), time.After(limits.Timeout)
	closeIdle := false
	for c.plane.open() > 0 {
		select {
		case <-tick.C:
			if closeIdle {
				// Again and again: a connection that was between two requests may be idle now.
				c.plane.gateway.OnEach(func(w *gateway.Worker) { w.Engine().CloseIdle() })
			}
		case <-idle:
			closeIdle = true
		case <-timeout:
			c.logger.Warn("connections are cut: the time for draining is over", "connections", c.plane.open(), "timeout", limits.Timeout)
			c.plane.gateway.OnEach(func(w *gateway.Worker) { w.Engine().CloseAll() })
			return
		case <-ctx.Done():
			return
		case <-c.ended:
			return
		}
	}
}

// Stop ends everything at once and waits until it has: connections are cut, descriptors closed, goroutines gone. It may be
// called more than once, also while Drain runs, and after a Start that failed.
func (c *Controller) Stop() error {
	c.giveUp()
	c.stop.Do(func() {
		var admin *adminSocket
		c.do(func() {
			c.leave()
			admin = c.admin
		})
		if admin != nil {
			// Not on the owner's goroutine, which answers that are under way may be waiting for.
			c.endAdmin(admin)
		}
		c.do(c.tearDown)
		c.mail.close()
		<-c.ended
		c.background.Wait()
		c.etcd.Wait()
		c.removePID()
		close(c.stopped)
	})
	<-c.stopped
	return nil
}

// Stopped is closed when nothing of the gateway is left.
func (c *Controller) Stopped() <-chan struct{} { return c.stopped }

// tearDown takes everything apart, in the reverse order of its making.
func (c *Controller) tearDown() {
	if c.plane == nil {
		return
	}
	c.plane.gateway.OnEach(func(w *gateway.Worker) { w.Engine().CloseAll() })
	c.groups.closeAll()
	c.plane.stop()
	c.closeSecrets(c.secrets)
	c.authority, c.secrets = nil, nil
	if c.access.log != nil {
		c.closeAccessLog(c.access.log)
	}
	c.logger.Info("stopped", "revision", c.current.Number)
}
