// Package redis has processes share limits of kit/limit through Redis.
//
//	store, err := redis.Open(redis.Config{Address: "redis:6379"})
//	...
//	perUser, err := limit.New(limit.Config{Name: "per-user", Count: 1000, Burst: 200, Store: store})
//
// A TokenBucket is shared by leases: each process takes tokens in advance, as many as it needs for 150 ms, and admits requests
// for what it has without asking anybody; what it does not need it gives back, and what a dead one held is there again after two
// seconds. In any interval of a length T all processes together admit at most Count/Per x T + Burst, as one would: leases cost
// nothing in precision. A SlidingWindow is exact: each request is asked for (many in one round trip), and no window has more than
// Count.
//
// # When Redis is slow or gone
//
// One round trip is under way at a time and has a deadline (Config.Timeout). The first that fails makes Redis unreachable:
// whoever waits is told at once, and nobody waits any more. From then on each limit does as its OnUnreachable says, once what was
// granted is spent. Redis is tried again after 100 ms, then after twice as long, up to a second, and the first answer ends it. A Redis that was
// down when the Store was opened is no error. One that has lost its memory is noticed by whoever knew the key, and begins with an empty
// bucket. To the bound an outage adds at most what the processes' shares admit meanwhile, and a loss a Burst.
//
// # Names
//
// Keys are yumen:lease:{name:key}, yumen:exact:{name:key} and yumen:nodes:{name}, each alone in its slot of a cluster. They are
// those of the Yumen gateway's limits: one of the same name, count, time and burst is the same limit.
//
// # Concurrency
//
// All methods may be called from any goroutine. One goroutine for each Store makes the round trips; Close ends it.
package redis
