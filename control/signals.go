package control

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// ErrCut is returned by Run when a second signal ended the gateway in the middle of its drain.
var ErrCut = errors.New("the gateway was told twice to stop: connections were cut")

// CatchSignals keeps signals for Run. It is called before Start, so that whoever sees a gateway that is ready and tells it to stop
// does not end the process before it can drain.
func (c *Controller) CatchSignals() {
	if c.signals == nil {
		c.signals = make(chan os.Signal, 8)
		signal.Notify(c.signals, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM, syscall.SIGINT)
	}
}

// Run lets signals, and the end of ctx, steer a gateway that Start started, and returns when it has stopped:
//
//	SIGHUP          load the file again
//	SIGUSR1         open the access log's file anew
//	SIGUSR2         upgrade to the program on disk
//	SIGTERM SIGINT  drain; a second one stops at once
//
// The error is nil for a gateway that drained or was upgraded, ErrCut otherwise.
func (c *Controller) Run(ctx context.Context) error {
	c.CatchSignals()
	var orders sync.WaitGroup // given to the controller; each ends with it at the latest
	defer orders.Wait()
	signals := c.signals
	defer signal.Stop(signals)
	var cut error
	told := false
	end := func() {
		if told {
			cut = ErrCut
			orders.Go(func() { _ = c.Stop() })
			return
		}
		told = true
		orders.Go(func() { _ = c.Drain(context.Background()) })
	}
	for {
		select {
		case <-c.stopped:
			return cut
		case <-ctx.Done():
			ctx = context.Background() // told once
			end()
		case s := <-signals:
			c.logger.Info("signal", "signal", s.String())
			switch s {
			case syscall.SIGHUP:
				// What became of it is in log, metrics and readiness.
				orders.Go(func() { _, _ = c.Reload(c.life) })
			case syscall.SIGUSR1:
				orders.Go(c.ReopenLogs)
			case syscall.SIGUSR2:
				orders.Go(func() { _ = c.Upgrade(c.life) }) // a failure is in the log
			default:
				end()
			}
		}
	}
}
