package registry

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"
)

// Status is where a Registration stands.
type Status uint8

const (
	// Registering: not in etcd yet; tried until it is.
	Registering Status = iota
	// Registered: in etcd, as far as the last heartbeat within its TTL says.
	Registered
	// Lost: it was in etcd, and its lease has run out or a later process has taken its place. It is tried until it is back.
	Lost
	// Deregistered: Deregister or the Registry's end was asked for.
	Deregistered
)

// String is the word for logs, metrics and health pages.
func (s Status) String() string {
	switch s {
	case Registering:
		return "registering"
	case Registered:
		return "registered"
	case Lost:
		return "lost"
	case Deregistered:
		return "deregistered"
	}
	return "status_" + strconv.Itoa(int(s))
}

// State of a Registration, for a line on a health page.
type State struct {
	Status Status
	// Since when it has this Status.
	Since time.Time
	// Err is what went wrong last, nil when nothing has since the last success. A Registered one with an Err has missed
	// heartbeats and will be Lost when its TTL is over.
	Err error
}

// Registration is an instance that is kept in etcd. Its methods are safe for concurrent use.
type Registration struct {
	registrar *registrar
	key       string

	mu struct {
		sync.Mutex
		instance Instance
		value    []byte
		state    State
		until    time.Time     // its lease is good until then, if Registered
		changed  chan struct{} // closed when state.Status changes
	}

	// Owned by the registrar's goroutine, but for dirty, which is under the registrar's lock.
	written bool          // once at least
	dirty   bool          // to be written
	gone    chan struct{} // closed when it was deleted, after Deregister
}

// State says whether callers can find it.
func (g *Registration) State() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state()
}

// state is called under the lock. That a whole TTL has passed without an answer is seen by whoever asks: nobody has to run
// for it.
func (g *Registration) state() State {
	s := g.mu.state
	if s.Status == Registered && time.Now().After(g.mu.until) {
		s.Status, s.Since = Lost, g.mu.until
	}
	return s
}

// Instance is what is or will be registered.
func (g *Registration) Instance() Instance {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.instance.clone()
}

// Wait returns nil when it is registered. It fails with the error of ctx, joined with what went wrong last, and with
// ErrClosed when it was deregistered.
func (g *Registration) Wait(ctx context.Context) error {
	for {
		g.mu.Lock()
		s, changed := g.state(), g.mu.changed
		g.mu.Unlock()
		switch s.Status {
		case Registered:
			return nil
		case Deregistered:
			return ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.Err)
		}
	}
}

// Update changes everything but Service and ID, and returns at once; etcd has it soon. An error wraps ErrInvalid, or is
// ErrClosed, and changes nothing.
func (g *Registration) Update(i Instance) error {
	i = i.clone()
	i.fill()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.state.Status == Deregistered {
		return ErrClosed
	}
	if i.Service != g.mu.instance.Service || i.ID != g.mu.instance.ID {
		return invalid("bad_name", "an update of %s/%s names %s/%s", g.mu.instance.Service, g.mu.instance.ID, clip(i.Service), clip(i.ID))
	}
	if i.Started.IsZero() {
		i.Started = g.mu.instance.Started
	}
	if err := i.check(); err != nil {
		return err
	}
	text, err := encode(&i)
	if err != nil {
		return err
	}
	g.mu.instance, g.mu.value = i, text
	g.registrar.soil(g)
	return nil
}

// Deregister takes it out of etcd and waits until that is done or ctx ends, whose error it then returns; the deletion is
// tried further until it succeeds or the Registry is closed. A key that a later process has taken is left alone. A second
// call waits too.
func (g *Registration) Deregister(ctx context.Context) error {
	g.set(Deregistered, nil, time.Time{})
	g.registrar.remove(g)
	select {
	case <-g.gone:
		return nil
	default:
	}
	select {
	case <-g.gone:
		return nil
	case <-g.registrar.done:
		return ErrClosed // and the lease is given up, or runs out
	case <-ctx.Done():
		return ctx.Err()
	}
}

// set moves the state, and says whether the status is another one than before. Deregistered is final.
func (g *Registration) set(s Status, err error, until time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.state().Status
	if was == Deregistered {
		return false
	}
	g.mu.state.Err = err
	g.mu.until = until
	if was == s && s == g.mu.state.Status {
		return false
	}
	g.mu.state.Status, g.mu.state.Since = s, time.Now()
	close(g.mu.changed)
	g.mu.changed = make(chan struct{})
	return true
}

// trouble notes what went wrong, without a change of status.
func (g *Registration) trouble(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.state.Status != Deregistered {
		g.mu.state.Err = err
	}
}

// lose makes a registered one lost; one that never was registered stays what it is.
func (g *Registration) lose(err error) bool {
	g.mu.Lock()
	was := g.mu.state.Status
	g.mu.Unlock()
	if was == Registering {
		g.trouble(err)
		return false
	}
	return g.set(Lost, err, time.Time{})
}

func (g *Registration) text() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return string(g.mu.value)
}
