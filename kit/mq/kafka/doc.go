// Package kafka is kit/mq over Apache Kafka: a Publisher and a Consumer on top of franz-go, with what that needs to lose
// and to reorder nothing already decided. Read kit/mq for what handlers may return and what is promised; this page has what
// is Kafka's own.
//
// # The publisher
//
// It is idempotent, waits for all replicas in sync, and bounds what is under way. A topic that does not exist is an error.
// A broker that is restarted within Timeout is not noticed by the caller.
//
// # The consumer
//
// It is a member of a consumer group with the cooperative-sticky strategy, so that only partitions that move are
// interrupted. Each partition has a goroutine and a bounded buffer; a partition whose handler is slow or waits is paused by
// itself. Offsets are committed after their handler, in the background, one request at a time. When a partition is to move,
// its handler gets Delivery.Grace, then its context ends, and the group waits until it has returned and its offset is
// committed. When the group has gone on without this consumer, handlers are cancelled at once and nothing more of them is
// committed; what they were doing is done again elsewhere, which mq.Offsets makes harmless. Messages of transactions that
// were aborted are not delivered.
//
// When all brokers are gone, Run tries for ever, and handlers finish what is here. The dead-letter topic is made with the
// broker's defaults when it is first needed; where that is forbidden, its partition waits, and the log says so.
//
// # Concurrency
//
// A Publisher may be used by many goroutines. A Consumer runs once; its Stats may be called by any goroutine.
package kafka
