package loop

import "sync/atomic"

// Stats counts what a loop did since it began. The loop alone writes; any goroutine may read each number at any time,
// but two numbers read one after the other belong to different moments.
type Stats struct {
	Turns       atomic.Uint64 // turns, busy or not
	Events      atomic.Uint64 // readiness events delivered to handlers
	Stale       atomic.Uint64 // events for a socket that was closed before its event was looked at: dropped
	Wakes       atomic.Uint64 // system calls spent by other goroutines on waking the loop
	TimersFired atomic.Uint64

	Accepted     atomic.Uint64 // connections handed to an AcceptHandler
	AcceptErrors atomic.Uint64 // accept calls that failed, of every kind but "queue empty"
	FDExhausted  atomic.Uint64 // of those: the process or the system was out of descriptors
	Refused      atomic.Uint64 // connections accepted with the reserved descriptor only to be closed at once
	AcceptPauses atomic.Uint64 // times an acceptor backed off

	Sockets atomic.Int64 // registered now, acceptors included
}

// Stats returns the loop's counters. Safe from any goroutine, also after the loop ended.
func (l *Loop) Stats() *Stats { return &l.stats }
