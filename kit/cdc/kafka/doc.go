// Package kafka publishes the events of package cdc to Kafka: a Publisher's Handle is the cdc.Handler. Events of one key are
// in one partition in the order of the source, and each is there at least once; all in-sync replicas have it when Handle
// returns nil.
//
//	p, err := kafka.New(kafka.Config{Brokers: []string{"127.0.0.1:9092"}, EpochTopics: []string{"shop.orders"}})
//	defer p.Close()
//	err = source.Run(ctx, p.Handle)
//
// A record of a row or an epoch has the event as JSON for its value and the header cdc-kind; one of a message has its
// payload. An epoch is written to every partition of Config.EpochTopics, between the records before and after it, so that
// each consumer learns of it in its place. A row that is longer than a broker takes comes without its columns (see
// Config.RecordBytesMax): its consumer asks the database for what it needs.
//
// When the brokers are gone Handle waits for them, and the source with it, until the context ends; what failed is published
// again together with the whole batch, so a consumer may see for one key 1, 2, 1, 2, 3. The headers cdc-transaction and
// cdc-index are the same each time.
//
// # Concurrency
//
// A Publisher may serve several sources at the same time.
package kafka
