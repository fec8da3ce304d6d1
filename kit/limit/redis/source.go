package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/kit/limit"
	core "github.com/yumen-io/yumen/policy/limit"
	"github.com/yumen-io/yumen/policy/quota"
)

// terms are the settings of a limit as decisions follow them. They are frozen.
type terms struct {
	shared  limit.Shared
	rule    quota.Rule
	credits quota.Terms
}

// shareOf is a process's share by the terms.
type shareOf struct {
	terms *terms
	share quota.Share
}

func compile(c limit.Shared) (*terms, error) {
	at := &terms{shared: c, rule: quota.Rule{Count: c.Count, Per: c.Per, Burst: c.Burst}}
	if c.Exact {
		at.rule.Burst = c.Count
		if c.Count > quota.LogCountMax {
			// Redis 7.0 takes 129 bytes for a request of an exact limit.
			return nil, fmt.Errorf("limit/redis: Count: an exact limit keeps each request of the window in Redis: at most %d, or use a TokenBucket", quota.LogCountMax)
		}
	}
	var err error
	if at.credits, err = at.rule.Terms(); err != nil {
		return nil, fmt.Errorf("limit/redis: Burst: %w", err)
	}
	if _, err = at.share(1); err != nil {
		return nil, fmt.Errorf("limit/redis: Count: %w", err)
	}
	return at, nil
}

func (at *terms) share(nodes int64) (quota.Share, error) {
	if at.shared.Exact {
		return quota.NewWindowShare(at.rule, nodes)
	}
	return quota.NewShare(at.rule, nodes)
}

// interval is the time between two requests at the limit's rate.
func (at *terms) interval() time.Duration { return at.rule.Per / time.Duration(at.rule.Count) }

const (
	shardCount = 32
	shardBits  = 5
)

// source is one limit: the keys of which this process has something in hand, and the settings. Any goroutine may ask.
type source struct {
	store *Store
	name  string
	exact bool
	seed  maphash.Seed
	terms atomic.Pointer[terms]
	share atomic.Pointer[shareOf]
	nodes atomic.Int64 // that have the limit, as Redis said last
	keys  atomic.Int64
	crowd cell // of all keys for which there was no room

	shards [shardCount]struct {
		sync.RWMutex
		cells map[string]*cell
	}

	enrolAt mono.Time // owned by the store's goroutine
}

func newSource(s *Store, c limit.Shared) *source {
	of := &source{store: s, name: c.Name, exact: c.Exact, seed: maphash.MakeSeed()}
	of.crowd.source = of
	for i := range of.shards {
		of.shards[i].cells = map[string]*cell{}
	}
	return of
}

// retryUnreachable is when clients are told to come again whom nobody could judge: Redis is tried again at least as often.
const retryUnreachable = time.Second

// Change is for limit.Limiter.Set.
func (of *source) Change(c limit.Shared) error {
	if c.Name != of.name || c.Exact != of.exact {
		return errors.New("limit/redis: name and algorithm stay what they are")
	}
	at, err := compile(c)
	if err == nil {
		of.terms.Store(at)
	}
	return err
}

// Detach is for limit.Limiter.Close.
func (of *source) Detach() { of.store.detach(of) }

// Judge is for limit.Limiter.
func (of *source) Judge(ctx context.Context, key string, cost int64) (limit.Verdict, error) {
	now, at, s := mono.Now(), of.terms.Load(), of.store
	c := of.find(key, at, now)
	if c == nil {
		return of.without(&of.crowd, now, cost, limit.Crowded), nil
	}
	c.seen.Add(cost)
	if cost > at.rule.Burst {
		return limit.Verdict{Quota: at.rule.Burst, By: limit.Stored}, nil
	}
	if !of.exact {
		if left, ok := c.spend(now, cost); ok {
			if left <= c.few.Load() && int64(now) >= c.again.Load() {
				s.enqueue(c)
			}
			return c.numbers(at, now, true), nil
		}
	}
	if s.unreachable.Load() {
		return of.without(c, now, cost, limit.Unreachable), nil
	}
	if int64(now) < c.again.Load() {
		return c.numbers(at, now, false), nil
	}
	return of.ask(ctx, c, key, cost, now)
}

// ask waits for Redis. Whoever gives up has asked all the same, and what comes for him is spent.
func (of *source) ask(ctx context.Context, c *cell, key string, cost int64, now mono.Time) (limit.Verdict, error) {
	if err := ctx.Err(); err != nil {
		return limit.Verdict{}, err
	}
	s := of.store
	if s.waiting.Add(1) > waitersMax {
		s.waiting.Add(-1)
		return of.without(&of.crowd, now, cost, limit.Crowded), nil
	}
	w := waiter{cost: cost, answer: make(chan limit.Verdict, 1)}
	for !c.wait(w) {
		if c = of.find(key, of.terms.Load(), now); c == nil {
			s.waiting.Add(-1)
			return of.without(&of.crowd, now, cost, limit.Crowded), nil
		}
	}
	s.enqueue(c)
	if s.unreachable.Load() { // since before or after the goroutine sent all home: whoever is left is sent now
		s.sendHome(c, nil, now)
	}
	select {
	case v := <-w.answer:
		return v, nil
	case <-ctx.Done():
		return limit.Verdict{}, ctx.Err()
	}
}

// find returns the key's cell, a new one if there is none, and nil if there are as many as there may be.
func (of *source) find(key string, at *terms, now mono.Time) *cell {
	shard := &of.shards[maphash.String(of.seed, key)>>(64-shardBits)]
	shard.RLock()
	c := shard.cells[key]
	shard.RUnlock()
	if c != nil {
		return c
	}
	shard.Lock()
	defer shard.Unlock()
	if c = shard.cells[key]; c != nil {
		return c
	}
	if of.keys.Load() >= int64(at.shared.KeysMax) {
		return nil
	}
	of.keys.Add(1)
	c = &cell{source: of, name: string([]byte(key)), lastUse: now} // a copy: the key may be a part of something large
	c.key = of.keyInRedis(key)
	if !of.exact {
		c.account = quota.NewAccount(at.rule, at.credits, of.store.node, of.store.serial.Add(1), now)
	}
	shard.cells[c.name] = c
	return c
}

// take takes a cell out, unless somebody waits there. Whoever has found it meanwhile sees that it is gone, or has counted on it in
// vain, which costs nothing but the count.
func (of *source) take(c *cell) {
	shard := &of.shards[maphash.String(of.seed, c.name)>>(64-shardBits)]
	shard.Lock()
	defer shard.Unlock()
	c.waiting.Lock()
	defer c.waiting.Unlock()
	if len(c.waiting.list) > 0 || c.held.Load() > 0 || c.queued.Load() {
		return
	}
	c.waiting.gone = true
	delete(shard.cells, c.name)
	of.keys.Add(-1)
}

// each calls yield with all cells there are now.
func (of *source) each(scratch []*cell, yield func(c *cell)) []*cell {
	scratch = scratch[:0]
	for i := range of.shards {
		shard := &of.shards[i]
		shard.RLock()
		for _, c := range shard.cells {
			scratch = append(scratch, c)
		}
		shard.RUnlock()
	}
	for _, c := range scratch {
		yield(c)
	}
	clear(scratch)
	return scratch
}

// keyShown is how much of a key is written in Redis as it is, so that people find it there.
const keyShown = 64

// keyInRedis is a counted key's name. What stands in braces is all that Redis Cluster hashes; each script has one key only, so
// that any hash will do. A long key is cut, and told from others by a hash that all processes agree on.
func (of *source) keyInRedis(key string) string {
	kind, tail := "lease", ""
	if of.exact {
		kind = "exact"
	}
	if len(key) > keyShown {
		sum := sha256.Sum256([]byte(key))
		key, tail = key[:keyShown/2], "#"+hex.EncodeToString(sum[:16])
	}
	return "yumen:" + kind + ":{" + of.name + ":" + key + tail + "}"
}

// ownShare returns this process's share as things are.
func (of *source) ownShare(at *terms) *quota.Share {
	nodes := min(max(of.nodes.Load(), int64(at.shared.Nodes), 1), quota.NodesMax)
	if s := of.share.Load(); s != nil && s.terms == at && s.share.Nodes() == nodes {
		return &s.share
	}
	share, err := at.share(nodes)
	if err != nil {
		share, _ = at.share(1) // compile has tried it
	}
	s := &shareOf{at, share}
	of.share.Store(s)
	return &s.share
}

// without judges a request that Redis is not asked about.
func (of *source) without(c *cell, now mono.Time, cost int64, by limit.By) limit.Verdict {
	at := of.terms.Load()
	burst := at.rule.Burst
	switch at.shared.OnUnreachable {
	case limit.RefuseAll:
		return limit.Verdict{Quota: burst, Used: burst, RetryAfter: retryUnreachable, By: by}
	case limit.AllowAll:
		return limit.Verdict{Allowed: true, Quota: burst, Remaining: burst, By: by}
	}
	if by == limit.Unreachable {
		by = limit.LocalJudge
	}
	v := c.alone(of.ownShare(at), now, cost)
	return limit.Verdict{Allowed: v.Allowed, By: by, Quota: v.Limit, Used: v.Used, Remaining: v.Remaining, RetryAfter: v.RetryAfter, Reset: v.Reset}
}

// alone judges by this process's share.
func (c *cell) alone(s *quota.Share, now mono.Time, cost int64) core.Verdict {
	for {
		word := c.share.Load()
		next, v := s.Decide(core.Word(word), now, cost)
		if uint64(next) == word || c.share.CompareAndSwap(word, uint64(next)) {
			if v.Allowed {
				c.owed.Add(cost)
			}
			return v
		}
	}
}
