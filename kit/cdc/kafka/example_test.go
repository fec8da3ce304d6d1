package kafka_test

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/yumen-io/yumen/kit/cdc"
	"github.com/yumen-io/yumen/kit/cdc/kafka"
)

// What an outbox holds goes to Kafka: Handle is what a source calls with its events, which are made by hand here.
func Example() {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "orders")) // your brokers, here in the process
	if err != nil {
		panic(err)
	}
	defer cluster.Close()
	publisher, err := kafka.New(kafka.Config{Brokers: cluster.ListenAddrs()})
	if err != nil {
		panic(err)
	}
	defer publisher.Close()

	// In a service: err = tailer.Run(ctx, publisher.Handle)
	ctx := context.Background()
	err = publisher.Handle(ctx, []cdc.Event{
		{Source: "shop", Kind: cdc.Message, Topic: "orders", Key: "17", Payload: []byte("paid"), Transaction: "1", Last: true},
		{Source: "shop", Kind: cdc.Message, Topic: "orders", Key: "17", Payload: []byte("shipped"), Transaction: "2", Last: true},
	})
	if err != nil {
		panic(err)
	}

	reader, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("orders"))
	if err != nil {
		panic(err)
	}
	defer reader.Close()
	for left := 2; left > 0; {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			panic(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			fmt.Printf("order %s is %s\n", r.Key, r.Value)
			left--
		})
	}

	// Output:
	// order 17 is paid
	// order 17 is shipped
}
