package kafka_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	servers "github.com/yumen-io/yumen/kit/internal/servers/kafka"
	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
	"github.com/yumen-io/yumen/kit/mq"
	"github.com/yumen-io/yumen/kit/mq/internal/mqtest"
	"github.com/yumen-io/yumen/kit/mq/kafka"
)

// BenchmarkRowsIntoMariaDB is how fast messages become rows, each exactly once, with commits that are on the disk: in
// batches, and one at a time as most libraries call a handler.
//
//	go test ./kit/mq/kafka -run - -bench Rows -benchtime 20000x
func BenchmarkRowsIntoMariaDB(b *testing.B) {
	stand := cluster(b).ListenAddrs()
	rows := func(b *testing.B, brokers []string, batch int) {
		topic := freshTopic(b, brokers)
		server := mariadb.Shared(b)
		db := server.Open(b, server.Database(b))
		offsets := mqtest.CreateRows(b, db)
		p := publisher(b, brokers)
		for n := 0; n < b.N; n += 1000 {
			messages := make([]mq.Message, min(1000, b.N-n))
			for i := range messages {
				messages[i] = mq.Message{Topic: topic, Key: fmt.Append(nil, (n+i)%1000), Value: fmt.Appendf(nil, "event-%d", n+i)}
			}
			if err := p.Publish(b.Context(), messages...); err != nil {
				b.Fatal(err)
			}
		}
		c := consumer(b, brokers, topic+"g", []string{topic}, mq.Delivery{BatchMessages: batch}, offsets.Claim)
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		b.ResetTimer()
		go func() { done <- c.Run(ctx, offsets.Handler(mqtest.InsertRows)) }()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for c.Stats().Messages < uint64(b.N) {
			<-tick.C
		}
		b.StopTimer()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	for _, batch := range []int{500, 1} {
		b.Run(fmt.Sprintf("stand-in/batch=%d", batch), func(b *testing.B) { rows(b, stand, batch) })
	}
	b.Run("kafka", func(b *testing.B) {
		real := servers.Start(b).Brokers()
		for _, batch := range []int{500, 1} {
			b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) { rows(b, real, batch) })
		}
	})
}

// BenchmarkConsume is the consumer alone, with a handler that does nothing.
func BenchmarkConsume(b *testing.B) {
	brokers := cluster(b).ListenAddrs()
	topic := freshTopic(b, brokers)
	p := publisher(b, brokers)
	for n := 0; n < b.N; n += 1000 {
		messages := make([]mq.Message, min(1000, b.N-n))
		for i := range messages {
			messages[i] = mq.Message{Topic: topic, Key: fmt.Append(nil, (n+i)%1000), Value: make([]byte, 100)}
		}
		if err := p.Publish(b.Context(), messages...); err != nil {
			b.Fatal(err)
		}
	}
	c, err := kafka.NewConsumer(kafka.ConsumerConfig{Brokers: brokers, Group: "g", Topics: []string{topic}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	b.ReportAllocs()
	b.ResetTimer()
	go func() { done <- c.Run(ctx, func(context.Context, mq.Batch) error { return nil }) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for c.Stats().Messages < uint64(b.N) {
		<-tick.C
	}
	b.StopTimer()
	cancel()
	<-done
}
