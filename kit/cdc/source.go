package cdc

import (
	"context"
	"errors"
	"time"
)

// Handler gets events in the order of commits. When it returns nil they are done with; when it returns an error it gets
// the same ones again. It must not keep the slice. It should return soon after its context has ended.
type Handler func(ctx context.Context, events []Event) error

// Source tells changes. *binlog.Source and *outbox.Tailer are Sources.
type Source interface {
	// Run hands events to handle until ctx ends, and then returns ctx's error. Other errors say that the source cannot work as
	// it is set up.
	Run(ctx context.Context, handle Handler) error
	// Stats returns the numbers as they are now. It may be called by many goroutines.
	Stats() Stats
}

// ErrRunning is returned by Run while another Run of the same source has not returned.
var ErrRunning = errors.New("cdc: the source is running already")

// Stats are numbers for metrics. Counters only grow since the source was made.
type Stats struct {
	// Connected is whether the server answers, and LastError why it does not, or why the Handler or the Store last failed; nil
	// once that works again.
	Connected bool
	LastError error
	// Fresh is the time up to which all commits have been handed over, as far as is known, and zero before the first. The lag
	// is the time since then. While nothing happens it follows the clock with steps of a few seconds at most.
	Fresh time.Time
	// Position is where the source would go on, and Epoch the number of the epoch. An outbox has neither.
	Position string
	Epoch    uint64

	// Events and Batches that were handed over, and Retries of batches whose Handler failed.
	Events, Batches, Retries uint64
	// Epochs is how many events of kind Epoch were made.
	Epochs uint64
	// Sessions with the server, and SessionFailures of opening or keeping one.
	Sessions, SessionFailures uint64
	// Checkpoints saved and failed to be saved.
	Checkpoints, CheckpointFailures uint64
}

// Lag is how old the oldest commit may be that was not handed over, or 0 before anything is known.
func (s Stats) Lag(now time.Time) time.Duration {
	if s.Fresh.IsZero() {
		return 0
	}
	return max(0, now.Sub(s.Fresh))
}
