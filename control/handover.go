package control

import (
	"context"
	"fmt"

	"github.com/yumen-io/yumen/control/upgrade"
	"golang.org/x/sys/unix"
)

// Upgrade starts the program on disk, lets it take over the listening sockets, and drains this process once the new one
// serves: Stopped is closed when that is done. An error means that nothing has changed and this process carries on. No
// change of the configuration is made meanwhile; the new process reads the file.
func (c *Controller) Upgrade(ctx context.Context) error {
	err := ErrStopping
	c.do(func() { err = c.handOver(ctx) })
	if err != nil {
		c.logger.Error("the upgrade failed, this process carries on", "error", err)
		return fmt.Errorf("upgrade: %w", err)
	}
	// It ends with Stopped, and cannot be among what Stop waits for, because it calls Stop.
	go func() { _ = c.Drain(context.WithoutCancel(ctx)) }()
	return nil
}

// handOver is an upgrade on the owner's goroutine, up to where this process accepts no more.
func (c *Controller) handOver(ctx context.Context) error {
	if c.stopping.Load() {
		return ErrStopping
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	h := upgrade.Handover{Program: c.program, State: c.passSplits}
	for _, l := range c.listeners {
		if l.socket.served.Load() != nil {
			h.Sockets = append(h.Sockets, l.socket.bequeath())
		}
	}
	if c.admin != nil {
		s, err := c.admin.bequeath()
		if err != nil {
			return err
		}
		defer unix.Close(s.FDs[0])
		h.Sockets = append(h.Sockets, s)
	}
	c.logger.Info("upgrading: a new process is started", "program", c.program.Path, "sockets", len(h.Sockets))
	pid, err := h.Run(ctx)
	if err != nil {
		c.takeBackSplits()
		return err
	}
	c.logger.Info("the new process serves, this one drains", "pid", pid)
	if c.admin != nil {
		// First, so that nobody who asks who is ready is told of the one that leaves.
		c.admin.listener.Close()
	}
	c.leave()
	return nil
}
