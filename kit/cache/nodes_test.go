package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
	"github.com/yumen-io/yumen/kit/internal/servers/redis"
)

// commits are when versions of rows were committed, as the writers saw it.
type commits struct {
	sync.Mutex
	of map[int64][]time.Time // the first is of version 1
}

// old is how long a version had been replaced at a time.
func (c *commits) old(key int64, version uint64, at time.Time) time.Duration {
	c.Lock()
	defer c.Unlock()
	if list := c.of[key]; int(version) < len(list) {
		return max(at.Sub(list[version]), 0)
	}
	return 0
}

// reader tells nodes of changes in the order of their commits, from a log that is written in the transaction of each change. It loses some, and starts again
// from where it was a while ago.
func reader(ctx context.Context, t *testing.T, db *sql.DB, nodes []*Cache[int64, string], lost, again *atomic.Int64) {
	random := rand.New(rand.NewPCG(1, 2))
	last := int64(0)
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for round := 1; ; round++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if round%200 == 0 {
			last = max(0, last-50)
			again.Add(1)
		}
		rows, err := db.QueryContext(ctx, "SELECT id, user, version FROM changes WHERE id > ? ORDER BY id LIMIT 100", last)
		if err != nil {
			if ctx.Err() == nil {
				t.Error(err)
			}
			return
		}
		var events []Event[int64]
		next := last
		for rows.Next() {
			var e Event[int64]
			if err := rows.Scan(&next, &e.Key, &e.Version); err != nil {
				t.Error(err)
			}
			if random.IntN(5) == 0 {
				lost.Add(1)
				continue
			}
			events = append(events, e)
		}
		rows.Close()
		if nodes[round%len(nodes)].Invalidate(ctx, events...) == nil {
			last = next
		}
	}
}

// The whole: three nodes, Redis and MariaDB, 5 % writes; one event of five is lost, and the reader is started again.
func TestThreeNodesOverRealServers(t *testing.T) {
	s := redis.Start(t)
	m := mariadb.Shared(t)
	db := m.Open(t, m.Database(t))
	for _, statement := range []string{
		"CREATE TABLE users (id BIGINT PRIMARY KEY, name VARCHAR(40) NOT NULL, version BIGINT UNSIGNED NOT NULL)",
		"CREATE TABLE changes (id BIGINT AUTO_INCREMENT PRIMARY KEY, user BIGINT NOT NULL, version BIGINT UNSIGNED NOT NULL)",
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	const users = 200
	began := time.Now()
	truth := commits{of: map[int64][]time.Time{}}
	for id := int64(1); id <= users; id++ {
		if _, err := db.Exec("INSERT INTO users VALUES (?, ?, 1)", id, fmt.Sprint("user ", id)); err != nil {
			t.Fatal(err)
		}
		truth.of[id] = []time.Time{began}
	}
	const ttl, local = 1500 * time.Millisecond, 300 * time.Millisecond
	var nodes []*Cache[int64, string]
	for range 3 {
		c, err := New(Config[int64, string]{
			Name: "users", TTL: ttl, LocalTTL: local, LoadTimeout: time.Second,
			Redis: Redis{Addresses: []string{s.Addr()}, Timeout: 400 * time.Millisecond},
			Load: func(ctx context.Context, id int64) (name string, version uint64, err error) {
				err = db.QueryRowContext(ctx, "SELECT name, version FROM users WHERE id = ?", id).Scan(&name, &version)
				if errors.Is(err, sql.ErrNoRows) {
					err = ErrNotFound
				}
				return name, version, err
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		nodes = append(nodes, c)
	}
	ctx, end := context.WithCancel(background)
	var lost, again, writes, reads atomic.Int64
	var told sync.WaitGroup
	told.Go(func() { reader(ctx, t, db, nodes, &lost, &again) })

	write := func(id int64) error {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		defer tx.Rollback()
		var version int
		if err := tx.QueryRow("SELECT version FROM users WHERE id = ? FOR UPDATE", id).Scan(&version); err != nil {
			return err
		}
		if _, err := tx.Exec("UPDATE users SET version = version + 1 WHERE id = ?", id); err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT INTO changes (user, version) VALUES (?, ?)", id, version+1); err != nil {
			return err
		}
		truth.Lock() // others of this row wait in the database, so it is in order
		defer truth.Unlock()
		err = tx.Commit()
		truth.of[id] = append(truth.of[id], time.Now())
		return err
	}
	var worst struct {
		sync.Mutex
		old   time.Duration
		times []time.Duration // of hits
	}
	var all sync.WaitGroup
	const each = 1500
	for g := range 6 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 3))
			var times []time.Duration
			pace := time.NewTicker(time.Millisecond)
			defer pace.Stop()
			for range each {
				<-pace.C
				id := 1 + int64(users*random.Float64()*random.Float64())
				if random.IntN(20) == 0 {
					writes.Add(1)
					if err := write(id); err != nil {
						t.Error(err)
						return
					}
					continue
				}
				reads.Add(1)
				asked := time.Now()
				v, err := nodes[g%3].Get(background, id)
				if took := time.Since(asked); v.Source == Local {
					times = append(times, took)
				}
				if err != nil {
					t.Error(err)
					return
				}
				old := truth.old(id, v.Version, asked)
				worst.Lock()
				worst.old = max(worst.old, old)
				worst.Unlock()
			}
			worst.Lock()
			worst.times = append(worst.times, times...)
			worst.Unlock()
		})
	}
	all.Wait()
	end()
	told.Wait()
	bound := nodes[0].Stats().BoundUntold
	if worst.old > bound {
		t.Errorf("an answer was %v behind, of at most %v", worst.old, bound)
	}
	var calls, loads uint64
	for _, c := range nodes {
		st := c.Stats()
		calls, loads = calls+st.RedisCalls, loads+st.Loads
	}
	slices.Sort(worst.times)
	if lost.Load() == 0 || again.Load() == 0 || len(worst.times) == 0 {
		t.Error("nothing was lost, nothing started again, or there were no hits")
	}
	t.Logf("%d reads, %d writes, %d events lost, the reader started again %d times; oldest %v of at most %v", reads.Load(), writes.Load(), lost.Load(), again.Load(), worst.old, bound)
	t.Logf("%d calls of Redis and %d loads for 1000 reads; p99 of hits %v", calls*1000/uint64(reads.Load()), loads*1000/uint64(reads.Load()), worst.times[len(worst.times)*99/100])
}
