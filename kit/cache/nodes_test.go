package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/cdc"
	"github.com/yumen-io/yumen/kit/cdc/binlog"
	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
	"github.com/yumen-io/yumen/kit/internal/servers/redis"
)

// moments are when versions of rows came to be, or were told.
type moments struct {
	sync.Mutex
	of map[int64][]time.Time // by version; zero: never
}

// note keeps the first moment of a version.
func (m *moments) note(key int64, version uint64, at time.Time) {
	m.Lock()
	defer m.Unlock()
	list := m.of[key]
	for uint64(len(list)) <= version {
		list = append(list, time.Time{})
	}
	if list[version].IsZero() {
		list[version] = at
	}
	m.of[key] = list
}

// old is for how long, at a time, a version had been followed by a later one.
func (m *moments) old(key int64, version uint64, at time.Time) (old time.Duration) {
	m.Lock()
	defer m.Unlock()
	list := m.of[key]
	for _, later := range list[min(version+1, uint64(len(list))):] {
		if !later.IsZero() {
			old = max(old, at.Sub(later))
		}
	}
	return old
}

// town is a table of users whose rows count their changes, three nodes that cache it, and somebody who tells them of changes.
type town struct {
	server   *mariadb.Server
	database string
	db       *sql.DB
	nodes    []*Cache[int64, string]

	committed, told moments
	lost, again     atomic.Int64

	// Of whoever tells.
	random *rand.Rand
	turn   int
}

const usersN = 200

func newTown(t *testing.T) *town {
	t.Helper()
	s, m := redis.Start(t), mariadb.Shared(t)
	w := &town{server: m, database: m.Database(t), random: rand.New(rand.NewPCG(1, 2))}
	w.db = m.Open(t, w.database)
	for _, statement := range []string{
		"CREATE TABLE users (id BIGINT PRIMARY KEY, name VARCHAR(40) NOT NULL, version BIGINT UNSIGNED NOT NULL)",
		"CREATE TABLE changes (id BIGINT AUTO_INCREMENT PRIMARY KEY, user BIGINT NOT NULL, version BIGINT UNSIGNED NOT NULL)",
	} {
		if _, err := w.db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	w.committed.of, w.told.of = map[int64][]time.Time{}, map[int64][]time.Time{}
	for id := int64(1); id <= usersN; id++ {
		if _, err := w.db.Exec("INSERT INTO users VALUES (?, ?, 1)", id, fmt.Sprint("user ", id)); err != nil {
			t.Fatal(err)
		}
		w.committed.note(id, 1, began)
	}
	for range 3 {
		c, err := New(Config[int64, string]{
			Name: "users", TTL: 1500 * time.Millisecond, LocalTTL: 300 * time.Millisecond, LoadTimeout: time.Second,
			Redis: Redis{Addresses: []string{s.Addr()}, Timeout: 400 * time.Millisecond},
			Load: func(ctx context.Context, id int64) (name string, version uint64, err error) {
				err = w.db.QueryRowContext(ctx, "SELECT name, version FROM users WHERE id = ?", id).Scan(&name, &version)
				if errors.Is(err, sql.ErrNoRows) {
					err = ErrNotFound
				}
				return name, version, err
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		w.nodes = append(w.nodes, c)
	}
	return w
}

// write changes a user, and says so in the log in the same transaction.
func (w *town) write(id int64) error {
	tx, err := w.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var version uint64
	if err := tx.QueryRow("SELECT version FROM users WHERE id = ? FOR UPDATE", id).Scan(&version); err != nil {
		return err
	}
	if _, err := tx.Exec("UPDATE users SET version = version + 1 WHERE id = ?", id); err != nil {
		return err
	}
	if _, err := tx.Exec("INSERT INTO changes (user, version) VALUES (?, ?)", id, version+1); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	w.committed.note(id, version+1, time.Now())
	return nil
}

// tell hands events to the nodes in turn, but loses one of five.
func (w *town) tell(ctx context.Context, events []Event[int64]) error {
	events = slices.DeleteFunc(events, func(Event[int64]) bool { return w.random.IntN(5) == 0 && w.lost.Add(1) > 0 })
	w.turn++
	if err := w.nodes[w.turn%len(w.nodes)].Invalidate(ctx, events...); err != nil {
		return err
	}
	now := time.Now()
	for _, e := range events {
		w.told.note(e.Key, e.Version, now)
	}
	return nil
}

// followLog reads the log in the order of its rows, and starts again from where it was a while ago.
func (w *town) followLog(ctx context.Context, t *testing.T) {
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
			w.again.Add(1)
		}
		rows, err := w.db.QueryContext(ctx, "SELECT id, user, version FROM changes WHERE id > ? ORDER BY id LIMIT 100", last)
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
			events = append(events, e)
		}
		rows.Close()
		if w.tell(ctx, events) == nil {
			last = next
		}
	}
}

// forgetful is a checkpoint that is some saves behind whenever it is read, as that of a reader that was killed.
type forgetful struct{ saved []cdc.Checkpoint }

const forgets = 20

func (f *forgetful) Load(context.Context) (cdc.Checkpoint, error) {
	f.saved = f.saved[:max(len(f.saved)-forgets, min(len(f.saved), 1))]
	if len(f.saved) == 0 {
		return cdc.Checkpoint{}, nil
	}
	return f.saved[len(f.saved)-1], nil
}

func (f *forgetful) Save(_ context.Context, c cdc.Checkpoint) error {
	f.saved = append(f.saved, c)
	return nil
}

// followBinlog reads the rows that the server wrote to its binlog. Every now and then the reader ends, and another begins some transactions before that.
func (w *town) followBinlog(ctx context.Context, t *testing.T) {
	checkpoints := &forgetful{}
	for ctx.Err() == nil {
		source, err := binlog.New(binlog.Config{
			Addr: w.server.Addr(), User: "root", Tables: []string{w.database + ".users"}, Checkpoints: checkpoints,
			BackoffMin: time.Millisecond, BackoffMax: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if err != nil {
			t.Error(err)
			return
		}
		while, stop := context.WithCancel(ctx)
		batches := 0
		err = source.Run(while, func(ctx context.Context, changes []cdc.Event) error {
			if batches++; batches > 2*forgets {
				stop()
			}
			var events []Event[int64]
			for _, c := range changes {
				if c.Kind == cdc.Epoch {
					if err := w.nodes[0].InvalidateAll(ctx, string(c.Reason)); err != nil {
						return err
					}
					continue
				}
				e := Event[int64]{At: c.Time}
				version, _ := c.After.Get("version")
				e.Version, _ = version.(uint64)
				var err error
				if e.Key, err = strconv.ParseInt(c.Key, 10, 64); err != nil || e.Version == 0 {
					t.Errorf("an event of the table users: %+v", c)
				}
				events = append(events, e)
			}
			return w.tell(ctx, events)
		})
		if while.Err() == nil {
			t.Error(err)
		}
		stop()
		if ctx.Err() == nil {
			w.again.Add(1)
		}
	}
}

// The whole: three nodes, Redis and MariaDB, 5 % writes; one event of five is lost, and the reader of changes is started again and again.
func TestThreeNodesOverRealServers(t *testing.T) {
	for _, c := range []struct {
		name   string
		follow func(*town, context.Context, *testing.T)
	}{{"log", (*town).followLog}, {"binlog", (*town).followBinlog}} {
		t.Run(c.name, func(t *testing.T) { live(t, newTown(t), c.follow) })
	}
}

func live(t *testing.T, w *town, follow func(*town, context.Context, *testing.T)) {
	ctx, end := context.WithCancel(background)
	var followed sync.WaitGroup
	followed.Go(func() { follow(w, ctx, t) })

	var reads, writes atomic.Int64
	var worst struct {
		sync.Mutex
		old, overdue time.Duration   // since the commit, and since the nodes were told
		times        []time.Duration // of hits
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
				id := 1 + int64(usersN*random.Float64()*random.Float64())
				if random.IntN(20) == 0 {
					writes.Add(1)
					if err := w.write(id); err != nil {
						t.Error(err)
						return
					}
					continue
				}
				reads.Add(1)
				asked := time.Now()
				v, err := w.nodes[g%3].Get(background, id)
				if took := time.Since(asked); v.Source == Local {
					times = append(times, took)
				}
				if err != nil {
					t.Error(err)
					return
				}
				old, overdue := w.committed.old(id, v.Version, asked), w.told.old(id, v.Version, asked)
				worst.Lock()
				worst.old, worst.overdue = max(worst.old, old), max(worst.overdue, overdue)
				worst.Unlock()
			}
			worst.Lock()
			worst.times = append(worst.times, times...)
			worst.Unlock()
		})
	}
	all.Wait()
	end()
	followed.Wait()
	bounds := w.nodes[0].Stats()
	if worst.old > bounds.BoundUntold {
		t.Errorf("an answer was %v behind, of at most %v", worst.old, bounds.BoundUntold)
	}
	if worst.overdue > bounds.Bound {
		t.Errorf("an answer was %v behind what the nodes had been told, of at most %v", worst.overdue, bounds.Bound)
	}
	var calls, loads uint64
	for _, c := range w.nodes {
		st := c.Stats()
		calls, loads = calls+st.RedisCalls, loads+st.Loads
	}
	slices.Sort(worst.times)
	if w.lost.Load() == 0 || w.again.Load() == 0 || len(worst.times) == 0 || len(w.told.of) == 0 {
		t.Error("nothing was lost or told, nothing started again, or there were no hits")
	}
	t.Logf("%d reads, %d writes, %d events lost, the reader started again %d times", reads.Load(), writes.Load(), w.lost.Load(), w.again.Load())
	t.Logf("oldest %v of at most %v; after being told %v of at most %v", worst.old, bounds.BoundUntold, worst.overdue, bounds.Bound)
	t.Logf("%d calls of Redis and %d loads for 1000 reads; p99 of hits %v", calls*1000/uint64(reads.Load()), loads*1000/uint64(reads.Load()), worst.times[len(worst.times)*99/100])
}
