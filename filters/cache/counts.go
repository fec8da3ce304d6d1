package cache

import (
	"sync/atomic"

	"github.com/yumen-io/yumen/gateway"
)

// Counts are what a cache has done since it began, over configurations.
type Counts struct {
	Hits        uint64 // answered with what is kept, stale answers among them
	Stale       uint64 // answered with what was stale
	Misses      uint64 // the upstream was asked
	Confirmed   uint64 // the upstream said that what is kept is good
	Stored      uint64
	Refused     uint64 // answers that may not be kept, or are too large
	Bypassed    uint64 // requests that are none for a cache
	Collapsed   uint64 // requests that waited for another's answer
	Invalidated uint64 // responses taken out because of an unsafe request
	Evicted     uint64 // responses that made room
	Responses   int64  // kept now
	Bytes       int64  // taken by them, overhead included
}

// counters are those of all loops; each loop writes to its own.
type counters struct {
	loops   [gateway.LoopsMax]atomic.Pointer[loopCounts]
	evicted atomic.Uint64
}

// loopCounts are a loop's. Two cache lines lie between those of two loops.
type loopCounts struct {
	hits, stale, misses, confirmed, stored, refused, bypassed, collapsed, invalidated atomic.Uint64
	_                                                                                 [128]byte
}

// on returns the counters of a loop, which alone makes them.
func (c *counters) on(loop int) *loopCounts {
	if n := c.loops[loop].Load(); n != nil {
		return n
	}
	n := new(loopCounts)
	c.loops[loop].Store(n)
	return n
}

// Counts adds up what the store's caches have done. From any goroutine.
func (s *Store) Counts() Counts {
	sum := Counts{Evicted: s.counts.evicted.Load(), Responses: s.count.Load(), Bytes: s.bytes.Load()}
	for i := range s.counts.loops {
		n := s.counts.loops[i].Load()
		if n == nil {
			continue
		}
		sum.Hits += n.hits.Load()
		sum.Stale += n.stale.Load()
		sum.Misses += n.misses.Load()
		sum.Confirmed += n.confirmed.Load()
		sum.Stored += n.stored.Load()
		sum.Refused += n.refused.Load()
		sum.Bypassed += n.bypassed.Load()
		sum.Collapsed += n.collapsed.Load()
		sum.Invalidated += n.invalidated.Load()
	}
	return sum
}
