package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// Event says that the row of a key was changed.
type Event[K comparable] struct {
	Key K
	// Version is that of the row after the change, by the same count as Load's; of a deleted row it may be the last one it had. 0 means unknown: then
	// whatever is cached is dropped. An event that is told twice, or late, does no harm to what is newer.
	Version uint64
	Deleted bool
	At      time.Time // of the commit, for Stats.LagMax; zero for unknown
}

// eventsMax is how many events go into one trip.
const eventsMax = 256

// Invalidate drops what is older than events from Redis, and tells all nodes. When it has returned nil, no node can put the old value into Redis any more, and none
// gives it later than Stats.Bound, whatever is lost. An error (ErrUnreachable, ctx's, one of Redis's) says that this is not so, or not of all events: keep
// the events, and call it again, as often as it takes. This node's own first level is rid of them in either case.
func (c *Cache[K, V]) Invalidate(ctx context.Context, events ...Event[K]) error {
	c.counts.invalidations.Add(uint64(len(events)))
	for ; len(events) > eventsMax; events = events[eventsMax:] {
		if err := c.invalidate(ctx, events[:eventsMax]); err != nil {
			return err
		}
	}
	return c.invalidate(ctx, events)
}

func (c *Cache[K, V]) invalidate(ctx context.Context, events []Event[K]) error {
	c.dropLocal(events)
	if c.link == nil || len(events) == 0 {
		return nil
	}
	if !c.link.up.Load() {
		return ErrUnreachable
	}
	trips := make([]trip, 0, len(events))
	entries := append(make([]string, 0, 1+4*len(events)), "0")
	keep := flag(c.cfg.StaleFor > 0)
	for i := range events {
		name, err := c.name(events[i].Key)
		if err != nil {
			return err
		}
		at := "0"
		if !events[i].At.IsZero() {
			at = strconv.FormatInt(events[i].At.UnixMilli(), 10)
		}
		version, deleted := versionDigits(events[i].Version), flag(events[i].Deleted)
		trips = append(trips, trip{&dropScript, []string{c.link.keyOf(name)}, []string{version, deleted, milliseconds(c.cfg.TTL), keep}})
		entries = append(entries, name, version, deleted, at)
	}
	out := make([]rueidis.RedisResult, len(trips))
	if err := c.link.doAll(ctx, trips, out); err != nil {
		return fmt.Errorf("cache %s: dropping %d keys: %w", c.cfg.Name, len(trips), err)
	}
	for i := range out {
		err := out[i].Error()
		if isWrongType(err) {
			c.counts.garbage.Add(1)
			name, _ := c.name(events[i].Key)
			c.link.discard(ctx, name, "", true)
			_, err = c.link.do(ctx, trips[i])
		}
		if err != nil {
			return fmt.Errorf("cache %s: dropping a key: %w", c.cfg.Name, err)
		}
	}
	if _, err := c.publish(ctx, entries); err != nil {
		return fmt.Errorf("cache %s: telling nodes: %w", c.cfg.Name, err)
	}
	// Between the first time and the deletion in Redis the old value may have come back here from there.
	c.dropLocal(events)
	return nil
}

func (c *Cache[K, V]) dropLocal(events []Event[K]) {
	for i := range events {
		c.local.drop(events[i].Key, events[i].Version, events[i].Deleted, c.cfg.StaleFor > 0)
	}
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// InvalidateAll begins a new epoch: everything loaded before it may be old, and is loaded again when it is asked for next, or given as Stale if it cannot be.
// It is for whoever lost events, and so cannot say which keys. Errors are those of Invalidate.
func (c *Cache[K, V]) InvalidateAll(ctx context.Context, reason string) error {
	c.local.era.Add(1)
	if c.link == nil {
		return nil
	}
	if !c.link.up.Load() {
		return ErrUnreachable
	}
	epoch, err := c.publish(ctx, []string{"1"})
	if err != nil {
		return fmt.Errorf("cache %s: beginning an epoch: %w", c.cfg.Name, err)
	}
	c.raise(epoch)
	c.cfg.Logger.Info("a new epoch of the cache begins", "cache", c.cfg.Name, "reason", reason)
	return nil
}

// publish adds to the feed, and returns the epoch.
func (c *Cache[K, V]) publish(ctx context.Context, args []string) (uint64, error) {
	feed := c.feedArgs()
	m, err := c.link.do(ctx, trip{&publishScript, []string{c.link.head, c.link.feed}, append(feed, args...)})
	if err != nil {
		return 0, err
	}
	parts, err := m.ToArray()
	if err != nil || len(parts) != 3 {
		return 0, errors.Join(errGarbage, err)
	}
	gen, err := parts[0].ToString()
	seq, err2 := number(parts[1])
	epoch, err3 := number(parts[2])
	if err := errors.Join(err, err2, err3); err != nil {
		return 0, err
	}
	c.given.note(gen, seq, feed[0])
	return epoch, nil
}

// feedArgs are the arguments that scripts of the feed begin with.
func (c *Cache[K, V]) feedArgs() []string {
	c.given.Lock()
	defer c.given.Unlock()
	return []string{rand.Text(), strconv.Itoa(c.cfg.Redis.FeedLength), c.given.gen, strconv.FormatUint(c.given.seq, 10), c.given.mark}
}

// given is the last number of the feed that this node knows to have been given, by itself or by another. A Redis that has another entry under it has
// forgotten the end of the feed, and gone on since.
type given struct {
	sync.Mutex
	gen  string
	seq  uint64
	mark string // "" if unknown
}

func (g *given) note(gen string, seq uint64, mark string) {
	g.Lock()
	defer g.Unlock()
	if gen != g.gen || seq > g.seq {
		g.gen, g.seq, g.mark = gen, seq, mark
	}
}

// raise takes over a newer epoch. The epoch comes before the era, so that who sees the new era has the new epoch.
func (c *Cache[K, V]) raise(epoch uint64) {
	for {
		had := c.epoch.Load()
		if had >= epoch {
			return
		}
		if c.epoch.CompareAndSwap(had, epoch) {
			break
		}
	}
	c.counts.bumps.Add(1)
	c.local.era.Add(1)
}

// announced is a key that tracking says was changed.
func (c *Cache[K, V]) announced(name string) {
	if key, err := c.cfg.ParseKey(name); err == nil {
		c.local.drop(key, 0, false, c.cfg.StaleFor > 0)
	}
}

// feed is what the follower knows of the feed. It alone touches it.
type feed struct {
	gen  string // "" before the first time
	last uint64 // number read
}

// feedRead is how many entries are read at once.
const feedRead = 512

// Redis is tried again after the first of these, then after up to twice as long, at most the second.
const retryFirst, retryLast = 50 * time.Millisecond, time.Second

// follow keeps the connection, and reads the feed until the cache is closed. ready is closed after the first try.
func (c *Cache[K, V]) follow(ready chan struct{}) {
	defer close(c.ended)
	retry := retryFirst
	unreachable := false // and told
	for {
		err := c.read()
		if ready != nil {
			close(ready)
			ready = nil
		}
		wait, wake := c.cfg.Redis.FollowEvery, c.link.wake
		if c.base.Err() != nil {
			return
		}
		if err != nil {
			c.link.lose(err)
			wait, wake = retry/2+time.Duration(mathrand.Int64N(int64(retry/2))), nil
			retry = min(2*retry, retryLast)
			if !unreachable {
				c.cfg.Logger.Warn("redis cannot be used, the cache goes on without it", "cache", c.cfg.Name, "error", err)
			}
			unreachable = true
		} else {
			retry = retryFirst
			if unreachable {
				c.cfg.Logger.Info("redis can be used again", "cache", c.cfg.Name)
			}
			unreachable = false
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-wake:
		case <-c.base.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// read connects if there is no connection, and reads the feed to its end.
func (c *Cache[K, V]) read() error {
	if c.link.client.Load() == nil {
		if err := c.link.dial(); err != nil {
			return err
		}
	}
	for {
		asked := c.now()
		whole, err := c.readSome()
		if err != nil {
			return err
		}
		if whole {
			c.followed.Store(int64(asked))
			c.link.up.Store(true)
			return nil
		}
	}
}

// readSome reads some of the feed, and tells whether that was all.
func (c *Cache[K, V]) readSome() (whole bool, err error) {
	f := &c.feed
	m, err := c.link.do(c.base, trip{&followScript, []string{c.link.head, c.link.feed}, append(c.feedArgs(),
		strconv.FormatUint(f.last, 10), strconv.FormatUint(f.last+1, 10), strconv.Itoa(feedRead),
	)})
	if err != nil {
		return false, err
	}
	parts, err := m.ToArray()
	if err != nil || len(parts) != 4 {
		return false, errors.Join(errGarbage, err)
	}
	gen, err := parts[0].ToString()
	seq, err2 := number(parts[1])
	epoch, err3 := number(parts[2])
	entries, err4 := parts[3].AsXRange()
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return false, err
	}
	if gen != f.gen {
		// The first time, or Redis has forgotten everything. Its clock says which epoch it is, so what other shards of a cluster remember is older.
		if f.gen != "" {
			c.lostTrack("the feed was forgotten", 0)
		}
		f.gen, f.last = gen, seq
		c.given.note(gen, seq, "")
		c.epoch.Store(epoch)
		c.local.era.Add(1)
		return true, nil
	}
	c.raise(epoch)
	c.given.note(gen, f.last, "") // if an answer that came late has put an older generation there
	for i := range entries {
		n, err := strconv.ParseUint(strings.TrimSuffix(entries[i].ID, "-0"), 10, 64)
		if err != nil {
			return false, fmt.Errorf("cache: the feed has an entry %q", entries[i].ID)
		}
		if n != f.last+1 {
			c.lostTrack("the feed has a hole", n-f.last-1)
		}
		f.last = n
		c.given.note(gen, n, entries[i].FieldValues["m"])
		c.apply(entries[i].FieldValues)
	}
	if len(entries) == feedRead {
		return f.last >= seq, nil
	}
	if f.last < seq {
		c.lostTrack("the feed has lost its end", seq-f.last)
		f.last = seq
	}
	return true, nil
}

func number(m rueidis.RedisMessage) (uint64, error) {
	s, err := m.ToString()
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(s, 10, 64)
}

// lostTrack gives up the first level, since nobody knows what in it was changed.
func (c *Cache[K, V]) lostTrack(what string, missing uint64) {
	c.counts.gaps.Add(1)
	c.local.era.Add(1)
	c.cfg.Logger.Warn("events were missed, the first level of the cache is given up", "cache", c.cfg.Name, "reason", what, "missing", missing)
}

func (c *Cache[K, V]) apply(fields map[string]string) {
	c.counts.events.Add(1)
	if fields["b"] != "" {
		return // the epoch was taken over already
	}
	version, err := strconv.ParseUint(fields["v"], 10, 64)
	key, err2 := c.cfg.ParseKey(fields["k"])
	if err != nil || err2 != nil {
		c.lostTrack("an event cannot be read", 1)
		return
	}
	c.local.drop(key, version, fields["d"] == "1", c.cfg.StaleFor > 0)
	if at, err := strconv.ParseInt(fields["t"], 10, 64); err == nil && at > 0 {
		lag := max(time.Since(time.UnixMilli(at)), 0)
		c.counts.lagLast.Store(int64(lag))
		for had := c.counts.lagMax.Load(); int64(lag) > had && !c.counts.lagMax.CompareAndSwap(had, int64(lag)); {
			had = c.counts.lagMax.Load()
		}
	}
}
