package local_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/yumen-io/yumen/kit/mq"
	"github.com/yumen-io/yumen/kit/mq/local"
)

// Orders are published and billed in batches; one that cannot be read goes to the dead letters, and the others of its batch
// are handled.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	dir, err := os.MkdirTemp("", "queue")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	queue, err := local.Open(ctx, local.Config{Path: filepath.Join(dir, "queue.db"), Partitions: 1})
	if err != nil {
		panic(err)
	}
	defer queue.Close()

	for _, body := range []string{"order 1", "order 2", "gibberish", "order 4"} {
		if err := queue.Publish(ctx, mq.Message{Topic: "orders", Key: []byte("user-7"), Value: []byte(body)}); err != nil {
			panic(err)
		}
	}

	billing, err := local.NewConsumer(queue, local.ConsumerConfig{Group: "billing", Topics: []string{"orders"}})
	if err != nil {
		panic(err)
	}
	left := 3
	err = billing.Run(ctx, func(_ context.Context, batch mq.Batch) error {
		for i, m := range batch.Messages {
			var number int
			if _, err := fmt.Sscanf(string(m.Value), "order %d", &number); err != nil {
				return mq.PoisonAt(i, errors.New("not an order"))
			}
		}
		for _, m := range batch.Messages {
			fmt.Printf("%d: %s is billed\n", m.Offset, m.Value)
		}
		if left -= len(batch.Messages); left == 0 {
			stop() // a real consumer runs on
		}
		return nil
	})
	fmt.Println(billing.Stats().Dead, "dead,", err)

	// Output:
	// 0: order 1 is billed
	// 1: order 2 is billed
	// 3: order 4 is billed
	// 1 dead, <nil>
}
