package saga

import "errors"

var (
	// ErrExists is returned by Start for an id that the log has already.
	ErrExists = errors.New("saga: there is a saga of this id")
	// ErrNotFound is returned by Status and Resolve for an id that the log does not have, or has no longer.
	ErrNotFound = errors.New("saga: there is no saga of this id")
	// ErrRefused is returned for an action that arrives after its own compensation. It did not happen and never will.
	ErrRefused = errors.New("saga: the action comes after its compensation")
	// ErrForgotten is returned for an effect of a saga older than the barrier's memory: whether it happened is not known
	// here any more, so nothing is done.
	ErrForgotten = errors.New("saga: older than what the barrier remembers")
	// ErrKey is returned for a string that is not a Key.
	ErrKey = errors.New("saga: not a key")
	// ErrState is returned by Resolve where the saga's state does not allow it.
	ErrState = errors.New("saga: not possible in this state")

	// errFenced ends the work on a saga that somebody else has claimed or resolved meanwhile.
	errFenced = errors.New("saga: claimed by somebody else")
	// errCommit is a commit that failed, which may have come about.
	errCommit = errors.New("saga: the outcome of the commit is unknown")
	// errUnsaved is errCommit where the transition was in the transaction too: the log knows, and we do not.
	errUnsaved = errors.New("saga: whether the transition is in the log is unknown")
)

// Failed marks the error of an action that definitely did not happen and is not worth another attempt: the money was not
// there, the request was refused. The saga is compensated at once, from the step before. Everything else that is not nil,
// timeouts above all, means that the outcome is unknown. In a compensation the mark has no meaning.
//
// If an earlier attempt of the action had an unknown outcome, the step is compensated too: that attempt may still arrive.
func Failed(err error) error {
	if err == nil {
		return nil
	}
	return &failed{err}
}

type failed struct{ err error }

func (f *failed) Error() string { return f.err.Error() }
func (f *failed) Unwrap() error { return f.err }

// IsFailed tells whether err, or an error it wraps, was marked by Failed.
func IsFailed(err error) bool {
	var f *failed
	return errors.As(err, &f)
}
