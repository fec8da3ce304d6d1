package work

import (
	"errors"
	"fmt"
	"runtime/debug"
)

var (
	// ErrFull says that there is no room for one more.
	ErrFull = errors.New("work: full")
	// ErrClosed says that it was shut down.
	ErrClosed = errors.New("work: closed")
)

// PanicError is a panic of a task, made an error.
type PanicError struct {
	Value any
	Stack []byte // where it panicked
}

func (e *PanicError) Error() string { return fmt.Sprintf("work: a task panicked: %v", e.Value) }

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
