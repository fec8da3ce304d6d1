// Package quota divides a limit among nodes that share a store: it is what the nodes and the store say to each other, and what
// each of them makes of it. It knows neither network nor clock: both are the caller's.
//
//	rule.go     a limit, and the whole numbers it is calculated in
//	ledger.go   the store's half: a bucket, and who was given what of it
//	account.go  a node's half: what to ask for, what to give back
//	share.go    what a node admits that cannot reach the store; the bound
//	log.go      the exact way: every request of the last window, in the store
//
// # Leases
//
// The bucket of a key is in the store. A node takes tokens out of it in advance, as many as it needs for 150 ms by its own rate, and at
// most its part of half the bucket; requests are admitted for tokens in hand, without asking anybody. What is not needed any more is
// given back. What was taken is good for a lease of two seconds, which each report renews: a node counts it from when it asked and
// stops an eighth of a second early, the store counts it from when it answered. So each may measure with its own clock.
//
// A report carries totals and no changes: so much was granted to me (less what I give back), so much of it I have spent, so much I
// admitted without having it. Whatever became of the reports before it, the store can tell from its own totals what never
// arrived, and has it back. Reports are numbered, so that one that comes after a later one does nothing.
//
// # The bound
//
// Let R be the rate and B the burst. At any time count what is in the bucket and what is in nodes' hands and still good. This sum is
// never above B: a grant moves tokens from one to the other; the bucket fills no further than to B less what is out, and
// what is out counts until the store knows that it is spent, or the lease has ended and nobody can spend it. To the sum comes
// what the rate brings, and nothing else; from it goes what is admitted. So in any interval of length T all nodes together
// admit at most
//
//	R T + B
//
// which is what a single node with the same limit would: leases cost nothing in precision, for any number of nodes, any size of
// slices, slow answers, answers lost after they took effect, and a store that is gone while nodes refuse. What does add to it:
//
//	R T / 2000        the store's clock is slewed and runs fast
//	B for each loss   the store has lost its memory (restart, failover, eviction of the key), or its clock jumped forwards: it then
//	                  takes the bucket for full while nodes hold up to B. It is less as a rule, often nothing: whoever knew the
//	                  key says so, the store begins with an empty bucket then, and counts what nodes still hold
//	what is in hand   of a node that stood still together with its clock for longer than a lease, as a machine does that is
//	                  suspended: at most what was last granted to it
//	R a/N + max(B/N, 1)   for each node that is cut off for a time a, if those that are cut off admit their share of N. With all
//	                  nodes cut off and N right that is the R T that the store then does not grant; the worst is a
//	                  network in two halves, one of which has the store
//	anything          if those that are cut off admit everything
//
// Share is used up when an outage begins, for keys that were in use; and what nodes admitted alone they owe the store, which takes
// it from the bucket when they are back, down to B below nothing. Neither lowers the bound, both lower what really happens.
//
// Tests hold the bound: two to eight nodes with clocks of their own, a store that is slow, gone, that restarts empty or whose clock
// jumps, reports that are lost, carried out twice as late as anybody waits, or carried out with the answer lost.
//
// # What can be used of it
//
// A limiter that refuses everything is within every bound, so that is measured too: of the quota that the load asked for, 98 % and
// more is admitted, also if all of the load moves to another node each second, or a twentieth of the answers is lost; with a
// burst of a fifth of a second's rate that moves twice a second, 95 %; with a burst of one request among eight nodes, 93 %.
// What is lost lies in the hands of nodes that do not need it, for a third of a second.
package quota
