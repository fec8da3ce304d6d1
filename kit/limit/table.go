package limit

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/yumen-io/yumen/internal/mono"
	core "github.com/yumen-io/yumen/policy/limit"
)

const (
	// shardCount is how many parts a table has. Those who bring new keys meet at a part's lock; with 32, and a lock held for
	// some hundred nanoseconds, they hardly ever do.
	shardCount = 32
	shardBits  = 5
	// firstBuckets is what a part begins with; it doubles as keys come.
	firstBuckets = 8
	// surveyMax is how many keys are looked at to find one that makes room.
	surveyMax = 16
	// forgetMax is how much of its quota a key may have used to be forgotten for another when none is unused: whoever is
	// near his limit stays. What the forgetting gives away is half a quota at most, for as many new keys as there may be.
	forgetMax = 0.5
)

// table is the words of a limit's keys. A key is 128 bits of two hashes that nobody outside can aim at, so that what a client
// sends as a key takes no memory but its 48 bytes here.
//
// Finding a key takes no lock: buckets are chains that only those change who hold the lock of their part. A chain that grows
// into another while somebody walks along it may lead him past his key; he then finds it under the lock. A cell that made room has
// the word Gone; whoever still holds it asks again.
type table struct {
	seeds  [2]maphash.Seed
	shards [shardCount]shard
	shared cell // of all keys for which there was no place
}

// cell is one key.
type cell struct {
	low, high uint64
	next      atomic.Pointer[cell]
	word      atomic.Uint64
}

// shard is a part of the table, and the counts of the decisions on its keys. Shards lie on cache lines of their own.
type shard struct {
	buckets atomic.Pointer[[]atomic.Pointer[cell]]
	_       [56]byte

	allowed, refused, delayed atomic.Uint64
	_                         [40]byte

	mu struct {
		sync.Mutex
		keys int
		hand int // the bucket to look at next for one that makes room
	}
	evicted, forgotten, overflowed atomic.Uint64
	_                              [24]byte
}

func newTable() *table {
	t := &table{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	for i := range t.shards {
		b := make([]atomic.Pointer[cell], firstBuckets)
		t.shards[i].buckets.Store(&b)
	}
	return t
}

// decide judges a request. The cell is the one whose word was changed, for release.
func (t *table) decide(l *core.Limit, keysMax int, key string, now mono.Time, cost int64) (v core.Verdict, c *cell, s *shard) {
	low, high := maphash.String(t.seeds[0], key), maphash.String(t.seeds[1], key)
	s = &t.shards[low>>(64-shardBits)]
	if c = s.find(low, high); c != nil {
		if v, ok := c.decide(l, now, cost); ok {
			return v, c, s
		}
	}
	if v, c, ok := s.enter(l, keysMax/shardCount+1, low, high, now, cost); ok {
		return v, c, s
	}
	s.overflowed.Add(1)
	v, _ = t.shared.decide(l, now, cost)
	return v, &t.shared, s
}

// decide swaps the word for the one that follows; false if the cell is not the key's any more.
func (c *cell) decide(l *core.Limit, now mono.Time, cost int64) (v core.Verdict, ok bool) {
	for {
		w := c.word.Load()
		if core.Word(w) == core.Gone {
			return v, false
		}
		next, v := l.Decide(core.Word(w), now, cost)
		if uint64(next) == w || c.word.CompareAndSwap(w, uint64(next)) {
			return v, true
		}
	}
}

// release gives back what a limit of concurrency allowed. A key with something under way is never forgotten.
func (c *cell) release(l *core.Limit, cost int64) {
	for {
		w := c.word.Load()
		if c.word.CompareAndSwap(w, uint64(l.Release(core.Word(w), cost))) {
			return
		}
	}
}

func bucketOf(buckets []atomic.Pointer[cell], low uint64) *atomic.Pointer[cell] {
	return &buckets[low&uint64(len(buckets)-1)]
}

func (s *shard) find(low, high uint64) *cell {
	for c := bucketOf(*s.buckets.Load(), low).Load(); c != nil; c = c.next.Load() {
		if c.low == low && c.high == high {
			return c
		}
	}
	return nil
}

// enter judges a request whose key was not found, under the lock. False: there is no place for it.
func (s *shard) enter(l *core.Limit, keysMax int, low, high uint64, now mono.Time, cost int64) (v core.Verdict, c *cell, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c = s.find(low, high); c != nil { // it came meanwhile
		v, ok = c.decide(l, now, cost) // only those make room who hold the lock
		return v, c, ok
	}
	next, v := l.Decide(0, now, cost)
	if next == 0 {
		return v, nil, true // refused, with nothing to remember
	}
	for s.mu.keys >= keysMax {
		if !s.makeRoom(l, now) {
			return v, nil, false
		}
	}
	buckets := *s.buckets.Load()
	if s.mu.keys >= len(buckets) {
		buckets = s.grow(buckets)
	}
	c = &cell{low: low, high: high}
	c.word.Store(uint64(next))
	at := bucketOf(buckets, low)
	c.next.Store(at.Load())
	at.Store(c)
	s.mu.keys++
	return v, c, true
}

// grow moves to twice as many buckets. Whoever is on his way through meets only cells, and an end.
func (s *shard) grow(old []atomic.Pointer[cell]) []atomic.Pointer[cell] {
	larger := make([]atomic.Pointer[cell], 2*len(old))
	for i := range old {
		for c := old[i].Load(); c != nil; {
			next := c.next.Load()
			at := bucketOf(larger, c.low)
			c.next.Store(at.Load())
			at.Store(c)
			c = next
		}
	}
	s.buckets.Store(&larger)
	return larger
}

// makeRoom takes a key out: the first of some that has nothing used, else the one that has used the least. What is under way
// is never forgotten: its end will be counted.
func (s *shard) makeRoom(l *core.Limit, now mono.Time) bool {
	buckets := *s.buckets.Load()
	var least *cell
	load, seen := 2.0, 0
	for range buckets {
		s.mu.hand = (s.mu.hand + 1) % len(buckets)
		for c := buckets[s.mu.hand].Load(); c != nil; c = c.next.Load() {
			if of := l.Load(core.Word(c.word.Load()), now); of < load {
				least, load = c, of
			}
			seen++
		}
		if load == 0 || seen >= surveyMax {
			break
		}
	}
	if least == nil || load > forgetMax || load > 0 && l.Counts() {
		return false
	}
	w := least.word.Load()
	for l.Load(core.Word(w), now) <= load {
		if least.word.CompareAndSwap(w, uint64(core.Gone)) {
			s.unlink(least)
			if load == 0 {
				s.evicted.Add(1)
			} else {
				s.forgotten.Add(1)
			}
			return true
		}
		w = least.word.Load()
	}
	return false // it was used just now
}

func (s *shard) unlink(c *cell) {
	at := bucketOf(*s.buckets.Load(), c.low)
	for at.Load() != c {
		at = &at.Load().next
	}
	at.Store(c.next.Load())
	s.mu.keys--
}

// shardOf is where decisions of a store on the key are counted.
func (t *table) shardOf(key string) *shard {
	return &t.shards[maphash.String(t.seeds[0], key)>>(64-shardBits)]
}
