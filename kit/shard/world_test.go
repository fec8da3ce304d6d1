package shard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a few databases with tables, the store of their map, and what should be in them.
type world struct {
	t       testing.TB
	dbs     []*sql.DB
	dialect Dialect
	store   *SQLStore
	now     atomic.Int64 // nanoseconds
	want    map[int64]row
}

type row struct {
	key int64
	n   int64
}

const ordersTable = "id BIGINT PRIMARY KEY, user_id BIGINT NOT NULL, n BIGINT NOT NULL, note VARCHAR(100), made DATETIME"

func sqliteDB(t testing.TB) *sql.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_pragma=synchronous(OFF)")
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func sqliteWorld(t testing.TB, databases, tables, slots int) *world {
	w := &world{t: t, dialect: SQLite}
	for range databases {
		w.dbs = append(w.dbs, sqliteDB(t))
	}
	return w.prepare(databases, tables, slots)
}

func mariaWorld(t testing.TB, s *mariadb.Server, databases, tables, slots int) *world {
	w := &world{t: t, dialect: MySQL}
	// A process is killed here and no machine: what the kernel has is safe, and no test waits for the disk.
	for _, q := range []string{"SET GLOBAL sync_binlog = 0", "SET GLOBAL innodb_flush_log_at_trx_commit = 2"} {
		_, err := s.Open(t, "").Exec(q)
		must(t, err)
	}
	for range databases {
		db, err := sql.Open("mysql", s.DSN(s.Database(t))+"&interpolateParams=true&readTimeout=10s&timeout=2s")
		must(t, err)
		t.Cleanup(func() { _ = db.Close() })
		w.dbs = append(w.dbs, db)
	}
	return w.prepare(databases, tables, slots)
}

func (w *world) prepare(databases, tables, slots int) *world {
	w.t.Helper()
	w.want = map[int64]row{}
	for _, db := range w.dbs {
		for n := range tables {
			_, err := db.Exec(fmt.Sprintf("CREATE TABLE orders_%02d (%s)", n, ordersTable))
			must(w.t, err)
		}
	}
	m, err := Even(databases, tables, slots)
	must(w.t, err)
	w.store, err = NewSQLStore(w.dbs[0], w.dialect)
	must(w.t, err)
	must(w.t, w.store.Setup(w.t.Context(), m))
	must(w.t, w.store.Setup(w.t.Context(), m))
	r := w.router()
	must(w.t, r.Setup(w.t.Context()))
	must(w.t, r.Setup(w.t.Context()))
	return w
}

func (w *world) clock() time.Time { return time.Unix(1_800_000_000, w.now.Load()) }

func (w *world) config() Config {
	return Config{
		Databases: w.dbs, Dialect: w.dialect, Store: w.store, Tables: []Table{{Name: "orders", Key: "user_id"}}, Clock: w.clock,
		Logger: slog.New(slog.DiscardHandler),
	}
}

func (w *world) router() *Router { return routerOf(w.t, w.config()) }

func routerOf(t testing.TB, cfg Config) *Router {
	t.Helper()
	r, err := New(cfg)
	must(t, err)
	t.Cleanup(r.Close)
	return r
}

// mover is a fresh one, which ends before the n-th step that it would persist; with a negative n it does not.
func (w *world) mover(crashAt int) (*Mover, *string) {
	w.t.Helper()
	return w.moverUntil("", crashAt)
}

// moverUntil is one that ends before the n-th step with a name, which "" stands for all of.
func (w *world) moverUntil(name string, crashAt int) (*Mover, *string) {
	w.t.Helper()
	at := new(string)
	m, err := NewMover(MoverConfig{
		Router: w.router(), ChunkRows: 10, Logger: slog.New(slog.DiscardHandler),
		wait: func(context.Context, time.Duration) error { return nil },
		crash: func(step string) error {
			if name != "" && name != step {
				return nil
			}
			if crashAt--; crashAt == -1 {
				*at = step
				return errCrash
			}
			return nil
		},
	})
	must(w.t, err)
	return m, at
}

var errCrash = errors.New("crash")

// userIn is the i-th user whose slot it is.
func userIn(slot, slots, i int) int64 {
	for user := int64(1); ; user++ {
		if Slot(user, slots) == slot {
			if i--; i < 0 {
				return user
			}
		}
	}
}

func (w *world) insert(r *Router, id, user, n int64) error {
	_, err := r.For(user).Exec(w.t.Context(), "INSERT INTO {orders} (id, user_id, n, note, made) VALUES (?, ?, ?, ?, ?)", id, user, n, "ein Käse {orders}", "2026-01-02 03:04:05")
	if err == nil {
		w.want[id] = row{user, n}
	}
	return err
}

func (w *world) add(r *Router, id, by int64) error {
	_, err := r.For(w.want[id].key).Exec(w.t.Context(), "UPDATE {orders} SET n = n + ? WHERE id = ?", by, id)
	if err == nil {
		w.want[id] = row{w.want[id].key, w.want[id].n + by}
	}
	return err
}

func (w *world) remove(r *Router, id int64) error {
	_, err := r.For(w.want[id].key).Exec(w.t.Context(), "DELETE FROM {orders} WHERE id = ?", id)
	if err == nil {
		delete(w.want, id)
	}
	return err
}

// check compares all tables with what should be there: each row once, at the place of its slot, and nothing besides.
func (w *world) check() {
	w.t.Helper()
	m, err := w.store.Load(w.t.Context())
	must(w.t, err)
	if len(m.Moves()) != 0 {
		w.t.Fatalf("still moving: %v", m.Moves())
	}
	got := map[int64]row{}
	for d, db := range w.dbs {
		for n := range m.Tables() {
			rows, err := db.Query(fmt.Sprintf("SELECT id, user_id, n FROM orders_%02d", n))
			must(w.t, err)
			for rows.Next() {
				var id int64
				var r row
				must(w.t, rows.Scan(&id, &r.key, &r.n))
				if at := m.Place(Slot(r.key, m.Slots())); at != (Place{d, n}) {
					w.t.Fatalf("row %d of slot %d is at %d/%02d instead of %s", id, Slot(r.key, m.Slots()), d, n, at)
				}
				if _, twice := got[id]; twice {
					w.t.Fatalf("row %d is there twice", id)
				}
				got[id] = r
			}
			must(w.t, rows.Err())
			_ = rows.Close()
		}
	}
	owners := map[int]Place{}
	for d, db := range w.dbs {
		rows, err := db.Query("SELECT slot, tbl FROM shard_fence WHERE state IN (1, 2)")
		must(w.t, err)
		for rows.Next() {
			var slot, table int
			must(w.t, rows.Scan(&slot, &table))
			if other, ok := owners[slot]; ok {
				w.t.Fatalf("slot %d is owned at %s and at %d/%02d", slot, other, d, table)
			}
			owners[slot] = Place{d, table}
		}
		_ = rows.Close()
	}
	for slot := range m.Slots() {
		if owners[slot] != m.Place(slot) {
			w.t.Fatalf("slot %d is owned at %s and mapped to %s", slot, owners[slot], m.Place(slot))
		}
	}
	if !maps.Equal(got, w.want) {
		w.t.Fatalf("rows are\n%v\nand should be\n%v", got, w.want)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// onEach runs a test on each kind of database.
func onEach(t *testing.T, databases, tables, slots int, f func(t *testing.T, w *world)) {
	t.Run("sqlite", func(t *testing.T) { f(t, sqliteWorld(t, databases, tables, slots)) })
	t.Run("mariadb", func(t *testing.T) { f(t, mariaWorld(t, mariadb.Shared(t), databases, tables, slots)) })
}
