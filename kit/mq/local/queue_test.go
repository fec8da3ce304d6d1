package local_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/yumen-io/yumen/kit/mq"
	"github.com/yumen-io/yumen/kit/mq/internal/mqtest"
	"github.com/yumen-io/yumen/kit/mq/local"
)

func TestMain(m *testing.M) {
	runChild()
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, cfg local.Config) *local.Queue {
	t.Helper()
	if cfg.Path == "" {
		cfg.Path = filepath.Join(t.TempDir(), "queue?#%.db")
	}
	q, err := local.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

func TestQueue(t *testing.T) {
	topics := 0
	queue := open(t, local.Config{Partitions: 4})
	w := mqtest.World{
		Topic:     func(mqtest.T) string { topics++; return fmt.Sprintf("topic%d", topics) },
		Publisher: func(mqtest.T) mq.Publisher { return queue },
		Consumer: func(t mqtest.T, group string, topics []string, d mq.Delivery, claim mq.Claim) mq.Consumer {
			c, err := local.NewConsumer(queue, local.ConsumerConfig{
				Group: topics[0] + group, Topics: topics, Delivery: d, Claim: claim, Lease: time.Second,
			})
			if err != nil {
				t.Fatalf("%v", err)
			}
			return c
		},
		Patience: 20 * time.Second,
	}
	for _, c := range w.Cases() {
		t.Run(c.Name, func(t *testing.T) { c.Run(t) })
	}
}

func TestConfigNamesEveryBadField(t *testing.T) {
	_, err := local.Open(t.Context(), local.Config{Partitions: -1, MessageBytes: 1, Retention: -1})
	for _, field := range []string{"Path", "Partitions", "MessageBytes", "Retention"} {
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(field)) {
			t.Errorf("%s is not in %v", field, err)
		}
	}
}

func TestFullQueueRefuses(t *testing.T) {
	q := open(t, local.Config{BytesMax: 1 << 20})
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		err = q.Publish(t.Context(), mq.Message{Topic: "t", Value: make([]byte, 100_000)})
	}
	if !errors.Is(err, mq.ErrFull) || n < 5 {
		t.Fatalf("after %d messages of 100 kB: %v", n, err)
	}
}

func TestTooLargeMessageIsRefusedAlone(t *testing.T) {
	q := open(t, local.Config{MessageBytes: 2000})
	err := q.Publish(t.Context(), mq.Message{Topic: "t", Value: []byte("a")}, mq.Message{Topic: "t", Value: make([]byte, 2000)}, mq.Message{Value: []byte("no topic")})
	var each *mq.PublishError
	if !errors.As(err, &each) || each.Errs[0] != nil || !errors.Is(each.Errs[1], mq.ErrTooLarge) || each.Errs[2] == nil {
		t.Fatalf("%v", err)
	}
}

// retention: what every group has done and is old enough goes, and nothing else.
func TestSweepKeepsWhatAGroupHasNotDone(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	q := open(t, local.Config{Partitions: 1, Retention: time.Hour, Clock: func() time.Time { return now }})
	publish := func(topic string) {
		for range 10 {
			if err := q.Publish(t.Context(), mq.Message{Topic: topic, Value: []byte("v")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish("read")
	publish("unread")
	c, err := local.NewConsumer(q, local.ConsumerConfig{Group: "g", Topics: []string{"read"}})
	if err != nil {
		t.Fatal(err)
	}
	run := mqtest.Start(t, c, func(context.Context, mq.Batch) error { return nil })
	mqtest.Eventually(t, 10*time.Second, "ten", func() bool { return c.Stats().Messages == 10 })
	run.Stop(t)
	if n, err := q.Sweep(t.Context()); n != 0 || err != nil {
		t.Fatalf("too early: %d, %v", n, err)
	}
	now = now.Add(2 * time.Hour)
	if n, err := q.Sweep(t.Context()); n != 10 || err != nil {
		t.Fatalf("removed %d, %v", n, err)
	}
}

func TestClosedQueueSaysSo(t *testing.T) {
	q, err := local.Open(t.Context(), local.Config{Path: filepath.Join(t.TempDir(), "q")})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if err := q.Publish(t.Context(), mq.Message{Topic: "t"}); !errors.Is(err, mq.ErrClosed) {
		t.Fatal(err)
	}
}
