// Package lane hands the messages of one partition to a handler: in batches, in order, again after errors, without the
// poisoned ones. It is what the consumers of kit/mq have in common; it knows no queue and no commits, which its host has.
package lane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/kit/mq"
)

// FencedPause is how long a lane waits before it claims its partition again: longer than a consumer that has lost the
// partition needs to hear of it, so that two do not take it from each other in turns.
const FencedPause = time.Second

// Host is the consumer that a lane belongs to. Functions are called on the lane's goroutine.
type Host struct {
	Handle mq.Handler
	// Dead puts a message into the dead-letter topic, durably.
	Dead func(ctx context.Context, m mq.Message, reason error, attempts int) error
	// Done says that everything below next is handled or dead. It does not block.
	Done func(next int64)
	// Room says that there is room again after Push has said full. It does not block for long.
	Room func()
	// Claim gets an epoch after mq.ErrFenced; nil where epochs come from the group.
	Claim func(ctx context.Context) (epoch int64, err error)

	Counters *Counters
	Logger   *slog.Logger
}

// Counters are shared by the lanes of a consumer.
type Counters struct {
	Messages, Batches, Failures, Dead, Commits, Assigned, Revoked, Lost atomic.Uint64
}

// Lane is one partition in the hands of one consumer.
type Lane struct {
	topic     string
	partition int32
	set       mq.Delivery
	host      Host

	epoch     atomic.Int64
	next      atomic.Int64
	end       atomic.Int64 // of the partition, -1 while unknown
	waiting   atomic.Bool
	suspected atomic.Bool

	draining chan struct{}
	once     sync.Once
	over     chan struct{} // closed when Run has returned
	news     chan struct{} // 1: something was pushed

	mu struct {
		sync.Mutex
		messages []mq.Message // waiting; the batch in hand is not among them
		bytes    int
		held     int // messages of the batch in hand that are not done
		oldest   time.Time
		full     bool
	}

	// Owned by Run.
	deadRun int
}

// New makes a lane, which does nothing before Run. set has its defaults filled in.
func New(topic string, partition int32, set mq.Delivery, host Host) *Lane {
	l := &Lane{
		topic: topic, partition: partition, set: set, host: host,
		draining: make(chan struct{}), over: make(chan struct{}), news: make(chan struct{}, 1),
	}
	l.next.Store(-1)
	l.end.Store(-1)
	return l
}

// SetEpoch is called before the first Push.
func (l *Lane) SetEpoch(epoch int64) { l.epoch.Store(epoch) }

// SetEnd tells the offset that the next message of the partition will have.
func (l *Lane) SetEnd(end int64) { l.end.Store(end) }

// Push adds messages and says whether the lane has more than it wants now; Host.Room comes later if so. It never blocks.
func (l *Lane) Push(messages []mq.Message) (full bool) {
	if len(messages) == 0 {
		return false
	}
	l.mu.Lock()
	l.mu.messages = append(l.mu.messages, messages...)
	for i := range messages {
		l.mu.bytes += messages[i].Size()
	}
	if len(l.mu.messages) >= 4*l.set.BatchMessages || l.mu.bytes >= 4*l.set.BatchBytes {
		l.mu.full = true
	}
	full = l.mu.full
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default:
	}
	return full
}

// Drain lets the handler finish what it has in hand, and the lane end then.
func (l *Lane) Drain() { l.once.Do(func() { close(l.draining) }) }

// Over is closed when the lane has ended and the handler has returned.
func (l *Lane) Over() <-chan struct{} { return l.over }

// Run hands over messages until ctx ends or the lane is drained.
func (l *Lane) Run(ctx context.Context) {
	defer close(l.over)
	for {
		batch, ok := l.take(ctx)
		if !ok || !l.deliver(ctx, batch) {
			return
		}
	}
}

// Stats is what the lane stands at.
func (l *Lane) Stats(now time.Time) mq.PartitionStats {
	s := mq.PartitionStats{
		Topic: l.topic, Partition: l.partition, Next: l.next.Load(), Lag: -1,
		Waiting: l.waiting.Load(), Suspected: l.suspected.Load(),
	}
	l.mu.Lock()
	s.Buffered = len(l.mu.messages) + l.mu.held
	if l.mu.held > 0 {
		s.OldestAge = now.Sub(l.mu.oldest)
	} else if len(l.mu.messages) > 0 {
		s.OldestAge = now.Sub(l.mu.messages[0].Time)
	}
	first := int64(-1)
	if l.mu.held == 0 && len(l.mu.messages) > 0 {
		first = l.mu.messages[0].Offset
	}
	l.mu.Unlock()
	from := s.Next
	if from < 0 {
		from = first
	}
	if end := l.end.Load(); end >= 0 && from >= 0 {
		s.Lag = max(0, end-from)
	}
	s.OldestAge = max(0, s.OldestAge)
	return s
}

// SetNext tells where the partition is begun.
func (l *Lane) SetNext(next int64) { l.next.Store(next) }

// take waits for a batch.
func (l *Lane) take(ctx context.Context) ([]mq.Message, bool) {
	var delay <-chan time.Time
	due := l.set.BatchDelay <= 0
	for {
		if l.ending(ctx) {
			return nil, false
		}
		batch, some, room := l.cut(due)
		if room {
			l.host.Room()
		}
		if batch != nil {
			return batch, true
		}
		if some && delay == nil {
			timer := time.NewTimer(l.set.BatchDelay)
			defer timer.Stop()
			delay = timer.C
		}
		select {
		case <-ctx.Done():
		case <-l.draining:
		case <-l.news:
		case <-delay:
			due = true
		}
	}
}

// cut takes the next batch off the buffer if it is complete, or if it is due and there is something.
func (l *Lane) cut(due bool) (batch []mq.Message, some, room bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, bytes, complete := 0, 0, false
	for n < len(l.mu.messages) {
		size := l.mu.messages[n].Size()
		// A queue that goes back to earlier offsets, after it has lost some, begins a new batch: what is before Batch.Next
		// has to be what the batch holds.
		back := n > 0 && l.mu.messages[n].Offset <= l.mu.messages[n-1].Offset
		if n > 0 && bytes+size > l.set.BatchBytes || back {
			complete = true
			break
		}
		bytes += size
		if n++; n == l.set.BatchMessages || bytes >= l.set.BatchBytes {
			complete = true
			break
		}
	}
	if n == 0 || !complete && !due {
		return nil, n > 0, false
	}
	batch = l.mu.messages[:n:n]
	l.mu.messages = l.mu.messages[n:]
	l.mu.bytes -= bytes
	l.mu.held, l.mu.oldest = n, batch[0].Time
	if l.mu.full && len(l.mu.messages) < 2*l.set.BatchMessages && l.mu.bytes < 2*l.set.BatchBytes {
		l.mu.full, room = false, true
	}
	return batch, true, room
}

// part is messages that are still to be handed over.
type part struct {
	messages []mq.Message
	tried    int  // how often its messages were handed over, with others or without
	whole    bool // it has not been halved
}

// deliver hands messages over until each is handled or dead, in order: what comes later waits. It returns false when the
// lane has to end before that.
func (l *Lane) deliver(ctx context.Context, messages []mq.Message) bool {
	todo := []part{{messages: messages, whole: true}} // a stack, the first messages on top
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		split, ok := l.settle(ctx, p)
		if !ok {
			return false
		}
		for i := len(split) - 1; i >= 0; i-- {
			if len(split[i].messages) > 0 {
				todo = append(todo, split[i])
			}
		}
	}
	return true
}

// settle hands one part over until it is handled, dead, or known to need splitting.
func (l *Lane) settle(ctx context.Context, p part) (split []part, ok bool) {
	attempts := 0 // that failed with an unmarked error
	for pauses := 0; ; pauses++ {
		if l.ending(ctx) {
			return nil, false
		}
		p.tried++
		err := l.handle(ctx, p)
		if err == nil {
			l.deadRun = 0
			l.suspected.Store(false)
			l.host.Counters.Messages.Add(uint64(len(p.messages)))
			l.host.Counters.Batches.Add(1)
			l.done(p.messages)
			return nil, true
		}
		l.host.Counters.Failures.Add(1)
		if ctx.Err() != nil {
			return nil, false
		}

		var poison *mq.PoisonError
		single := len(p.messages) == 1
		switch {
		case errors.Is(err, mq.ErrFenced):
			if !l.pause(ctx, FencedPause) || !l.reclaim(ctx) {
				return nil, false
			}
			continue
		case transient(err):
			// Nothing is wrong with the messages.
		case errors.As(err, &poison):
			if single {
				return nil, l.bury(ctx, p, err)
			}
			if i := poison.Index; i >= 0 && i < len(p.messages) {
				dead := part{messages: p.messages[i : i+1], tried: p.tried}
				if i > 0 {
					return []part{{messages: p.messages[:i], tried: p.tried}, dead, {messages: p.messages[i+1:], tried: p.tried}}, true
				}
				if !l.bury(ctx, dead, err) {
					return nil, false
				}
				return []part{{messages: p.messages[1:], tried: p.tried}}, true
			}
			return halves(p), true
		default:
			attempts++
			enough := attempts >= l.set.Attempts
			if enough && single && (l.set.DeadRun < 0 || l.deadRun < l.set.DeadRun) {
				l.deadRun++
				return nil, l.bury(ctx, p, err)
			}
			if enough && single && !l.suspected.Swap(true) {
				l.host.Logger.Error("the handler fails for everything; no more messages are given up until one is handled",
					"topic", l.topic, "partition", l.partition, "offset", p.messages[0].Offset, "error", err)
			}
			if !single && (enough || !p.whole) {
				return halves(p), true
			}
		}
		if !l.pause(ctx, l.backoff(pauses)) {
			return nil, false
		}
	}
}

// transient says whether nothing is wrong with the messages. Poison inside a Retry is a Retry: it is the later word.
func transient(err error) bool {
	var retry *mq.RetryError
	var poison *mq.PoisonError
	if errors.As(err, &retry) {
		return true
	}
	if errors.As(err, &poison) {
		return false
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

func halves(p part) []part {
	middle := len(p.messages) / 2
	return []part{{messages: p.messages[:middle], tried: p.tried}, {messages: p.messages[middle:], tried: p.tried}}
}

// handle calls the handler with a deadline. A panic is an error.
func (l *Lane) handle(ctx context.Context, p part) (err error) {
	ctx, cancel := context.WithTimeout(ctx, l.set.Timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the handler panicked: %v\n%s", r, debug.Stack())
		}
	}()
	return l.host.Handle(ctx, mq.Batch{
		Topic: l.topic, Partition: l.partition, Messages: p.messages, Epoch: l.epoch.Load(), Attempt: p.tried,
	})
}

// bury gives up the one message of p: it is done once the dead-letter topic has it, for which the lane waits for ever.
func (l *Lane) bury(ctx context.Context, p part, reason error) bool {
	for pauses := 0; ; pauses++ {
		err := l.host.Dead(ctx, p.messages[0], reason, p.tried)
		if err == nil {
			l.host.Counters.Dead.Add(1)
			l.done(p.messages)
			return true
		}
		if pauses == 0 && ctx.Err() == nil {
			l.host.Logger.Error("a message cannot be put into the dead letters; its partition waits",
				"topic", l.topic, "partition", l.partition, "offset", p.messages[0].Offset, "error", err)
		}
		if l.ending(ctx) || !l.pause(ctx, l.backoff(pauses)) {
			return false
		}
	}
}

func (l *Lane) reclaim(ctx context.Context) bool {
	for pauses := 0; l.host.Claim != nil; pauses++ {
		epoch, err := l.host.Claim(ctx)
		if err == nil {
			l.epoch.Store(epoch)
			return true
		}
		if !l.pause(ctx, l.backoff(pauses)) {
			return false
		}
	}
	return true
}

func (l *Lane) done(messages []mq.Message) {
	next := messages[len(messages)-1].Offset + 1
	l.next.Store(next)
	l.mu.Lock()
	l.mu.held -= len(messages)
	l.mu.Unlock()
	l.host.Done(next)
}

func (l *Lane) ending(ctx context.Context) bool {
	select {
	case <-l.draining:
		return true
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

// backoff is the pause after so many: doubled each time, and between half of it and all of it.
func (l *Lane) backoff(pauses int) time.Duration {
	d := l.set.BackoffMax
	if pauses < 30 && l.set.BackoffMin<<pauses < d {
		d = l.set.BackoffMin << pauses
	}
	return d/2 + rand.N(d/2+1)
}

func (l *Lane) pause(ctx context.Context, d time.Duration) bool {
	l.waiting.Store(true)
	defer l.waiting.Store(false)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-l.draining:
	}
	return false
}
