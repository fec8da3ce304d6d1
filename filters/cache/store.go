package cache

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/internal/mono"
	policy "github.com/yumen-io/yumen/policy/cache"
)

type duration = time.Duration

const (
	// shards is in how many parts storing is possible at once: many more than a machine has loops.
	shards = 32
	// variantsMax is how many responses one URL may have. The oldest makes room for the newest: without a bound a client that
	// makes up values for what Vary names would own the cache.
	variantsMax = 64
	// generations is how many counters tell fills that what they bring may be out of date. Two URLs may share one, which costs
	// a response now and then.
	generations = 4096
	// bypassed is how many URLs are remembered that nobody waits for, bypassFor for how long: so long that followers do not
	// wait in vain time after time, so short that a change at the upstream is noticed.
	bypassed  = 4096
	bypassFor = 30 * time.Second
	// fillShare is the part of the memory that responses on their way in may have beside it: one in fillShare.
	fillShare = 4
)

// Store is the memory of a cache, shared by all loops and kept over configurations.
type Store struct {
	seed   maphash.Seed
	bytes  atomic.Int64
	count  atomic.Int64
	fills  atomic.Int64 // bytes of what is on its way in
	turn   atomic.Uint32
	whole  atomic.Uint64           // grows with every purge of more than a URL
	marked atomic.Pointer[[]*mark] // purges under way; nil: none
	marks  marks
	tier   atomic.Pointer[Tier] // in force; nil: none
	stale  [generations]atomic.Uint32
	bypass [bypassed]atomic.Uint64 // half a hash and a time in seconds each
	shards [shards]shard
	counts counters
	query  atomic.Pointer[Query] // of the filter that used the store last; nil: none did
	clock  func() mono.Time      // for errands, which nobody tells the time
}

// shard is a part of the store.
type shard struct {
	table   atomic.Pointer[table] // read by any loop
	flying  atomic.Int64          // len(flights), for those who only look whether there are any
	mu      sync.Mutex            // for all below, and for changes of the table
	count   int                   // resources
	small   queue
	main    queue
	ghosts  ghosts
	flights map[string]*flight
}

// table is a hash table of chains. It grows by being replaced.
type table struct{ heads []atomic.Pointer[link] }

// link is a place in a chain. A table of another size has links of its own: whoever walks an old chain comes to its end.
type link struct {
	of   *resource
	next atomic.Pointer[link]
}

// resource is what is kept under one URL: at least one response.
type resource struct {
	hash     uint64
	url      string
	variants atomic.Pointer[[]*entry] // the newest first; replaced as a whole
}

// NewStore returns an empty store.
func NewStore() *Store {
	s := &Store{seed: maphash.MakeSeed(), clock: mono.Now}
	s.marks.room = sync.NewCond(&s.marks)
	for i := range s.shards {
		s.shards[i].table.Store(&table{make([]atomic.Pointer[link], 16)})
		s.shards[i].flights = map[string]*flight{}
	}
	return s
}

// Start is for gateway.Remembered.
func (s *Store) Start() {}

// Close is for gateway.Remembered: no configuration has the cache any more, and its memory is let go.
func (s *Store) Close() { s.PurgeAll() }

func (s *Store) hash(url []byte) uint64 { return maphash.Bytes(s.seed, url) }

func (s *Store) shard(hash uint64) *shard { return &s.shards[hash%shards] }

func (t *table) head(hash uint64) *atomic.Pointer[link] {
	return &t.heads[(hash/shards)&uint64(len(t.heads)-1)]
}

// find returns the resource of a URL, nil if nothing is kept under it. It takes no lock and allocates nothing.
func (s *Store) find(hash uint64, url []byte) *resource {
	for l := s.shard(hash).table.Load().head(hash).Load(); l != nil; l = l.next.Load() {
		if l.of.hash == hash && l.of.url == string(url) {
			return l.of
		}
	}
	return nil
}

// match returns the newest response that is an answer to a request with these fields; prefix is what its selector begins with.
// scratch is memory for selectors.
func (r *resource) match(prefix []byte, f *message.Fields, scratch *[]byte) *entry {
	b := append((*scratch)[:0], prefix...)
	made, vary := false, ""
	defer func() { *scratch = b }()
	for _, e := range *r.variants.Load() {
		if !made || e.vary != vary {
			b = policy.AppendSelector(b[:len(prefix)], e.vary, f)
			made, vary = true, e.vary
		}
		if e.selector == string(b) {
			return e
		}
	}
	return nil
}

// lookup is find and match.
func (s *Store) lookup(hash uint64, url, prefix []byte, f *message.Fields, scratch *[]byte) (e *entry, known bool) {
	r := s.find(hash, url)
	if r == nil {
		return nil, false
	}
	if e = r.match(prefix, f, scratch); e != nil && s.purged(r.url, e) {
		return nil, true
	}
	return e, true
}

// generation is what a fill remembers of the time when its request left.
type generation struct {
	whole uint64
	stale uint32
}

func (s *Store) generation(hash uint64) generation {
	return generation{s.whole.Load(), s.stale[hash%generations].Load()}
}

// put keeps a response in the place of the one it replaces, unless the URL was purged since the generation. What is too much then
// goes, for limit bytes in all.
func (s *Store) put(hash uint64, url []byte, e *entry, since generation, limit int64) bool {
	sh := s.shard(hash)
	sh.mu.Lock()
	if s.generation(hash) != since {
		sh.mu.Unlock()
		return false
	}
	// Room is made in the same shard, as long as it has something: taken elsewhere it would cost shards in which nothing is new
	// what is in use there.
	for s.bytes.Load()+e.size > limit {
		old := sh.victim()
		if old == nil {
			break
		}
		s.drop(sh, old)
		s.counts.evicted.Add(1)
	}
	r := s.find(hash, url)
	if r == nil {
		r = &resource{hash: hash, url: string(url)}
		r.variants.Store(&[]*entry{})
		sh.add(r)
	}
	e.of, e.since = r, since.whole // before anybody can find it
	before := *r.variants.Load()
	after := make([]*entry, 1, min(len(before)+1, variantsMax))
	after[0] = e
	for _, old := range before {
		same := old.vary == e.vary && old.selector == e.selector
		if same || len(after) == variantsMax {
			s.forget(sh, old)
			if same {
				e.used.Store(old.used.Load())
			}
			continue
		}
		after = append(after, old)
	}
	sh.admit(e)
	r.variants.Store(&after)
	sh.mu.Unlock()
	s.count.Add(1)
	s.unbypass(hash)
	if s.bytes.Add(e.size) > limit {
		s.shrink(limit)
	}
	return true
}

// forget takes an entry out of its queue. Under the shard's lock.
func (s *Store) forget(sh *shard, e *entry) {
	if e.in == nil {
		return
	}
	s.bytes.Add(-e.size)
	s.count.Add(-1)
	e.in.remove(e)
}

// drop takes an entry out of the store. Under the shard's lock.
func (s *Store) drop(sh *shard, e *entry) {
	if e.in == nil {
		return
	}
	s.dropMeant(sh, e.of, func(other *entry) bool { return other == e })
}

// dropEntry is drop, with the lock.
func (s *Store) dropEntry(e *entry) {
	sh := s.shard(e.of.hash)
	sh.mu.Lock()
	s.drop(sh, e)
	sh.mu.Unlock()
}

// shrink has shards in turn give up responses until no more than limit bytes are kept. One shard's lock is held at a time.
func (s *Store) shrink(limit int64) {
	for empty := 0; s.bytes.Load() > limit && empty < shards; {
		sh := &s.shards[s.turn.Add(1)%shards]
		sh.mu.Lock()
		e := sh.victim()
		if e == nil {
			empty++
		} else {
			empty = 0
			s.drop(sh, e)
			s.counts.evicted.Add(1)
		}
		sh.mu.Unlock()
	}
}

// add puts a resource into the table, and doubles it when chains grow longer than one on average.
func (sh *shard) add(r *resource) {
	t := sh.table.Load()
	if sh.count >= len(t.heads) {
		bigger := &table{make([]atomic.Pointer[link], 2*len(t.heads))}
		for i := range t.heads {
			for l := t.heads[i].Load(); l != nil; l = l.next.Load() {
				bigger.insert(l.of)
			}
		}
		sh.table.Store(bigger)
		t = bigger
	}
	t.insert(r)
	sh.count++
}

func (t *table) insert(r *resource) {
	head := t.head(r.hash)
	l := &link{of: r}
	l.next.Store(head.Load())
	head.Store(l)
}

// remove takes a resource out of the table. Readers that stand on its link come on from there.
func (sh *shard) remove(r *resource) {
	at := sh.table.Load().head(r.hash)
	for l := at.Load(); l != nil; l = at.Load() {
		if l.of == r {
			at.Store(l.next.Load())
			sh.count--
			return
		}
		at = &l.next
	}
}

// reserve asks for memory for a response on its way in.
func (s *Store) reserve(n, limit int64) bool {
	if s.fills.Add(n) > limit/fillShare {
		s.fills.Add(-n)
		return false
	}
	return true
}

// bypassing tells whether nobody should wait for another's answer for the URL.
func (s *Store) bypassing(hash uint64, now mono.Time) bool {
	v := s.bypass[hash/shards%bypassed].Load()
	return v>>32 == hash>>32 && uint32(v) > coarse(now)
}

func (s *Store) setBypass(hash uint64, now mono.Time) {
	s.bypass[hash/shards%bypassed].Store(hash>>32<<32 | uint64(coarse(now.Add(bypassFor))))
}

func (s *Store) unbypass(hash uint64) {
	at := &s.bypass[hash/shards%bypassed]
	if v := at.Load(); v>>32 == hash>>32 && v != 0 {
		at.CompareAndSwap(v, 0)
	}
}

func coarse(t mono.Time) uint32 { return uint32(int64(t) / int64(time.Second)) }
