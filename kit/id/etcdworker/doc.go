// Package etcdworker leases worker numbers for package id from etcd, so that nobody has to hand them out: every process
// claims a free one when it starts, keeps it while it lives, and another process has it some seconds after it is gone.
// Package id does not import it: a program with fixed numbers links no etcd.
//
//	workers, err := etcdworker.New(etcdworker.Config{Client: client, Layout: id.DB32()})
//	defer workers.Close(ctx)
//	err = workers.Ready(ctx)
//	ids, err := id.New(id.Config{Layout: id.DB32(), Worker: workers})
//
// # What is kept in etcd
//
// Three keys below Prefix, and two for each number that was ever used:
//
//	layout        the layout of all who use the prefix; another one is refused, for its ids would collide
//	new           under a lease that nobody keeps, for some seconds after layout was made
//	mark/7        the high-water time of number 7: no id with it is later. Outlives the holder
//	holder/7      who has number 7, under his lease; its create revision is the fencing token
//
// A number is claimed in one transaction: no holder, and the mark is the one that was read. The mark is moved ahead in a
// transaction that compares the fencing token, so that one who lost the number cannot move it, and makes no id past it.
//
// # What happens when etcd is gone
//
// Ids are made until the mark or two thirds of the lease are used up, whichever is first: 7 to 10 s by default. Then
// calls fail with id.ErrNoWorker. The worker never gives up: with backoff and full jitter it tries until etcd is back,
// keeps its number if the lease outlived the outage, and claims another if not. If etcd comes back without its data,
// a new claim waits for two thirds of a lease, within which every holder that etcd has forgotten has stopped.
//
// If the clock is set back by more than a second, the number is left to time, and one whose mark is in the past is
// claimed, if there is one.
//
// # Concurrency
//
// All methods may be called by any goroutine. New starts one goroutine, which Close ends. The client is the caller's and
// is not closed.
package etcdworker
