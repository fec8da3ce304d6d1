package saga

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// LogConfig is for NewLog.
type LogConfig struct {
	DB      *sql.DB
	Dialect Dialect
	// Retention is how long a saga that has ended stays in the log. Zero means a day; at least a minute, because Start
	// refuses an id only as long as it is there.
	Retention time.Duration
	// Clock is for tests; nil means the clock of the database.
	Clock func() time.Time
}

// Log is the durable record of all sagas, in the table saga_log. Any number of goroutines may use it, and any number of
// processes may have one for the same database.
type Log struct {
	db        *sql.DB
	dialect   Dialect
	retention time.Duration
	clock     func() time.Time
	fail      failpoints
}

// NewLog checks cfg; the database is not touched.
func NewLog(cfg LogConfig) (*Log, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if cfg.DB == nil {
		bad("DB is nil and wants a database")
	}
	if !cfg.Dialect.valid() {
		bad("Dialect is %d and wants SQLite or MySQL", cfg.Dialect)
	}
	if cfg.Retention == 0 {
		cfg.Retention = 24 * time.Hour
	}
	if cfg.Retention < time.Minute {
		bad("Retention is %v and wants 0 for a day, or %v or more", cfg.Retention, time.Minute)
	}
	if errs != nil {
		return nil, fmt.Errorf("saga: log: %w", errors.Join(errs...))
	}
	return &Log{db: cfg.DB, dialect: cfg.Dialect, retention: cfg.Retention, clock: cfg.Clock}, nil
}

// CreateTables creates the table saga_log if it is not there.
func (l *Log) CreateTables(ctx context.Context) error {
	inline, engine := ", KEY saga_log_due (shelf, due)", " ENGINE=InnoDB"
	if l.dialect == SQLite {
		inline, engine = "", "" // its rows are too long for WITHOUT ROWID
	}
	statements := []string{`CREATE TABLE IF NOT EXISTS saga_log (id {name} NOT NULL PRIMARY KEY, name {name} NOT NULL, version {int} NOT NULL,
		def {def} NOT NULL, shelf {int} NOT NULL, due {int} NOT NULL, state {int} NOT NULL, step {int} NOT NULL, step_name {name} NOT NULL,
		attempt {int} NOT NULL, unsure {int} NOT NULL, owner {name} NOT NULL, fence {int} NOT NULL, lease {int} NOT NULL, deadline {int} NOT NULL,
		born {int} NOT NULL, changed {int} NOT NULL, writes {int} NOT NULL, data {data} NOT NULL, error {text} NOT NULL, cause {text} NOT NULL,
		note {text} NOT NULL` + inline + ")" + engine}
	if l.dialect == SQLite {
		statements = append(statements, "CREATE INDEX IF NOT EXISTS saga_log_due ON saga_log (shelf, due)")
	}
	if err := l.dialect.create(ctx, l.db, statements); err != nil {
		return fmt.Errorf("saga: creating saga_log: %w", err)
	}
	return nil
}

// Execer is a *sql.Tx, *sql.DB or *sql.Conn.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Start writes a new saga into the log by way of tx, which must be of the log's database. With the transaction that writes
// the order, the order and its saga exist both or not at all. An engine finds it once it is committed, within its Poll, or
// at once after its Wake. id has the letters of Plan.Name; an id that is there already is ErrExists, and changes nothing.
func (d *Definition[T]) Start(ctx context.Context, l *Log, tx Execer, id string, data T) error {
	if !validName(id) {
		return fmt.Errorf("saga: the id is %.200q and wants %s", id, nameWants)
	}
	text, err := encode(&data)
	if err != nil {
		return fmt.Errorf("saga: %w", err)
	}
	now := given(l.clock)
	deadline, args := "0", []any{id, d.plan.Name, d.plan.Version, d.def, now, d.steps[0].name, d.lease.Milliseconds()}
	if d.plan.Deadline > 0 {
		deadline, args = "{now} + ?", append(args, now, d.plan.Deadline.Milliseconds())
	}
	args = append(args, now, now, text)
	res, err := tx.ExecContext(ctx, l.dialect.sql(`INSERT {ignore} INTO saga_log (id, name, version, def, shelf, due, state, step, step_name, attempt, unsure,
		owner, fence, lease, deadline, born, changed, writes, data, error, cause, note)
		VALUES (?, ?, ?, ?, 0, {now}, 0, 0, ?, 0, 0, '', 0, ?, `+deadline+`, {now}, {now}, 1, ?, '', '', '')`), args...)
	if err != nil {
		return fmt.Errorf("saga: start of %s: %w", id, err)
	}
	if n, err := res.RowsAffected(); err != nil {
		return fmt.Errorf("saga: start of %s: %w", id, err)
	} else if n == 0 {
		return fmt.Errorf("%w: %s", ErrExists, id)
	}
	return nil
}

// claimed is a record with its data and the log's time when it was claimed.
type claimed struct {
	record
	data []byte
	now  int64
}

const claimColumns = "id, name, version, def, born, deadline, lease, fence, state, step, step_name, attempt, unsure, shelf, error, cause, data"

func (c *claimed) scan(scan func(...any) error, more ...any) error {
	var lease int64
	err := scan(append([]any{&c.id, &c.name, &c.version, &c.def, &c.born, &c.deadline, &lease, &c.fence, &c.state, &c.step, &c.at, &c.attempt,
		&c.unsure, &c.shelf, &c.err, &c.cause, &c.data}, more...)...)
	c.lease = time.Duration(lease) * time.Millisecond
	return err
}

// claim takes up to max sagas of a shelf that are due and of one of the definitions, for as long as their leases. A saga
// that somebody had and did not give back has lost an attempt: it may have happened.
func (l *Log) claim(ctx context.Context, from shelf, owner string, defs []string, max int) ([]claimed, error) {
	now := given(l.clock)
	where := "shelf = ? AND due <= {now} AND def IN (?" + strings.Repeat(", ?", len(defs)-1) + ")"
	args := []any{from, now}
	for _, def := range defs {
		args = append(args, def)
	}
	// Looking first costs a read and saves a write transaction whenever there is nothing to do.
	var found bool
	if err := l.db.QueryRowContext(ctx, l.dialect.sql("SELECT EXISTS (SELECT 1 FROM saga_log WHERE "+where+")"), args...).Scan(&found); err != nil || !found {
		return nil, err
	}
	args = append(args, max)
	l.fail.at("before claim")
	var list []claimed
	var err error
	if l.dialect == SQLite {
		args = append([]any{owner, now}, append(args, now)...)
		list, err = l.claimReturning(ctx, `UPDATE saga_log SET attempt = attempt + (owner <> ''), owner = ?, fence = fence + 1, due = {now} + lease, writes = writes + 1
			WHERE id IN (SELECT id FROM saga_log WHERE `+where+` ORDER BY due LIMIT ?) RETURNING `+claimColumns+", {now}", args)
	} else {
		list, err = l.claimLocking(ctx, "SELECT "+claimColumns+", {now}, owner FROM saga_log WHERE "+where+" ORDER BY due LIMIT ? FOR UPDATE SKIP LOCKED",
			append([]any{now}, args...), owner)
	}
	if err != nil {
		return nil, err
	}
	l.fail.at("after claim")
	return list, nil
}

func (l *Log) claimReturning(ctx context.Context, statement string, args []any) (list []claimed, err error) {
	rows, err := l.db.QueryContext(ctx, l.dialect.sql(statement), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c claimed
		if err := c.scan(rows.Scan, &c.now); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// claimLocking reads and then writes, as MySQL and MariaDB cannot return what they update. At read committed, so that no
// gap is locked against those who start sagas.
func (l *Log) claimLocking(ctx context.Context, statement string, args []any, owner string) (list []claimed, err error) {
	tx, err := l.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	rows, err := tx.QueryContext(ctx, l.dialect.sql(statement), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c claimed
		var before string
		if err := c.scan(rows.Scan, &c.now, &before); err != nil {
			return nil, err
		}
		if c.fence++; before != "" {
			c.attempt++
		}
		list = append(list, c)
	}
	if err := rows.Err(); err != nil || len(list) == 0 {
		return nil, err
	}
	update := []any{owner, given(l.clock)}
	for _, c := range list {
		update = append(update, c.id)
	}
	// Assignments are made from left to right: attempt has to come before owner.
	if _, err := tx.ExecContext(ctx, l.dialect.sql(`UPDATE saga_log SET attempt = attempt + (owner <> ''), owner = ?, fence = fence + 1, due = {now} + lease,
		writes = writes + 1 WHERE id IN (?`+strings.Repeat(", ?", len(list)-1)+")"), update...); err != nil {
		return nil, err
	}
	return list, tx.Commit()
}

// saver saves a transition in the transaction of the effect that it is about.
type saver struct {
	log    *Log
	record record // as it is after the effect
	owner  string
}

func (s *saver) in(ctx context.Context, tx Execer, data []byte) error {
	return s.log.save(ctx, tx, &s.record, s.owner, s.record.lease, data)
}

// save writes a transition. due is from now: when the lease ends, with an owner, and when to go on, or to remove it,
// without; one that has ended is kept for the retention. If the saga is not under the record's fence any more nothing is written and the error is errFenced.
func (l *Log) save(ctx context.Context, tx Execer, r *record, owner string, due time.Duration, data []byte) error {
	if r.state.Final() {
		owner, due = "", l.retention
	}
	now := given(l.clock)
	// writes makes sure that something changes: MySQL does not count rows that stay as they are.
	res, err := tx.ExecContext(ctx, l.dialect.sql(`UPDATE saga_log SET shelf = ?, due = {now} + ?, state = ?, step = ?, step_name = ?, attempt = ?, unsure = ?, owner = ?,
		changed = {now}, writes = writes + 1, data = ?, error = ?, cause = ? WHERE id = ? AND fence = ?`),
		r.shelf, now, due.Milliseconds(), r.state, r.step, r.at, r.attempt, r.unsure, owner, now, data, r.err, r.cause, r.id, r.fence)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return errFenced
	}
	return nil
}

// unsaved gives back a saga of which nobody knows whether the transition from r was saved. It counts the attempt if it was
// not, and changes nothing else.
func (l *Log) unsaved(ctx context.Context, r *record, pause time.Duration) error {
	_, err := l.db.ExecContext(ctx, l.dialect.sql(`UPDATE saga_log SET attempt = attempt + (state = ? AND step = ?), owner = '', due = {now} + ?, writes = writes + 1
		WHERE id = ? AND fence = ? AND shelf <> ?`), r.state, r.step, given(l.clock), pause.Milliseconds(), r.id, r.fence, shelfFinished)
	return err
}

// purge removes finished sagas whose retention is over, at most max.
func (l *Log) purge(ctx context.Context, max int) (int, error) {
	statement := "DELETE FROM saga_log WHERE shelf = ? AND due <= {now} LIMIT ?"
	if l.dialect == SQLite {
		statement = "DELETE FROM saga_log WHERE id IN (SELECT id FROM saga_log WHERE shelf = ? AND due <= {now} LIMIT ?)"
	}
	res, err := l.db.ExecContext(ctx, l.dialect.sql(statement), shelfFinished, given(l.clock), max)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// strays sets aside sagas that have been due for long and are of none of the definitions: nobody seems to know them. Those
// that were set aside, and are of one, come back.
func (l *Log) strays(ctx context.Context, defs []string, after time.Duration) error {
	in := "IN (?" + strings.Repeat(", ?", len(defs)-1) + ")"
	var known []any
	for _, def := range defs {
		known = append(known, def)
	}
	const why = "no engine knows this plan with these steps: run a program that has it, or resolve"
	const straysMax = 1000 // in one statement; the next tidying takes more
	move := func(from, to shelf, err, where string, args []any) error {
		// Read first: there are none most of the time, and then nothing is locked that others are about to claim.
		rows, e := l.db.QueryContext(ctx, l.dialect.sql("SELECT id FROM saga_log WHERE shelf = ? AND "+where+" LIMIT ?"),
			append(append([]any{from}, args...), straysMax)...)
		if e != nil {
			return e
		}
		defer rows.Close()
		list := []any{to, err, from}
		for rows.Next() {
			var id string
			if e := rows.Scan(&id); e != nil {
				return e
			}
			list = append(list, id)
		}
		if e := rows.Err(); e != nil || len(list) == 3 {
			return e
		}
		rows.Close() // before the write: SQLite in memory has one connection
		_, e = l.db.ExecContext(ctx, "UPDATE saga_log SET shelf = ?, error = ?, writes = writes + 1 WHERE shelf = ? AND id IN (?"+
			strings.Repeat(", ?", len(list)-4)+")", list...)
		return e
	}
	if err := move(shelfStray, shelfLive, "", "def "+in, known); err != nil {
		return err
	}
	return move(shelfLive, shelfStray, why, "due < {now} - ? AND def NOT "+in, append([]any{given(l.clock), after.Milliseconds()}, known...))
}

// Status is a saga as the log has it.
type Status struct {
	ID, Name string
	Version  int
	State    State
	Step     string // the one that is due, or was the last
	Attempt  int    // attempts of this step that had no known outcome, in this state
	// Dead is set when somebody should look: a compensation fails again and again, or no engine knows the plan. The
	// former is still tried.
	Dead    bool
	Owner   string          // the engine that has it, or ""
	Born    time.Time       // when it was started
	Changed time.Time       // the last transition
	Due     time.Time       // the next attempt, the end of the owner's lease, or for one that has ended, its removal
	Cause   string          // why it is undone
	Error   string          // of the last attempt that had one
	Note    string          // what the last Resolve said
	Data    json.RawMessage // the saga's data
}

const statusColumns = "id, name, version, state, step_name, attempt, shelf, owner, born, changed, due, cause, error, note, data"

func (s *Status) scan(scan func(...any) error) error {
	var shelf shelf
	var born, changed, due int64
	err := scan(&s.ID, &s.Name, &s.Version, &s.State, &s.Step, &s.Attempt, &shelf, &s.Owner, &born, &changed, &due, &s.Cause, &s.Error, &s.Note, (*[]byte)(&s.Data))
	s.Dead = shelf == shelfDead || shelf == shelfStray
	s.Born, s.Changed, s.Due = time.UnixMilli(born).UTC(), time.UnixMilli(changed).UTC(), time.UnixMilli(due).UTC()
	return err
}

// Status returns the saga of an id. ErrNotFound is also the answer for one that has ended and was removed.
func (l *Log) Status(ctx context.Context, id string) (Status, error) {
	var s Status
	err := s.scan(l.db.QueryRowContext(ctx, "SELECT "+statusColumns+" FROM saga_log WHERE id = ?", id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Status{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if err != nil {
		return Status{}, fmt.Errorf("saga: status of %s: %w", id, err)
	}
	return s, nil
}

// Counts are the numbers of sagas in the log.
type Counts struct {
	Live     int // that run or wait
	Dead     int // of which somebody should look at these; see Status.Dead
	Finished int // that have ended and are not removed yet
}

// Count counts the sagas in the log. It reads an index of all of them: once a minute is often enough.
func (l *Log) Count(ctx context.Context) (Counts, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT shelf, COUNT(*) FROM saga_log GROUP BY shelf")
	if err != nil {
		return Counts{}, fmt.Errorf("saga: count: %w", err)
	}
	defer rows.Close()
	var c Counts
	for rows.Next() {
		var of shelf
		var n int
		if err := rows.Scan(&of, &n); err != nil {
			return Counts{}, fmt.Errorf("saga: count: %w", err)
		}
		switch of {
		case shelfFinished:
			c.Finished += n
		case shelfDead, shelfStray:
			c.Dead += n
			c.Live += n
		default:
			c.Live += n
		}
	}
	return c, rows.Err()
}
