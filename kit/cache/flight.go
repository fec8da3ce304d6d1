package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/redis/rueidis"
	"github.com/yumen-io/yumen/internal/mono"
)

const (
	// A source that lags behind is asked again after the first of these, then after twice as long, up to the second, until LoadTimeout.
	pauseOfBehind, pauseOfBehindLast = 2 * time.Millisecond, 200 * time.Millisecond
	// absentTries is how often it is asked for what it says is not there, though an event told of it.
	absentTries = 3
	// Another node's load is looked for after the first of these, then after twice as long, up to the second.
	pauseFirst, pauseLast = 2 * time.Millisecond, 50 * time.Millisecond
	// makeshiftFor is for how long a makeshift is given without trying again, so that not every caller waits for what hangs.
	makeshiftFor = time.Second
	// readsMax is how often a flight asks Redis again because it found garbage.
	readsMax = 3
)

// flight is one way of a key into the first level, with all who wait for it. The goroutine that flies it owns it, except for:
type flight[K comparable, V any] struct {
	key  K
	name string

	// Under the lock of its shard.
	overtaken bool   // an event came since it looked last
	landed    bool   // it has its answer
	era       uint64 // of the first level when it looked last

	done  chan struct{} // closed when value and err are there
	value Value[V]
	err   error
	given bool // done is closed

	old *entry[V] // a stale answer found on the way
}

// give lets those who wait go.
func (c *Cache[K, V]) give(f *flight[K, V], v Value[V], err error) {
	if f.given {
		return
	}
	c.local.serve(f)
	f.value, f.err, f.given = v, err, true
	close(f.done)
}

// fly brings the value of a key: from Redis, or with the lease it got there, from the source.
func (c *Cache[K, V]) fly(ctx context.Context, f *flight[K, V]) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.base, cancel)()
	defer c.local.end(f)
	defer func() {
		if !f.given {
			c.give(f, Value[V]{}, ErrClosed) // cannot be: each way below gives an answer
		}
	}()
	if !c.usesRedis() {
		if c.link != nil {
			c.counts.alone.Add(1)
		}
		c.bring(ctx, f, "")
		return
	}
	token := rand.Text()
	if c.ask(ctx, f, token) {
		c.bring(ctx, f, token)
	} else if !f.given {
		c.bring(ctx, f, "")
	}
}

// usesRedis tells whether Redis answers, and the feed was read lately: who does not read it may not know that everything there is old.
func (c *Cache[K, V]) usesRedis() bool {
	if c.link == nil || !c.link.up.Load() {
		return false
	}
	at := c.followed.Load()
	return at > 0 && c.now().Sub(mono.Time(at)) <= c.cfg.LocalTTL
}

// ask looks into Redis until there is an answer, which it gives, or the lease is ours, or nothing is to be had there.
func (c *Cache[K, V]) ask(ctx context.Context, f *flight[K, V], token string) (leased bool) {
	give := time.NewTimer(c.cfg.LoadTimeout) // no longer for another's load than for an own
	defer give.Stop()
	pause, waited := pauseFirst, false
	for garbage := 0; garbage < readsMax; {
		c.local.look(f)
		epoch, asked := c.epoch.Load(), c.now()
		factor := 0.0
		if !c.cfg.NoEarlyRefresh {
			factor = -math.Log(1 - mathrand.Float64())
		}
		got, err := c.link.read(ctx, f.name, token, c.cfg.LoadTimeout+2*c.cfg.Redis.Timeout, epoch, factor)
		if err != nil {
			if !isWrongType(err) {
				c.counts.alone.Add(1)
				return false
			}
			garbage++
			c.counts.garbage.Add(1)
			c.link.discard(ctx, f.name, "", true)
			continue
		}
		e, err := c.entryOf(got, asked)
		if err != nil {
			c.counts.garbage.Add(1)
			c.link.discard(ctx, f.name, got.record, false)
			if garbage++; got.state == foundFresh || got.state == foundRefresh {
				c.link.release(ctx, f.name, token)
				continue
			}
		}
		switch got.state {
		case foundFresh, foundRefresh:
			c.counts.sharedHits.Add(1)
			v, err := c.answerOf(e, Shared)
			c.local.land(f, e)
			c.give(f, v, err)
			if got.state == foundRefresh {
				c.counts.earlyLoads.Add(1)
				return true
			}
			return false
		case foundLease:
			f.old = e
			return true
		}
		f.old = e
		if !waited {
			waited = true
			c.counts.waits.Add(1)
		}
		timer := time.NewTimer(spread(pause, 0.5))
		select {
		case <-timer.C:
		case <-give.C:
			timer.Stop()
			return false
		case <-ctx.Done():
			timer.Stop()
			return false
		}
		pause = min(2*pause, pauseLast)
	}
	return false
}

func isWrongType(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && len(e.Error()) >= 9 && e.Error()[:9] == "WRONGTYPE"
}

// entryOf makes an entry of what was found in Redis; nil if that was nothing.
func (c *Cache[K, V]) entryOf(got found, asked mono.Time) (*entry[V], error) {
	if got.record == "" {
		return nil, nil
	}
	r, err := parseRecord([]byte(got.record))
	if err != nil {
		return nil, err
	}
	e := &entry[V]{version: r.version, source: Local, absent: r.absent}
	if !r.absent {
		if e.value, err = c.decode(r.payload); err != nil {
			return nil, err
		}
	}
	e.begun = asked - mono.Time(got.age)
	c.time(e, asked, min(got.left, spread(c.cfg.LocalTTL, 0.2)), len(got.record))
	return e, nil
}

// decode is the codec's, whose panic at bytes of another program's is an error.
func (c *Cache[K, V]) decode(src []byte) (v V, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{p, debug.Stack()}
		}
	}()
	return c.cfg.Codec.Decode(src)
}

func (c *Cache[K, V]) encode(v V) (dst []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{p, debug.Stack()}
		}
	}()
	return c.cfg.Codec.Encode(v)
}

// time says how long an entry lives.
func (c *Cache[K, V]) time(e *entry[V], from mono.Time, life time.Duration, bytes int) {
	e.until = from.Add(life)
	if e.refresh = e.until; !c.cfg.NoEarlyRefresh {
		e.refresh = from.Add(spread(life, 0.2))
	}
	if c.cfg.StaleFor > 0 && !e.absent {
		e.keep = e.begun.Add(c.cfg.TTL + c.cfg.StaleFor)
	}
	e.weight = uint32(min(bytes+entryBytes, math.MaxUint32))
}

// answerOf is what an entry says to those who waited for it.
func (c *Cache[K, V]) answerOf(e *entry[V], s Source) (Value[V], error) {
	v := Value[V]{Value: e.value, Source: s, Age: c.now().Sub(e.begun), Version: e.version}
	if e.absent {
		return v, ErrNotFound
	}
	return v, nil
}

// bring loads the value, and puts it into Redis if token is a lease.
func (c *Cache[K, V]) bring(ctx context.Context, f *flight[K, V], token string) {
	loading, cancel := context.WithTimeout(ctx, c.cfg.LoadTimeout)
	defer cancel()
	pause, behind := pauseOfBehind, false
	for try := 1; ; try++ {
		if token == "" {
			c.local.look(f)
		}
		epoch, begun := c.epoch.Load(), c.now()
		value, version, err := c.load(loading, f.key)
		absent := errors.Is(err, ErrNotFound)
		if err != nil && !absent {
			c.counts.loadFailures.Add(1)
			if behind {
				err = errors.Join(ErrBehind, err)
			}
			if token != "" {
				c.link.release(ctx, f.name, token)
			}
			c.makeDo(ctx, f, err)
			return
		}
		e := &entry[V]{value: value, version: version, source: Local, absent: absent, begun: begun}
		if absent {
			c.counts.negatives.Add(1)
			e.value = *new(V)
		}
		if state := c.store(ctx, f, e, token, epoch); state != fillBehind {
			v, err := c.answerOf(e, Loader)
			c.give(f, v, err)
			return
		}
		behind = true
		c.counts.behind.Add(1)
		if absent && try == absentTries {
			// Either the source lags behind an insertion, or the row was deleted and the event is still to come. It is not remembered.
			c.link.release(ctx, f.name, token)
			v, err := c.answerOf(e, Loader)
			c.give(f, v, err)
			return
		}
		timer := time.NewTimer(spread(pause, 0.5))
		pause = min(2*pause, pauseOfBehindLast)
		select {
		case <-timer.C:
			continue
		case <-loading.Done():
		}
		timer.Stop()
		c.link.release(ctx, f.name, token)
		c.time(e, e.begun, 0, len(f.name))
		if f.old == nil || e.keep > f.old.keep {
			f.old = e
		}
		c.makeDo(ctx, f, ErrBehind)
		return
	}
}

// store puts what was loaded into both levels.
func (c *Cache[K, V]) store(ctx context.Context, f *flight[K, V], e *entry[V], token string, epoch uint64) (state int) {
	ttl, local := c.cfg.TTL, c.cfg.LocalTTL
	if e.absent {
		if c.cfg.NegativeTTL < 0 {
			if token != "" {
				c.link.release(ctx, f.name, token)
			}
			return fillDone
		}
		ttl, local = c.cfg.NegativeTTL, min(local, c.cfg.NegativeTTL)
	}
	var payload []byte
	var err error
	if !e.absent {
		payload, err = c.encode(e.value)
	}
	fits := err == nil && len(payload) <= c.cfg.ValueBytesMax
	if !fits {
		c.counts.tooLong.Add(1)
	}
	size := len(payload) + len(f.name)
	if token == "" || !fits {
		// Nobody says whether an event came since the load began, so the copy's time begins there.
		if token != "" {
			c.link.release(ctx, f.name, token)
		}
		c.time(e, e.begun, spread(local, 0.2), size)
		c.local.land(f, e)
		return fillDone
	}
	asked := c.now()
	data := appendRecord(make([]byte, 0, recordHead+len(payload)), record{absent: e.absent, version: e.version, payload: payload})
	state, left, err := c.link.fill(ctx, f.name, token, data, e.version, epoch, spread(ttl, 0.1), c.cfg.StaleFor, e.absent)
	switch {
	case err != nil:
		c.time(e, e.begun, spread(local, 0.2), size)
		c.local.land(f, e)
	case state == fillDone:
		c.time(e, asked, min(left, spread(local, 0.2)), size)
		c.local.land(f, e)
	case state == fillLost:
		c.counts.leaseLost.Add(1)
	}
	return state
}

// load calls Load, and does not wait for it longer than ctx lasts.
func (c *Cache[K, V]) load(ctx context.Context, key K) (V, uint64, error) {
	select {
	case c.loads <- struct{}{}:
	case <-ctx.Done():
		c.counts.loadsFull.Add(1)
		return *new(V), 0, ErrLoadsFull
	}
	type result struct {
		value   V
		version uint64
		err     error
	}
	c.counts.loads.Add(1)
	ch := make(chan result, 1)
	go func() {
		r := result{err: &PanicError{}} // of runtime.Goexit
		defer func() {
			if p := recover(); p != nil {
				r = result{err: &PanicError{p, debug.Stack()}}
			}
			<-c.loads
			ch <- r
		}()
		value, version, err := c.cfg.Load(ctx, key)
		r = result{value, version, err}
	}()
	select {
	case r := <-ch:
		return r.value, r.version, r.err
	case <-ctx.Done():
		return *new(V), 0, ctx.Err()
	}
}

// makeDo answers when a load failed: with what is stale, with a stub, or with the error.
func (c *Cache[K, V]) makeDo(ctx context.Context, f *flight[K, V], cause error) {
	if f.given {
		return
	}
	if c.base.Err() != nil {
		c.give(f, Value[V]{}, ErrClosed)
		return
	}
	err := fmt.Errorf("cache %s: loading %q: %w", c.cfg.Name, f.name, cause)
	now := c.now()
	old := f.old
	if had, ok := c.local.entries.GetEntryQuietly(f.key); ok && (old == nil || now >= old.keep || had.Value.begun > old.begun) {
		old = had.Value
	}
	e := &entry[V]{source: Stale}
	if old != nil && now < old.keep && old.source != Stub {
		e.value, e.version, e.begun, e.keep, e.weight = old.value, old.version, old.begun, old.keep, old.weight
	} else if v, ok := c.stub(ctx, f.key, err); ok {
		e.source, e.value, e.begun, e.weight = Stub, v, now, uint32(entryBytes+len(f.name))
	} else {
		c.give(f, Value[V]{}, err)
		return
	}
	e.until = now.Add(spread(min(makeshiftFor, c.cfg.LocalTTL), 0.2))
	e.refresh = e.until
	c.local.land(f, e)
	v, _ := c.answerOf(e, e.source)
	if e.source == Stub {
		v.Age = 0
	}
	c.give(f, v, nil)
}

func (c *Cache[K, V]) stub(ctx context.Context, key K, cause error) (v V, ok bool) {
	if c.cfg.Stub == nil {
		return v, false
	}
	defer func() {
		if p := recover(); p != nil {
			v, ok = *new(V), false
		}
	}()
	return c.cfg.Stub(ctx, key, cause)
}
