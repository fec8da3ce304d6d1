package app

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// PanicError is a panic of a function of Config, made an error.
type PanicError struct {
	Value any
	Stack []byte // where it panicked
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap is the value, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// guarded calls f and makes its panic an error.
func guarded(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{value, debug.Stack()}
		}
	}()
	return f()
}

// within calls f in a goroutine of its own and waits until it has returned or ctx has ended, a moment longer if f heeds that. returned says
// whether the goroutine is gone.
func within(ctx context.Context, f func(context.Context) error) (err error, returned bool) {
	done := make(chan error, 1)
	go func() { done <- guarded(func() error { return f(ctx) }) }()
	select {
	case err := <-done:
		return err, true
	case <-ctx.Done():
	}
	t := time.NewTimer(heedMax)
	defer t.Stop()
	select {
	case err := <-done:
		return err, true
	case <-t.C:
		return context.Cause(ctx), false
	}
}

// heedMax is how long a function has to return when its context has ended, before it counts as hanging.
const heedMax = 100 * time.Millisecond

// running is a component that was started.
type running struct {
	Component
	cancel context.CancelFunc
	ended  chan struct{} // closed when its Run has returned
}

// start starts the components one after another. What it returns has to be stopped, also with an error.
func (a *App) start(ctx context.Context) (started []*running, err error) {
	for i := range a.cfg.Components {
		c := &a.cfg.Components[i]
		if err := ctx.Err(); err != nil {
			return started, nil // asked to end: no failure
		}
		began := time.Now()
		if c.Start != nil {
			own, cancel := context.WithTimeout(ctx, a.cfg.StartTimeout)
			err, returned := within(own, c.Start)
			late := errors.Is(own.Err(), context.DeadlineExceeded)
			cancel()
			switch {
			case !returned && late:
				return started, fmt.Errorf("app: component %s has not started in %v, and still tries", c.Name, a.cfg.StartTimeout)
			case !returned:
				return started, fmt.Errorf("app: component %s was told to give up its start, and still tries", c.Name)
			case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
				return started, nil
			case err != nil && late:
				return started, fmt.Errorf("app: component %s has not started in %v: %w", c.Name, a.cfg.StartTimeout, err)
			case err != nil:
				a.tellPanic(c.Name, err)
				return started, fmt.Errorf("app: component %s does not start: %w", c.Name, err)
			}
		}
		r := &running{Component: *c, ended: make(chan struct{})}
		r.begin(a)
		started = append(started, r)
		a.log.Info("a component has started", "component", c.Name, "took", time.Since(began))
	}
	return started, nil
}

// begin runs what goes on beside the service.
func (r *running) begin(a *App) {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	if r.Run == nil {
		close(r.ended)
		return
	}
	go func() {
		defer close(r.ended)
		err := guarded(func() error { return r.Run(ctx) })
		if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return
		}
		a.tellPanic(r.Name, err)
		err = fmt.Errorf("app: component %s: %w", r.Name, err)
		if ctx.Err() != nil {
			a.log.Warn("a component has ended with an error", "component", r.Name, "error", err)
			return
		}
		a.end("component "+r.Name+" failed", err)
	}()
}

// tellPanic logs where a panic came from, which no error says.
func (a *App) tellPanic(name string, err error) {
	if p := (*PanicError)(nil); errors.As(err, &p) {
		a.log.Error("a component panicked", "component", name, "panic", p.Value, "stack", string(p.Stack))
	}
}

// stop stops components in reverse order. Each has an equal part of the time that is left, so that one that hangs takes none of the others'.
// hanging are those that did not return, and those that were not asked, because all is to end at once.
func (a *App) stop(all []*running, budget time.Duration) (hanging []string, failed error) {
	end := time.Now().Add(budget)
	for i := len(all) - 1; i >= 0; i-- {
		r := all[i]
		r.cancel()
		if a.forced.Err() != nil {
			hanging = append(hanging, r.Name+" (not stopped)")
			continue
		}
		part := max(time.Until(end), 0) / time.Duration(i+1)
		began := time.Now()
		ctx, cancel := context.WithTimeout(a.forced, part)
		err, returned := within(ctx, func(ctx context.Context) error {
			// Run first: it may use what Stop takes away. One that does not heed its context may be waiting for Stop, so this gets half.
			half := time.NewTimer(part / 2)
			defer half.Stop()
			select {
			case <-r.ended:
			case <-half.C:
			case <-ctx.Done():
			}
			if r.Stop != nil {
				if err := r.Stop(ctx); err != nil {
					return err
				}
			}
			select {
			case <-r.ended:
				return nil
			case <-ctx.Done():
				return errRuns
			}
		})
		cancel()
		switch {
		case !returned || errors.Is(err, errRuns):
			hanging = append(hanging, fmt.Sprintf("%s (for %v)", r.Name, time.Since(began).Round(time.Millisecond)))
		case err != nil:
			a.tellPanic(r.Name, err)
			failed = errors.Join(failed, fmt.Errorf("app: component %s does not stop: %w", r.Name, err))
		default:
			a.log.Info("a component has stopped", "component", r.Name, "took", time.Since(began))
		}
	}
	return hanging, failed
}

var errRuns = errors.New("its Run has not returned")
