package mq

import (
	"errors"
	"fmt"
)

var (
	// ErrFenced says that another consumer has claimed the partition since. The batch has had no effect.
	ErrFenced = errors.New("mq: the partition has been claimed by another consumer")
	// ErrUnknown says that a message was sent and no answer came in time: it may be in the queue or not.
	ErrUnknown = errors.New("mq: whether the message was written is not known")
	// ErrFull says that the queue has no room for a message, which was not written.
	ErrFull = errors.New("mq: the queue is full")
	// ErrTooLarge says that a message is larger than the queue takes, and was not written.
	ErrTooLarge = errors.New("mq: the message is too large")
	// ErrClosed says that the publisher or consumer was closed, or that a consumer was run a second time.
	ErrClosed = errors.New("mq: closed")
)

// PoisonError says that messages can never be handled. Make it with Poison and PoisonAt.
type PoisonError struct {
	// Index is the poisoned message's place in the batch; negative means that one or more of the batch are.
	Index int
	Err   error
}

func (e *PoisonError) Error() string {
	if e.Index < 0 {
		return fmt.Sprintf("poisoned batch: %v", e.Err)
	}
	return fmt.Sprintf("poisoned message %d of the batch: %v", e.Index, e.Err)
}

func (e *PoisonError) Unwrap() error { return e.Err }

// Poison marks err: one message of the batch or more can never be handled, and the handler does not know which.
func Poison(err error) error { return &PoisonError{Index: -1, Err: err} }

// PoisonAt marks err: the message batch.Messages[i] can never be handled. What is before it in the batch is handed over
// again without it, so that a handler may look at all messages before it does anything.
func PoisonAt(i int, err error) error { return &PoisonError{Index: i, Err: err} }

// RetryError says that nothing is wrong with the messages. Make it with Retry.
type RetryError struct{ Err error }

func (e *RetryError) Error() string { return fmt.Sprintf("to be tried again: %v", e.Err) }

func (e *RetryError) Unwrap() error { return e.Err }

// Retry marks err: the same batch can succeed later.
func Retry(err error) error { return &RetryError{Err: err} }

// PublishError tells what became of each message of a Publish.
type PublishError struct {
	// Errs has an error for each message, in the order in which they were given; nil means written.
	Errs []error
}

func (e *PublishError) Error() string {
	failed, first := 0, error(nil)
	for _, err := range e.Errs {
		if err != nil {
			if failed++; first == nil {
				first = err
			}
		}
	}
	return fmt.Sprintf("mq: %d of %d messages were not published: %v", failed, len(e.Errs), first)
}

// Unwrap lets errors.Is find what any message failed with.
func (e *PublishError) Unwrap() []error {
	var errs []error
	for _, err := range e.Errs {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
