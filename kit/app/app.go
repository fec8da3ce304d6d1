package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrRan says that Run was called before, or Shutdown.
	ErrRan = errors.New("app: it has run already")
	// ErrForced is in Run's error when everything was ended at once, by a second signal or by Shutdown's context.
	ErrForced = errors.New("app: ended at once")
)

// CutOff is what the end of an App did not wait for any longer.
type CutOff struct {
	// Requests and calls that were running, each with its age: "GET /report for 16s", "/orders.Orders/Watch for 2m0s". At most 32; More is how
	// many there were beside.
	Requests []string
	More     int
	// Components that did not stop in their time, or were not stopped because all had to end at once.
	Components []string
	// Checks that hang.
	Checks []string
}

func (e *CutOff) Error() string {
	var parts []string
	if len(e.Requests) > 0 {
		text := strings.Join(e.Requests, ", ")
		if e.More > 0 {
			text += fmt.Sprintf(" and %d more", e.More)
		}
		parts = append(parts, "requests "+text)
	}
	if len(e.Components) > 0 {
		parts = append(parts, "components "+strings.Join(e.Components, ", "))
	}
	if len(e.Checks) > 0 {
		parts = append(parts, "checks "+strings.Join(e.Checks, ", "))
	}
	return "app: cut off: " + strings.Join(parts, "; ")
}

func (e *CutOff) empty() bool {
	return len(e.Requests)+e.More+len(e.Components)+len(e.Checks) == 0
}

// App is a service, from its start to its end.
type App struct {
	cfg    Config
	log    *slog.Logger
	checks []*check // those of Config, and one for each registration
	flight flight
	gate   atomic.Uint32

	// The servers, nil where there is none. They are made by New.
	web, admin *web
	rpc        *rpcServer

	// ending is closed when the drain begins, ready when the service was ready for the first time, over when Run has returned; checked has a
	// token when a check has changed.
	ending, ready, over, checked chan struct{}

	// starting ends when the drain begins, leaving at its goaway, forced when everything has to end at once.
	starting, leaving, forced context.Context
	endStart, leave, force    context.CancelFunc

	ran  atomic.Bool
	life life

	addresses atomic.Pointer[Addresses]

	// Of Run.
	registrations []Registration
	tasks         sync.WaitGroup // checks' loops
}

// The gate of requests.
const (
	gateShut    = iota // the service has not been ready yet
	gateOpen           // it has
	gateLeaving        // callers are told to go
)

// New checks the settings and makes the servers, but listens on nothing yet. The error joins one for each field that is wrong.
func New(cfg Config) (*App, error) {
	cfg, err := cfg.filled()
	if err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, log: cfg.Logger.With("service", cfg.Name), ending: make(chan struct{}),
		ready: make(chan struct{}), over: make(chan struct{}), checked: make(chan struct{}, 1)}
	a.starting, a.endStart = context.WithCancel(context.Background())
	a.leaving, a.leave = context.WithCancel(context.Background())
	a.forced, a.force = context.WithCancel(context.Background())
	a.addresses.Store(&Addresses{})
	for _, c := range cfg.Checks {
		a.checks = append(a.checks, newCheck(c))
	}
	a.registrations = make([]Registration, len(cfg.Register))
	for i := range cfg.Register {
		a.checks = append(a.checks, newCheck(a.registrationCheck(i)))
	}
	if cfg.HTTP.Address != "" {
		a.web = newWeb(a)
	}
	if cfg.Admin.Address != "" {
		a.admin = newAdmin(a)
	}
	if cfg.GRPC.Address != "" || cfg.GRPC.SharePort {
		if a.rpc, err = newRPC(a); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Run runs the service until it has ended. It returns nil when it was asked to end and did so in order; otherwise its error joins what failed,
// a *CutOff if anything was cut off, and ErrForced if everything had to end at once. A second call returns ErrRan.
func (a *App) Run(ctx context.Context) error {
	if !a.ran.CompareAndSwap(false, true) {
		return ErrRan
	}
	defer close(a.over)
	defer a.force() // nothing that waits for it outlives Run
	defer a.catch()()
	a.enter(phaseStarting)
	began := time.Now()

	if err := a.listen(context.WithoutCancel(ctx)); err != nil {
		a.closeListeners()
		a.end("no port to listen on", err)
		a.enter(phaseStopped)
		return err
	}
	defer context.AfterFunc(ctx, func() { a.end("context ended", nil) })()
	a.serve()

	started, err := a.start(a.starting)
	if err != nil {
		a.end("start failed", err)
	}
	checking, stopChecks := context.WithCancel(context.Background())
	announcing, stopAnnouncing := context.WithCancel(context.Background())
	defer stopChecks()
	defer stopAnnouncing()
	if err == nil && a.starting.Err() == nil {
		a.enter(phaseChecking)
		a.loop(checking, a.checks[:len(a.cfg.Checks)])
		if a.passed() {
			a.gate.Store(gateOpen)
			a.enter(phaseServing)
			close(a.ready)
			a.log.Info("the service serves", "took", time.Since(began), "addresses", a.Addresses())
			if err := a.register(); err != nil {
				a.end("registration failed", err)
			}
			a.loop(announcing, a.checks[len(a.cfg.Checks):])
		}
	}
	<-a.ending
	return a.drain(started, stopChecks, stopAnnouncing)
}

// loop begins to run checks.
func (a *App) loop(ctx context.Context, checks []*check) {
	for _, k := range checks {
		a.tasks.Go(func() { k.loop(ctx, a) })
	}
}

// passed waits until all critical checks have passed, and says whether they have before the drain began.
func (a *App) passed() bool {
	for len(a.failing()) > 0 {
		select {
		case <-a.checked:
		case <-a.ending:
			return false
		}
	}
	return a.starting.Err() == nil
}

// catch waits for signals. What it returns ends that.
func (a *App) catch() (stop func()) {
	if a.cfg.NoSignals {
		return func() {}
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, a.cfg.Signals...)
	ended := make(chan struct{})
	var task sync.WaitGroup
	task.Go(func() {
		for n := 1; ; n++ {
			select {
			case s := <-signals:
				if n > 1 {
					a.log.Warn("a second signal ends the service at once", "signal", s.String())
					a.force()
					continue
				}
				a.end("signal: "+s.String(), nil)
			case <-ended:
				return
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(ended)
		task.Wait()
	}
}

// Shutdown begins the drain and waits until Run has returned. When ctx ends first, everything is ended at once, and the error is that of ctx.
// Before Run, it makes that a service that never runs.
func (a *App) Shutdown(ctx context.Context) error {
	if a.ran.CompareAndSwap(false, true) {
		a.end("shut down before it ran", nil)
		a.force()
		close(a.over)
		return nil
	}
	a.end("shutdown", nil)
	select {
	case <-a.over:
		return nil
	case <-ctx.Done():
	}
	a.force()
	<-a.over
	return ctx.Err()
}

// Ready is closed when the service is ready for the first time.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Addresses are what it listens on; all are "" before Run has opened them.
func (a *App) Addresses() Addresses { return *a.addresses.Load() }

// Stats are numbers for metrics.
type Stats struct {
	Phase string // as in /readyz
	Ready bool
	// InFlight are requests and calls that are being answered.
	InFlight int
	// Connections of the servers for HTTP and gRPC, and how many were refused for there being too many.
	Connections        int
	RefusedConnections uint64
	// ChecksFailing counts those that do not pass, critical or not.
	ChecksFailing int
}

// Stats counts anew with each call.
func (a *App) Stats() Stats {
	a.life.Lock()
	s := Stats{Phase: a.life.phase.String(), Ready: a.life.ready}
	a.life.Unlock()
	s.InFlight = a.flight.count()
	for _, l := range a.listeners() {
		s.Connections += l.open()
		s.RefusedConnections += l.refused.Load()
	}
	for _, k := range a.checks {
		if !k.result().ok {
			s.ChecksFailing++
		}
	}
	return s
}
