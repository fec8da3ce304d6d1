package redis

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/kit/limit"
	"github.com/yumen-io/yumen/policy/quota"
	"github.com/yumen-io/yumen/store/quotas"
)

// source is one limit. Any goroutine may ask.
type source struct {
	store *Store
	name  string
	exact bool
	table string // its key among the store's
	core  atomic.Pointer[quotas.Source]
}

// Change is for limit.Limiter.Set.
func (of *source) Change(c limit.Shared) error {
	if c.Name != of.name || c.Exact != of.exact {
		return errors.New("limit/redis: name and algorithm stay what they are")
	}
	same := of.core.Load().Table()
	core, err := of.store.compile(c, func(string, func() *quotas.Table) *quotas.Table { return same })
	if err == nil {
		of.core.Store(core)
	}
	return err
}

// Detach is for limit.Limiter.Close.
func (of *source) Detach() { of.store.detach(of.table) }

// keyRoom is how long a key may be for which a decision does not allocate.
const keyRoom = 128

// Judge is for limit.Limiter. It waits for Redis if what is known here does not decide. Whoever gives up has asked all the same, and
// what comes for him is spent.
func (of *source) Judge(ctx context.Context, key string, cost int64) (limit.Verdict, error) {
	core, now := of.core.Load(), mono.Now()
	var room [keyRoom]byte
	text := append(room[:0], key...)
	v := core.Decide(text, now, cost)
	if v.By != quota.Nobody {
		return verdict(v), nil
	}
	if err := ctx.Err(); err != nil {
		return limit.Verdict{}, err
	}
	answer := make(chan quota.Verdict, 1) // with room, so that nobody waits for one who gave up
	core.Ask(text, now, cost, func(v quota.Verdict) { answer <- v })
	select {
	case v := <-answer:
		return verdict(v), nil
	case <-ctx.Done():
		return limit.Verdict{}, ctx.Err()
	}
}

// judges are who decided, in the words of package limit.
var judges = [...]limit.By{quota.Store: limit.Stored, quota.Own: limit.LocalJudge, quota.Policy: limit.Unreachable, quota.Crowding: limit.Crowded}

func verdict(v quota.Verdict) limit.Verdict {
	return limit.Verdict{Allowed: v.Allowed, By: judges[v.By], Quota: v.Limit, Used: v.Used, Remaining: v.Remaining,
		RetryAfter: v.RetryAfter, Reset: v.Reset}
}
