// Package quotas lets nodes share limits through Redis: the decisions are those of policy/quota, the round trips are made here, by one
// goroutine for each Redis, never by who asks. A node is a gateway or a process of a service: filters/limit and kit/limit/redis
// are adapters to it, and limits of one name are one limit, whoever counts.
//
//	source.go   what a rule asks: it decides by what is known here, or lets the request wait
//	table.go    the keys of a rule: what was granted for each, found without a lock
//	link.go     one Redis: the goroutine, its rounds, whether it can be reached
//	round.go    one round trip for many keys
//	client.go   the connection
//	scripts.go  what Redis runs
//
// # Who owns what
//
// A cell is a key. Loops, or a service's goroutines, take tokens out of it by an atomic swap and never wait. The link's goroutine
// owns the account that says how many are put in; it puts them in with atomic operations too. Requests that have to wait for Redis leave a function with the
// cell, and that goroutine, or whoever finds that Redis cannot be reached, calls it once.
//
// # When Redis is slow or gone
//
// One round trip is under way at a time, and has a deadline. The first that fails, for whatever reason, makes Redis
// unreachable: whoever waits is told at once, and nobody waits any more. From then on each rule does as it says: closed, open, or
// its share. What was granted before is spent first, as long as its lease lasts. The link tries again after 100 ms, then after
// twice as long, up to a second, and the first try that is answered ends it.
package quotas
