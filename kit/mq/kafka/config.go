package kafka

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/yumen-io/yumen/kit/mq"
)

// Defaults.
const (
	TimeoutDefault        = 30 * time.Second
	BufferMessagesDefault = 10_000
	BufferBytesDefault    = 64 << 20
	MessageBytesDefault   = 1 << 20
	CommitDelayDefault    = 20 * time.Millisecond
	LagEveryDefault       = 5 * time.Second
	SessionDefault        = 45 * time.Second
	RebalanceDefault      = time.Minute

	// metadataMinAge is how soon a client may ask anew where a partition is, which it does when one has moved: the library's 5 s
	// are what Publish would wait for each move of a leader.
	metadataMinAge = 500 * time.Millisecond
)

// PublisherConfig is what NewPublisher needs. Only Brokers has no default.
type PublisherConfig struct {
	// Brokers are host:port of some of the brokers; the others are found through them.
	Brokers []string
	// Options are for what has no field here, TLS and SASL above all. What this package promises rests on the options it
	// sets itself, which win.
	Options []kgo.Opt

	// Timeout is how long a message is tried for: 30 s (at least 1 s). Publish may return earlier, with its context.
	Timeout time.Duration
	// BufferMessages and BufferBytes bound what is under way; Publish waits for room: 10,000 messages, 64 MiB.
	BufferMessages int
	BufferBytes    int
	// MessageBytes is the largest message, before compression: 1 MiB, which is what brokers take unless told otherwise.
	MessageBytes int
	// Linger is how long a message waits for others to share a request with: not at all. Those that come while a request
	// is under way share the next one in any case.
	Linger time.Duration
}

// ConsumerConfig is what NewConsumer needs. Brokers, Group and Topics have no default.
type ConsumerConfig struct {
	// Brokers and Options are like those of PublisherConfig.
	Brokers []string
	Options []kgo.Opt

	// Group is the consumer group: each message goes to one of its consumers. A new group begins with the oldest messages.
	Group  string
	Topics []string

	mq.Delivery

	// Claim says where to begin with a partition that was given to this consumer, instead of what the group has committed;
	// mq.Offsets.Claim is one. Nil means what the group has committed.
	Claim mq.Claim

	// CommitDelay is how long a finished batch waits for others to be committed with: 20 ms (at most 1 minute). What is not
	// committed comes again after a crash. Negative means not at all.
	CommitDelay time.Duration
	// LagEvery is how often the ends of the partitions are asked for: 5 s (at least 100 ms).
	LagEvery time.Duration
	// Session is how long a consumer that is not heard of keeps its partitions: 45 s (1 s or more; brokers have bounds of
	// their own, from 6 s to 30 minutes unless told otherwise).
	Session time.Duration
	// Rebalance is how long the group waits, beyond Grace, for a consumer that is heard of and yet does not come when partitions
	// are given out anew, before it goes on without it: a minute (1 s or more). The longest of all consumers' holds.
	Rebalance time.Duration

	// Logger is for changes of state: nil means slog.Default().
	Logger *slog.Logger
}

type complaints []error

func (c *complaints) refuse(bad bool, format string, args ...any) {
	if bad {
		*c = append(*c, fmt.Errorf("kafka: "+format, args...))
	}
}

func (cfg PublisherConfig) withDefaults() (PublisherConfig, error) {
	orDefault(&cfg.Timeout, TimeoutDefault)
	orDefault(&cfg.BufferMessages, BufferMessagesDefault)
	orDefault(&cfg.BufferBytes, BufferBytesDefault)
	orDefault(&cfg.MessageBytes, MessageBytesDefault)
	var c complaints
	c.refuse(len(cfg.Brokers) == 0, "Brokers is empty, and should have host:port of at least one broker")
	c.refuse(cfg.Timeout < time.Second, "Timeout is %v, and should be at least 1s", cfg.Timeout)
	c.refuse(cfg.BufferMessages < 1, "BufferMessages is %d, and should be at least 1", cfg.BufferMessages)
	c.refuse(cfg.MessageBytes < 1024 || cfg.MessageBytes > 1<<30, "MessageBytes is %d, and should be 1 KiB to 1 GiB", cfg.MessageBytes)
	c.refuse(cfg.BufferBytes < cfg.MessageBytes, "BufferBytes is %d, and should be at least MessageBytes (%d)", cfg.BufferBytes, cfg.MessageBytes)
	c.refuse(cfg.Linger < 0 || cfg.Linger > time.Minute, "Linger is %v, and should be 0 to 1m", cfg.Linger)
	return cfg, errors.Join(c...)
}

func (cfg ConsumerConfig) withDefaults() (ConsumerConfig, error) {
	orDefault(&cfg.CommitDelay, CommitDelayDefault)
	orDefault(&cfg.LagEvery, LagEveryDefault)
	orDefault(&cfg.Session, SessionDefault)
	orDefault(&cfg.Rebalance, RebalanceDefault)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	var c complaints
	c.refuse(len(cfg.Brokers) == 0, "Brokers is empty, and should have host:port of at least one broker")
	c.refuse(cfg.Group == "", "Group is empty, and should name the consumer group")
	c.refuse(len(cfg.Topics) == 0, "Topics is empty, and should have at least one topic")
	c.refuse(cfg.CommitDelay > time.Minute, "CommitDelay is %v, and should be at most 1m", cfg.CommitDelay)
	c.refuse(cfg.LagEvery < 100*time.Millisecond, "LagEvery is %v, and should be at least 100ms", cfg.LagEvery)
	c.refuse(cfg.Session < time.Second, "Session is %v, and should be at least 1s", cfg.Session)
	c.refuse(cfg.Rebalance < time.Second, "Rebalance is %v, and should be at least 1s", cfg.Rebalance)
	var err error
	if cfg.Delivery, err = cfg.Delivery.WithDefaults(); err != nil {
		c = append(c, err)
	}
	return cfg, errors.Join(c...)
}

func orDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}
