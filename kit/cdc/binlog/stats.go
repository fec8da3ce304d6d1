package binlog

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/kit/cdc"
)

type counters struct {
	connected                        atomic.Bool
	events, batches, retries, epochs atomic.Uint64
	sessions, sessionFailures        atomic.Uint64
	checkpoints, checkpointFailures  atomic.Uint64
	mu                               struct {
		sync.Mutex
		err   error
		fresh time.Time
		at    cdc.Checkpoint
	}
}

func (c *counters) failed(err error) {
	c.mu.Lock()
	c.mu.err = err
	c.mu.Unlock()
}

// reached notes that everything before a time has been handed over. Servers' times of transactions are not in order.
func (c *counters) reached(fresh time.Time, at cdc.Checkpoint) {
	c.mu.Lock()
	if fresh.After(c.mu.fresh) {
		c.mu.fresh = fresh
	}
	c.mu.at = at
	c.mu.Unlock()
}

// Stats implements cdc.Source.
func (s *Source) Stats() cdc.Stats {
	c := &s.stats
	c.mu.Lock()
	defer c.mu.Unlock()
	return cdc.Stats{
		Connected: c.connected.Load(), LastError: c.mu.err, Fresh: c.mu.fresh, Position: c.mu.at.Position, Epoch: c.mu.at.Epoch,
		Events: c.events.Load(), Batches: c.batches.Load(), Retries: c.retries.Load(), Epochs: c.epochs.Load(),
		Sessions: c.sessions.Load(), SessionFailures: c.sessionFailures.Load(),
		Checkpoints: c.checkpoints.Load(), CheckpointFailures: c.checkpointFailures.Load(),
	}
}
