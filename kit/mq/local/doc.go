// Package local is kit/mq on one machine: a durable queue in a file, with partitions, groups and dead letters like Kafka's,
// and nothing to run beside the program. Read kit/mq for what handlers may return and what is promised.
//
//	queue, err := local.Open(ctx, local.Config{Path: "/var/lib/shop/queue.db"})
//	err = queue.Publish(ctx, mq.Message{Topic: "orders", Key: []byte("user-7"), Value: body})
//	consumer, err := local.NewConsumer(queue, local.ConsumerConfig{Group: "billing", Topics: []string{"orders"}})
//	err = consumer.Run(ctx, handler)
//
// # What it promises
//
// When Publish has returned nil, the messages are on the disk, synced: goroutines that publish at the same time share a
// transaction and its fsync. Messages stay until every group that has ever consumed their topic is done with them and
// Retention is over. A queue that is full refuses with mq.ErrFull rather than to drop anything.
//
// Any number of processes on the machine may open the file and share the partitions of a group. A partition belongs to a
// consumer by a lease; when the consumer is killed, another has it after Lease at most, and the killed one's offsets, if it
// was only frozen, change nothing any more.
//
// It is SQLite, so that one process writes at a time, and a disk that is full or damaged is an error of Publish.
//
// # Concurrency
//
// A Queue may be used by many goroutines. A Consumer runs once; its Stats may be called by any goroutine.
package local
