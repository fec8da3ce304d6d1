// Package mono is time as the data plane sees it: nanoseconds on the monotonic clock, eight bytes, no location, no
// wall clock. A loop reads the clock once per turn and hands the value down; nothing below it asks for the time itself.
//
// It deliberately offers no formatting and no timers: wall time belongs to the logs, timers to engine/loop.
package mono

import "time"

// Time is a point on the monotonic clock, in nanoseconds since the process started. Zero is the start; it is also what
// an unset mark holds, so a Time taken by Now is always positive. Times of two processes cannot be compared.
type Time int64

// Never lies after every time a running process can reach.
const Never = Time(1<<63 - 1)

// start is a second in the past, so that Now never returns zero.
var start = time.Now().Add(-time.Second)

// Now reads the monotonic clock. It costs some tens of nanoseconds: take it once and pass it on.
func Now() Time { return Time(time.Since(start)) }

// Add returns the time d after t. It saturates at Never.
func (t Time) Add(d time.Duration) Time {
	if s := t + Time(d); s >= t || d < 0 {
		return s
	}
	return Never
}

// Sub returns how long after u the time t is.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }
