package saga

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// WorkersMax bounds Workers: so many sagas are claimed in one statement.
const WorkersMax = 1024

// Config is for New.
type Config struct {
	Log *Log
	// Definitions are the plans that this engine runs; it leaves sagas of others alone. One name may be there in several
	// versions.
	Definitions []AnyDefinition
	// Name is what the log shows as the owner of a saga, with a random suffix. Empty means "engine".
	Name string
	// Workers is how many sagas run at the same time, at most WorkersMax; zero means 16. Each may need a connection to the
	// log and one to the database of its step.
	Workers int
	// Poll is how often the log is asked for work while there is none; zero means 200 ms.
	Poll time.Duration
	// BackoffMin and BackoffMax bound the wait after an attempt without a known outcome: a random time up to BackoffMin,
	// doubled with each attempt up to BackoffMax. Zero means 100 ms and one minute.
	BackoffMin, BackoffMax time.Duration
	// DeadAfter is how many attempts of one compensation fail before the saga counts as dead. It is still tried, each
	// BackoffMax. Zero means 10.
	DeadAfter int
	// StrayAfter is for how long a saga may be due without anybody claiming it, before it counts as dead because no engine
	// knows its plan. An engine that does takes it up again. Zero means 1 minute.
	StrayAfter time.Duration
	// Tidy is how often old rows are removed and stray sagas looked for; zero means 1 minute.
	Tidy time.Duration
	// Rand returns numbers in [0, 1) for the waits; nil means math/rand/v2. It is called by many goroutines.
	Rand func() float64
	// Logger gets a line when a saga becomes dead and when the log's database is lost and found; nil means slog.Default().
	Logger *slog.Logger
}

// Engine runs the sagas of a log. All methods may be called at the same time. An engine holds nothing when Run has
// returned, so there is no Close.
type Engine struct {
	cfg   Config
	log   *Log
	owner string
	names []string // of the definitions, as in the column def
	defs  map[string]defined
	clock func() time.Time
	wake  chan struct{}

	tidied atomic.Int64 // when, in milliseconds of clock
	lost   atomic.Bool  // the database did not answer
	stats  counters
}

type defined struct {
	AnyDefinition
	about
}

// New checks cfg. All that is wrong is in the error. Nothing is started.
func New(cfg Config) (*Engine, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if cfg.Log == nil {
		bad("Log is nil and wants the log of the sagas")
	}
	if len(cfg.Definitions) == 0 {
		bad("Definitions are none and want one at least")
	}
	if cfg.Name == "" {
		cfg.Name = "engine"
	}
	if !validName(cfg.Name) || len(cfg.Name) > 32 {
		bad("Name is %.100q and wants 1 to 32 of A-Z a-z 0-9 . _ : -", cfg.Name)
	}
	whole := func(field string, v *int, def int) {
		if *v == 0 {
			*v = def
		}
		if *v < 1 {
			bad("%s is %d and wants 0 for %d, or more", field, *v, def)
		}
	}
	whole("Workers", &cfg.Workers, 16)
	if cfg.Workers > WorkersMax {
		bad("Workers is %d and wants %d or less", cfg.Workers, WorkersMax)
	}
	whole("DeadAfter", &cfg.DeadAfter, 10)
	span := func(field string, v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
		if *v < time.Millisecond {
			bad("%s is %v and wants 0 for %v, or a millisecond or more", field, *v, def)
		}
	}
	span("Poll", &cfg.Poll, 200*time.Millisecond)
	span("BackoffMin", &cfg.BackoffMin, 100*time.Millisecond)
	span("BackoffMax", &cfg.BackoffMax, time.Minute)
	span("StrayAfter", &cfg.StrayAfter, time.Minute)
	span("Tidy", &cfg.Tidy, time.Minute)
	if cfg.BackoffMax < cfg.BackoffMin {
		bad("BackoffMax is %v and wants BackoffMin, which is %v, or more", cfg.BackoffMax, cfg.BackoffMin)
	}
	if cfg.Rand == nil {
		cfg.Rand = mathrand.Float64
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	e := &Engine{cfg: cfg, log: cfg.Log, defs: map[string]defined{}, clock: time.Now, wake: make(chan struct{}, 1)}
	versions := map[string]string{}
	for i, d := range cfg.Definitions {
		if d == nil {
			bad("Definitions[%d] is nil", i)
			continue
		}
		a := d.about()
		version := fmt.Sprintf("%s version %d", a.name, a.version)
		if versions[version] != "" {
			bad("Definitions[%d] is %s, as another one", i, version)
		}
		versions[version] = a.def
		e.defs[a.def] = defined{d, a}
		e.names = append(e.names, a.def)
	}
	if errs != nil {
		return nil, fmt.Errorf("saga: engine: %w", errors.Join(errs...))
	}
	if cfg.Log.clock != nil {
		e.clock = cfg.Log.clock
	}
	e.owner = cfg.Name + "-" + rand.Text()[:10]
	e.tidied.Store(e.clock().UnixMilli())
	return e, nil
}

// Wake makes Run look for work now: after the commit of a Start.
func (e *Engine) Wake() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Run claims and runs sagas until ctx ends. Then it claims no more, lets the attempts under way end, which their timeouts
// bound, gives back the sagas and returns nil. A database that does not answer is asked again with each Poll.
func (e *Engine) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	free := make(chan struct{}, e.cfg.Workers)
	for range e.cfg.Workers {
		free <- struct{}{}
	}
	poll := time.NewTicker(e.cfg.Poll)
	defer poll.Stop()
	for {
		// One slot has to be there, the others that are come with it.
		select {
		case <-ctx.Done():
			return nil
		case <-free:
		}
		slots := 1
		for slots < e.cfg.Workers && len(free) > 0 {
			<-free
			slots++
		}
		list, err := e.claim(ctx, slots)
		e.database(ctx, err)
		for range slots - len(list) {
			free <- struct{}{}
		}
		for _, c := range list {
			workers.Go(func() {
				e.run(ctx, c)
				free <- struct{}{}
			})
		}
		e.tidyIfDue(ctx)
		if len(list) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.wake:
		case <-poll.C:
		}
	}
}

// RunDue runs what is due, one saga after the other, until nothing is, and returns how many times it claimed one. It is for
// programs that run sagas when told to, and for tests.
func (e *Engine) RunDue(ctx context.Context) (int, error) {
	for n := 0; ; n++ {
		list, err := e.claim(ctx, 1)
		if err != nil {
			return n, fmt.Errorf("saga: claiming: %w", err)
		}
		if len(list) == 0 {
			e.tidyIfDue(ctx)
			return n, ctx.Err()
		}
		e.run(ctx, list[0])
	}
}

// claim takes live sagas first, and dead ones, which are only tried out of patience, with what room is left.
func (e *Engine) claim(ctx context.Context, max int) ([]claimed, error) {
	list, err := e.log.claim(ctx, shelfLive, e.owner, e.names, max)
	if err == nil && len(list) < max {
		var dead []claimed
		dead, err = e.log.claim(ctx, shelfDead, e.owner, e.names, max-len(list))
		if list = append(list, dead...); len(list) > 0 {
			err = nil // what is claimed is to be run; the next claim will say it again
		}
	}
	e.stats.claims.Add(uint64(len(list)))
	return list, err
}

// run makes attempts until the saga has ended, has to wait, or belongs to somebody else. With the end of ctx it stops
// after the attempt under way.
func (e *Engine) run(ctx context.Context, c claimed) {
	e.stats.running.Add(1)
	defer e.stats.running.Add(-1)
	began := e.clock()
	now := func() int64 { return c.now + e.clock().Sub(began).Milliseconds() }
	def := e.defs[c.def]
	l := limits{steps: len(def.steps), deadAfter: e.cfg.DeadAfter}
	r, data := c.record, c.data
	for {
		l.attempts = def.steps[r.step].attempts
		before := r
		wait, saved := false, false
		if !r.expired(now(), l) {
			var err error
			data, saved, err = e.attempt(ctx, def, &r, data, now(), l)
			switch {
			case errors.Is(err, errFenced):
				e.stats.fenced.Add(1)
				return
			case errors.Is(err, errUnsaved):
				e.write(ctx, func(ctx context.Context) error { return e.log.unsaved(ctx, &r, e.cfg.BackoffMin) })
				return
			}
			if saved {
				e.log.fail.at("after effect and save")
			}
			wait = r.after(err, now(), l)
		}
		r.at = def.steps[r.step].name
		if wait {
			pause := e.pause(&r, now())
			if e.save(ctx, &r, data, "", pause) {
				e.count(ctx, &before, &r)
			}
			return
		}
		stop := ctx.Err() != nil
		switch {
		case stop && !(saved && r.state.Final()):
			if !e.save(ctx, &r, data, "", 0) { // given back
				return
			}
		case !saved && !e.save(ctx, &r, data, e.owner, r.lease):
			return
		}
		e.count(ctx, &before, &r)
		if stop || r.state.Final() {
			return
		}
	}
}

// attempt makes the action or the compensation that r asks for.
func (e *Engine) attempt(ctx context.Context, def defined, r *record, data []byte, now int64, l limits) (after []byte, saved bool, err error) {
	timeout := def.steps[r.step].timeout
	// A saga from before the timeout was raised has the lease of then, and no attempt may outlast it.
	timeout = min(timeout, r.lease-leaseMargin)
	if r.state == Doing && r.deadline > 0 {
		timeout = min(timeout, time.Duration(r.deadline-now)*time.Millisecond)
	}
	// An engine that is told to stop lets the attempt end: to cut it off would leave one more outcome unknown.
	attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	s := &saver{log: e.log, record: *r, owner: e.owner}
	s.record.after(nil, now, l)
	s.record.at = def.steps[s.record.step].name
	if r.state == Doing {
		e.stats.actions.Add(1)
	} else {
		e.stats.compensations.Add(1)
	}
	after, saved, err = def.act(attempt, r, data, s)
	if err != nil && !errors.Is(err, errFenced) {
		e.stats.errors.Add(1)
		var p *panicError
		if errors.As(err, &p) {
			e.stats.panics.Add(1)
			e.cfg.Logger.ErrorContext(ctx, "step of a saga panicked", "saga", r.id, "plan", r.name, "step", def.steps[r.step].name,
				"panic", fmt.Sprint(p.value), "stack", string(p.stack))
		}
	}
	return after, saved, err
}

// saveTries is how often a transition is written before the saga is left to whoever claims it after the lease. Deadlocks
// and a database that starts again are over by then.
const saveTries = 6

// saveTimeout is for one try. It may outlast the lease: what is written then is under the fence, or not at all.
const saveTimeout = 5 * time.Second

// save writes the transition that r is after, and tells whether it is written.
func (e *Engine) save(ctx context.Context, r *record, data []byte, owner string, due time.Duration) bool {
	e.log.fail.at("before save")
	ok := e.write(ctx, func(ctx context.Context) error { return e.log.save(ctx, e.log.db, r, owner, due, data) })
	e.log.fail.at("after save")
	return ok
}

// write writes to the log until it succeeds, and gives up when somebody else has the saga or after saveTries. It does
// not end with ctx: what has happened is to be written down.
func (e *Engine) write(ctx context.Context, f func(context.Context) error) bool {
	for try := 1; ; try++ {
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
		err := f(one)
		cancel()
		if err == nil {
			return true
		}
		if errors.Is(err, errFenced) {
			e.stats.fenced.Add(1)
			return false
		}
		e.stats.logErrors.Add(1)
		if try == saveTries {
			return false
		}
		pause := time.NewTimer(time.Duration(try) * 50 * time.Millisecond)
		<-pause.C
	}
}

// pause is the wait before the next attempt: full jitter over a time that doubles with each, so that sagas that failed
// together do not come back together; but an action does not wait beyond the deadline.
func (e *Engine) pause(r *record, now int64) time.Duration {
	d := e.cfg.BackoffMin
	for n := 1; n < r.attempt && d < e.cfg.BackoffMax; n++ {
		d = min(2*d, e.cfg.BackoffMax)
	}
	d = time.Duration(e.cfg.Rand() * float64(d))
	if r.state == Doing && r.deadline > 0 {
		d = min(d, time.Duration(r.deadline-now)*time.Millisecond)
	}
	return max(time.Millisecond, d)
}

func (e *Engine) count(ctx context.Context, before, r *record) {
	if before.state != r.state {
		switch r.state {
		case Done:
			e.stats.done.Add(1)
		case Undoing:
			e.stats.turned.Add(1)
		case Undone:
			if before.state == Doing {
				e.stats.turned.Add(1)
			}
			e.stats.undone.Add(1)
		}
	}
	if before.shelf != shelfDead && r.shelf == shelfDead {
		e.stats.dead.Add(1)
		e.cfg.Logger.ErrorContext(ctx, "compensation of a saga keeps failing", "saga", r.id, "plan", r.name, "step", r.at, "attempts", r.attempt, "error", r.err)
	}
}

// database writes a line when the log's database is lost and when it is found again, as those see it who look for work.
func (e *Engine) database(ctx context.Context, err error) {
	if err == nil {
		if e.lost.Load() && e.lost.Swap(false) {
			e.cfg.Logger.InfoContext(ctx, "database of the saga log answers again")
		}
		return
	}
	if ctx.Err() != nil {
		return
	}
	e.stats.logErrors.Add(1)
	if !e.lost.Swap(true) {
		e.cfg.Logger.ErrorContext(ctx, "database of the saga log does not answer", "error", err)
	}
}

// tidyMax is how many rows one statement removes, so that it locks nobody out for long.
const tidyMax = 1000

func (e *Engine) tidyIfDue(ctx context.Context) {
	now, last := e.clock().UnixMilli(), e.tidied.Load()
	if now-last < e.cfg.Tidy.Milliseconds() || !e.tidied.CompareAndSwap(last, now) {
		return
	}
	e.database(ctx, e.tidy(ctx))
}

// tidy removes what is old, and sets aside sagas that nobody knows.
func (e *Engine) tidy(ctx context.Context) error {
	if err := e.log.strays(ctx, e.names, e.cfg.StrayAfter); err != nil {
		return err
	}
	sweeps := []func(context.Context, int) (int, error){e.log.purge}
	var parties []*Party
	for _, d := range e.defs {
		for _, s := range d.steps {
			if s.party != nil && !slices.Contains(parties, s.party) {
				parties = append(parties, s.party)
				sweeps = append(sweeps, s.party.Purge)
			}
		}
	}
	for _, sweep := range sweeps {
		for n := tidyMax; n == tidyMax && ctx.Err() == nil; {
			var err error
			if n, err = sweep(ctx, tidyMax); err != nil {
				return err
			}
		}
	}
	return nil
}

// counters are what Stats reads.
type counters struct {
	claims, actions, compensations, errors, panics, done, turned, undone, dead, fenced, logErrors atomic.Uint64
	running                                                                                       atomic.Int64
}

// Stats are numbers since the engine was made, except Running.
type Stats struct {
	Claims        uint64 // sagas taken from the log
	Actions       uint64 // attempts of actions
	Compensations uint64 // attempts of compensations
	Errors        uint64 // of both, those that failed or have no known outcome
	Panics        uint64 // of these, panics
	Turned        uint64 // sagas whose compensation began
	Done          uint64 // sagas that ended so
	Undone        uint64 // sagas that ended so
	Dead          uint64 // sagas whose compensation keeps failing
	Fenced        uint64 // sagas that somebody else had claimed or resolved before we could write
	LogErrors     uint64 // statements that the log's database did not execute
	Running       int64  // sagas in hand at the moment
}

// Stats returns the numbers. It costs a few atomic loads.
func (e *Engine) Stats() Stats {
	s := &e.stats
	return Stats{
		Claims: s.claims.Load(), Actions: s.actions.Load(), Compensations: s.compensations.Load(), Errors: s.errors.Load(), Panics: s.panics.Load(),
		Turned: s.turned.Load(), Done: s.done.Load(), Undone: s.undone.Load(), Dead: s.dead.Load(), Fenced: s.fenced.Load(),
		LogErrors: s.logErrors.Load(), Running: s.running.Load(),
	}
}
