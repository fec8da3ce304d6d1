package kafka_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/yumen-io/yumen/kit/cdc"
	"github.com/yumen-io/yumen/kit/cdc/kafka"
	"github.com/yumen-io/yumen/kit/cdc/outbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func cluster(t *testing.T) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(3, "shop.orders", "mail"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func publisher(t *testing.T, config kafka.Config) *kafka.Publisher {
	t.Helper()
	p, err := kafka.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// consume reads n records and returns them by partition.
func consume(t *testing.T, c *kfake.Cluster, topic string, n int) map[int32][]*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	got := make(map[int32][]*kgo.Record)
	for n > 0 {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			got[r.Partition] = append(got[r.Partition], r)
			n--
		})
	}
	return got
}

func row(key string, v int64) cdc.Event {
	return cdc.Event{
		Source: "s", Kind: cdc.Update, Database: "shop", Table: "orders", Key: key, Transaction: "0-1-7", Index: int(v), Epoch: 1,
		After: &cdc.Row{Columns: []string{"id", "v"}, Values: []any{key, v}},
	}
}

func TestKeysKeepTheirOrderAndEpochsReachEachPartition(t *testing.T) {
	c := cluster(t)
	p := publisher(t, kafka.Config{Brokers: c.ListenAddrs(), EpochTopics: []string{"shop.orders"}})
	var events []cdc.Event
	for v := range 20 {
		for k := range 8 {
			events = append(events, row(fmt.Sprint(k), int64(v)))
		}
		if v == 9 {
			events = append(events, cdc.Event{Source: "s", Kind: cdc.Epoch, Reason: cdc.Gap, Epoch: 2})
		}
	}
	if err := p.Handle(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	next := make(map[string]int)
	for partition, records := range consume(t, c, "shop.orders", 8*20+3) {
		epochs, first := 0, make(map[string]bool)
		for _, r := range records {
			var e struct {
				Kind  cdc.Kind
				After map[string]any
			}
			if err := json.Unmarshal(r.Value, &e); err != nil {
				t.Fatal(err)
			}
			if e.Kind == cdc.Epoch {
				epochs++
				for key := range first {
					if next[key] != 10 {
						t.Errorf("partition %d: the epoch comes at %d of key %s", partition, next[key], key)
					}
				}
				continue
			}
			key := string(r.Key)
			first[key] = true
			if got := int(e.After["v"].(float64)); got != next[key] {
				t.Fatalf("key %s: %d, want %d", key, got, next[key])
			}
			next[key]++
		}
		if epochs != 1 {
			t.Errorf("partition %d: %d epochs", partition, epochs)
		}
	}
}

func TestAMessageIsPublishedAsItIs(t *testing.T) {
	c := cluster(t)
	p := publisher(t, kafka.Config{Brokers: c.ListenAddrs()})
	err := p.Handle(t.Context(), []cdc.Event{{Source: "outbox", Kind: cdc.Message, Topic: "mail", Key: "k", Payload: []byte("hello"), Transaction: "5"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, records := range consume(t, c, "mail", 1) {
		r := records[0]
		got := fmt.Sprintf("%s %s", r.Key, r.Value)
		for _, h := range r.Headers {
			got += fmt.Sprintf(" %s=%s", h.Key, h.Value)
		}
		if got != "k hello cdc-kind=message cdc-source=outbox cdc-transaction=5 cdc-index=0" {
			t.Error(got)
		}
	}
}

func TestAnEpochThatNobodyWouldLearnOf(t *testing.T) {
	c := cluster(t)
	epoch := []cdc.Event{{Kind: cdc.Epoch}}
	p := publisher(t, kafka.Config{Brokers: c.ListenAddrs()})
	if err := p.Handle(t.Context(), epoch); !errors.Is(err, kafka.ErrNoEpochTopics) {
		t.Error(err)
	}
	p = publisher(t, kafka.Config{Brokers: c.ListenAddrs(), EpochTopics: []string{"missing"}})
	if err := p.Handle(t.Context(), epoch); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Error(err)
	}
	if _, err := kafka.New(kafka.Config{}); err == nil {
		t.Error("no brokers and no error")
	}
}

// A broker refuses a partition for good: Handle says so, and the batch is published whole by the next call.
func TestARefusedBatchIsAnErrorAndCanBePublishedAgain(t *testing.T) {
	c := cluster(t)
	p := publisher(t, kafka.Config{Brokers: c.ListenAddrs()})
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		answer := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			at := kmsg.NewProduceResponseTopic()
			at.Topic, at.TopicID = topic.Topic, topic.TopicID
			for _, partition := range topic.Partitions {
				in := kmsg.NewProduceResponseTopicPartition()
				in.Partition, in.ErrorCode = partition.Partition, kerr.TopicAuthorizationFailed.Code
				at.Partitions = append(at.Partitions, in)
			}
			answer.Topics = append(answer.Topics, at)
		}
		return answer, nil, true
	})
	events := []cdc.Event{row("1", 0), row("1", 1)}
	if err := p.Handle(context.Background(), events); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Fatal(err)
	}
	if err := p.Handle(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	consume(t, c, "shop.orders", 2)
}

// The longest row that there is must not hold up those after it for ever.
func TestARowLongerThanABrokerTakesComesWithoutItsColumns(t *testing.T) {
	c := cluster(t)
	p := publisher(t, kafka.Config{Brokers: c.ListenAddrs()})
	long := &cdc.Row{Columns: []string{"id", "note"}, Values: []any{int64(17), strings.Repeat("x", 600<<10)}}
	err := p.Handle(t.Context(), []cdc.Event{
		{Kind: cdc.Update, Database: "shop", Table: "orders", Key: "17", Before: long, After: long, Transaction: "0-1-5"},
		{Kind: cdc.Insert, Database: "shop", Table: "orders", Key: "17", After: long, Transaction: "0-1-6"},
		{Kind: cdc.Message, Topic: "shop.orders", Key: "17", Payload: make([]byte, outbox.PayloadBytesMax), Transaction: "7"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, records := range consume(t, c, "shop.orders", 3) {
		for _, r := range records {
			line := fmt.Sprintf("%s %d", r.Headers[2].Value, len(r.Headers))
			var e struct {
				Key   string         `json:"key"`
				After map[string]any `json:"after"`
			}
			if string(r.Headers[0].Value) != string(cdc.Message) {
				if err := json.Unmarshal(r.Value, &e); err != nil {
					t.Fatal(err)
				}
				line += fmt.Sprintf(" key %s, %d columns", e.Key, len(e.After))
			}
			got = append(got, line)
		}
	}
	if want := "[0-1-5 5 key 17, 0 columns 0-1-6 4 key 17, 2 columns 7 4]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}
