// Package balance chooses the endpoint of a cluster that gets the next request.
//
// A Set is what one loop knows of one cluster: who may be chosen, how loaded and how fast each endpoint is, and whose
// turn it is. The algorithms stand one to a file: round robin, weighted round robin, random, least request, two choices
// with latency, Maglev hashing. All of them choose among the same few endpoints, the pool, and so share one answer to the
// questions of health, backup tiers, panic and slow start.
//
// # Who is in the pool
//
// An endpoint is Healthy, Ejected (live traffic went badly; a guess), Failing (its active checks fail; knowledge) or
// Drained (an operator took it out; an order). A tier is the endpoints of one priority, 0 first; the healthy share of a
// tier is the weight of its healthy endpoints over the weight of those not drained.
//
//  1. The lowest-numbered tier whose healthy share reaches PanicThreshold serves; its healthy endpoints are the pool.
//     Reason Normal, or Backup when that is not the first tier.
//  2. If no tier reaches it, the lowest tier with any healthy endpoint serves in panic: all its endpoints that are not
//     drained are the pool, whatever their health. A few survivors made to carry everybody's traffic would fall too, and
//     with so many down at once the checks may well be what is broken. If nothing at all is healthy but some endpoints
//     are merely ejected, the lowest tier that has one of them serves in the same way: a guess is no reason for a certain 503.
//     Reason Panic.
//  3. If everything is failing or drained there is nobody: Pick returns -1 with NoHealthy, AllDrained or NoEndpoints.
//     Here we part from Envoy, which in panic also sends to a cluster whose every check fails.
//
// With panic switched off the pool is the healthy endpoints of the lowest tier that has any, and nobody else.
//
// A second attempt (Tried is not empty) is choosier: it goes to a healthy endpoint that was not tried, in the serving tier
// if there is one, else in any other; then to an untried member of the pool; and to a tried one only when no other is left.
// So in panic the first attempt spreads the load and the second one, whose number the retry budget bounds, finds a survivor.
//
// # Slow start
//
// An endpoint that becomes healthy, or joins a set that was serving before, has a tenth of its weight at first and gains
// the rest linearly over SlowStart. Maglev lends it a growing part of its keys, and each key moves once.
//
// The package keeps no clock and draws no random numbers: both are arguments. It does not judge health (policy/health),
// does not limit how much an endpoint may be given (the pools do) and does not know what a request is.
package balance
