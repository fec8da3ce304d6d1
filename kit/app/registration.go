package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// registrationCheck is the name of the check that an App has for its registration; a second one is registration-2.
const registrationCheck = "registration"

// registrationCheck is how the state of a registration comes onto the health pages. It is not critical: who was registered is known to callers
// also when the registry is away, and a service that nobody finds should not be killed for it.
func (a *App) registrationCheck(i int) Check {
	name := registrationCheck
	if i > 0 {
		name = fmt.Sprintf("%s-%d", name, i+1)
	}
	return Check{Name: name, Interval: 5 * time.Second, Timeout: 2 * time.Second, FailAfter: 1,
		Run: func(ctx context.Context) error { return a.registrations[i].Wait(ctx) }}
}

// register makes the instance known. Registrars return at once, by their word; one that does not is not waited for longer than a component.
func (a *App) register() error {
	for i, r := range a.cfg.Register {
		ctx, cancel := context.WithTimeout(a.starting, a.cfg.StartTimeout)
		var g Registration
		err, returned := within(ctx, func(ctx context.Context) (err error) {
			g, err = r(ctx, a.Addresses())
			return err
		})
		cancel()
		switch {
		case !returned:
			return fmt.Errorf("app: Config.Register[%d] has not returned", i)
		case a.starting.Err() != nil && err != nil:
			return nil // the service is to end, and will
		case err != nil:
			a.tellPanic(registrationCheck, err)
			return fmt.Errorf("app: register: %w", err)
		case g == nil:
			return fmt.Errorf("app: Config.Register[%d] has returned neither a Registration nor an error", i)
		}
		a.registrations[i] = g
	}
	return nil
}

// deregister takes the instance out of all registries at once. That one cannot be reached is no failure of the drain: it forgets
// the instance by itself, and callers have their own means.
func (a *App) deregister() {
	ctx, cancel := context.WithTimeout(a.forced, a.cfg.Drain.Deregister)
	defer cancel()
	var all sync.WaitGroup
	for _, g := range a.registrations {
		if g == nil {
			continue
		}
		all.Go(func() {
			err, returned := within(ctx, g.Deregister)
			if !returned && err == nil {
				err = errors.New("it has not returned")
			}
			if err != nil {
				a.tellPanic(registrationCheck, err)
				a.log.Warn("the registry has not confirmed that the instance is gone", "error", err)
			}
		})
	}
	all.Wait()
}
