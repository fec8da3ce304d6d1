// Package cache decides what a shared HTTP cache may keep, for how long, and what it may answer with it: RFC 9111, and what
// belongs to it of RFC 9110 (conditional requests, ranges), RFC 5861 (stale answers), RFC 9211 (Cache-Status) and RFC 9213
// (Cache-Control for one kind of cache).
//
// Everything is a function of heads and of times that are passed in. The package keeps no answer and no clock, and knows
// nothing of stores, keys of hash tables or upstreams.
//
//	control.go    Cache-Control, of requests and of responses, and fields for caches like ours
//	freshness.go  how long a response is fresh, and how old it is
//	store.go      whether a response may be kept, and which of its fields
//	use.go        what a kept response is good for, asked by this request
//	vary.go       which requests a kept response is an answer to
//	validate.go   entity tags and dates: conditional requests
//	span.go       ranges
//	merge.go      what a 304 changes
//	targets.go    which resources an unsafe request makes doubtful
//	status.go     Cache-Status
//	date.go       the three forms of a date
package cache
