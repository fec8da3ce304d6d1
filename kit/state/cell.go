package state

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Errors of cells and rows. All are found by errors.Is; the types that carry the details by errors.As.
var (
	// ErrNotAllowed means that the state does not know the event; the error is a *NotAllowedError.
	ErrNotAllowed = errors.New("the event is not allowed")
	// ErrConflict means that the version is not the one that was asked for; the error is a *ConflictError.
	ErrConflict = errors.New("the version is another one")
	// ErrUnknownState means a state that the machine does not have: in a row, or given to Restore.
	ErrUnknownState = errors.New("the state is unknown")
	// ErrVersion means that a version is outside 0 to VersionMax, or would go beyond it.
	ErrVersion = errors.New("the version is out of range")
)

// NotAllowedError says which event was refused in which state. It is ErrNotAllowed to errors.Is.
type NotAllowedError struct {
	Machine, State, Event string
	Version               uint64 // of the state that refused
}

// Error names machine, state and event.
func (e *NotAllowedError) Error() string {
	return fmt.Sprintf("state: %s: %s is not allowed in %s (version %d)", e.Machine, e.Event, e.State, e.Version)
}

// Is makes the error ErrNotAllowed.
func (e *NotAllowedError) Is(target error) bool { return target == ErrNotAllowed }

// ConflictError says which version was wanted and which was there. It is ErrConflict to errors.Is.
type ConflictError struct {
	Machine, State string // the state that is there
	Want, Have     uint64
}

// Error names both versions.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("state: %s: version %d was wanted and %d is there, in %s", e.Machine, e.Want, e.Have, e.State)
}

// Is makes the error ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// VersionMax is the highest version: 2^56 - 1, two years at a thousand million transitions a second.
const VersionMax = 1<<56 - 1

// Step is a transition that was made.
type Step[S Name] struct {
	From, To S
	// Version is that of To: one more than that of From.
	Version uint64
	// Repeated tells that it was made before, under the same idempotency key. Cells never set it.
	Repeated bool
}

// Cell is the state of one thing in memory. State and version stand in one word, 8 and 56 bits, that changes by compare
// and swap: no lock, no half-made step, and a state that comes back has another version, so that nobody takes it for
// the one he saw. All methods may be called by any goroutine; a Cell must not be copied.
type Cell[S, E Name] struct {
	machine *Machine[S, E]
	word    atomic.Uint64
}

// NewCell is a cell in the initial state, version 0.
func (m *Machine[S, E]) NewCell() *Cell[S, E] {
	c := &Cell[S, E]{machine: m}
	c.word.Store(word(m.initial, 0))
	return c
}

// Restore is a cell in a state and version that were kept somewhere. Errors: ErrUnknownState, ErrVersion.
func (m *Machine[S, E]) Restore(s S, version uint64) (*Cell[S, E], error) {
	if !m.has(s) {
		return nil, fmt.Errorf("state: %s: %d: %w", m.name, uint8(s), ErrUnknownState)
	}
	if version > VersionMax {
		return nil, fmt.Errorf("state: %s: %d: %w", m.name, version, ErrVersion)
	}
	c := &Cell[S, E]{machine: m}
	c.word.Store(word(s, version))
	return c, nil
}

func word[S Name](s S, version uint64) uint64 { return version<<8 | uint64(s) }

func split[S Name](w uint64) (S, uint64) { return S(w & 0xff), w >> 8 }

// Load returns the state and its version.
func (c *Cell[S, E]) Load() (S, uint64) { return split[S](c.word.Load()) }

// Fire makes the step of an event in whatever state the cell is in. Where several goroutines fire at once, each step
// sees the one before it. Errors: ErrNotAllowed, ErrVersion.
func (c *Cell[S, E]) Fire(event E) (Step[S], error) {
	for {
		w := c.word.Load()
		next, step, err := c.machine.step(w, event)
		if err != nil {
			return step, err
		}
		if c.word.CompareAndSwap(w, next) {
			return step, nil
		}
	}
}

// FireAt makes the step of an event if the version is still the one that the caller saw. Errors: ErrConflict,
// ErrNotAllowed, ErrVersion.
func (c *Cell[S, E]) FireAt(version uint64, event E) (Step[S], error) {
	for {
		w := c.word.Load()
		if s, have := split[S](w); have != version {
			return Step[S]{}, c.machine.conflict(s, version, have)
		}
		next, step, err := c.machine.step(w, event)
		if err != nil {
			return step, err
		}
		if c.word.CompareAndSwap(w, next) {
			return step, nil
		}
	}
}

// step is the decision that cells and rows share: what an event makes of a word.
func (m *Machine[S, E]) step(w uint64, event E) (uint64, Step[S], error) {
	from, version := split[S](w)
	to, ok := m.Next(from, event)
	if !ok {
		return 0, Step[S]{}, &NotAllowedError{Machine: m.name, State: from.String(), Event: event.String(), Version: version}
	}
	if version == VersionMax {
		return 0, Step[S]{}, fmt.Errorf("state: %s: there is none after %d: %w", m.name, version, ErrVersion)
	}
	return word(to, version+1), Step[S]{From: from, To: to, Version: version + 1}, nil
}

func (m *Machine[S, E]) conflict(s S, want, have uint64) error {
	return &ConflictError{Machine: m.name, State: s.String(), Want: want, Have: have}
}
