// Package limit is the filter that bounds how often, or how many at once, requests of one kind pass: those of one client, one
// tenant, one user, or all together.
//
// The judgement itself is arithmetic of policy/limit, on one word of 64 bits for each key. Here is where the words are: a
// table that all loops share, so that a limit is exact over all of them, in which a decision takes no lock. And here is what is
// around it: which key a request counts for, what an answer says, who holds a place among those under way, and that it is given
// back whatever happens.
//
//	filter.go     settings to hooks; the life of one request
//	fields.go     RateLimit and RateLimit-Policy
//	describe.go   rules in words
//	counters.go   the table of keys: what is remembered over configurations
//	shard.go      a part of the table: who finds a place in it, and who has to make room
//	source.go     the seam for limits that several nodes share
//	shared.go     those that gateways share through Redis
package limit
