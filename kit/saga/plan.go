package saga

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// Bounds of what a plan and a saga may have. They are the widths of columns, or keep one saga from crowding out others.
const (
	NameBytesMax = 64        // of the names of plans and steps and of the ids of sagas
	StepsMax     = 64        // of a plan: each is a write at least
	DataBytesMax = 256 << 10 // of a saga's data as JSON, which is written with each transition
)

// TimeoutDefault and AttemptsDefault are for steps that say nothing.
const (
	TimeoutDefault  = 10 * time.Second
	AttemptsDefault = 3
)

// Forever, as the Attempts of a step, tries its action until the plan's deadline, or without end if the plan has none.
const Forever = -1

// Plan is what a kind of saga does: its steps, in order. T is the saga's data. It is kept as JSON, so a field that a later
// version of the program adds is zero in sagas from before.
type Plan[T any] struct {
	// Name is the plan's, at most NameBytesMax of A-Z a-z 0-9 . _ : -
	Name string
	// Version counts up from 1, one for each change of the steps' names, number or order. Sagas under way go on with the
	// version they began with, so a program gives the engine the old plan too until none of its sagas is left.
	Version int
	// Deadline is how long a saga may take from Start until its last action has happened. What is left of the time
	// bounds each action as well; when it is over the saga is compensated. Compensations have no deadline. Zero means none.
	Deadline time.Duration
	// Steps are Local and Remote ones in the order of their actions. Compensations run in the reverse order.
	Steps []Step[T]
}

// Step is a Local or a Remote.
type Step[T any] interface {
	settings() settings
	// act makes the action or, if undo, the compensation. save, if there is one, is to be called in the transaction of
	// the effect, with the data after it; then the transition is saved and the step says so.
	act(ctx context.Context, undo bool, c *Call[T], save *saver) (saved bool, err error)
}

// settings are what both kinds of steps have.
type settings struct {
	name     string
	timeout  time.Duration
	attempts int
	hasDo    bool
	local    bool
	party    *Party // of a Local
}

// Call is one attempt of an action or a compensation. It belongs to the function it is given to, until that returns.
type Call[T any] struct {
	Saga    string // the saga's id
	Step    string // the step's name
	Attempt int    // 1 for the first, of this action or this compensation; attempts lost with a process count
	// Unsure is set in a compensation when nobody knows whether the action happened: it timed out, or its process died.
	// Data is then what it was before the action, except in a Local, which finds out.
	Unsure bool
	// Data is the saga's. What a function changes in it is kept with the step if the function returns nil, and is
	// forgotten otherwise.
	Data *T

	key Key
}

// Key names this effect for the service that is to have it: it is the same in each attempt, and another one for the
// compensation. It goes with the request, in the field HeaderKey, and there to Party.Do or Party.Guard.
func (c *Call[T]) Key() string { return c.key.String() }

// Local is a step whose effect is in a database that this program can reach. Do and Undo get a transaction that has
// passed the barrier already, so that there is no way to change the database twice, too late, or back from what never
// happened. They must use that transaction for all their changes and must not end it.
type Local[T any] struct {
	// Name is the step's, unique in the plan; bounds and letters as in Plan.Name.
	Name string
	// Party is the database. Where it is the same *sql.DB as that of the Log, the effect and the saga's progress are one
	// commit.
	Party *Party
	// Do is the action. The transaction is committed if it returns nil.
	Do func(ctx context.Context, tx *sql.Tx, c *Call[T]) error
	// Undo is the compensation. It is called if the action is known to have happened, and never otherwise. Nil means that
	// nothing has to be undone.
	Undo func(ctx context.Context, tx *sql.Tx, c *Call[T]) error
	// Timeout is for one attempt; zero means TimeoutDefault. Context ends then, and the outcome is unknown.
	Timeout time.Duration
	// Attempts is how often the action is tried while its outcome is unknown; zero means AttemptsDefault.
	Attempts int
}

func (s Local[T]) settings() settings {
	return settings{s.Name, s.Timeout, s.Attempts, s.Do != nil, true, s.Party}
}

func (s Local[T]) act(ctx context.Context, undo bool, c *Call[T], save *saver) (saved bool, err error) {
	f := s.Do
	if undo {
		f = s.Undo
	}
	p := s.Party
	if save != nil && save.log.db != p.db {
		save = nil
	}
	err = p.inTx(ctx, func(tx *sql.Tx) error {
		pass, reply, err := p.pass(ctx, tx, c.key)
		if err != nil {
			return err
		}
		// The data that the action left and that died with its process: see barrier.
		if reply != nil && (pass == passAlready || undo && c.Unsure) {
			if err := json.Unmarshal(reply, c.Data); err != nil {
				return fmt.Errorf("data kept at the barrier: %w", err)
			}
		}
		if pass == passRun && f != nil {
			if err := guarded(func() error { return f(ctx, tx, c) }); err != nil {
				return err
			}
		}
		data, err := encode(c.Data)
		if err != nil {
			return err
		}
		if save != nil {
			saved = true
			return save.in(ctx, tx, data)
		}
		if pass != passRun {
			return nil
		}
		return p.keep(ctx, tx, c.key, data)
	})
	if err != nil && saved && errors.Is(err, errCommit) {
		err = fmt.Errorf("%w: %w", errUnsaved, err)
	}
	return saved && err == nil, err
}

// Remote is a step whose effect is in another service, or in anything that is not one of our databases. Whatever has the
// effect must know c.Key() and have passed it to its own barrier: a Party there, or an idempotency key that it supports
// by itself.
type Remote[T any] struct {
	// Name is the step's, unique in the plan; bounds and letters as in Plan.Name.
	Name string
	// Do is the action. An error that is not Failed leaves it unknown whether it happened. ctx has the key: see KeyFrom.
	Do func(ctx context.Context, c *Call[T]) error
	// Undo is the compensation. It is also called when nobody knows whether the action happened, and then may arrive
	// before it. Nil means that nothing has to be undone.
	Undo func(ctx context.Context, c *Call[T]) error
	// Timeout is for one attempt; zero means TimeoutDefault. Context ends then, and the outcome is unknown.
	Timeout time.Duration
	// Attempts is how often the action is tried while its outcome is unknown; zero means AttemptsDefault.
	Attempts int
}

func (s Remote[T]) settings() settings {
	return settings{s.Name, s.Timeout, s.Attempts, s.Do != nil, false, nil}
}

func (s Remote[T]) act(ctx context.Context, undo bool, c *Call[T], _ *saver) (saved bool, err error) {
	f := s.Do
	if undo {
		f = s.Undo
	}
	if f == nil {
		return false, nil
	}
	return false, guarded(func() error { return f(withKey(ctx, c.Key()), c) })
}

// guarded turns a panic of the caller's function into an error. What the function did before is unknown, so it is an
// ordinary one.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{p, debug.Stack()}
		}
	}()
	return f()
}

type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// Definition is a plan that was found to be sound. It does not change and may be used by many goroutines.
type Definition[T any] struct {
	plan  Plan[T]
	def   string // name, version and a sum of the steps' names, as the log has it
	steps []settings
	lease time.Duration
}

// AnyDefinition is a *Definition of any T, for Config.
type AnyDefinition interface {
	about() about
	act(ctx context.Context, r *record, data []byte, save *saver) (after []byte, saved bool, err error)
}

// about is what the engine has to know of a plan.
type about struct {
	name, def string
	version   int
	steps     []settings
}

// leaseMargin is what an engine has beyond the longest timeout to write down how a step ended.
const leaseMargin = 2 * time.Second

// Define checks a plan. All that is wrong is in the error.
func Define[T any](p Plan[T]) (*Definition[T], error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !validName(p.Name) {
		bad("Name is %q and wants %s", p.Name, nameWants)
	}
	if p.Version < 1 {
		bad("Version is %d and wants 1 or more", p.Version)
	}
	if p.Deadline < 0 {
		bad("Deadline is %v and wants 0 for none, or more", p.Deadline)
	}
	if n := len(p.Steps); n == 0 || n > StepsMax {
		bad("Steps are %d and want 1 to %d", n, StepsMax)
	}
	d := &Definition[T]{plan: p}
	sum := sha256.New()
	seen := map[string]bool{}
	for i, step := range p.Steps {
		if step == nil {
			bad("Steps[%d] is nil", i)
			continue
		}
		s := step.settings()
		if s.local && s.party == nil {
			bad("Steps[%d].Party is nil and wants the database of the step", i)
		}
		if !validName(s.name) {
			bad("Steps[%d].Name is %q and wants %s", i, s.name, nameWants)
		}
		if seen[s.name] {
			bad("Steps[%d].Name is %q, as that of another step", i, s.name)
		}
		seen[s.name] = true
		if !s.hasDo {
			bad("Steps[%d].Do is nil and wants the action", i)
		}
		if s.timeout < 0 {
			bad("Steps[%d].Timeout is %v and wants 0 for %v, or more", i, s.timeout, TimeoutDefault)
		}
		if s.timeout == 0 {
			s.timeout = TimeoutDefault
		}
		if s.attempts < Forever {
			bad("Steps[%d].Attempts is %d and wants 0 for %d, more, or Forever", i, s.attempts, AttemptsDefault)
		}
		if s.attempts == 0 {
			s.attempts = AttemptsDefault
		}
		d.lease = max(d.lease, s.timeout+leaseMargin)
		d.steps = append(d.steps, s)
		sum.Write([]byte(s.name))
		sum.Write([]byte{0})
	}
	if errs != nil {
		return nil, fmt.Errorf("saga: plan %q: %w", p.Name, errors.Join(errs...))
	}
	d.def = fmt.Sprintf("%s/%d/%s", p.Name, p.Version, hex.EncodeToString(sum.Sum(nil)[:8]))
	return d, nil
}

func (d *Definition[T]) about() about {
	return about{d.plan.Name, d.def, d.plan.Version, d.steps}
}

// act makes the attempt that r asks for and returns the data after it. The data is what the log has if it failed.
func (d *Definition[T]) act(ctx context.Context, r *record, data []byte, save *saver) (after []byte, saved bool, err error) {
	value := new(T)
	if err := json.Unmarshal(data, value); err != nil {
		return data, false, fmt.Errorf("data of the saga: %w", err)
	}
	c := &Call[T]{
		Saga: r.id, Step: d.steps[r.step].name, Attempt: r.attempt + 1, Unsure: r.unsure, Data: value,
		key: Key{Saga: r.id, Step: d.steps[r.step].name, Undo: r.state == Undoing, Born: r.born},
	}
	if saved, err = d.plan.Steps[r.step].act(ctx, r.state == Undoing, c, save); err != nil {
		return data, false, err
	}
	after, err = encode(value)
	if err != nil {
		return data, false, err
	}
	return after, saved, nil
}

func encode(value any) ([]byte, error) {
	data, err := json.Marshal(value)
	if err == nil && len(data) > DataBytesMax {
		err = fmt.Errorf("%d bytes, more than %d", len(data), DataBytesMax)
	}
	if err != nil {
		return nil, fmt.Errorf("data of the saga: %w", err)
	}
	return data, nil
}

const nameWants = "1 to 64 of A-Z a-z 0-9 . _ : -"

func validName(s string) bool {
	if len(s) == 0 || len(s) > NameBytesMax {
		return false
	}
	for _, c := range []byte(s) {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == ':' || c == '-'
		if !ok {
			return false
		}
	}
	return true
}
