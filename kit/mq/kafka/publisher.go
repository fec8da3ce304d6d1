package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/yumen-io/yumen/kit/mq"
)

// Publisher writes messages to Kafka. It may be used by many goroutines, which share requests.
type Publisher struct {
	client *kgo.Client
}

var _ mq.Publisher = (*Publisher)(nil)

// NewPublisher checks cfg and returns a publisher. It connects with the first message.
func NewPublisher(cfg PublisherConfig) (*Publisher, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(slices.Clip(cfg.Options),
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.MetadataMinAge(metadataMinAge),
		// All replicas in sync have a message before it counts, and a repeated request does not write it twice.
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.MaxBufferedRecords(cfg.BufferMessages),
		kgo.MaxBufferedBytes(cfg.BufferBytes),
		kgo.ProducerBatchMaxBytes(int32(cfg.MessageBytes)),
		kgo.ProducerLinger(cfg.Linger),
		kgo.RecordDeliveryTimeout(cfg.Timeout),
	)...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return &Publisher{client: client}, nil
}

// Publish writes the messages, to the partitions of their keys, and returns when all replicas in sync have them or it is
// known that they will not. Messages of one call with the same key stay in order. The error is a *mq.PublishError: an error
// that is mq.ErrUnknown means that ctx ended or the time was up while the message was under way. The slices of a message
// must not be changed before Publish has returned, and after mq.ErrUnknown not at all.
func (p *Publisher) Publish(ctx context.Context, messages ...mq.Message) error {
	return publish(ctx, p.client, messages)
}

// Close waits for what is under way until ctx ends, and closes the connections. What then is under way ends as an error.
func (p *Publisher) Close(ctx context.Context) error {
	err := p.client.Flush(ctx)
	p.client.Close()
	if err != nil {
		return fmt.Errorf("kafka: closing the publisher with messages under way: %w", err)
	}
	return nil
}

// outcome collects the answers of one Publish. It is shared with promises that may come after Publish has returned.
type outcome struct {
	sync.Mutex
	errs   []error
	left   int
	failed int
	all    chan struct{}
}

func (o *outcome) settle(i int, err error) {
	o.Lock()
	defer o.Unlock()
	if o.errs != nil {
		o.errs[i] = err
	}
	if err != nil {
		o.failed++
	}
	if o.left--; o.left == 0 {
		close(o.all)
	}
}

var errOpen = errors.New("no answer yet")

func publish(ctx context.Context, client *kgo.Client, messages []mq.Message) error {
	if len(messages) == 0 {
		return nil
	}
	o := &outcome{errs: make([]error, len(messages)), left: len(messages), all: make(chan struct{})}
	for i := range o.errs {
		o.errs[i] = errOpen
	}
	for i := range messages {
		// Produce waits for room in the buffer until ctx ends. What is in a request by then is not cancelled, since its
		// number in the producer's sequence is taken: Timeout bounds it.
		if err := ctx.Err(); err != nil {
			o.settle(i, err)
			continue
		}
		client.Produce(ctx, record(ctx, &messages[i]), func(_ *kgo.Record, err error) { o.settle(i, published(err)) })
	}
	select {
	case <-o.all:
	case <-ctx.Done():
	}
	o.Lock()
	defer o.Unlock()
	if o.left == 0 && o.failed == 0 {
		return nil
	}
	for i, err := range o.errs {
		if err == errOpen { // the very value, never wrapped
			o.errs[i] = fmt.Errorf("%w: %w", mq.ErrUnknown, context.Cause(ctx))
		}
	}
	result := &mq.PublishError{Errs: o.errs}
	o.errs = nil
	return result
}

func record(ctx context.Context, m *mq.Message) *kgo.Record {
	r := &kgo.Record{Topic: m.Topic, Key: m.Key, Value: m.Value, Timestamp: m.Time}
	if headers := mq.Inject(ctx, m.Headers); len(headers) > 0 {
		r.Headers = make([]kgo.RecordHeader, len(headers))
		for i, h := range headers {
			r.Headers[i] = kgo.RecordHeader{Key: h.Key, Value: h.Value}
		}
	}
	return r
}

// published gives the client's errors the names of kit/mq.
func published(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kerr.MessageTooLarge):
		return fmt.Errorf("%w: %w", mq.ErrTooLarge, err)
	case errors.Is(err, kgo.ErrClientClosed):
		return fmt.Errorf("%w: %w", mq.ErrClosed, err)
	case errors.Is(err, kgo.ErrMaxBuffered):
		return fmt.Errorf("%w: %w", mq.ErrFull, err)
	}
	// Whatever else the client gives up with, it may have sent the record before.
	return fmt.Errorf("%w: %w", mq.ErrUnknown, err)
}

func message(r *kgo.Record) mq.Message {
	m := mq.Message{
		Topic: r.Topic, Key: r.Key, Value: r.Value,
		Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp.Round(time.Millisecond),
	}
	if len(r.Headers) > 0 {
		m.Headers = make([]mq.Header, len(r.Headers))
		for i, h := range r.Headers {
			m.Headers[i] = mq.Header{Key: h.Key, Value: h.Value}
		}
	}
	return m
}
