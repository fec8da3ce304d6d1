package shard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// Dialect is the kind of SQL that the databases understand.
type Dialect int

const (
	// SQLite is for modernc.org/sqlite and others. Open the files with WAL and a busy timeout:
	// "file:x.db?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)".
	SQLite Dialect = 1
	// MySQL is for MySQL from 5.7 and MariaDB from 10.3, with InnoDB. Open all databases with the same parameters.
	MySQL Dialect = 2
)

func (d Dialect) valid() bool { return d == SQLite || d == MySQL }

func (d Dialect) create(table, columns string) string {
	types, end := strings.NewReplacer("{int}", "BIGINT", "{text}", "MEDIUMTEXT"), " ENGINE=InnoDB"
	if d == SQLite {
		types, end = strings.NewReplacer("{int}", "INTEGER", "{text}", "TEXT"), ""
	}
	return "CREATE TABLE IF NOT EXISTS " + table + " (" + types.Replace(columns) + ")" + end
}

// insertNew inserts a row unless there is one with its key.
func (d Dialect) insertNew(table, columns string) string {
	verb := "INSERT IGNORE INTO "
	if d == SQLite {
		verb = "INSERT OR IGNORE INTO "
	}
	return verb + table + " (" + columns + ") VALUES (?" + strings.Repeat(", ?", strings.Count(columns, ",")) + ")"
}

// fenceState is what a place is to a slot.
//
//	           opening              switch
//	old place  owner ──> source ──────────────> gone
//	new place  absent or gone ──> target ────────────> owner
//	                                        ^ the old place is gone before the new one is owner
//
// At each moment at most one place is owner or source, and writes are accepted by owner and source alone.
type fenceState int

const (
	fenceAbsent fenceState = iota
	fenceOwner             // reads and writes
	fenceSource            // reads and writes; writes are repeated at the place that the fence names
	fenceTarget            // takes what the source repeats
	fenceGone              // the slot went to the place that the fence names
)

// fence is the row that each transaction that writes locks and looks at: the truth about where a slot is. The map is
// only where one looks first. Who writes to an owner has the row shared; who writes to a source, and the mover, have it alone.
type fence struct {
	state fenceState
	epoch uint64 // of the move that wrote it
	to    Place
}

const fenceColumns = "slot, tbl, state, epoch, to_database, to_tbl"

// lockFence locks and reads the fence of a slot at a table. Without a row nothing is locked on MySQL, and the fence is absent.
func (d Dialect) lockFence(ctx context.Context, tx *sql.Tx, slot, table int, alone bool) (fence, error) {
	query := "SELECT state, epoch, to_database, to_tbl FROM shard_fence WHERE slot = ? AND tbl = ?"
	switch {
	case d == SQLite:
		// A write, so that a transaction that was begun as deferred waits here and not in the middle.
		if _, err := tx.ExecContext(ctx, "UPDATE shard_fence SET slot = slot WHERE slot = ? AND tbl = ?", slot, table); err != nil {
			return fence{}, err
		}
	case alone:
		query += " FOR UPDATE"
	default:
		query += " LOCK IN SHARE MODE"
	}
	return scanFence(tx.QueryRowContext(ctx, query, slot, table))
}

func scanFence(row *sql.Row) (fence, error) {
	var f fence
	err := row.Scan(&f.state, &f.epoch, &f.to.Database, &f.to.Table)
	if errors.Is(err, sql.ErrNoRows) {
		return fence{}, nil
	}
	return f, err
}

// writeFence changes a fence that the transaction has locked, or makes it.
func (d Dialect) writeFence(ctx context.Context, tx *sql.Tx, slot, table int, f fence) error {
	query := "INSERT INTO shard_fence (" + fenceColumns + ") VALUES (?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE " +
		"state = VALUES(state), epoch = VALUES(epoch), to_database = VALUES(to_database), to_tbl = VALUES(to_tbl)"
	if d == SQLite {
		query = "INSERT OR REPLACE INTO shard_fence (" + fenceColumns + ") VALUES (?, ?, ?, ?, ?, ?)"
	}
	_, err := tx.ExecContext(ctx, query, slot, table, int(f.state), int64(f.epoch), f.to.Database, f.to.Table)
	return err
}

// Setup creates in each database the tables of the router, shard_database and shard_fence, and makes the places of the
// first map the owners of their slots. It may be called at each start, by several processes, and again after a failure.
// The tables of Config.Tables are the program's own. Without a Store it does nothing.
func (r *Router) Setup(ctx context.Context) error {
	if r.store == nil {
		return nil
	}
	if err := r.Refresh(ctx); err != nil {
		return err
	}
	m := r.Map()
	for n := range m.databases {
		if err := r.setupDatabase(ctx, n, m); err != nil {
			return err
		}
	}
	return nil
}

func (r *Router) setupDatabase(ctx context.Context, n int, m *Map) error {
	db := r.databases[n]
	fail := func(err error) error { return fmt.Errorf("shard: preparing database %d: %w", n, err) }
	for _, s := range []string{
		r.dialect.create("shard_database", "id {int} NOT NULL PRIMARY KEY, number {int} NOT NULL"),
		r.dialect.create("shard_fence", "slot {int} NOT NULL, tbl {int} NOT NULL, state {int} NOT NULL, epoch {int} NOT NULL, to_database {int} NOT NULL, to_tbl {int} NOT NULL, PRIMARY KEY (slot, tbl)"),
	} {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fail(err)
		}
	}
	if _, err := db.ExecContext(ctx, r.dialect.insertNew("shard_database", "id, number"), 1, n); err != nil {
		return fail(err)
	}
	if err := r.checkDatabase(ctx, n); err != nil {
		return err
	}
	if m.version != 1 {
		return nil // a slot has moved: owners are made by moves only
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fail(err)
	}
	defer tx.Rollback()
	for slot, p := range m.places {
		if p.Database != n {
			continue
		}
		if _, err := tx.ExecContext(ctx, r.dialect.insertNew("shard_fence", fenceColumns), slot, p.Table, int(fenceOwner), 1, p.Database, p.Table); err != nil {
			return fail(err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fail(err)
	}
	return nil
}

// checkDatabase asks a database once which one it is. A list that was sorted differently must not send a write anywhere.
func (r *Router) checkDatabase(ctx context.Context, n int) error {
	if r.store == nil || r.checked[n].Load() {
		return nil
	}
	var number int
	err := r.databases[n].QueryRowContext(ctx, "SELECT number FROM shard_database WHERE id = 1").Scan(&number)
	if err != nil {
		return fmt.Errorf("shard: asking database %d for its number, which Setup writes: %w", n, err)
	}
	if number != n {
		return fmt.Errorf("shard: Databases[%d] says that it is number %d: %w", n, number, ErrWrongDatabase)
	}
	r.checked[n].Store(true)
	return nil
}
