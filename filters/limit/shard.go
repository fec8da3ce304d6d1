package limit

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/limit"
)

// setSlots is how many slots a key may be in: a set. It is searched from a place that the hash says, as far as the first slot
// that was never used: one or two looks, as long as the table is no more than half full.
const setSlots = 16

// slot is one key and its word: half a line of the cache, so that a slot never lies on two.
//
// A slot's life: never used; then some key's; then, each time under the shard's lock, another key's; and in the end gone, when the
// shard has a larger table. Before key and word change hands the word becomes Gone, by a swap that fails if somebody has used
// the slot meanwhile. Who reads without the lock takes the word first and then looks whose it is: had the slot changed
// hands in between, the swap that follows finds another word, since words of a slot never come again (limit.Renew).
type slot struct {
	low, high, word atomic.Uint64
	_               uint64
}

// table is a shard's slots. Its size is frozen; what grows is the shard, from one table to the next.
type table struct {
	sets  uint64
	slots []slot
}

func newTable(sets int) *table { return &table{uint64(sets), make([]slot, sets*setSlots)} }

// A hash says the shard by the high bits of one half, and the set by those of the other; its lowest say where in the set.
func (h Hash) shard() uint64 { return h.Low >> (64 - 5) }

func (t *table) set(h Hash) []slot {
	set, _ := bits.Mul64(h.High, t.sets)
	return t.slots[set*setSlots : (set+1)*setSlots]
}

// find returns the slot that says it is the key's; nil if none does.
func (t *table) find(h Hash) *slot {
	set, from := t.set(h), h.High
	for i := range uint64(setSlots) {
		s := &set[(from+i)%setSlots]
		switch s.low.Load() {
		case h.Low:
			if s.high.Load() == h.High {
				return s
			}
		case 0:
			return nil
		}
	}
	return nil
}

// read returns the slot's word if the slot is the key's.
func (s *slot) read(h Hash) (w uint64, ok bool) {
	w = s.word.Load()
	return w, limit.Word(w) != limit.Gone && s.low.Load() == h.Low && s.high.Load() == h.High
}

// decide judges without a lock; false if the key is not here, or on its way.
func (t *table) decide(l *limit.Limit, h Hash, now mono.Time, cost int64) (v limit.Verdict, ok bool) {
	s := t.find(h)
	if s == nil {
		return v, false
	}
	for {
		w, ok := s.read(h)
		if !ok {
			return v, false
		}
		next, v := l.Decide(limit.Word(w), now, cost)
		if uint64(next) == w || s.word.CompareAndSwap(w, uint64(next)) {
			return v, true
		}
	}
}

func (t *table) release(l *limit.Limit, h Hash, cost int64) bool {
	s := t.find(h)
	if s == nil {
		return false
	}
	for {
		w, ok := s.read(h)
		if !ok {
			return false
		}
		if s.word.CompareAndSwap(w, uint64(l.Release(limit.Word(w), cost))) {
			return true
		}
	}
}

// shard is a part of the table. Shards lie on lines of the cache of their own.
type shard struct {
	table atomic.Pointer[table] // published; nil before the first key
	_     [56]byte

	mu struct {
		sync.Mutex
		used int // slots of the table that were ever used
	}
	_ [48]byte
}

// enter judges a request whose key was not found, under the lock. False: there is no slot for it.
func (s *shard) enter(c *Counters, t terms, h Hash, now mono.Time, cost int64) (v limit.Verdict, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.table.Load(); at == nil {
		s.table.Store(newTable(firstSets(t.setsMax)))
	} else if v, ok := at.decide(t.limit, h, now, cost); ok {
		return v, true // it came meanwhile
	}
	if next, v := t.limit.Decide(0, now, cost); next == 0 {
		return v, true // refused, with nothing to remember
	}
	for {
		at := s.table.Load()
		set := at.set(h)
		free, idle, least, load := survey(set, h, t.limit, now)
		if (free == nil || 2*s.mu.used >= len(at.slots)) && 2*int(at.sets) <= t.setsMax && (idle == nil || 2*s.mu.used >= len(at.slots)) {
			s.grow(at)
			continue
		}
		switch {
		case free != nil:
			next, v := t.limit.Decide(0, now, cost)
			free.word.Store(uint64(next))
			free.high.Store(h.High)
			free.low.Store(h.Low) // last: this is what makes it found
			s.mu.used++
			c.keys.Add(1)
			return v, true
		case idle != nil:
			if v, ok := idle.handOver(t.limit, h, now, cost, 0); ok {
				c.evicted.Add(1)
				return v, true
			}
		case load <= forgetMax:
			if v, ok := least.handOver(t.limit, h, now, cost, forgetMax); ok {
				c.forgotten.Add(1)
				return v, true
			}
		default:
			return v, false
		}
	}
}

// forgetMax is how much of its quota a key may have used to be forgotten for another when no key of its set is unused. Who comes
// with a hundred thousand addresses uses a little of each, and pushes out his own; whoever is near his limit stays. What the
// forgetting gives away is at most half a quota, for as many new keys as the table holds.
const forgetMax = 0.5

// survey looks for a place in a set: a slot that was never used, one whose key has nothing used, the longest unused of them, and the
// one whose key has used the least. What is under way is never forgotten: its end will be counted.
func survey(set []slot, h Hash, l *limit.Limit, now mono.Time) (free, idle, least *slot, load float64) {
	load = 2
	var oldest uint64
	for i := range uint64(setSlots) {
		s := &set[(h.High+i)%setSlots]
		if s.low.Load() == 0 {
			return s, idle, least, load
		}
		w := s.word.Load()
		of := l.Load(limit.Word(w), now)
		if of == 0 && (idle == nil || w < oldest) {
			idle, oldest = s, w
		}
		if of < load && !l.Counts() {
			least, load = s, of
		}
	}
	return nil, idle, least, load
}

// handOver gives a slot to another key, unless its own has used more than most meanwhile. Under the lock.
func (s *slot) handOver(l *limit.Limit, h Hash, now mono.Time, cost int64, most float64) (v limit.Verdict, ok bool) {
	w := s.word.Load()
	if l.Load(limit.Word(w), now) > most || !s.word.CompareAndSwap(w, uint64(limit.Gone)) {
		return v, false
	}
	next, v := l.Decide(l.Renew(limit.Word(w)), now, cost)
	s.low.Store(h.Low)
	s.high.Store(h.High)
	s.word.Store(uint64(next))
	return v, true
}

// grow moves to a table twice as large. Whoever uses a slot of the old one meanwhile finds its word gone, and waits at the lock.
// The keys of a set part into two, so that each finds room.
func (s *shard) grow(old *table) {
	larger := newTable(2 * int(old.sets))
	for i := range old.slots {
		from := &old.slots[i]
		h := Hash{from.low.Load(), from.high.Load()}
		if h.Low == 0 {
			continue
		}
		w := from.word.Swap(uint64(limit.Gone))
		set := larger.set(h)
		for j := range uint64(setSlots) {
			to := &set[(h.High+j)%setSlots]
			if to.low.Load() == 0 {
				to.low.Store(h.Low)
				to.high.Store(h.High)
				to.word.Store(w)
				break
			}
		}
	}
	s.table.Store(larger)
}
