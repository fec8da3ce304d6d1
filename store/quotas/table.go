package quotas

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/limit"
	"github.com/yumen-io/yumen/policy/quota"
)

// waiter is a request that waits for the store, as goroutines other than its own know it.
type waiter struct {
	cost   int64
	wake   func(quota.Verdict) // called once; nil: nobody waits, but it counts
	served bool
}

// cell is one key of one rule on this node.
type cell struct {
	// frozen
	low, high uint64
	table     *Table
	key       string // in the store

	next atomic.Pointer[cell] // of the same bucket; kept when the cell is taken out, for those who are on their way through

	// shared by who asks and the link's goroutine, atomically
	held  atomic.Int64  // tokens in hand
	seen  atomic.Int64  // that requests asked for, ever
	owed  atomic.Int64  // admitted without one, ever
	share atomic.Uint64 // the limit.Word by which this node decides alone

	// Published by the goroutine.
	good  atomic.Int64 // mono.Time: until then what is in hand may be spent
	again atomic.Int64 // mono.Time: until then there is nothing to be had
	free  atomic.Int64 // mono.Time: then the store expects to have something
	few   atomic.Int64 // with so many in hand, ask for more
	there atomic.Int64 // what the store had left

	queued atomic.Bool // for the next round

	waiting struct {
		sync.Mutex
		list  []waiter
		costs int64
		gone  bool // taken out of the table: nobody may wait here
	}

	// Owned by the goroutine.
	account  *quota.Account // nil for an exact rule
	asked    []waiter       // in the round under way
	lastSeen int64
	lastUse  mono.Time

	place int // among the table's cells, under its lock
}

const (
	// KeysMaxDefault is how many keys a rule has in hand at a time on one node, those of the last two seconds; 20 MB of them.
	KeysMaxDefault = 50_000
	// bucketsBits: chains of three when all keys are there.
	bucketsBits = 14
)

// Table is the keys of a rule on this node. Finding one takes no lock: buckets are chains that only those change who hold the lock.
// Whoever has its rule in force starts it, and closes it when nobody has.
type Table struct {
	link  *Link
	name  string // of the rule, in the store
	exact bool
	seeds [2]maphash.Seed

	buckets [1 << bucketsBits]atomic.Pointer[cell]
	// crowd is the cell of all keys for which there was no room.
	crowd cell

	terms atomic.Pointer[terms] // of the configuration that asked last
	share atomic.Pointer[shareOf]
	nodes atomic.Int64 // that have the rule, as the store said last

	mu struct {
		sync.Mutex
		cells []*cell
	}
	counts counts

	// Owned by the goroutine.
	enrolAt mono.Time
}

// terms are what a rule says, in one configuration. They are frozen.
type terms struct {
	rule        quota.Rule
	credits     quota.Terms // of a leased rule
	unreachable Unreachable
	nodesMin    int64
	keysMax     int
}

// shareOf is a node's share by the terms.
type shareOf struct {
	terms *terms
	share quota.Share
}

// counts are a rule's, ever.
type counts struct {
	waits, alone, crowded, lost, reports, errors atomic.Uint64
}

func newTable(link *Link, name string, exact bool) *Table {
	t := &Table{link: link, name: name, exact: exact, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	t.crowd.table = t
	return t
}

// Start has the link report the rule, if it does not yet.
func (t *Table) Start() { t.link.attach(t) }

// Close ends that. What is in hand is given back in the background, as far as the store can be reached.
func (t *Table) Close() { t.link.detach(t) }

// hash stands for a key: 128 bits that nobody outside can aim at. All sources that have the rule come to the same, so that a key has
// one cell, and one account, on this node.
func (t *Table) hash(key []byte) (low, high uint64) {
	return maphash.Bytes(t.seeds[0], key), maphash.Bytes(t.seeds[1], key)
}

func (t *Table) bucket(low uint64) *atomic.Pointer[cell] {
	return &t.buckets[low>>(64-bucketsBits)]
}

// find returns the key's cell, nil if there is none. It takes no lock.
func (t *Table) find(low, high uint64) *cell {
	for c := t.bucket(low).Load(); c != nil; c = c.next.Load() {
		if c.low == low && c.high == high {
			return c
		}
	}
	return nil
}

// enter returns the key's cell, a new one if there is none, and nil if there are as many as there may be.
func (t *Table) enter(low, high uint64, key []byte, keysMax int, now mono.Time) *cell {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.find(low, high); c != nil {
		return c
	}
	if len(t.mu.cells) >= keysMax {
		return nil
	}
	c := &cell{low: low, high: high, table: t, key: t.keyInStore(key), lastUse: now}
	if !t.exact {
		at := t.terms.Load()
		c.account = quota.NewAccount(at.rule, at.credits, t.link.node, t.link.serial.Add(1), now)
	}
	first := t.bucket(low)
	c.next.Store(first.Load())
	first.Store(c)
	c.place = len(t.mu.cells)
	t.mu.cells = append(t.mu.cells, c)
	return c
}

// take takes a cell out, unless somebody waits there. Whoever has found it meanwhile sees that it is gone, or has counted on it in
// vain, which costs nothing but the count.
func (t *Table) take(c *cell) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.waiting.Lock()
	defer c.waiting.Unlock()
	if len(c.waiting.list) > 0 || c.held.Load() > 0 || c.queued.Load() {
		return false
	}
	c.waiting.gone = true
	at := t.bucket(c.low)
	for at.Load() != c {
		at = &at.Load().next
	}
	at.Store(c.next.Load())
	last := len(t.mu.cells) - 1
	moved := t.mu.cells[last]
	t.mu.cells[c.place], moved.place = moved, c.place
	t.mu.cells[last] = nil
	t.mu.cells = t.mu.cells[:last]
	return true
}

// each calls yield with all cells there are now.
func (t *Table) each(scratch []*cell, yield func(c *cell)) []*cell {
	t.mu.Lock()
	scratch = append(scratch[:0], t.mu.cells...)
	t.mu.Unlock()
	for _, c := range scratch {
		yield(c)
	}
	clear(scratch)
	return scratch
}

// keyShown is how much of a key is written in the store as it is, so that people find it there.
const keyShown = 64

// keyInStore is a counted key's name in the store. What stands in braces is all that Redis Cluster hashes; each script has one key
// only, so that any hash will do. A long key is cut, and told from others by a hash that all nodes agree on.
func (t *Table) keyInStore(key []byte) string {
	kind := "lease"
	if t.exact {
		kind = "exact"
	}
	tail := ""
	if len(key) > keyShown {
		sum := sha256.Sum256(key)
		key, tail = key[:keyShown/2], "#"+hex.EncodeToString(sum[:16])
	}
	return "yumen:" + kind + ":{" + t.name + ":" + string(key) + tail + "}"
}

func (t *Table) nodesKey() string { return "yumen:nodes:{" + t.name + "}" }

// spend takes tokens that are in hand, as long as they are good.
func (c *cell) spend(now mono.Time, cost int64) (left int64, ok bool) {
	if int64(now) >= c.good.Load() {
		return 0, false
	}
	for {
		held := c.held.Load()
		if held < cost {
			return held, false
		}
		if c.held.CompareAndSwap(held, held-cost) {
			return held - cost, true
		}
	}
}

// alone judges by this node's share.
func (c *cell) alone(s *quota.Share, now mono.Time, cost int64) limit.Verdict {
	for {
		word := c.share.Load()
		next, v := s.Decide(limit.Word(word), now, cost)
		if uint64(next) == word || c.share.CompareAndSwap(word, uint64(next)) {
			if v.Allowed {
				c.owed.Add(cost)
			}
			return v
		}
	}
}

// ownShare returns this node's share as things are.
func (t *Table) ownShare(at *terms) *quota.Share {
	nodes := max(t.nodes.Load(), at.nodesMin, 1)
	if s := t.share.Load(); s != nil && s.terms == at && s.share.Nodes() == min(nodes, quota.NodesMax) {
		return &s.share
	}
	share, err := at.share(nodes, t.exact)
	if err != nil {
		share, _ = at.share(1, t.exact) // Compile has tried it
	}
	s := &shareOf{at, share}
	t.share.Store(s)
	return &s.share
}

// without judges a request that the store is not asked about.
func (t *Table) without(c *cell, now mono.Time, cost int64, by quota.By) quota.Verdict {
	at := t.terms.Load()
	if by == quota.Crowding {
		t.counts.crowded.Add(1)
	} else {
		t.counts.alone.Add(1)
	}
	switch at.unreachable {
	case Closed:
		return quota.Verdict{Verdict: limit.Verdict{Limit: at.rule.Burst, Used: at.rule.Burst, RetryAfter: retryUnreachable}, By: by}
	case Open:
		return quota.Verdict{Verdict: limit.Verdict{Allowed: true, Limit: at.rule.Burst, Remaining: at.rule.Burst}, By: by}
	}
	if by == quota.Policy {
		by = quota.Own
	}
	return quota.Verdict{Verdict: c.alone(t.ownShare(at), now, cost), By: by}
}

// wait has a request wait; false if the cell is gone.
func (c *cell) wait(w waiter) bool {
	c.waiting.Lock()
	defer c.waiting.Unlock()
	if c.waiting.gone {
		return false
	}
	c.waiting.list = append(c.waiting.list, w)
	c.waiting.costs += w.cost
	return true
}

// takeWaiting returns all who wait.
func (c *cell) takeWaiting(into []waiter) []waiter {
	c.waiting.Lock()
	defer c.waiting.Unlock()
	into = append(into, c.waiting.list...)
	clear(c.waiting.list)
	c.waiting.list, c.waiting.costs = c.waiting.list[:0], 0
	return into
}

func (c *cell) facts() quota.Facts {
	c.waiting.Lock()
	costs := c.waiting.costs
	c.waiting.Unlock()
	return quota.Facts{Held: c.held.Load(), Seen: c.seen.Load(), Owed: c.owed.Load(), Waiting: costs}
}
