// Package mq is how services hand messages to each other: published durably, consumed in batches, in order for each key,
// with the poisoned ones set aside. It is the contract and what both queues have in common; kit/mq/kafka speaks it to
// Kafka, and kit/mq/local keeps a durable queue in a file for programs on one machine. Offsets makes what a handler does in
// a database happen exactly once.
//
// # What it promises
//
//   - A message whose Publish returned nil is durable, and is handed to a handler of each group until one returns nil or the
//     message is in the dead-letter topic: at least once, over kill -9 of consumers and brokers.
//   - Messages of one partition are handled in order, one batch at a time, also while a batch is bisected: nothing later
//     is handled before what is earlier is done or dead. After a crash, the last messages before it come again, in order.
//   - Nothing is committed before its handler has returned nil, or its dead letter is durable.
//   - A partition is given up only when its handler has returned, and its offset cannot be committed after that.
//   - With Offsets, rows in the database are written once: lost 0, duplicate 0.
//
// # When things fail
//
// When the queue is gone, Publish waits until its context or timeout ends, and Run tries for ever. When the database of a
// handler is gone, the partitions wait, each for itself; a message is never given up for it as long as the handler says
// Retry, and for DeadRun messages of a partition at most when it does not. A dead letter may be written twice when a
// consumer is killed between it and its commit; it has topic, partition and offset of the message to tell it by.
//
//	offsets, err := mq.NewOffsets(mq.OffsetsConfig{DB: db, Group: "billing"})
//	consumer, err := kafka.NewConsumer(kafka.ConsumerConfig{
//		Brokers: brokers, Group: "billing", Topics: []string{"orders"}, Claim: offsets.Claim,
//	})
//	err = consumer.Run(ctx, offsets.Handler(func(ctx context.Context, tx *sql.Tx, batch mq.Batch) error {
//		return insertAll(ctx, tx, batch.Messages)
//	}))
//
// # Concurrency
//
// Publishers and Offsets may be used by many goroutines. A consumer runs once; its handler is called by a goroutine for
// each partition, and its Stats by anyone at any time.
package mq
