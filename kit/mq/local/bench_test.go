package local_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/mq"
	"github.com/yumen-io/yumen/kit/mq/local"
)

// BenchmarkPublish is how fast messages of 100 bytes are on the disk: one goroutine that waits for each, many that share
// transactions, and one that gives a hundred at a time.
//
//	go test ./kit/mq/local -run - -bench . -benchtime 20000x
func BenchmarkPublish(b *testing.B) {
	message := func(n int) mq.Message {
		return mq.Message{Topic: "orders", Key: fmt.Append(nil, n%1000), Value: make([]byte, 100)}
	}
	rate := func(b *testing.B) { b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s") }
	b.Run("one at a time", func(b *testing.B) {
		q := open(b, local.Config{})
		for n := 0; b.Loop(); n++ {
			if err := q.Publish(b.Context(), message(n)); err != nil {
				b.Fatal(err)
			}
		}
		rate(b)
	})
	b.Run("64 goroutines", func(b *testing.B) {
		q := open(b, local.Config{})
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for n := 0; pb.Next(); n++ {
				if err := q.Publish(b.Context(), message(n)); err != nil {
					b.Error(err)
					return
				}
			}
		})
		rate(b)
	})
	b.Run("batches of 100", func(b *testing.B) {
		q := open(b, local.Config{})
		batch := make([]mq.Message, 100)
		for n := 0; n < b.N; n += len(batch) {
			for i := range batch {
				batch[i] = message(n + i)
			}
			if err := q.Publish(b.Context(), batch...); err != nil {
				b.Fatal(err)
			}
		}
		rate(b)
	})
}

// BenchmarkConsume is the consumer alone, with a handler that does nothing.
func BenchmarkConsume(b *testing.B) {
	q := open(b, local.Config{})
	batch := make([]mq.Message, 1000)
	for n := 0; n < b.N; n += len(batch) {
		batch = batch[:min(len(batch), b.N-n)]
		for i := range batch {
			batch[i] = mq.Message{Topic: "orders", Key: fmt.Append(nil, (n+i)%1000), Value: make([]byte, 100)}
		}
		if err := q.Publish(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	c, err := local.NewConsumer(q, local.ConsumerConfig{Group: "g", Topics: []string{"orders"}})
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
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
