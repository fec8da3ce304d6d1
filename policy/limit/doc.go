// Package limit judges one request against one limit: by its rate, in four ways, or by how many are under way.
//
// A judgement is arithmetic. What is known of a key is one word of 64 bits; Decide takes it, the time, what the request costs
// and the settings, and gives the word that is to take its place and a verdict with its numbers. Whoever owns the word swaps it
// atomically, and asks again if another was faster: so a limit is exact over any number of loops without a lock. The package
// holds no keys, reads no clock and keeps nothing.
//
//	tokenbucket.go    a rate and a burst; what is over is refused
//	leakybucket.go    a rate and a burst; what is over waits, up to a bound
//	fixedwindow.go    so many in each second, minute or hour of the process's clock
//	slidingwindow.go  so many in the last second, minute or hour, nearly
//	concurrency.go    so many at once
//
// # What any interval can let through
//
// Of a limit of n per window w (an interval T = w/n between two requests) and a burst b, the most that an interval of length t
// lets through, whatever arrives:
//
//	token bucket, leaky bucket  t/T + b
//	fixed window                n in each window of the clock; 2n around the seam of two
//	sliding window              n in each window of the clock; below 2n in any, and nearly n in practice, see there
//	concurrency                 any number, n at once
//
// # When the clock goes back
//
// Monotonic clocks do not, but the loops of a process read theirs at different times, so that a word may be some milliseconds
// ahead of who asks. A word that is ahead by little is believed. One that is ahead by more than the settings could have made it
// belongs to a clock that has jumped, or to settings that were larger; then the key is taken for one that has just used up
// what it has, so that nothing is let through twice and nobody waits longer than the settings say.
//
// # When the settings change
//
// Words are kept in units that do not depend on counts: a bucket's is the time when it will be full again, a window's is its
// number and what was admitted in it, that of concurrency is who is under way. So a key keeps what it has used when count, burst
// or delay change: an untouched bucket is full, an exhausted one stays exhausted and fills at the new rate, unless it now takes
// longer to fill (a larger burst, a lower rate): what it has grown by is there at once. Another algorithm, or another unit of
// time for a window, makes a word mean something else: begin with empty words then.
package limit
