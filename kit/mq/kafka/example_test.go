package kafka_test

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/yumen-io/yumen/kit/mq"
	"github.com/yumen-io/yumen/kit/mq/kafka"
)

// Three messages of one key are published and come back in order.
func Example() {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "orders")) // your brokers, here in the process
	if err != nil {
		panic(err)
	}
	defer cluster.Close()
	brokers := cluster.ListenAddrs()

	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Brokers: brokers})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	for _, state := range []string{"created", "paid", "shipped"} {
		if err := publisher.Publish(ctx, mq.Message{Topic: "orders", Key: []byte("order-17"), Value: []byte(state)}); err != nil {
			panic(err)
		}
	}
	if err := publisher.Close(ctx); err != nil {
		panic(err)
	}

	consumer, err := kafka.NewConsumer(kafka.ConsumerConfig{Brokers: brokers, Group: "mail", Topics: []string{"orders"}})
	if err != nil {
		panic(err)
	}
	err = consumer.Run(ctx, func(_ context.Context, batch mq.Batch) error {
		for _, m := range batch.Messages {
			fmt.Printf("%s is %s\n", m.Key, m.Value)
			if string(m.Value) == "shipped" {
				stop() // a real consumer runs on
			}
		}
		return nil
	})
	fmt.Println(err)

	// Output:
	// order-17 is created
	// order-17 is paid
	// order-17 is shipped
	// <nil>
}
