package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	servers "github.com/yumen-io/yumen/kit/internal/servers/kafka"
	"github.com/yumen-io/yumen/kit/mq"
	"github.com/yumen-io/yumen/kit/mq/internal/mqtest"
	"github.com/yumen-io/yumen/kit/mq/kafka"
)

func TestMain(m *testing.M) {
	runChild()
	goleak.VerifyTestMain(m)
}

func cluster(t mqtest.T, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(3), kfake.GroupMinSessionTimeout(time.Second), kfake.DefaultNumPartitions(4),
	}, opts...)...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(c.Close)
	return c
}

func publisher(t mqtest.T, brokers []string) *kafka.Publisher {
	t.Helper()
	p, err := kafka.NewPublisher(kafka.PublisherConfig{Brokers: brokers})
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.Close(ctx)
	})
	return p
}

func consumer(t mqtest.T, brokers []string, group string, topics []string, d mq.Delivery, claim mq.Claim) *kafka.Consumer {
	t.Helper()
	c, err := kafka.NewConsumer(kafka.ConsumerConfig{
		Brokers: brokers, Group: group, Topics: topics, Delivery: d, Claim: claim,
		Session: 6 * time.Second, LagEvery: 100 * time.Millisecond,
		Options: []kgo.Opt{kgo.HeartbeatInterval(100 * time.Millisecond)},
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return c
}

var names atomic.Int64

// freshTopic makes a topic with four partitions by the protocol, as it is done at any broker.
func freshTopic(t mqtest.T, brokers []string) string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer client.Close()
	name := fmt.Sprintf("topic-%d-%x", names.Add(1), rand.Uint32()) // of its own also at brokers that keep their data
	request := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 4, -1
	request.Topics = append(request.Topics, topic)
	request.TimeoutMillis = 10_000
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	answer, err := request.RequestWith(ctx, client)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if err := kerr.ErrorForCode(answer.Topics[0].ErrorCode); err != nil {
		t.Fatalf("%v", err)
	}
	return name
}

func controller(t mqtest.T, brokers []string) int32 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer client.Close()
	answer, err := kmsg.NewPtrMetadataRequest().RequestWith(t.Context(), client)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return answer.ControllerID
}

func world(brokers []string, patience time.Duration) mqtest.World {
	return mqtest.World{
		Topic:     func(t mqtest.T) string { return freshTopic(t, brokers) },
		Publisher: func(t mqtest.T) mq.Publisher { return publisher(t, brokers) },
		Consumer: func(t mqtest.T, group string, topics []string, d mq.Delivery, claim mq.Claim) mq.Consumer {
			return consumer(t, brokers, topics[0]+group, topics, d, claim)
		},
		Patience: patience,
	}
}

func suite(t *testing.T, w mqtest.World) {
	for _, c := range w.Cases() {
		t.Run(c.Name, func(t *testing.T) { c.Run(t) })
	}
}

func TestWithStandIn(t *testing.T) {
	suite(t, world(cluster(t).ListenAddrs(), 20*time.Second))
}

// While consumers come and go, leaders and coordinators move, a broker leaves and another comes.
func TestWithStandInThatMovesAllAround(t *testing.T) {
	c := cluster(t)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: 3},
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: 2},
		kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.NotCoordinator, Count: 2},
		kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.CoordinatorLoadInProgress, Count: 2},
		kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: 2})
	w := world(c.ListenAddrs(), 20*time.Second)
	w.Trouble = func(t mqtest.T, step int) {
		c.ShufflePartitionLeaders()
		c.RehashCoordinators()
		if step == 1 {
			if _, _, err := c.AddNode(-1, 0); err != nil {
				t.Errorf("%v", err)
			}
			leaves := (controller(t, c.ListenAddrs()) + 1) % 3 // the stand-in elects no other controller
			if err := c.RemoveNode(leaves); err != nil {
				t.Errorf("%v", err)
			}
		}
	}
	suite(t, w)
}

func TestWithKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds until Kafka runs")
	}
	suite(t, world(servers.Start(t).Brokers(), 60*time.Second))
}

func TestConfigNamesEveryBadField(t *testing.T) {
	_, err := kafka.NewConsumer(kafka.ConsumerConfig{LagEvery: 1, Session: 1, Rebalance: 1, Delivery: mq.Delivery{BatchMessages: -1, BackoffMax: -1}})
	for _, field := range []string{"Brokers", "Group", "Topics", "LagEvery", "Session", "Rebalance", "BatchMessages", "BackoffMax"} {
		if err == nil || !strings.Contains(err.Error(), field+" ") {
			t.Errorf("%s is not in %v", field, err)
		}
	}
	_, err = kafka.NewPublisher(kafka.PublisherConfig{Timeout: 1, BufferMessages: -1, MessageBytes: 1, BufferBytes: -1, Linger: -1})
	for _, field := range []string{"Brokers", "Timeout", "BufferMessages", "MessageBytes", "BufferBytes", "Linger"} {
		if err == nil || !strings.Contains(err.Error(), field+" ") {
			t.Errorf("%s is not in %v", field, err)
		}
	}
}

func TestMessageThatIsTooLargeFailsAlone(t *testing.T) {
	c := cluster(t)
	topic := freshTopic(t, c.ListenAddrs())
	p := publisher(t, c.ListenAddrs())
	err := p.Publish(t.Context(), mq.Message{Topic: topic, Value: []byte("small")}, mq.Message{Topic: topic, Value: make([]byte, 2<<20)})
	var each *mq.PublishError
	if !errors.As(err, &each) || each.Errs[0] != nil || !errors.Is(each.Errs[1], mq.ErrTooLarge) {
		t.Fatalf("%v", err)
	}
}

// The brokers do not answer: Publish returns with its context, and says that nobody knows.
func TestPublishToBrokersThatAreSilent(t *testing.T) {
	c := cluster(t)
	topic := freshTopic(t, c.ListenAddrs())
	p := publisher(t, c.ListenAddrs())
	if err := p.Publish(t.Context(), mq.Message{Topic: topic, Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	defer close(release)
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.SleepControl(func() { <-release })
		return nil, nil, false
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := p.Publish(ctx, mq.Message{Topic: topic, Value: []byte("v")})
	if !errors.Is(err, mq.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
}

// A consumer that is thought dead loses its partitions: its handler is cancelled, nothing of it is committed, and it joins
// again.
func TestLostPartitionsAreCancelledAndComeAgain(t *testing.T) {
	c := cluster(t)
	topic := freshTopic(t, c.ListenAddrs())
	if err := publisher(t, c.ListenAddrs()).Publish(t.Context(), mqtest.Numbered(topic, 1, 1, 5)...); err != nil {
		t.Fatal(err)
	}
	cancelled := make(chan struct{}, 10)
	var calls atomic.Int64
	r := mqtest.NewRecord()
	run := mqtest.Start(t, consumer(t, c.ListenAddrs(), "g", []string{topic}, mq.Delivery{}, nil), func(ctx context.Context, b mq.Batch) error {
		if calls.Add(1) == 1 {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Group: "g", TopLevel: true, Err: kerr.UnknownMemberID})
			<-ctx.Done()
			cancelled <- struct{}{}
			return ctx.Err()
		}
		r.Add(b)
		return nil
	})
	select {
	case <-cancelled:
	case <-time.After(20 * time.Second):
		t.Fatal("the handler was not cancelled")
	}
	mqtest.Eventually(t, 20*time.Second, "all messages", func() bool { return run.Stats().Messages == 5 })
	if s := run.Stats(); s.Lost == 0 || len(r.Order) > 0 {
		t.Fatalf("%+v, out of order: %v", s, r.Order)
	}
}

// The handler is slow, and the partition has far more than the consumer wants to hold: it is paused and goes on.
func TestSlowHandlerHoldsABoundedPart(t *testing.T) {
	c := cluster(t)
	topic := freshTopic(t, c.ListenAddrs())
	var messages []mq.Message
	noise := rand.NewChaCha8([32]byte{}) // does not compress
	for range 3000 {
		value := make([]byte, 1000)
		_, _ = noise.Read(value)
		messages = append(messages, mq.Message{Topic: topic, Key: []byte("k"), Value: value})
	}
	p := publisher(t, c.ListenAddrs())
	for i := 0; i < len(messages); i += 100 {
		if err := p.Publish(t.Context(), messages[i:i+100]...); err != nil {
			t.Fatal(err)
		}
	}
	next := int64(0)
	c2, err := kafka.NewConsumer(kafka.ConsumerConfig{
		Brokers: c.ListenAddrs(), Group: "g", Topics: []string{topic}, Delivery: mq.Delivery{BatchMessages: 50},
		Options: []kgo.Opt{kgo.FetchMaxPartitionBytes(100_000)},
	})
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	mqtest.Start(t, c2, func(_ context.Context, b mq.Batch) error {
		for _, m := range b.Messages {
			if m.Offset != next {
				t.Errorf("offset %d, want %d", m.Offset, next)
			}
			next = m.Offset + 1
		}
		for _, p := range c2.Stats().Partitions {
			most = max(most, p.Buffered)
		}
		return nil
	})
	mqtest.Eventually(t, 20*time.Second, "all messages", func() bool { return c2.Stats().Messages == 3000 })
	if most > 500 {
		t.Errorf("%d messages were held", most)
	}
}
