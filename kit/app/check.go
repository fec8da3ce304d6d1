package app

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// check is a Check and what it has found.
type check struct {
	Check
	mu struct {
		sync.Mutex
		result
	}
	idle chan struct{} // has a token while nobody is in Run
}

// result of the runs so far.
type result struct {
	ok       bool
	ran      bool          // at least once
	since    time.Time     // has ok been so
	at       time.Time     // the end of the last run
	took     time.Duration // of the last run
	err      error         // of the last run, also while it still counts as ok
	failures int           // in a row
}

func newCheck(c Check) *check {
	k := &check{Check: c, idle: make(chan struct{}, 1)}
	k.idle <- struct{}{}
	k.mu.err = errors.New("it has not run yet")
	k.mu.since = time.Now()
	return k
}

func (k *check) result() result {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.result
}

// loop runs the check again and again until ctx ends. It then leaves a run that hangs alone; see left.
func (k *check) loop(ctx context.Context, a *App) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		k.once(ctx, a)
		// A tenth more or less, so that a hundred instances that start together do not ask together for ever.
		t.Reset(k.Interval + time.Duration((rand.Float64()-0.5)*0.2*float64(k.Interval)))
	}
}

// once runs it, and waits until it has returned, however long that takes. What it does not answer in time is a failure each Interval.
func (k *check) once(ctx context.Context, a *App) {
	<-k.idle
	began := time.Now()
	own, cancel := context.WithTimeout(ctx, k.Timeout)
	done := make(chan error, 1)
	go func() {
		defer func() { k.idle <- struct{}{} }()
		defer cancel()
		done <- guarded(func() error { return k.Run(own) })
	}()
	late := time.NewTimer(k.Timeout)
	defer late.Stop()
	failed := false
	for {
		select {
		case err := <-done:
			if ctx.Err() == nil && !(failed && err != nil) {
				k.note(a, began, err)
			}
			return
		case <-late.C:
			failed = true
			k.note(a, began, fmt.Errorf("no answer in %v", time.Since(began).Round(time.Millisecond)))
			late.Reset(k.Interval)
		case <-ctx.Done():
			return
		}
	}
}

// note takes a result in.
func (k *check) note(a *App, began time.Time, err error) {
	k.mu.Lock()
	now := time.Now()
	r := &k.mu.result
	was, ran := r.ok, r.ran
	r.at, r.took, r.err, r.ran = now, now.Sub(began), err, true
	if err == nil {
		r.failures = 0
	} else {
		r.failures++
	}
	r.ok = err == nil || was && r.failures < k.FailAfter
	if r.ok != was || !ran {
		r.since = now
	}
	changed := r.ok != was || !ran && !r.ok
	k.mu.Unlock()
	if !changed {
		return
	}
	if p := (*PanicError)(nil); errors.As(err, &p) {
		a.log.Error("a check panicked", "check", k.Name, "panic", p.Value, "stack", string(p.Stack))
	}
	if err == nil {
		a.log.Info("a check passes", "check", k.Name)
	} else {
		a.log.Warn("a check fails", "check", k.Name, "critical", k.Critical, "error", err)
	}
	a.judge()
	select {
	case a.checked <- struct{}{}:
	default:
	}
}

// left says whether a run is still going on.
func (k *check) left() bool {
	select {
	case <-k.idle:
		k.idle <- struct{}{}
		return false
	default:
		return true
	}
}

// hanging are the names of checks whose run is still going on.
func (a *App) hanging() (names []string) {
	for _, k := range a.checks {
		if k.left() {
			names = append(names, k.Name)
		}
	}
	return names
}

// failing are the names of critical checks that do not pass.
func (a *App) failing() (names []string) {
	for _, k := range a.checks {
		if k.Critical && !k.result().ok {
			names = append(names, k.Name)
		}
	}
	return names
}
