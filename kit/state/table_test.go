//go:build unix

package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
)

// walkTable is a machine that goes on for long, with a way out.
const walkTable = "A0B B0C C0A A1C B2B A2E"

// onEach runs f on SQLite and on a real MariaDB, with a table of rows 1 to 3 in the initial state.
func onEach(t *testing.T, numbers bool, f func(t *testing.T, db *sql.DB, rows *Table[letter, digit])) {
	t.Helper()
	column := "VARCHAR(32)"
	initial := "'A'"
	if numbers {
		column, initial = "INTEGER", "0"
	}
	run := func(t *testing.T, db *sql.DB, dialect Dialect) {
		rows, err := machine(t, walkTable, e).NewTable(TableConfig{Dialect: dialect, Table: "things", Numbers: numbers})
		if err != nil {
			t.Fatal(err)
		}
		exec(t, db, "CREATE TABLE things (id BIGINT PRIMARY KEY, state "+column+" NOT NULL, version BIGINT NOT NULL)")
		exec(t, db, "INSERT INTO things VALUES (1, "+initial+", 0), (2, "+initial+", 0), (3, "+initial+", 0)")
		exec(t, db, rows.LogSchema())
		f(t, db, rows)
	}
	t.Run("sqlite", func(t *testing.T) {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "things.db")+
			"?_txlock=deferred&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=busy_timeout(20000)")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		run(t, db, SQLite)
	})
	t.Run("mariadb", func(t *testing.T) {
		s := mariadb.Shared(t)
		run(t, s.Open(t, s.Database(t)), MySQL)
	})
}

func exec(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// within runs f in a transaction, and commits if it returns nil.
func within(ctx context.Context, db *sql.DB, f func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

func apply(ctx context.Context, db *sql.DB, rows *Table[letter, digit], key any, ev digit, idem string) (step Step[letter], err error) {
	err = within(ctx, db, func(tx *sql.Tx) error {
		step, err = rows.Apply(ctx, tx, key, ev, idem)
		return err
	})
	return step, err
}

func row(t *testing.T, db *sql.DB, key int) (state string, version uint64) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), "SELECT state, version FROM things WHERE id = ?", key).Scan(&state, &version); err != nil {
		t.Fatal(err)
	}
	return state, version
}

// TestRowsDoWhatCellsDo gives the same random events to rows and to cells with a map of keys beside them. Some
// transactions are rolled back.
func TestRowsDoWhatCellsDo(t *testing.T) {
	onEach(t, false, func(t *testing.T, db *sql.DB, rows *Table[letter, digit]) {
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 0))
		type first struct {
			event digit
			step  Step[letter]
		}
		cells := map[int]*Cell[letter, digit]{}
		keys := map[string]first{}
		for id := 1; id <= 3; id++ {
			cells[id] = rows.machine.NewCell()
		}
		repeated, refused, conflicts := 0, 0, 0
		for n := range 400 {
			id, ev, idem := 1+rng.IntN(3), digit(rng.IntN(20)/9), ""
			if rng.IntN(4) > 0 {
				idem = fmt.Sprint("key-", rng.IntN(n/2+1))
			}
			if s, v := cells[id].Load(); s == e { // a new life, so that there is something to do
				cells[id], _ = rows.machine.Restore(a, v)
				exec(t, db, "UPDATE things SET state = 'A' WHERE id = ?", id)
			}
			at, wrong := rng.IntN(2) == 0, uint64(rng.IntN(5)/4)
			_, have := cells[id].Load()
			version := have + wrong

			var want Step[letter]
			var wantErr error
			before, used := keys[fmt.Sprint(id, idem)]
			backup, err := rows.machine.Restore(cells[id].Load())
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case idem != "" && used && before.event == ev:
				want = before.step
				want.Repeated = true
				repeated++
			case idem != "" && used:
				wantErr = ErrKeyReused
			case at:
				want, wantErr = cells[id].FireAt(version, ev)
			default:
				want, wantErr = cells[id].Fire(ev)
			}
			rollback := errors.New("rolled back on purpose")
			back := rng.IntN(5) == 0
			var got Step[letter]
			var gotErr error
			err = within(t.Context(), db, func(tx *sql.Tx) error {
				if at {
					got, gotErr = rows.ApplyAt(t.Context(), tx, id, version, ev, idem)
				} else {
					got, gotErr = rows.Apply(t.Context(), tx, id, ev, idem)
				}
				if gotErr == nil && back {
					return rollback
				}
				return gotErr
			})
			same := gotErr == nil && wantErr == nil
			for _, kind := range []error{ErrNotAllowed, ErrConflict, ErrKeyReused} {
				same = same || errors.Is(gotErr, kind) && errors.Is(wantErr, kind)
			}
			if got != want || !same || back && gotErr == nil && err != rollback {
				t.Fatalf("seed %d, event %d: %s on %d with %q: %+v, %v (%v); want %+v, %v", seed, n, ev, id, idem, got, gotErr, err, want, wantErr)
			}
			switch {
			case errors.Is(gotErr, ErrNotAllowed):
				refused++
			case errors.Is(gotErr, ErrConflict):
				conflicts++
			case err == rollback:
				cells[id] = backup
			case gotErr == nil && idem != "" && !want.Repeated:
				keys[fmt.Sprint(id, idem)] = first{ev, want}
			}
			s, v := cells[id].Load()
			if state, version := row(t, db, id); state != s.String() || version != v {
				t.Fatalf("seed %d, event %d: row %d is in %s %d, want %s %d", seed, n, id, state, version, s, v)
			}
		}
		t.Logf("seed %d: %d repeated, %d refused, %d conflicts", seed, repeated, refused, conflicts)
	})
}

// TestOneMessageIsDeliveredToManyAtOnce wants one of them to make the step and all to get its result.
func TestOneMessageIsDeliveredToManyAtOnce(t *testing.T) {
	onEach(t, false, func(t *testing.T, db *sql.DB, rows *Table[letter, digit]) {
		const goroutines = 8
		for n := range 10 {
			steps := make([]Step[letter], goroutines)
			var wg sync.WaitGroup
			for i := range steps {
				wg.Go(func() {
					var err error
					if steps[i], err = apply(t.Context(), db, rows, 1, 0, fmt.Sprint("message-", n)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			made := 0
			for _, s := range steps {
				if !s.Repeated {
					made++
				}
				if s.Version != uint64(n+1) || s.From != steps[0].From || s.To != steps[0].To {
					t.Errorf("message %d: %+v and %+v", n, steps[0], s)
				}
			}
			if made != 1 {
				t.Errorf("message %d: %d of them made the step", n, made)
			}
		}
		if state, version := row(t, db, 1); state != "B" || version != 10 {
			t.Errorf("%s %d after ten messages", state, version)
		}
	})
}

// TestManyRowsAtOnce looks for deadlocks between rows, and for steps that are lost or made twice.
func TestManyRowsAtOnce(t *testing.T) {
	onEach(t, false, func(t *testing.T, db *sql.DB, rows *Table[letter, digit]) {
		const goroutines, each = 6, 30
		var mu sync.Mutex
		steps := map[int][]Step[letter]{}
		var wg sync.WaitGroup
		for i := range goroutines {
			wg.Go(func() {
				for n := range each {
					key := 1 + (i+n)%3
					step, err := apply(t.Context(), db, rows, key, 0, fmt.Sprint(i, "/", n))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					steps[key] = append(steps[key], step)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		for key, all := range steps {
			slices.SortFunc(all, func(x, y Step[letter]) int { return int(x.Version) - int(y.Version) })
			at := a
			for i, s := range all {
				if to, _ := rows.machine.Next(at, 0); s.Version != uint64(i+1) || s.From != at || s.To != to || s.Repeated {
					t.Fatalf("row %d: step %d is %+v after %s", key, i, s, at)
				}
				at = s.To
			}
			if state, version := row(t, db, key); state != at.String() || version != uint64(len(all)) {
				t.Errorf("row %d is in %s %d", key, state, version)
			}
		}
	})
}

// TestAnOldSnapshotStillSeesTheKey begins a transaction and reads, so that under REPEATABLE READ it sees the past; then
// the message is applied by another; then by this one.
func TestAnOldSnapshotStillSeesTheKey(t *testing.T) {
	onEach(t, false, func(t *testing.T, db *sql.DB, rows *Table[letter, digit]) {
		if rows.cfg.Dialect == SQLite {
			t.Skip("a transaction of SQLite that has read the past cannot write any more: begin with _txlock=immediate")
		}
		for _, ev := range []digit{1, 2} { // e1 leads from A to C, which does not know it; e2 leads from B to B
			if ev == 2 {
				exec(t, db, "UPDATE things SET state = 'B' WHERE id = 1")
			}
			idem := "message-" + ev.String()
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var n int
			if err := tx.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM things_steps").Scan(&n); err != nil {
				t.Fatal(err)
			}
			first, err := apply(t.Context(), db, rows, 1, ev, idem)
			if err != nil {
				t.Fatal(err)
			}
			again, err := rows.Apply(t.Context(), tx, 1, ev, idem)
			first.Repeated = true
			if err != nil || again != first {
				t.Errorf("%s: %+v, %v; want %+v", ev, again, err, first)
			}
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestTheDatabaseIsKilled kills MariaDB while messages are applied. Whoever does not know whether his commit came
// through applies again: in the end every message was applied once.
func TestTheDatabaseIsKilled(t *testing.T) {
	s := mariadb.Start(t)
	db := s.Open(t, s.Database(t))
	rows, err := machine(t, walkTable, e).NewTable(TableConfig{Dialect: MySQL, Table: "things"})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, db, "CREATE TABLE things (id BIGINT PRIMARY KEY, state VARCHAR(32) NOT NULL, version BIGINT NOT NULL)")
	exec(t, db, "INSERT INTO things VALUES (1, 'A', 0)")
	exec(t, db, rows.LogSchema())
	const goroutines, each = 4, 25
	half := make(chan struct{}, goroutines*each)
	var failures sync.Map
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	up := make(chan struct{})
	for i := range goroutines {
		wg.Go(func() {
			for n := range each {
				idem := fmt.Sprint(i, "/", n)
				for {
					_, err := apply(ctx, db, rows, 1, 0, idem)
					if err == nil {
						break
					}
					failures.Store(idem, err)
					select {
					case <-up:
					case <-ctx.Done():
						t.Error(err)
						return
					}
				}
				half <- struct{}{}
			}
		})
	}
	for range goroutines * each / 4 {
		<-half
	}
	s.Kill()
	s.Restart(t)
	close(up)
	wg.Wait()
	if state, version := row(t, db, 1); version != goroutines*each || state != "B" {
		t.Errorf("%s %d after %d messages", state, version, goroutines*each)
	}
	n := 0
	failures.Range(func(any, any) bool { n++; return true })
	t.Logf("%d messages met the failure", n)
}

func TestRowsThatCannotStep(t *testing.T) {
	onEach(t, true, func(t *testing.T, db *sql.DB, rows *Table[letter, digit]) {
		ctx := t.Context()
		step, err := apply(ctx, db, rows, int64(2), 0, "")
		if state, version := row(t, db, 2); err != nil || step.To != b || state != "1" || version != 1 {
			t.Errorf("numbers: %+v, %v; the row has %s %d", step, err, state, version)
		}
		if _, err := apply(ctx, db, rows, 9, 0, "k"); !errors.Is(err, ErrNoRow) || !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("no row: %v", err)
		}
		for _, key := range []any{nil, 1.5, "", strings.Repeat("x", 65)} {
			if _, err := apply(ctx, db, rows, key, 0, "k"); !errors.Is(err, ErrKey) {
				t.Errorf("key %v: %v", key, err)
			}
		}
		if _, err := apply(ctx, db, rows, 1, 0, strings.Repeat("x", 65)); !errors.Is(err, ErrKey) {
			t.Errorf("a long idempotency key: %v", err)
		}
		exec(t, db, "UPDATE things SET state = 77 WHERE id = 3")
		if _, err := apply(ctx, db, rows, 3, 0, "k"); !errors.Is(err, ErrUnknownState) {
			t.Errorf("a foreign state: %v", err)
		}
		exec(t, db, "UPDATE things SET state = 1, version = -1 WHERE id = 3")
		if _, err := apply(ctx, db, rows, 3, 0, "k"); !errors.Is(err, ErrVersion) {
			t.Errorf("a negative version: %v", err)
		}
	})
}

func TestKeysExpire(t *testing.T) {
	onEach(t, false, func(t *testing.T, db *sql.DB, rows *Table[letter, digit]) {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		rows.cfg.Clock = func() time.Time { return now }
		for _, idem := range []string{"old", "new"} {
			if _, err := apply(t.Context(), db, rows, 1, 0, idem); err != nil {
				t.Fatal(err)
			}
			now = now.Add(time.Hour)
		}
		if n, err := rows.Expire(t.Context(), db, now.Add(-time.Hour)); n != 1 || err != nil {
			t.Errorf("%d were deleted, %v", n, err)
		}
		if step, err := apply(t.Context(), db, rows, 1, 0, "new"); err != nil || !step.Repeated {
			t.Errorf("the newer one: %+v, %v", step, err)
		}
		if step, err := apply(t.Context(), db, rows, 1, 0, "old"); err != nil || step.Repeated {
			t.Errorf("the older one: %+v, %v", step, err)
		}
	})
}

func TestTableConfigsThatAreRefused(t *testing.T) {
	m := machine(t, walkTable, e)
	_, err := m.NewTable(TableConfig{Table: "a b", Key: "x`", State: "s.t", Version: "1;--"})
	for _, want := range []string{"Dialect must be", `Table is "a b"`, `Log is "a b_steps"`, "Key is \"x`\"", `State is "s.t"`, `Version is "1;--"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	if _, err := m.NewTable(TableConfig{Dialect: MySQL, Table: "shop.orders", Log: "audit.steps"}); err != nil {
		t.Error(err)
	}
}

// One row is one row, whatever type its key has: the first of these makes the step, the others find it.
func TestKeysOfAllTypesNameOneRow(t *testing.T) {
	type number int32
	type name string
	onEach(t, false, func(t *testing.T, db *sql.DB, rows *Table[letter, digit]) {
		for i, key := range []any{1, int8(1), int64(1), uint(1), uint16(1), uint64(1), number(1), "1", name("1"), sql.NullInt64{Int64: 1, Valid: true}} {
			step, err := apply(t.Context(), db, rows, key, 0, "message")
			if err != nil || step.Version != 1 || step.Repeated != (i > 0) {
				t.Errorf("%T: %+v, %v", key, step, err)
			}
		}
		if _, err := apply(t.Context(), db, rows, sql.NullInt64{}, 0, "message"); !errors.Is(err, ErrKey) {
			t.Errorf("NULL: %v", err)
		}
	})
}
