package saga

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// RetentionDefault is how long a barrier remembers, and RetentionMin the least it may be told to: a saga of that age is
// not known to the barrier any more.
const (
	RetentionDefault = 30 * 24 * time.Hour
	RetentionMin     = time.Hour
)

// replyBytesMax is the width of the column, and room for the largest data of a saga.
const replyBytesMax = DataBytesMax

// PartyConfig is for NewParty.
type PartyConfig struct {
	DB      *sql.DB
	Dialect Dialect
	// Retention is how long after its start a saga can still have effects here. Rows of the barrier are kept a little
	// longer than that, and effects of older sagas are ErrForgotten. It has to be longer than a compensation may have to
	// wait for a person. Zero means RetentionDefault; not below RetentionMin.
	Retention time.Duration
	// Clock is for tests; nil means the clock of the database.
	Clock func() time.Time
}

// Party is a database in which sagas have effects: business tables, and beside them the table of the barrier. Any number
// of goroutines may use it, and any number of processes may have one for the same database.
//
// # The barrier
//
// There is one row for each step of a saga that had to do with this database, and it changes in the transaction of the
// effect:
//
//	                   no row        done          undone, void
//	action arrives     run: done     already       refused
//	compensation       void          run: undone   already
//
// Void is the empty compensation: it came first, and the action will find it and be refused. Two at the same time wait
// for each other at the row. With the row goes the step's reply, for the attempt that finds "already".
type Party struct {
	db        *sql.DB
	dialect   Dialect
	retention time.Duration
	clock     func() time.Time
	fail      failpoints
}

// NewParty checks cfg; the database is not touched.
func NewParty(cfg PartyConfig) (*Party, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if cfg.DB == nil {
		bad("DB is nil and wants a database")
	}
	if !cfg.Dialect.valid() {
		bad("Dialect is %d and wants SQLite or MySQL", cfg.Dialect)
	}
	if cfg.Retention == 0 {
		cfg.Retention = RetentionDefault
	}
	if cfg.Retention < RetentionMin {
		bad("Retention is %v and wants %v or more", cfg.Retention, RetentionMin)
	}
	if errs != nil {
		return nil, fmt.Errorf("saga: party: %w", errors.Join(errs...))
	}
	return &Party{db: cfg.DB, dialect: cfg.Dialect, retention: cfg.Retention, clock: cfg.Clock}, nil
}

const (
	rowDone   = 1
	rowUndone = 2
	rowVoid   = 3
)

// CreateTables creates the table saga_barrier if it is not there.
func (p *Party) CreateTables(ctx context.Context) error {
	inline := ", KEY saga_barrier_born (born)"
	if p.dialect == SQLite {
		inline = ""
	}
	statements := []string{`CREATE TABLE IF NOT EXISTS saga_barrier (saga {name} NOT NULL, step {name} NOT NULL, state {int} NOT NULL,
		born {int} NOT NULL, reply {data}, PRIMARY KEY (saga, step)` + inline + `){end}`}
	if p.dialect == SQLite {
		statements = append(statements, "CREATE INDEX IF NOT EXISTS saga_barrier_born ON saga_barrier (born)")
	}
	if err := p.dialect.create(ctx, p.db, statements); err != nil {
		return fmt.Errorf("saga: creating saga_barrier: %w", err)
	}
	return nil
}

// Do has the effect that key names, once: f runs in a transaction that has passed the barrier, which is committed with
// what f returns kept as the reply. If the effect is there already, Do returns that reply; a compensation with nothing to
// undo returns nil. ErrRefused, ErrForgotten and ErrKey mean that nothing happened and nothing will; an error of f, that
// its transaction was rolled back. Of any other error the outcome is unknown: ask again with the same key.
//
// This is for the service at the other end of a Remote. A reply may have DataBytesMax bytes.
func (p *Party) Do(ctx context.Context, key string, f func(tx *sql.Tx) (reply []byte, err error)) (reply []byte, err error) {
	k, err := ParseKey(key)
	if err != nil {
		return nil, err
	}
	err = p.inTx(ctx, func(tx *sql.Tx) error {
		var pass pass
		if pass, reply, err = p.pass(ctx, tx, k); err != nil || pass == passAlready {
			return err
		}
		if reply = nil; pass == passEmpty {
			return nil
		}
		if reply, err = f(tx); err != nil {
			return err
		}
		return p.keep(ctx, tx, k, reply)
	})
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// Guard is Do for those who have a transaction already: it passes the barrier in tx and tells whether to run the effect
// there. tx has to be committed also if it says false and nil: the effect is there, or there is nothing to undo, which has
// to be remembered. With an error, tx has to be rolled back.
func (p *Party) Guard(ctx context.Context, tx *sql.Tx, key string) (run bool, err error) {
	k, err := ParseKey(key)
	if err != nil {
		return false, err
	}
	pass, _, err := p.pass(ctx, tx, k)
	return pass == passRun, err
}

// Purge removes rows of sagas that are older than the retention by an hour, at most max of them, and returns how many. An
// engine does so for the parties of its Local steps; a service that is only the other end calls it now and then.
func (p *Party) Purge(ctx context.Context, max int) (int, error) {
	statement := "DELETE FROM saga_barrier WHERE born < {now} - ? LIMIT ?"
	if p.dialect == SQLite {
		statement = "DELETE FROM saga_barrier WHERE (saga, step) IN (SELECT saga, step FROM saga_barrier WHERE born < {now} - ? LIMIT ?)"
	}
	// The hour is for clocks that disagree: a row that is removed belongs to a saga that everybody refuses.
	res, err := p.db.ExecContext(ctx, p.dialect.sql(statement), given(p.clock), (p.retention + time.Hour).Milliseconds(), max)
	if err != nil {
		return 0, fmt.Errorf("saga: removing old rows of saga_barrier: %w", err)
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// pass is what the barrier says.
type pass int

const (
	passRun     pass = iota + 1 // have the effect
	passAlready                 // it is there
	passEmpty                   // a compensation of nothing
)

// pass changes the row of a step as the table at Party says, and returns the reply that it had. The row stays locked
// until tx ends.
func (p *Party) pass(ctx context.Context, tx *sql.Tx, k Key) (pass, []byte, error) {
	state := rowDone
	if k.Undo {
		state = rowVoid
	}
	// Not older than the retention, in the same statement: what was forgotten must not look like what never happened.
	res, err := tx.ExecContext(ctx, p.dialect.sql("INSERT {ignore} INTO saga_barrier (saga, step, state, born) SELECT ?, ?, ?, ? FROM (SELECT 1) one WHERE ? >= {now} - ?"),
		k.Saga, k.Step, state, k.Born, k.Born, given(p.clock), p.retention.Milliseconds())
	if err != nil {
		return 0, nil, fmt.Errorf("saga: barrier: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil {
		return 0, nil, fmt.Errorf("saga: barrier: %w", err)
	} else if n == 1 && k.Undo {
		return passEmpty, nil, nil
	} else if n == 1 {
		return passRun, nil, nil
	}
	read := "SELECT state, reply FROM saga_barrier WHERE saga = ? AND step = ?"
	if p.dialect == MySQL {
		read += " FOR UPDATE" // the row as it is now, and not as it was when the transaction began
	}
	var reply []byte
	err = tx.QueryRowContext(ctx, read, k.Saga, k.Step).Scan(&state, &reply)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, nil, fmt.Errorf("%w: %v", ErrForgotten, k)
	case err != nil:
		return 0, nil, fmt.Errorf("saga: barrier: %w", err)
	case !k.Undo && state == rowDone:
		return passAlready, reply, nil
	case !k.Undo:
		return 0, nil, fmt.Errorf("%w: %v", ErrRefused, k)
	case state != rowDone:
		return passAlready, reply, nil
	}
	if _, err := tx.ExecContext(ctx, "UPDATE saga_barrier SET state = ? WHERE saga = ? AND step = ?", rowUndone, k.Saga, k.Step); err != nil {
		return 0, nil, fmt.Errorf("saga: barrier: %w", err)
	}
	return passRun, reply, nil
}

// keep writes the reply into the row that pass has changed.
func (p *Party) keep(ctx context.Context, tx *sql.Tx, k Key, reply []byte) error {
	if len(reply) > replyBytesMax {
		return fmt.Errorf("saga: the reply has %d bytes, more than %d", len(reply), replyBytesMax)
	}
	if reply == nil && !k.Undo {
		return nil // it is NULL already
	}
	if _, err := tx.ExecContext(ctx, "UPDATE saga_barrier SET reply = ? WHERE saga = ? AND step = ?", reply, k.Saga, k.Step); err != nil {
		return fmt.Errorf("saga: barrier: %w", err)
	}
	return nil
}

// inTx runs f in a transaction and commits it if f returns nil.
func (p *Party) inTx(ctx context.Context, f func(tx *sql.Tx) error) error {
	p.fail.at("before effect")
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("saga: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := f(tx); err != nil {
		return err
	}
	p.fail.at("in effect")
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%w: %w", errCommit, err)
	}
	p.fail.at("after effect")
	return nil
}

// given is the time of a clock of tests for {now}, or NULL.
func given(clock func() time.Time) any {
	if clock == nil {
		return nil
	}
	return clock().UnixMilli()
}

// failpoints is where a test lets a process die: at each side of each commit. Nil is what programs have.
type failpoints func(where string)

func (f failpoints) at(where string) {
	if f != nil {
		f(where)
	}
}
