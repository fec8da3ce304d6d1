package kafka_test

import (
	"context"
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/yumen-io/yumen/kit/cdc"
	"github.com/yumen-io/yumen/kit/cdc/kafka"
)

// What a source tells is published, and read by somebody else.
func Example() {
	if err := publishAndRead(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	// Output:
	// insert 17: {"source":"db","kind":"insert","database":"shop","table":"orders","key":"17","after":{"id":17,"state":"new"},"index":0,"last":true,"time":"0001-01-01T00:00:00Z"}
}

func publishAndRead() error {
	ctx := context.Background()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "shop.orders")) // your brokers, here in the process
	if err != nil {
		return err
	}
	defer cluster.Close()
	publisher, err := kafka.New(kafka.Config{Brokers: cluster.ListenAddrs(), EpochTopics: []string{"shop.orders"}})
	if err != nil {
		return err
	}
	defer publisher.Close()

	// source.Run(ctx, publisher.Handle) of a binlog or an outbox calls it with events like this one.
	err = publisher.Handle(ctx, []cdc.Event{{
		Source: "db", Kind: cdc.Insert, Database: "shop", Table: "orders", Key: "17", Last: true,
		After: &cdc.Row{Columns: []string{"id", "state"}, Values: []any{int64(17), "new"}},
	}})
	if err != nil {
		return err
	}

	consumer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("shop.orders"))
	if err != nil {
		return err
	}
	defer consumer.Close()
	fetches := consumer.PollFetches(ctx)
	fetches.EachRecord(func(r *kgo.Record) { fmt.Printf("%s %s: %s\n", r.Headers[0].Value, r.Key, r.Value) })
	return fetches.Err()
}
