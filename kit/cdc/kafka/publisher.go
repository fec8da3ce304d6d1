package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/yumen-io/yumen/kit/cdc"
)

// Headers of a record.
const (
	HeaderKind        = "cdc-kind"
	HeaderSource      = "cdc-source"
	HeaderTransaction = "cdc-transaction"
	HeaderIndex       = "cdc-index"
	// HeaderOmitted is in a record whose row was longer than Config.RecordBytesMax and was left out; its value is how many
	// bytes it would have had.
	HeaderOmitted = "cdc-omitted"
)

// RecordBytesMaxDefault leaves room for key, headers and frame in the 1,000,012 bytes that the client puts into a batch, which
// is below the 1,048,588 that a broker takes by default.
const RecordBytesMaxDefault = 960 << 10

// ErrNoEpochTopics is returned by Handle for an epoch that nobody would learn of.
var ErrNoEpochTopics = errors.New("kafka: an epoch has come and Config.EpochTopics is empty")

// Config is how a Publisher is made. The zero value of an optional field is its default.
type Config struct {
	// Brokers are the first addresses to ask, host:port. Required.
	Brokers []string
	// Topic is where an event goes. Default: a Message goes to its Topic, a row to "database.table".
	Topic func(cdc.Event) string
	// EpochTopics are all topics whose consumers keep copies of rows. They must exist. An outbox has no epochs and needs none.
	EpochTopics []string
	// RecordBytesMax is the longest value of a row's record: 1 KiB to 1 GiB, by default 960 KiB. A longer one is published
	// without Before and After, with the header cdc-omitted: what no broker takes would hold up all that comes after it, for
	// ever. Whoever raises it raises kgo.ProducerBatchMaxBytes in Options and the topics' max.message.bytes too.
	RecordBytesMax int
	// Options are for what else the client should do (TLS, SASL, compression). They come last, except for the partitioner.
	Options []kgo.Opt
}

// Publisher publishes events.
type Publisher struct {
	client *kgo.Client
	config Config
}

// New makes a client, which connects when it is used.
func New(config Config) (*Publisher, error) {
	var errs []error
	if len(config.Brokers) == 0 {
		errs = append(errs, errors.New("kafka: Brokers: want at least one host:port"))
	}
	if config.RecordBytesMax == 0 {
		config.RecordBytesMax = RecordBytesMaxDefault
	}
	if config.RecordBytesMax < 1<<10 || config.RecordBytesMax > 1<<30 {
		errs = append(errs, fmt.Errorf("kafka: RecordBytesMax: want 1 KiB to 1 GiB, have %d", config.RecordBytesMax))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if config.Topic == nil {
		config.Topic = topic
	}
	opts := append([]kgo.Opt{kgo.SeedBrokers(config.Brokers...)}, config.Options...)
	client, err := kgo.NewClient(append(opts, kgo.RecordPartitioner(partitioner()))...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return &Publisher{client: client, config: config}, nil
}

// Close ends the client. What Handle has not returned for may be published or not.
func (p *Publisher) Close() { p.client.Close() }

func topic(e cdc.Event) string {
	if e.Kind == cdc.Message {
		return e.Topic
	}
	return e.Database + "." + e.Table
}

// partitioner does as Kafka's own clients do with a key, and leaves an epoch where it was put. Every record has a key, if
// an empty one, so nothing is spread at random.
func partitioner() kgo.Partitioner {
	byKey := kgo.StickyKeyPartitioner(nil)
	return kgo.BasicConsistentPartitioner(func(topic string) func(*kgo.Record, int) int {
		hash := byKey.ForTopic(topic)
		return func(r *kgo.Record, n int) int {
			if r.Key == nil {
				return int(r.Partition)
			}
			return hash.Partition(r, n)
		}
	})
}

// Handle is a cdc.Handler.
func (p *Publisher) Handle(ctx context.Context, events []cdc.Event) error {
	records := make([]*kgo.Record, 0, len(events))
	for _, e := range events {
		r, err := p.record(e)
		if err != nil {
			return err
		}
		if e.Kind != cdc.Epoch {
			records = append(records, r)
			continue
		}
		copies, err := p.everywhere(ctx, r)
		if err != nil {
			return err
		}
		records = append(records, copies...)
	}
	if err := p.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("kafka: publishing: %w", err)
	}
	return nil
}

func (p *Publisher) record(e cdc.Event) (*kgo.Record, error) {
	r := &kgo.Record{Timestamp: e.Time, Value: e.Payload, Headers: []kgo.RecordHeader{
		{Key: HeaderKind, Value: []byte(e.Kind)}, {Key: HeaderSource, Value: []byte(e.Source)},
		{Key: HeaderTransaction, Value: []byte(e.Transaction)}, {Key: HeaderIndex, Value: strconv.AppendInt(nil, int64(e.Index), 10)},
	}}
	if e.Kind != cdc.Epoch {
		r.Topic, r.Key = p.config.Topic(e), append([]byte{}, e.Key...)
	}
	if e.Kind != cdc.Message {
		value, err := json.Marshal(e)
		if n := len(value); err == nil && n > p.config.RecordBytesMax {
			e.Before, e.After = nil, nil
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: HeaderOmitted, Value: strconv.AppendInt(nil, int64(n), 10)})
			value, err = json.Marshal(e)
		}
		if err != nil {
			return nil, fmt.Errorf("kafka: event %s/%d as JSON: %w", e.Transaction, e.Index, err)
		}
		r.Value = value
	}
	return r, nil
}

// everywhere copies the record of an epoch for each partition there is now.
func (p *Publisher) everywhere(ctx context.Context, r *kgo.Record) ([]*kgo.Record, error) {
	if len(p.config.EpochTopics) == 0 {
		return nil, ErrNoEpochTopics
	}
	request := kmsg.NewPtrMetadataRequest()
	for _, name := range p.config.EpochTopics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		request.Topics = append(request.Topics, topic)
	}
	answer, err := request.RequestWith(ctx, p.client)
	if err != nil {
		return nil, fmt.Errorf("kafka: asking for partitions: %w", err)
	}
	var copies []*kgo.Record
	for _, topic := range answer.Topics {
		name := ""
		if topic.Topic != nil {
			name = *topic.Topic
		}
		if err := kerr.ErrorForCode(topic.ErrorCode); err != nil {
			return nil, fmt.Errorf("kafka: asking for partitions of %s: %w", name, err)
		}
		for _, partition := range topic.Partitions {
			c := *r
			c.Topic, c.Partition = name, partition.Partition
			copies = append(copies, &c)
		}
	}
	return copies, nil
}
