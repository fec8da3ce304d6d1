// Package mqtest is the suite that every queue of kit/mq passes: the same situations with Kafka's stand-in, a real Kafka and
// the local queue.
package mqtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/yumen-io/yumen/kit/mq"
)

// T is what of *testing.T is needed here.
type T interface {
	Helper()
	Cleanup(func())
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// World is a queue for the suite.
type World struct {
	// Topic is a fresh topic with four partitions, and Group a fresh group.
	Topic func(t T) string
	// Publisher is open until t ends.
	Publisher func(t T) mq.Publisher
	// Consumer has not run yet.
	Consumer func(t T, group string, topics []string, d mq.Delivery, claim mq.Claim) mq.Consumer
	// Patience is how long a step may take at most.
	Patience time.Duration
	// Trouble, which may be nil, does something to the queue while it is in use: step counts from 0.
	Trouble func(t T, step int)
}

// Case is one situation.
type Case struct {
	Name string
	Run  func(t T)
}

// Cases are the suite.
func (w World) Cases() []Case {
	return []Case{
		{"order of each key and every message once", w.orderOfEachKey},
		{"a poisoned message goes to the dead letters, the others are handled in order", w.poison},
		{"an error that passes holds up its own partition only", w.transient},
		{"consumers come and go under load", w.rebalance},
		{"a consumer that stops has committed all it did", w.resume},
	}
}

// Consuming is a consumer that runs until Stop or the end of the test.
type Consuming struct {
	mq.Consumer
	cancel context.CancelFunc
	done   chan error
	once   sync.Once
}

// Start runs c with a handler.
func Start(t T, c mq.Consumer, handler mq.Handler) *Consuming {
	ctx, cancel := context.WithCancel(context.Background())
	run := &Consuming{Consumer: c, cancel: cancel, done: make(chan error, 1)}
	go func() { run.done <- c.Run(ctx, handler) }()
	t.Cleanup(func() { run.Stop(t) })
	return run
}

// Stop ends the consumer and waits for it.
func (c *Consuming) Stop(t T) {
	t.Helper()
	c.once.Do(func() {
		c.cancel()
		if err := <-c.done; err != nil {
			t.Errorf("the consumer ended with %v", err)
		}
	})
}

// Eventually asks ok again and again.
func Eventually(t T, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

// Record is what handlers have done, by place.
type Record struct {
	sync.Mutex
	Seen    map[string]int // value: how often
	Last    map[string]int // key: the highest number handled
	Order   []string       // breaches of the order
	Batches int
}

// NewRecord makes an empty one.
func NewRecord() *Record { return &Record{Seen: map[string]int{}, Last: map[string]int{}} }

// Add records a batch of messages whose values are key/number, numbers rising from 1. A number may come again, with all
// after it, and none may be left out.
func (r *Record) Add(b mq.Batch) {
	r.Lock()
	defer r.Unlock()
	r.Batches++
	for _, m := range b.Messages {
		r.Seen[string(m.Value)]++
		key := string(m.Key)
		number, err := strconv.Atoi(string(m.Value[len(key)+1:]))
		if err != nil || number > r.Last[key]+1 {
			r.Order = append(r.Order, fmt.Sprintf("%s after %d", m.Value, r.Last[key]))
		}
		r.Last[key] = max(r.Last[key], number)
	}
}

func (r *Record) seen() int {
	r.Lock()
	defer r.Unlock()
	return len(r.Seen)
}

// Numbered makes messages first to last of each of so many keys, in turns.
func Numbered(topic string, keys, first, last int) []mq.Message {
	var all []mq.Message
	for n := first; n <= last; n++ {
		for k := range keys {
			key := fmt.Sprintf("key%d", k)
			all = append(all, mq.Message{Topic: topic, Key: []byte(key), Value: fmt.Appendf(nil, "%s/%d", key, n)})
		}
	}
	return all
}

func publish(t T, p mq.Publisher, patience time.Duration, messages []mq.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Publish(ctx, messages...); err != nil {
		t.Fatalf("publishing: %v", err)
	}
}

func (w World) orderOfEachKey(t T) {
	topic := w.Topic(t)
	publish(t, w.Publisher(t), w.Patience, Numbered(topic, 20, 1, 50))
	r := NewRecord()
	c := Start(t, w.Consumer(t, "g", []string{topic}, mq.Delivery{BatchMessages: 100}, nil), func(_ context.Context, b mq.Batch) error {
		r.Add(b)
		return nil
	})
	Eventually(t, w.Patience, "all messages", func() bool { return r.seen() == 1000 })
	Eventually(t, w.Patience, "all handled and no lag", func() bool {
		s := c.Stats()
		return s.Messages == 1000 && s.Lag() == 0 && len(s.Partitions) == 4
	})
	c.Stop(t)
	r.Lock()
	defer r.Unlock()
	for value, times := range r.Seen {
		if times != 1 {
			t.Fatalf("%s came %d times", value, times)
		}
	}
	if len(r.Order) > 0 {
		t.Fatalf("out of order: %v", r.Order)
	}
	if r.Batches > 100 {
		t.Errorf("1000 messages took %d batches", r.Batches)
	}
}

func (w World) poison(t T) {
	topic := w.Topic(t)
	messages := Numbered(topic, 8, 1, 25)
	poisoned := []string{"key0/1", "key3/7", "key3/8", "key7/25"}
	for i := range messages {
		messages[i].Headers = []mq.Header{{Key: "own", Value: messages[i].Value}}
	}
	publish(t, w.Publisher(t), w.Patience, messages)
	var mu sync.Mutex
	handled := map[string][]string{}
	total := 0
	c := Start(t, w.Consumer(t, "g", []string{topic}, mq.Delivery{}, nil), func(_ context.Context, b mq.Batch) error {
		for _, m := range b.Messages {
			if slices.Contains(poisoned, string(m.Value)) {
				return mq.Poison(errors.New("cannot be read"))
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for _, m := range b.Messages {
			handled[string(m.Key)] = append(handled[string(m.Key)], string(m.Value))
			total++
		}
		return nil
	})
	Eventually(t, w.Patience, "all handled or dead", func() bool {
		s := c.Stats()
		return s.Messages == 196 && s.Dead == 4
	})
	c.Stop(t)
	for k := range 8 {
		key := fmt.Sprintf("key%d", k)
		var want []string
		for n := 1; n <= 25; n++ {
			if value := fmt.Sprintf("%s/%d", key, n); !slices.Contains(poisoned, value) {
				want = append(want, value)
			}
		}
		if !slices.Equal(handled[key], want) {
			t.Fatalf("%s: handled %v", key, handled[key])
		}
	}

	var dead []string
	Start(t, w.Consumer(t, "undertaker", []string{topic + ".dead"}, mq.Delivery{}, nil), func(_ context.Context, b mq.Batch) error {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range b.Messages {
			dead = append(dead, fmt.Sprintf("%s %s %s", m.Value, m.Header("own"), m.Header(mq.DeadTopic)))
			if string(m.Header(mq.DeadReason)) == "" || m.Header(mq.DeadOffset) == nil || string(m.Header(mq.DeadGroup)) == "" {
				t.Errorf("headers %v", m.Headers)
			}
		}
		return nil
	})
	Eventually(t, w.Patience, "the dead letters", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(dead) == 4
	})
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(dead)
	for i, value := range poisoned {
		if want := fmt.Sprintf("%s %s %s", value, value, topic); dead[i] != want {
			t.Errorf("dead letter %q, want %q", dead[i], want)
		}
	}
}

func (w World) transient(t T) {
	topic := w.Topic(t)
	publish(t, w.Publisher(t), w.Patience, Numbered(topic, 40, 1, 5))
	r := NewRecord()
	var mu sync.Mutex
	stuck, open := int32(-1), false
	stuckCount := 0
	c := Start(t, w.Consumer(t, "g", []string{topic}, mq.Delivery{BackoffMax: 200 * time.Millisecond}, nil), func(_ context.Context, b mq.Batch) error {
		mu.Lock()
		if stuck < 0 {
			stuck = b.Partition
		}
		refuse := b.Partition == stuck && !open
		if refuse {
			stuckCount++
		}
		mu.Unlock()
		if refuse {
			return mq.Retry(errors.New("the database is away"))
		}
		r.Add(b)
		return nil
	})
	Eventually(t, w.Patience, "three attempts, and all other partitions done", func() bool {
		s := c.Stats()
		done := 0
		for _, p := range s.Partitions {
			if p.Lag == 0 {
				done++
			}
		}
		mu.Lock()
		defer mu.Unlock()
		return stuckCount >= 3 && done == 3 && s.Dead == 0
	})
	mu.Lock()
	open = true
	mu.Unlock()
	Eventually(t, w.Patience, "all messages", func() bool { return r.seen() == 200 })
	r.Lock()
	defer r.Unlock()
	if len(r.Order) > 0 {
		t.Fatalf("out of order: %v", r.Order)
	}
}

// Consumers join and leave while messages come: none is lost, none is handled before an earlier one of its key, and no two
// consumers are in a handler for one partition at the same time.
func (w World) rebalance(t T) {
	const keys, last = 20, 150
	topic := w.Topic(t)
	r := NewRecord()
	var mu sync.Mutex
	busy := map[int32]int{}
	overlaps := 0
	handler := func(ctx context.Context, b mq.Batch) error {
		mu.Lock()
		if busy[b.Partition]++; busy[b.Partition] > 1 {
			overlaps++
		}
		mu.Unlock()
		defer func() {
			mu.Lock()
			busy[b.Partition]--
			mu.Unlock()
		}()
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		r.Add(b)
		return nil
	}
	consumer := func() *Consuming {
		return Start(t, w.Consumer(t, "g", []string{topic}, mq.Delivery{BatchMessages: 10, BatchDelay: -1}, nil), handler)
	}
	publisher := w.Publisher(t)
	published := make(chan error, 1)
	go func() {
		for n := 1; n <= last; n++ {
			ctx, cancel := context.WithTimeout(context.Background(), w.Patience)
			err := publisher.Publish(ctx, Numbered(topic, keys, n, n)...)
			cancel()
			if err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()
	first := consumer()
	Eventually(t, w.Patience, "the first batch", func() bool { return first.Stats().Messages > 0 })
	second := consumer()
	if w.Trouble != nil {
		w.Trouble(t, 0)
	}
	Eventually(t, w.Patience, "the second has partitions", func() bool { return len(second.Stats().Partitions) > 0 })
	third := consumer()
	first.Stop(t)
	if w.Trouble != nil {
		w.Trouble(t, 1)
	}
	Eventually(t, w.Patience, "the others have all partitions", func() bool {
		return len(second.Stats().Partitions)+len(third.Stats().Partitions) == 4
	})
	second.Stop(t)
	if err := <-published; err != nil {
		t.Fatalf("publishing: %v", err)
	}
	Eventually(t, w.Patience, "all messages", func() bool { return r.seen() == keys*last })
	third.Stop(t)
	r.Lock()
	defer r.Unlock()
	if len(r.Order) > 0 {
		t.Fatalf("out of order: %v", r.Order)
	}
	if overlaps > 0 {
		t.Fatalf("%d times two consumers were in one partition", overlaps)
	}
	again := 0
	for _, times := range r.Seen {
		again += times - 1
	}
	t.Logf("%d of %d messages were handled again", again, keys*last)
}

func (w World) resume(t T) {
	topic := w.Topic(t)
	p := w.Publisher(t)
	for round := 1; round <= 3; round++ {
		publish(t, p, w.Patience, Numbered(topic, 10, round, round))
		r := NewRecord()
		c := Start(t, w.Consumer(t, "g", []string{topic}, mq.Delivery{}, nil), func(_ context.Context, b mq.Batch) error {
			r.Lock()
			defer r.Unlock()
			for _, m := range b.Messages {
				r.Seen[string(m.Value)]++
			}
			return nil
		})
		Eventually(t, w.Patience, "ten messages", func() bool { return r.seen() >= 10 })
		c.Stop(t)
		for value, times := range r.Seen {
			if times != 1 || value[len(value)-1] != byte('0'+round) {
				t.Fatalf("round %d: %s came %d times", round, value, times)
			}
		}
	}
}
