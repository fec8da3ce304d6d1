package app

import (
	"context"
	"errors"
	"time"
)

const (
	// silentMax is how long a connection without a byte is waited for when nothing runs any more: what was sent before the port was closed
	// has arrived by then, or is not coming.
	silentMax = 200 * time.Millisecond
	// flushMax is how long connections are given to write the end of answers whose handlers have just returned, and to close by themselves.
	flushMax = 100 * time.Millisecond
	// settleMax is how long servers may take for that and their goodbyes when clients are slow.
	settleMax = 2 * time.Second
	// returnMax is how long handlers have to return after they were cut off, before what they use is taken away.
	returnMax = time.Second
)

// drain ends the service in the order that loses nothing.
func (a *App) drain(started []*running, stopChecks, stopAnnouncing context.CancelFunc) error {
	began := time.Now()
	a.life.Lock()
	reason, cause := a.life.reason, a.life.cause
	a.life.Unlock()
	a.log.Info("the service begins to drain", "reason", reason)
	d := &a.cfg.Drain
	cut := &CutOff{}

	served := a.gate.Load() == gateOpen
	if served {
		a.enter(phaseDeregister)
		stopAnnouncing()
		a.deregister()
		a.enter(phaseWait)
		a.pause(d.Wait)
		a.enter(phaseUnready)
		a.pause(d.Unready)
	}
	a.enter(phaseGoAway)
	a.gate.CompareAndSwap(gateOpen, gateLeaving)
	a.leave()
	a.rpc.leave()
	if served && a.web != nil {
		a.pause(d.GoAway) // also with no connection open: some callers make one for each request
	}

	a.enter(phaseFinish)
	a.web.refuse()
	idle := func() bool { return a.flight.count() == 0 }
	a.until(d.Finish, func() bool { return idle() && a.web.quiet() })
	if idle() {
		a.rpc.close()
		a.web.close()
	}
	// What has begun while the servers closed is looked for, too.
	if cut.Requests, cut.More = a.flight.names(); len(cut.Requests) > 0 {
		a.web.cut()
		a.rpc.cut()
		a.until(returnMax, idle)
	}
	a.web.end()
	a.rpc.end()

	a.enter(phaseStop)
	stopChecks()
	hanging, failed := a.stop(started, d.Stop)
	cut.Components = hanging
	a.tasks.Wait()
	a.until(heedMax, func() bool { return len(a.hanging()) == 0 })
	cut.Checks = a.hanging()
	a.enter(phaseStopped)
	a.admin.close()
	a.admin.end()

	errs := []error{cause, failed}
	if !cut.empty() {
		errs = append(errs, cut)
	}
	if a.forced.Err() != nil {
		errs = append(errs, ErrForced)
	}
	err := errors.Join(errs...)
	if err != nil {
		a.log.Error("the service has stopped", "took", time.Since(began), "error", err)
	} else {
		a.log.Info("the service has stopped", "took", time.Since(began))
	}
	return err
}
