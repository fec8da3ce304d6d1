package cache

import (
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/yumen-io/yumen/internal/mono"
)

// entry is what the first level has of a key. It is not changed but for its two marks.
type entry[V any] struct {
	value   V
	version uint64
	source  Source // Local, or what a makeshift is: Stale, Stub
	absent  bool
	era     uint64 // of the first level, when the answer's way here began
	begun   mono.Time
	until   mono.Time // is fresh
	refresh mono.Time // is loaded again early
	keep    mono.Time // may be given as stale
	weight  uint32

	dead       atomic.Bool // an event said that it is old
	refreshing atomic.Bool
}

func (e *entry[V]) fresh(now mono.Time, era uint64) bool {
	return now < e.until && e.era == era && !e.dead.Load()
}

// shards is how many locks there are for those who miss. Hits take none.
const shards = 64

// local is the first level, and the flights on their way to it. Both are under one lock for each shard, so that an event finds the entry or the flight: what
// has begun before an event is never stored after it.
type local[K comparable, V any] struct {
	entries *otter.Cache[K, *entry[V]]
	era     atomic.Uint64 // raised when everything in it may be old
	seed    maphash.Seed
	shards  [shards]struct {
		sync.Mutex
		flights map[K]*flight[K, V]
	}
}

func newLocal[K comparable, V any](bytesMax int64, keep time.Duration) (*local[K, V], error) {
	entries, err := otter.New(&otter.Options[K, *entry[V]]{
		MaximumWeight:    uint64(bytesMax),
		Weigher:          func(_ K, e *entry[V]) uint32 { return e.weight },
		ExpiryCalculator: otter.ExpiryWriting[K, *entry[V]](keep),
	})
	if err != nil {
		return nil, err
	}
	l := &local[K, V]{entries: entries, seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].flights = map[K]*flight[K, V]{}
	}
	return l, nil
}

func (l *local[K, V]) shardOf(key K) int { return int(maphash.Comparable(l.seed, key) % shards) }

// join returns the flight of a key, and whether it was just made. One that an event overtook, or that has landed, takes nobody along.
func (l *local[K, V]) join(key K, begin func() *flight[K, V]) (f *flight[K, V], made bool) {
	s := &l.shards[l.shardOf(key)]
	s.Lock()
	defer s.Unlock()
	if f = s.flights[key]; f != nil && !f.overtaken && !f.landed && f.era == l.era.Load() {
		return f, false
	}
	f = begin()
	s.flights[key] = f
	return f, true
}

// look notes that what a flight asks for now includes all that happened before.
func (l *local[K, V]) look(f *flight[K, V]) {
	s := &l.shards[l.shardOf(f.key)]
	s.Lock()
	defer s.Unlock()
	if s.flights[f.key] == f { // events are told to no other
		f.overtaken, f.era = false, l.era.Load()
	}
}

// land stores an answer, unless an event came meanwhile.
func (l *local[K, V]) land(f *flight[K, V], e *entry[V]) {
	s := &l.shards[l.shardOf(f.key)]
	s.Lock()
	defer s.Unlock()
	if s.flights[f.key] != f || f.overtaken || f.era != l.era.Load() {
		return
	}
	e.era = f.era
	if had, ok := l.entries.GetEntryQuietly(f.key); ok && had.Value.version > e.version && e.version > 0 && had.Value.era == e.era && !had.Value.dead.Load() {
		return // a later flight was faster
	}
	l.entries.Set(f.key, e)
}

// serve has a flight take nobody along any more.
func (l *local[K, V]) serve(f *flight[K, V]) {
	s := &l.shards[l.shardOf(f.key)]
	s.Lock()
	f.landed = true
	s.Unlock()
}

// end takes a flight out of the table.
func (l *local[K, V]) end(f *flight[K, V]) {
	s := &l.shards[l.shardOf(f.key)]
	s.Lock()
	if s.flights[f.key] == f {
		delete(s.flights, f.key)
	}
	s.Unlock()
}

// drop is an event: flights are overtaken, and what is older is dead. With keep it stays as a stale answer.
func (l *local[K, V]) drop(key K, version uint64, deleted, keep bool) {
	s := &l.shards[l.shardOf(key)]
	s.Lock()
	defer s.Unlock()
	if f := s.flights[key]; f != nil {
		f.overtaken = true
	}
	e, ok := l.entries.GetEntryQuietly(key)
	if !ok || hasChange(e.Value.version, version, deleted) {
		return
	}
	e.Value.dead.Store(true)
	if !keep {
		l.entries.Invalidate(key)
	}
}

// hasChange tells whether a value of version had includes the change of an event.
func hasChange(had, event uint64, deleted bool) bool {
	return event > 0 && (had > event || had == event && !deleted)
}

// spread shortens d by up to a part of it, so that what began together does not end together. It never lengthens it: d is a bound.
func spread(d time.Duration, part float64) time.Duration {
	return d - time.Duration(rand.Float64()*part*float64(d))
}
