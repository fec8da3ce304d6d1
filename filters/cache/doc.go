// Package cache is the filter that answers requests with responses it has kept: a shared cache by RFC 9111. What may be kept and
// used is decided in policy/cache; here are the memory, the hooks, and who asks when many want the same.
//
// A Store is memory that all loops share. Looking up takes no lock: chains of a hash table are read by atomic loads, and what
// hangs on them is never changed, only replaced; the garbage collector is the one who knows when the last reader is done.
// Storing locks one of its shards. Which response has to go when memory is full is decided by S3-FIFO.
//
// Of identical requests that find nothing, one asks the upstream (it leads a flight), and the others wait for it, for a bounded
// time and in a bounded number. A leader whose answer turns out not to be kept releases them as soon as its head is there, and
// for a while nobody waits for that resource again.
//
// The key of a response is the URL that the upstream gets, what Vary names, what the document adds, and who a trusted proxy said
// the host was. Requests with fields by which servers let themselves be told another URL or method pass by: a key without
// them would let one client choose what all others get.
//
//	filter.go  settings and hooks          key.go     what a request asks for
//	visit.go   one request's passage       answer.go  from a kept response to an answer
//	fill.go    from an answer to a kept response
//	store.go   the table                   queue.go   who goes when memory is full
//	flight.go  who asks for all            purge.go   taking out by hand
//	                                       sweep.go   taking out much, in small steps
//
// A Tier is what gateways share through Redis. Its goroutines make all round trips; loops leave questions and responses in bounded queues,
// and an exchange that waits for an answer is suspended, for a short time. A response in Redis is held against purges by the clock of
// Redis: a node says how long ago it asked for it, and the time of a purge is that of its note in a stream there.
//
//	tier.go      one Redis: the connection, what is written     question.go  what is asked, and what is believed
//	notes.go     purges of several gateways                     ledger.go    which purges are known
//	record.go    a response as Redis keeps it                   scripts.go   what Redis runs
package cache
