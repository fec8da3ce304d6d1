package mq

import (
	"context"
	"time"
)

// Header is a name and a value beside a message. Names may occur more than once; their order is kept.
type Header struct {
	Key   string
	Value []byte
}

// Message is what is published and consumed. Messages with the same key land in the same partition of their topic, and
// messages of one partition are consumed in the order in which they were published.
type Message struct {
	Topic   string
	Key     []byte // nil means any partition
	Value   []byte
	Headers []Header

	// Partition, Offset and Time are given by the queue. A publisher ignores the first two, and sets Time to now where it
	// is zero. Offsets of a partition rise; there may be gaps between them.
	Partition int32
	Offset    int64
	Time      time.Time
}

// Header returns the value of the first header with that name, or nil.
func (m *Message) Header(key string) []byte {
	for i := range m.Headers {
		if m.Headers[i].Key == key {
			return m.Headers[i].Value
		}
	}
	return nil
}

// Size is what a message counts for in limits of bytes: key, value and headers, and 64 bytes for everything around them.
func (m *Message) Size() int {
	n := 64 + len(m.Key) + len(m.Value)
	for i := range m.Headers {
		n += len(m.Headers[i].Key) + len(m.Headers[i].Value)
	}
	return n
}

// Batch is messages of one partition in their order, never none. It belongs to the handler until the handler returns.
type Batch struct {
	Topic     string
	Partition int32
	Messages  []Message

	// Epoch is what the consumer got with the partition: from Claim, where the consumer has one, else the generation of the
	// group. Offsets uses it to refuse a consumer that has lost the partition and does not know it yet.
	Epoch int64
	// Attempt is 1 for messages that are handed over for the first time by this consumer.
	Attempt int
}

// Next is the offset behind the last message, from which to go on once the batch is handled.
func (b *Batch) Next() int64 { return b.Messages[len(b.Messages)-1].Offset + 1 }

// Handler does what a batch is for. Nil means that all of it is done. Errors are told apart so:
//
//   - Poison(err): no attempt will ever succeed. The batch is halved until the poisoned messages are alone, and those go
//     to the dead-letter topic. PoisonAt(i, err) saves the search.
//   - Retry(err), ErrFenced, or an error that is context.Canceled or context.DeadlineExceeded: nothing is wrong with the
//     messages. The same messages come again after a pause that grows, for ever, and no later ones of their partition.
//   - anything else, a panic included, is tried again Delivery.Attempts times and then taken for poison, but never for
//     more than Delivery.DeadRun messages in a row: a database that is gone must not empty a topic into the dead letters.
//
// A handler is called for one batch of a partition at a time, and for different partitions at the same time. It must return
// soon after ctx has ended; the partition is given to another consumer only then.
type Handler func(ctx context.Context, batch Batch) error

// Publisher sends messages. kit/mq/kafka and kit/mq/local have one each; both may be used by many goroutines.
type Publisher interface {
	// Publish returns when the queue has all messages durably, and else a *PublishError that tells for each message.
	Publish(ctx context.Context, messages ...Message) error
}

// Consumer hands the messages of topics to a handler. kit/mq/kafka and kit/mq/local have one each.
type Consumer interface {
	// Run consumes until ctx ends, then lets handlers finish for a moment (Delivery.Grace), commits, leaves and returns nil.
	// It may be called once.
	Run(ctx context.Context, handler Handler) error
	// Stats may be called at any time by any goroutine.
	Stats() Stats
}

// Position is where a consumer begins with a partition.
type Position struct {
	Next  int64 // the first offset that is not done; negative means that the queue's own commit says so
	Epoch int64 // rises with each claim of the partition
}

// Claim is called when a consumer was given a partition, before the first message of it, and again after ErrFenced.
// Offsets.Claim is one.
type Claim func(ctx context.Context, topic string, partition int32) (Position, error)
