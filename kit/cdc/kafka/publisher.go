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
)

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
	if len(config.Brokers) == 0 {
		return nil, errors.New("kafka: Brokers: want at least one host:port")
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
