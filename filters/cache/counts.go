package cache

import (
	"slices"
	"sync/atomic"

	"github.com/yumen-io/yumen/gateway"
	policy "github.com/yumen-io/yumen/policy/cache"
)

// Counts are what a cache has done since it began, over configurations. Of one in shadow mode they are what it would have done.
type Counts struct {
	Hits        uint64            `json:"hits"`              // answered with what is kept, stale answers among them
	Stale       uint64            `json:"stale"`             // answered with what was stale
	Misses      uint64            `json:"misses"`            // the upstream was asked
	Confirmed   uint64            `json:"confirmed"`         // the upstream said that what is kept is good
	Renewals    uint64            `json:"renewals"`          // the upstream was asked for no client, because a stale answer was given
	Stored      uint64            `json:"stored"`            // answers that were kept
	Refused     map[string]uint64 `json:"refused,omitempty"` // answers that were not, by reason
	Bypassed    uint64            `json:"bypassed"`          // requests that are none for a cache
	Collapsed   uint64            `json:"collapsed"`         // requests that waited for another's answer
	Invalidated uint64            `json:"invalidated"`       // responses taken out because of an unsafe request
	Purged      uint64            `json:"purged"`            // responses taken out by hand
	Evicted     uint64            `json:"evicted"`           // responses that made room
	Responses   int64             `json:"responses"`         // kept now
	Bytes       int64             `json:"bytes"`             // taken by them, overhead included
	Filling     int64             `json:"filling_bytes"`     // taken by what is on its way in
}

// refusals are the reasons by which answers that are not kept are counted, in the order of loopCounts.refused.
var refusals = append(policy.Refusals(), refusedTags, refusedBusy)

// refusedMost has room for all of them, and for one that is not among them.
const refusedMost = 20

// refusedNames are the names of their numbers.
var refusedNames = func() (names [refusedMost]string) {
	for i, r := range refusals {
		names[i] = "refused_" + string(r)
	}
	return names
}()

// counters are those of all loops; each loop writes to its own.
type counters struct {
	loops   [gateway.LoopsMax]atomic.Pointer[loopCounts]
	evicted atomic.Uint64
	purged  atomic.Uint64
}

// loopCounts are a loop's. Two cache lines lie between those of two loops.
type loopCounts struct {
	hits, stale, misses, confirmed, renewals, stored, bypassed, collapsed, invalidated atomic.Uint64
	refused                                                                            [refusedMost]atomic.Uint64
	_                                                                                  [128]byte
}

// refuse counts an answer that is not kept.
func (c *loopCounts) refuse(why policy.Refusal) {
	if i := slices.Index(refusals, why); i >= 0 {
		c.refused[i].Add(1)
	}
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
	sum := Counts{Purged: s.counts.purged.Load(), Evicted: s.counts.evicted.Load(), Responses: s.count.Load(), Bytes: s.bytes.Load(),
		Filling: s.fills.Load(), Refused: map[string]uint64{}}
	for i := range s.counts.loops {
		n := s.counts.loops[i].Load()
		if n == nil {
			continue
		}
		sum.Hits += n.hits.Load()
		sum.Stale += n.stale.Load()
		sum.Misses += n.misses.Load()
		sum.Confirmed += n.confirmed.Load()
		sum.Renewals += n.renewals.Load()
		sum.Stored += n.stored.Load()
		sum.Bypassed += n.bypassed.Load()
		sum.Collapsed += n.collapsed.Load()
		sum.Invalidated += n.invalidated.Load()
		for j, r := range refusals {
			if k := n.refused[j].Load(); k > 0 {
				sum.Refused[string(r)] += k
			}
		}
	}
	return sum
}

// tell is for the guard: the numbers of the metrics. Refusals that never happened are zero, so that a rate over them is known from
// the first on.
func (s *Store) tell(yield func(number string, value float64)) {
	c := s.Counts()
	for _, n := range []struct {
		name  string
		value uint64
	}{{"hits", c.Hits}, {"stale", c.Stale}, {"misses", c.Misses}, {"confirmed", c.Confirmed}, {"renewals", c.Renewals}, {"stored", c.Stored},
		{"bypassed", c.Bypassed}, {"collapsed", c.Collapsed}, {"invalidated", c.Invalidated}, {"purged", c.Purged}, {"evicted", c.Evicted}} {
		yield(n.name, float64(n.value))
	}
	for i, r := range refusals {
		yield(refusedNames[i], float64(c.Refused[string(r)]))
	}
	yield("responses", float64(c.Responses))
	yield("bytes", float64(c.Bytes))
	yield("filling_bytes", float64(c.Filling))
}
