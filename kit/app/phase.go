package app

import (
	"context"
	"sync"
	"time"
)

// phase is how far the life of an App has come. It only ever grows.
type phase uint8

const (
	phaseNew        phase = iota
	phaseStarting         // components start
	phaseChecking         // critical checks have not passed yet
	phaseServing          // ready, or was
	phaseDeregister       // the drain, in its order
	phaseWait
	phaseUnready
	phaseGoAway
	phaseFinish
	phaseStop
	phaseStopped
)

// String is the word for logs, /readyz and Stats.
func (p phase) String() string {
	return [...]string{"new", "starting", "checking", "serving", "deregister", "wait", "unready", "goaway", "finish", "stop", "stopped"}[p]
}

// life is where an App stands, and who wants it to end.
type life struct {
	sync.Mutex
	phase phase
	since time.Time
	past  []step // phases that are over
	// ready: it serves, and all critical checks pass.
	ready bool
	// reason why the drain began, and what failed if that was why.
	reason string
	cause  error
}

// step is a phase that is over.
type step struct {
	phase phase
	took  time.Duration
}

// enter begins a phase.
func (a *App) enter(p phase) {
	a.life.Lock()
	now := time.Now()
	if a.life.phase != phaseNew {
		a.life.past = append(a.life.past, step{a.life.phase, now.Sub(a.life.since)})
	}
	a.life.phase, a.life.since = p, now
	a.life.Unlock()
	if p >= phaseDeregister && p < phaseStopped {
		a.log.Info("the service drains", "phase", p.String())
	}
	a.judge()
}

// judge says whether the service is ready, after whatever may have changed that.
func (a *App) judge() {
	a.life.Lock()
	failing := a.failing() // under the lock, or an older finding could overtake this one
	serving := a.life.phase >= phaseServing && a.life.phase < phaseUnready
	ready := serving && len(failing) == 0
	changed := ready != a.life.ready
	a.life.ready = ready
	if changed && a.rpc != nil {
		a.rpc.serving(ready)
	}
	a.life.Unlock()
	switch {
	case !changed:
	case ready:
		a.log.Info("the service is ready")
	case serving:
		a.log.Warn("the service is not ready any more", "failing", failing)
	}
}

// end begins the drain, the first time. A cause is what Run then returns.
func (a *App) end(reason string, cause error) {
	a.life.Lock()
	defer a.life.Unlock()
	if a.life.reason != "" {
		return
	}
	a.life.reason, a.life.cause = reason, cause
	close(a.ending)
	a.endStart()
}

// pause waits, but not when everything is to end at once.
func (a *App) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-a.forced.Done():
	}
}

// pollEvery is how often a drain looks whether requests have ended: their own path does not tell, it would have to know that somebody waits.
const pollEvery = 5 * time.Millisecond

// until waits for ok, for the time at most, and says whether it came.
func (a *App) until(d time.Duration, ok func() bool) bool {
	if ok() {
		return true
	}
	ctx, cancel := context.WithTimeout(a.forced, d)
	defer cancel()
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if ok() {
				return true
			}
		case <-ctx.Done():
			return ok()
		}
	}
}
