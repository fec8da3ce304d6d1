// Package limit judges one request against one limit: by its rate, in four ways, or by how many are under way.
//
// A judgement is arithmetic. What is known of a key is one word of 64 bits; Decide takes it, the time, what the request costs
// and the settings, and gives the word that is to take its place and a verdict with its numbers. Whoever owns the word swaps it
// atomically, and asks again if another was faster: so a limit is exact over any number of loops without a lock. The package
// holds no keys, reads no clock and keeps nothing.
//
//	tokenbucket.go    a rate and a burst; what is over is refused
//	leakybucket.go    a rate and a burst; what is over waits, up to a bound
//	fixedwindow.go    so many in each second, minute or hour since the process's clock began, which is when it started
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
// ahead of who asks. So a word that is ahead is believed as long as the settings could have made it, and a second beyond: should
// a clock jump back by less than that, the key waits for what was jumped as well. What is ahead by more belongs to a clock that has
// jumped further, or to settings that were larger:
//
//	buckets         the key is taken for one that has just used up what it has
//	fixed window    a word of the next window is believed, until that one ends; of a later one, its count is taken over into this
//	sliding window  likewise, both counts, for jumps of up to 1024 windows; after a longer one the key begins anew
//
// So a jump lets nothing through twice, but for the last line, and adds to what the settings have a key wait at most a second for a
// bucket, and one window for a window.
//
// # When the settings change
//
// Words are kept in units that do not depend on counts: a bucket's is the time when it will be full again, a window's is its
// number and what was admitted in it, that of concurrency is who is under way. So a key keeps what it has used when count, burst
// or delay change: an untouched bucket is full, an exhausted one stays exhausted and fills at the new rate, unless it now takes
// longer to fill (a larger burst, a lower rate): what it has grown by is there at once. Another algorithm, or another unit of
// time for a window, makes a word mean something else: begin with empty words then.
package limit
