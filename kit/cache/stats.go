package cache

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// counter is added to by many processors on the path of hits, so it has a cache line for several of them.
type counter [8]struct {
	atomic.Uint64
	_ [56]byte
}

func (c *counter) inc() { c[rand.Uint32()&7].Add(1) }

func (c *counter) sum() (n uint64) {
	for i := range c {
		n += c[i].Load()
	}
	return n
}

type counts struct {
	hits                                                            counter
	misses, joined, loads, loadFailures, loadsFull, negatives       atomic.Uint64
	stale, stubs, waits, leaseLost, behind, garbage, tooLong, alone atomic.Uint64
	invalidations, bumps, gaps, events, earlyLoads, sharedHits      atomic.Uint64
	lagMax, lagLast                                                 atomic.Int64 // nanoseconds
}

// Stats are numbers of a Cache since New, except for those said to be of now.
type Stats struct {
	LocalHits    uint64 // answered by the first level
	Misses       uint64 // not answered by it
	Joined       uint64 // of these, went along with one that was under way
	SharedHits   uint64 // answered by Redis
	Loads        uint64 // calls of Load
	LoadFailures uint64 // without those that found nothing
	LoadsFull    uint64 // loads that got no place among LoadsMax
	Negatives    uint64 // loads that found nothing
	EarlyLoads   uint64 // loads of values that were still fresh
	Stale, Stubs uint64 // answers made because all else had failed, or because the source lags behind

	LeaseWaits uint64 // misses that waited for another node's load
	LeaseLost  uint64 // fills that were refused because the key was changed meanwhile, or the load took too long
	Behind     uint64 // loads that brought a version older than one that is known to exist
	Alone      uint64 // misses that could not ask Redis
	Garbage    uint64 // records that could not be read, and were deleted
	TooLong    uint64 // values longer than ValueBytesMax, or that could not be encoded

	Invalidations uint64 // events given to Invalidate on this node
	Events        uint64 // events read from the feed
	Epochs        uint64 // times this node found that everything may be old
	Gaps          uint64 // times the feed was not whole, and the first level was given up
	Pushes        uint64 // keys announced by client-side tracking
	RedisCalls    uint64
	RedisFailures uint64

	Reachable  bool   // now; also false without Redis
	Trouble    error  // of the last call of Redis that failed; nil if none has
	LocalItems int    // now
	LocalBytes uint64 // now

	// MaxStaleness is how far an unmarked answer of this node may be behind an event that Invalidate has taken, now: the time since the feed was last
	// read to its end, and never more than Bound. Without Redis it is Bound.
	MaxStaleness time.Duration
	// Bound is the most that MaxStaleness can become: LocalTTL, or what a load and a trip to Redis may take if that is longer.
	Bound time.Duration
	// BoundUntold is how old an unmarked answer can become if no event comes at all.
	BoundUntold time.Duration
	// LagLast and LagMax are the measured time from Event.At until this node's first level knew, by the wall clocks of both.
	LagLast, LagMax time.Duration
}

// Stats returns the numbers. It locks nothing that a Get needs.
func (c *Cache[K, V]) Stats() Stats {
	n := &c.counts
	s := Stats{
		LocalHits: n.hits.sum(), Misses: n.misses.Load(), Joined: n.joined.Load(), Loads: n.loads.Load(),
		LoadFailures: n.loadFailures.Load(), LoadsFull: n.loadsFull.Load(), Negatives: n.negatives.Load(), EarlyLoads: n.earlyLoads.Load(),
		Stale: n.stale.Load(), Stubs: n.stubs.Load(), LeaseWaits: n.waits.Load(), LeaseLost: n.leaseLost.Load(), Behind: n.behind.Load(),
		Alone: n.alone.Load(), Garbage: n.garbage.Load(), TooLong: n.tooLong.Load(), Invalidations: n.invalidations.Load(), Events: n.events.Load(),
		Epochs: n.bumps.Load(), Gaps: n.gaps.Load(), SharedHits: n.sharedHits.Load(),
		LocalItems: c.local.entries.EstimatedSize(), LocalBytes: c.local.entries.WeightedSize(),
		Bound: c.bound, BoundUntold: max(c.cfg.TTL, c.bound), MaxStaleness: c.bound,
		LagLast: time.Duration(n.lagLast.Load()), LagMax: time.Duration(n.lagMax.Load()),
	}
	if c.link != nil {
		s.Reachable, s.Trouble = c.link.up.Load(), c.link.lastTrouble()
		s.RedisCalls, s.RedisFailures, s.Pushes = c.link.calls.Load(), c.link.failures.Load(), c.link.pushes.Load()
		if at := c.followed.Load(); at > 0 {
			s.MaxStaleness = min(c.bound, c.now().Sub(mono.Time(at)))
		}
	}
	return s
}
