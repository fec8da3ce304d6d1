package redis

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/policy/quota"
)

// waiter is a request that waits for Redis.
type waiter struct {
	cost   int64
	answer chan limit.Verdict // has room for the one that comes, so that nobody waits for one who gave up
	served bool
}

// cell is one key of one limit in this process.
type cell struct {
	// Frozen.
	source *source
	name   string // as it was asked for
	key    string // in Redis

	// Of all who ask and the store's goroutine.
	held   atomic.Int64  // tokens in hand
	seen   atomic.Int64  // that requests asked for, ever
	owed   atomic.Int64  // admitted without one, ever
	share  atomic.Uint64 // the word by which this process decides alone
	queued atomic.Bool   // for the next round

	// Published by the goroutine.
	good  atomic.Int64 // mono.Time: until then what is in hand may be spent
	again atomic.Int64 // mono.Time: until then there is nothing to be had
	free  atomic.Int64 // mono.Time: then Redis expects to have something
	few   atomic.Int64 // with so many in hand, ask for more
	there atomic.Int64 // what Redis had left

	waiting struct {
		sync.Mutex
		list  []waiter
		costs int64
		gone  bool // nobody may wait here any more
	}

	// Owned by the goroutine.
	account  *quota.Account // nil for an exact limit
	asked    []waiter       // in the round under way
	lastSeen int64
	lastUse  mono.Time
}

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

// expire takes out what is in hand and not good any more.
func (c *cell) expire(now mono.Time) {
	if int64(now) >= c.good.Load() {
		if n := c.held.Swap(0); n > 0 {
			c.account.Discard(n)
		}
	}
}

// takeOut takes up to n tokens out of the cell.
func (c *cell) takeOut(n int64) int64 {
	for n > 0 {
		held := c.held.Load()
		n = min(n, held)
		if n <= 0 || c.held.CompareAndSwap(held, held-n) {
			break
		}
	}
	return max(n, 0)
}

// numbers are those of a verdict by what Redis said.
func (c *cell) numbers(at *terms, now mono.Time, allowed bool) limit.Verdict {
	v := limit.Verdict{Allowed: allowed, By: limit.Stored, Quota: at.rule.Burst}
	if v.Remaining = min(max(c.there.Load(), 0)+max(c.held.Load(), 0), v.Quota); !allowed {
		v.Remaining = 0
		v.RetryAfter = max(mono.Time(c.free.Load()).Sub(now), at.interval())
	}
	v.Used = v.Quota - v.Remaining
	if v.Reset = time.Duration(v.Used) * at.interval(); c.source.exact {
		v.Reset = at.rule.Per
	}
	return v
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

func (c *cell) forgetAsked() {
	clear(c.asked)
	c.asked = c.asked[:0]
}
