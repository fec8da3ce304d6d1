// Package id makes 64-bit ids that are unique over all processes, sort by time, and say by themselves which database and
// table they belong to. A Layout shares the bits between milliseconds, shard, table, worker and sequence; a Generator
// makes ids one at a time or in batches; a Worker gives it the worker number that keeps processes apart. An ID is a
// BIGINT to a database and a string to JSON.
//
//	workers, err := etcdworker.New(etcdworker.Config{Client: client})  // or id.Fixed(n)
//	ids, err := id.New(id.Config{Layout: id.DB32(), Worker: workers})
//	v, err := ids.Next(ctx, shard, table)
//	parts, err := ids.Layout().Parse(v)
//
// # What is promised when things fail
//
// No id is given out twice. Within a process each table has a word of its own, time and sequence, that only grows. Over
// processes the worker number differs. Over restarts, and over a number that passes from one process to another, there
// is a mark: the holder of a number writes down a time ahead, makes no id past it, and the next holder begins after it.
// So a process that was frozen and comes back, or a clock that was set back while the machine was down, cannot repeat
// anything, however late they notice.
//
//   - A clock that goes back by up to StepMax (10 ms) is waited for; by more, every call fails with a *ClockError until it
//     has caught up. It is compared with the latest id of the process, and after a restart with the mark.
//   - A clock that goes forward is believed. Where that puts it past the mark, calls fail with ErrNoWorker until the
//     holder has written a new one, a round trip.
//   - Without its server, etcdworker lets ids be made until the lease or the mark ends, whichever is first, and then
//     calls fail with ErrNoWorker until it has a number again, which it never gives up to get.
//   - A millisecond of a table that is used up is waited out, less than 1 ms at a time.
//
// Fixed promises the least: nothing is written down, so that a restart under a clock that was set back can repeat ids.
//
// Ids of one goroutine and table ascend. Ids of different processes ascend by the millisecond, as far as their clocks
// agree.
//
// # Concurrency
//
// All methods may be called by any goroutine. Making an id takes no lock and allocates nothing. A generator starts no
// goroutine; a Worker that does has a Close.
package id
