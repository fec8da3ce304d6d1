// Package cache keeps values in three levels: in this process, in a Redis that all nodes share, and where they come from, which is a function of
// yours. Changes are told to it as events (by a reader of the binlog, or whoever writes), and it promises how old an answer can be, whatever is lost on the way.
// A hit in the process costs no allocation, no lock, and no trip.
//
//	users, err := cache.New(cache.Config[int64, User]{
//		Name:  "users",
//		Redis: cache.Redis{Addresses: []string{"redis:6379"}},
//		Load: func(ctx context.Context, id int64) (u User, version uint64, err error) {
//			err = db.QueryRowContext(ctx, "SELECT name, version FROM users WHERE id = ?", id).Scan(&u.Name, &version)
//			if errors.Is(err, sql.ErrNoRows) {
//				err = cache.ErrNotFound
//			}
//			return u, version, err
//		},
//	})
//	...
//	u, err := users.Get(ctx, 17)
//	...
//	err = users.Invalidate(ctx, cache.Event[int64]{Key: 17, Version: 5})
//
// # What it promises
//
// Once Invalidate has returned nil, nobody gets an answer older than that event after Stats.Bound has passed (10 s by default: LocalTTL), also if the
// message to a node is lost, a node is cut off, or Redis dies, unless Redis itself brings a deletion back (see below). If no event comes at all, an answer is never older than Stats.BoundUntold (10 min by default: TTL). Answers whose Source is Stale or
// Stub are outside of both, and exist only where StaleFor or Stub is set. Ordinarily nodes know of a change within milliseconds: Stats.LagMax says.
//
// A reader that is slow cannot put back what was changed meanwhile: who loads has a lease in Redis, which an event ends, and Redis refuses versions below that of
// the last event. Of all nodes one loads a key at a time; the others wait for it, no longer than LoadTimeout.
//
// # When things fail
//
// Redis that does not answer is left alone after the first trip that takes longer than Redis.Timeout, until it answers again. Meanwhile each node keeps values for LocalTTL and
// loads by itself; Invalidate returns ErrUnreachable, and has to be called again. A feed of events with a hole, or that Redis has forgotten, costs nodes
// their first level; a Redis that comes back with an older memory begins a new epoch, in which everything older is loaded again. Records that cannot be read are deleted and counted.
// One thing is not noticed: a node of a Redis Cluster that loses its last deletions in a failover while the feed, on another node of it, does not. Then BoundUntold holds.
//
// A Load that fails, panics, hangs or finds no place among LoadsMax is an error, or a marked answer where there is one. A caller who gives up does not end the load for others.
//
// # Concurrency
//
// All methods may be called from any goroutine. One goroutine follows the feed until Close.
package cache
