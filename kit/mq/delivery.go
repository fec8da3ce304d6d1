package mq

import (
	"errors"
	"fmt"
	"time"
)

// Defaults of Delivery.
const (
	BatchMessagesDefault = 500
	BatchBytesDefault    = 1 << 20
	BatchDelayDefault    = 10 * time.Millisecond
	TimeoutDefault       = time.Minute
	AttemptsDefault      = 3
	BackoffMinDefault    = 100 * time.Millisecond
	BackoffMaxDefault    = 30 * time.Second
	DeadRunDefault       = 10
	GraceDefault         = 3 * time.Second
	DeadSuffixDefault    = ".dead"
)

// Delivery is how messages are handed to a handler; it is a part of the config of each consumer. Zero values mean the
// defaults.
type Delivery struct {
	// BatchMessages and BatchBytes end a batch: 500 messages (1 to 100,000) or 1 MiB (at least 1; a larger message is a
	// batch by itself). A partition's consumer holds four batches at most, and what one fetch brings beyond.
	BatchMessages int
	BatchBytes    int
	// BatchDelay is how long the first message of a batch waits for more: 10 ms. Negative means not at all, so that a batch
	// is what has come while the last was handled.
	BatchDelay time.Duration

	// Timeout ends the context of a handler: one minute. The batch is then tried again, like after Retry.
	Timeout time.Duration
	// Attempts is how often an error that is neither Poison nor Retry is tried before it is taken for poison: 3.
	Attempts int
	// BackoffMin and BackoffMax bound the pause before another attempt, which doubles with each and is jittered by half:
	// 100 ms to 30 s.
	BackoffMin time.Duration
	BackoffMax time.Duration
	// DeadRun is how many messages in a row may be taken for poison by unmarked errors, with none handled between: 10. The
	// next is then tried for ever, until one succeeds or a handler says Poison. Negative means no bound.
	DeadRun int
	// Grace is how long a handler may go on when its partition is to be given up or the consumer stops, before its
	// context ends: 3 s. Negative means not at all.
	Grace time.Duration

	// DeadSuffix makes the name of a topic's dead-letter topic: ".dead".
	DeadSuffix string
}

// WithDefaults returns d with its zero values replaced, or an error that names each field that is out of range.
func (d Delivery) WithDefaults() (Delivery, error) {
	setInt(&d.BatchMessages, BatchMessagesDefault)
	setInt(&d.BatchBytes, BatchBytesDefault)
	setInt(&d.Attempts, AttemptsDefault)
	setInt(&d.DeadRun, DeadRunDefault)
	setDuration(&d.BatchDelay, BatchDelayDefault)
	setDuration(&d.Timeout, TimeoutDefault)
	setDuration(&d.BackoffMin, BackoffMinDefault)
	setDuration(&d.BackoffMax, max(BackoffMaxDefault, d.BackoffMin))
	setDuration(&d.Grace, GraceDefault)
	if d.DeadSuffix == "" {
		d.DeadSuffix = DeadSuffixDefault
	}
	var errs []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("mq: "+format, args...))
		}
	}
	refuse(d.BatchMessages < 1 || d.BatchMessages > 100_000, "BatchMessages is %d, and should be 1 to 100000", d.BatchMessages)
	refuse(d.BatchBytes < 1, "BatchBytes is %d, and should be at least 1", d.BatchBytes)
	refuse(d.BatchDelay > time.Minute, "BatchDelay is %v, and should be a minute at most", d.BatchDelay)
	refuse(d.Timeout < 0, "Timeout is %v, and should be more than 0", d.Timeout)
	refuse(d.Attempts < 1, "Attempts is %d, and should be at least 1", d.Attempts)
	refuse(d.BackoffMin < 0, "BackoffMin is %v, and should be more than 0", d.BackoffMin)
	refuse(d.BackoffMax < d.BackoffMin, "BackoffMax is %v, and should be BackoffMin (%v) or more", d.BackoffMax, d.BackoffMin)
	refuse(d.Grace > time.Minute, "Grace is %v, and should be a minute at most: others wait for the partition", d.Grace)
	return d, errors.Join(errs...)
}

func setInt(field *int, value int) {
	if *field == 0 {
		*field = value
	}
}

func setDuration(field *time.Duration, value time.Duration) {
	if *field == 0 {
		*field = value
	}
}

// Headers that a dead letter has beside its own. Numbers are decimal.
const (
	DeadReason    = "mq-dead-reason"
	DeadTopic     = "mq-dead-topic"
	DeadPartition = "mq-dead-partition"
	DeadOffset    = "mq-dead-offset"
	DeadAttempts  = "mq-dead-attempts" // how often the message was handed over alone or with others
	DeadGroup     = "mq-dead-group"
	DeadTime      = "mq-dead-time" // RFC 3339, when it was given up
)

// Stats is what a consumer has done since it began, and where it stands.
type Stats struct {
	Messages   uint64 // handled
	Batches    uint64 // handled, parts of bisected ones counted each
	Failures   uint64 // calls of the handler that returned an error or panicked
	Dead       uint64 // messages in the dead-letter topic
	Commits    uint64 // of offsets, that the queue has confirmed
	Assigned   uint64 // partitions given to this consumer, each time
	Revoked    uint64 // partitions given up in order
	Lost       uint64 // partitions taken away: the consumer was thought dead
	Partitions []PartitionStats
}

// Lag is the sum of the known lags of the partitions that the consumer has now.
func (s *Stats) Lag() (messages int64) {
	for i := range s.Partitions {
		messages += max(0, s.Partitions[i].Lag)
	}
	return messages
}

// PartitionStats is how far a consumer is with one partition.
type PartitionStats struct {
	Topic     string
	Partition int32
	Next      int64         // the first offset that is not done; -1 until something is
	Lag       int64         // messages between Next and the end of the partition; -1 while it is not known
	OldestAge time.Duration // since the oldest message that is here and not done was published
	Buffered  int           // messages that are here and not done
	Waiting   bool          // after an error, for the next attempt
	Suspected bool          // DeadRun was reached: the handler fails for everything
}
