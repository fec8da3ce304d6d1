package limit

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/limit"
)

const (
	// shardCount is how many parts a table has. Those who bring new keys meet at a part's lock; with 32, and a lock held for
	// some hundred nanoseconds, they hardly ever do.
	shardCount = 32
	// KeysMaxDefault is more clients than one node sees within the minutes in which a bucket fills; counted, they take 6 MB.
	KeysMaxDefault = 100_000
	// KeysMaxMax is what a document may ask for: 640 MB to 960 MB.
	KeysMaxMax = 10_000_000
)

// Counters are the words of one rule's keys. All loops share them, and so do the configurations that have the rule: they are what
// gateway.Recall recalls. Memory is taken as keys come, and never given back before the last of these configurations is gone.
//
// A decision for a key that is there takes no lock: it finds the key's slot, and swaps its word atomically for the one that
// the arithmetic says, again if another loop was faster. A key that is not there is given a slot under the lock of its part.
//
// Two keys that are both asked for all the time may lie on one line of the processor's cache, two slots each, and then cost a
// little more than they need. With keys spread by a hash over many lines that is rare, and slots of a line each would double
// the memory of all for it.
type Counters struct {
	low, high maphash.Seed
	shards    [shardCount]shard
	shared    slot // of all keys for which there was no slot
	_         [64]byte

	// Published.
	keys       atomic.Int64  // that have a slot
	evicted    atomic.Uint64 // whose slot went to another while they had nothing used
	forgotten  atomic.Uint64 // whose slot went to another while they had
	overflowed atomic.Uint64 // decisions by the shared word
}

func newCounters() *Counters { return &Counters{low: maphash.MakeSeed(), high: maphash.MakeSeed()} }

// Start is for gateway.Remembered.
func (c *Counters) Start() {}

// Close is for gateway.Remembered. Exchanges that hold places give them back to what is then seen by nobody.
func (c *Counters) Close() {}

// View is a table as an operator sees it.
type View struct {
	Keys       int64  // that have a slot
	Evicted    uint64 // keys that made room and had nothing used
	Forgotten  uint64 // keys that made room and had used something, at most half of their quota
	Overflowed uint64 // decisions on the one count that keys without a slot share
}

// View describes the table. From any goroutine.
func (c *Counters) View() View {
	return View{c.keys.Load(), c.evicted.Load(), c.forgotten.Load(), c.overflowed.Load()}
}

// Hash returns what stands for a key in this table.
func (c *Counters) Hash(key []byte) Hash {
	return Hash{maphash.Bytes(c.low, key) | 1, maphash.Bytes(c.high, key)} // zero marks a slot that was never used
}

// terms are what a decision needs to know beside the request.
type terms struct {
	limit   *limit.Limit
	setsMax int // of each shard: see setsFor
}

// setsFor is how many sets each shard may have so that keysMax keys find a slot each: twice as many slots as keys, so that
// with sets of 16, half full when all keys are there, not one key in a thousand meets a full one.
func setsFor(keysMax int) int {
	n := max((2*keysMax+shardCount*setSlots-1)/(shardCount*setSlots), 1)
	// A shard grows by doubling: the number is rounded up to one that doubling leads to from firstSets.
	if shift := bits.Len(uint(n)) - 3; shift > 0 {
		n = (n + 1<<shift - 1) >> shift << shift
	}
	return n
}

// firstSets is how many sets a shard begins with that may have setsMax: 7 at most.
func firstSets(setsMax int) int {
	n := setsMax
	for n > 7 && n%2 == 0 {
		n /= 2
	}
	return min(n, 7)
}

// decide judges a request. Not placed: there was no slot for its key, and it was judged by the count that such keys share.
func (c *Counters) decide(t terms, h Hash, now mono.Time, cost int64) (v limit.Verdict, placed bool) {
	s := &c.shards[h.shard()]
	if table := s.table.Load(); table != nil {
		if v, ok := table.decide(t.limit, h, now, cost); ok {
			return v, true
		}
	}
	if v, ok := s.enter(c, t, h, now, cost); ok {
		return v, true
	}
	c.overflowed.Add(1)
	for {
		w := c.shared.word.Load()
		next, v := t.limit.Decide(limit.Word(w), now, cost)
		if uint64(next) == w || c.shared.word.CompareAndSwap(w, uint64(next)) {
			return v, false
		}
	}
}

// release gives back what decide allowed by a limit of concurrency. A key with something under way keeps its slot, so it is
// there.
func (c *Counters) release(l *limit.Limit, h Hash, placed bool, cost int64) {
	if !placed {
		for {
			w := c.shared.word.Load()
			if c.shared.word.CompareAndSwap(w, uint64(l.Release(limit.Word(w), cost))) {
				return
			}
		}
	}
	s := &c.shards[h.shard()]
	if s.table.Load().release(l, h, cost) {
		return
	}
	s.mu.Lock() // it was moving
	defer s.mu.Unlock()
	s.table.Load().release(l, h, cost)
}
