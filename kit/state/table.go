package state

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Dialect is which database a table is in.
type Dialect uint8

// The dialects.
const (
	MySQL  Dialect = iota + 1 // MySQL 8 and MariaDB 10.5 or newer, InnoDB
	SQLite                    // 3.35 or newer
)

// Errors of rows, beside those of cells.
var (
	// ErrNoRow means that there is no row of the key. It is sql.ErrNoRows to errors.Is as well.
	ErrNoRow = fmt.Errorf("state: there is no such row: %w", sql.ErrNoRows)
	// ErrKeyReused means that the idempotency key was used with another event on the same row.
	ErrKeyReused = errors.New("the idempotency key belongs to another event")
	// ErrKey means a key of a row or an idempotency key that cannot be one.
	ErrKey = errors.New("not a key")
)

// TableConfig says where rows keep their state. The table is the caller's; it has a key, a state and a version.
type TableConfig struct {
	// Dialect is required.
	Dialect Dialect
	// Table is its name: letters, digits and underscores, with a database before a dot if need be. Required.
	Table string
	// Key is the column that names a row, unique. "": id.
	Key string
	// State is the column with the state's name. "": state.
	State string
	// Version is the integer column with the version, 0 in a new row. "": version.
	Version string
	// Log is the table of idempotency keys, made by LogSchema. "": the table's name and _steps.
	Log string
	// Numbers keeps the state as its number instead of its name, for tables that have an integer column. Then the
	// numbers of the constants may never change.
	Numbers bool
	// Clock stamps the lines of the log; nil: time.Now.
	Clock func() time.Time
}

// Table makes the steps of a machine on rows. It does not change and may be used by any goroutine, each with a
// transaction of its own.
type Table[S, E Name] struct {
	machine *Machine[S, E]
	cfg     TableConfig

	lockRow, update, insertLog, readLog, readLogLocked, expire, schema string
}

const (
	keyMax    = 64     // bytes of a key or an idempotency key: two of them are the key of the log
	expireMax = 10_000 // lines in one Expire, so that no transaction grows without end
)

// NewTable checks cfg and prepares the statements; it does not reach the database.
func (m *Machine[S, E]) NewTable(cfg TableConfig) (*Table[S, E], error) {
	var errs []error
	fallback := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	fallback(&cfg.Key, "id")
	fallback(&cfg.State, "state")
	fallback(&cfg.Version, "version")
	fallback(&cfg.Log, cfg.Table+"_steps")
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Dialect != MySQL && cfg.Dialect != SQLite {
		errs = append(errs, errors.New("state: Dialect must be state.MySQL or state.SQLite"))
	}
	quoted := func(field, name string, dots int) string {
		parts := strings.Split(name, ".")
		for _, p := range parts {
			if len(parts) > dots+1 || p == "" || len(p) > 64 || strings.Trim(p, identifierBytes) != "" {
				errs = append(errs, fmt.Errorf("state: %s is %q and must be 1 to 64 letters, digits and underscores", field, name))
				return ""
			}
		}
		return "`" + strings.Join(parts, "`.`") + "`"
	}
	table, log := quoted("Table", cfg.Table, 1), quoted("Log", cfg.Log, 1)
	key, state, version := quoted("Key", cfg.Key, 0), quoted("State", cfg.State, 0), quoted("Version", cfg.Version, 0)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	t := &Table[S, E]{machine: m, cfg: cfg}
	t.update = "UPDATE " + table + " SET " + state + " = ?, " + version + " = " + version + " + 1 WHERE " + key + " = ? AND " +
		state + " = ? AND " + version + " = ?"
	t.readLog = "SELECT event, from_state, to_state, version FROM " + log + " WHERE row_key = ? AND idempotency_key = ?"
	values := " INTO " + log + " (row_key, idempotency_key, event, from_state, to_state, version, made_ms) VALUES (?, ?, ?, ?, ?, ?, ?)"
	columns := "(\n    row_key %[1]s NOT NULL,\n    idempotency_key %[1]s NOT NULL,\n    event %[2]s NOT NULL,\n" +
		"    from_state %[2]s NOT NULL,\n    to_state %[2]s NOT NULL,\n    version BIGINT NOT NULL,\n    made_ms BIGINT NOT NULL,\n" +
		"    PRIMARY KEY (row_key, idempotency_key)%[3]s\n)"
	if cfg.Dialect == MySQL {
		t.lockRow = "SELECT " + state + ", " + version + " FROM " + table + " WHERE " + key + " = ? FOR UPDATE"
		t.insertLog = "INSERT IGNORE" + values
		t.readLogLocked = t.readLog + " LOCK IN SHARE MODE"
		t.expire = "DELETE FROM " + log + " WHERE made_ms < ? LIMIT ?"
		t.schema = "CREATE TABLE IF NOT EXISTS " + log + " " +
			fmt.Sprintf(columns, fmt.Sprintf("VARBINARY(%d)", keyMax), fmt.Sprintf("VARBINARY(%d)", nameMax), ",\n    KEY made (made_ms)") +
			" ENGINE=InnoDB"
	} else {
		// An update of nothing takes the write lock before anything is read: a transaction that reads first and writes
		// then fails for good if another wrote in between (SQLITE_BUSY_SNAPSHOT).
		t.lockRow = "UPDATE " + table + " SET " + version + " = " + version + " WHERE " + key + " = ? RETURNING " + state + ", " + version
		t.insertLog = "INSERT OR IGNORE" + values
		t.readLogLocked = t.readLog
		t.expire = "DELETE FROM " + log + " WHERE rowid IN (SELECT rowid FROM " + log + " WHERE made_ms < ? LIMIT ?)"
		t.schema = "CREATE TABLE IF NOT EXISTS " + log + " " + fmt.Sprintf(columns, "TEXT", "TEXT", "")
	}
	return t, nil
}

const identifierBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

// LogSchema is the statement that makes the table of idempotency keys, if it does not exist.
func (t *Table[S, E]) LogSchema() string { return t.schema }

// Apply makes the step of an event on the row of a key, in the caller's transaction, as Cell.Fire does in memory: the
// row is locked, the table asked, state and version written, and the step noted under the idempotency key. Whatever
// else belongs to the step (an outbox row, money) goes into the same transaction; nothing is true before its commit.
//
// A key that was used before, for the same row and event, returns the first result with Repeated set and changes
// nothing, whatever state the row is in by now. A step that was refused is not noted: it changed nothing, and an event
// that came too early is judged anew when it is delivered again. An empty idempotency key notes nothing.
//
// key is an integer, a string (also of types of the caller's own), []byte or a driver.Valuer of these (id.ID), of at most 64 bytes as
// text; so is the idempotency key. Errors: ErrNotAllowed, ErrNoRow, ErrKeyReused, ErrKey, ErrUnknownState, ErrVersion, ErrConflict (only
// where something changes rows without locking them), and those of the database, wrapped. After an error of the
// database, roll back.
func (t *Table[S, E]) Apply(ctx context.Context, tx *sql.Tx, key any, event E, idempotencyKey string) (Step[S], error) {
	return t.apply(ctx, tx, key, nil, event, idempotencyKey)
}

// ApplyAt is Apply if the row's version is still the one that the caller saw, else ErrConflict. A repeated idempotency
// key returns the first result, whatever the version is.
func (t *Table[S, E]) ApplyAt(ctx context.Context, tx *sql.Tx, key any, version uint64, event E, idempotencyKey string) (Step[S], error) {
	return t.apply(ctx, tx, key, &version, event, idempotencyKey)
}

func (t *Table[S, E]) apply(ctx context.Context, tx *sql.Tx, key any, want *uint64, event E, idem string) (Step[S], error) {
	arg, text, err := rowKey(key)
	if err != nil {
		return Step[S]{}, err
	}
	if len(idem) > keyMax {
		return Step[S]{}, fmt.Errorf("state: an idempotency key of %d bytes, at most %d: %w", len(idem), keyMax, ErrKey)
	}
	from, version, err := t.lock(ctx, tx, arg)
	if err != nil {
		return Step[S]{}, err
	}
	var refusal error
	if want != nil && *want != version {
		refusal = t.machine.conflict(from, *want, version)
	}
	var step Step[S]
	if refusal == nil {
		_, step, refusal = t.machine.step(word(from, version), event)
	}
	if idem != "" {
		// A refusal may be the second delivery of what has long been done. The row's lock is held, so whoever used the key
		// on this row has committed: a plain read could miss it, if the transaction's snapshot is older.
		if refusal != nil {
			if first, err := t.noted(ctx, tx, text, event, idem); !errors.Is(err, sql.ErrNoRows) {
				return first, err
			}
			return Step[S]{}, refusal
		}
		// Noting first and reading on a duplicate locks no gap between keys, and so cannot deadlock with other rows.
		r, err := tx.ExecContext(ctx, t.insertLog, text, idem, event.String(), step.From.String(), step.To.String(), int64(step.Version),
			t.cfg.Clock().UnixMilli())
		if err != nil {
			return Step[S]{}, t.failed("noting the step", err)
		}
		if n, err := r.RowsAffected(); err != nil {
			return Step[S]{}, t.failed("noting the step", err)
		} else if n == 0 {
			return t.noted(ctx, tx, text, event, idem)
		}
	}
	if refusal != nil {
		return Step[S]{}, refusal
	}
	r, err := tx.ExecContext(ctx, t.update, t.column(step.To), arg, t.column(from), int64(version))
	if err != nil {
		return Step[S]{}, t.failed("writing the state", err)
	}
	n, err := r.RowsAffected()
	if err != nil {
		return Step[S]{}, t.failed("writing the state", err)
	}
	if n != 1 {
		return Step[S]{}, fmt.Errorf("state: %s: %d rows were changed and not one: %w", t.machine.name, n, ErrConflict)
	}
	return step, nil
}

// lock reads a row's state and version, and keeps others from changing it until the transaction ends.
func (t *Table[S, E]) lock(ctx context.Context, tx *sql.Tx, key any) (S, uint64, error) {
	var column any
	var version int64
	err := tx.QueryRowContext(ctx, t.lockRow, key).Scan(&column, &version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, ErrNoRow
	}
	if err != nil {
		return 0, 0, t.failed("locking the row", err)
	}
	s, ok := t.parse(column)
	if !ok {
		return 0, 0, fmt.Errorf("state: %s: a row has the state %q: %w", t.machine.name, fmt.Sprintf("%s", column), ErrUnknownState)
	}
	if version < 0 || version > VersionMax {
		return 0, 0, fmt.Errorf("state: %s: a row has the version %d: %w", t.machine.name, version, ErrVersion)
	}
	return s, uint64(version), nil
}

// noted returns the step that was made under an idempotency key, or sql.ErrNoRows.
func (t *Table[S, E]) noted(ctx context.Context, tx *sql.Tx, key string, event E, idem string) (Step[S], error) {
	var name, from, to string
	var version int64
	err := tx.QueryRowContext(ctx, t.readLogLocked, key, idem).Scan(&name, &from, &to, &version)
	if err != nil {
		return Step[S]{}, t.failed("reading the first result", err)
	}
	if name != event.String() {
		return Step[S]{}, fmt.Errorf("state: %s: %q was used for %s and is used for %s: %w", t.machine.name, idem, name, event, ErrKeyReused)
	}
	s := Step[S]{Version: uint64(version), Repeated: true}
	var ok, ok2 bool
	s.From, ok = t.machine.State(from)
	s.To, ok2 = t.machine.State(to)
	if !ok || !ok2 {
		return Step[S]{}, fmt.Errorf("state: %s: the log has %q to %q: %w", t.machine.name, from, to, ErrUnknownState)
	}
	return s, nil
}

// Expire deletes up to 10,000 idempotency keys that were noted before a moment, and returns how many. Call it until it
// returns fewer. How old they may be is how late a repetition can still come: a day is usual.
func (t *Table[S, E]) Expire(ctx context.Context, db *sql.DB, before time.Time) (int64, error) {
	r, err := db.ExecContext(ctx, t.expire, before.UnixMilli(), expireMax)
	if err != nil {
		return 0, t.failed("deleting old idempotency keys", err)
	}
	return r.RowsAffected()
}

func (t *Table[S, E]) failed(doing string, err error) error {
	return fmt.Errorf("state: %s: %s: %w", t.machine.name, doing, err)
}

// column is a state as the row has it.
func (t *Table[S, E]) column(s S) any {
	if t.cfg.Numbers {
		return int64(s)
	}
	return s.String()
}

func (t *Table[S, E]) parse(column any) (S, bool) {
	var text string
	switch c := column.(type) {
	case []byte:
		text = string(c)
	case string:
		text = c
	case int64:
		text = strconv.FormatInt(c, 10)
	case uint64: // of an unsigned column
		text = strconv.FormatUint(c, 10)
	}
	if !t.cfg.Numbers {
		return t.machine.State(text)
	}
	n, err := strconv.ParseUint(text, 10, 8)
	return S(n), err == nil && t.machine.has(S(n))
}

// rowKey returns a key as the database wants it, and as text for the log.
func rowKey(key any) (arg any, text string, err error) {
	if v, ok := key.(driver.Valuer); ok {
		if key, err = v.Value(); err != nil {
			return nil, "", fmt.Errorf("state: the key of a row: %w", err)
		}
	}
	switch k := key.(type) {
	case string:
		text = k
	case []byte:
		text = string(k)
	case int64:
		text = strconv.FormatInt(k, 10)
	default:
		// Of a type of the caller's own, too; database/sql knows these kinds.
		switch v := reflect.ValueOf(key); v.Kind() {
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			text = strconv.FormatInt(v.Int(), 10)
		case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
			text = strconv.FormatUint(v.Uint(), 10)
		case reflect.String:
			text = v.String()
		default:
			return nil, "", fmt.Errorf("state: a row's key of type %T: %w", key, ErrKey)
		}
	}
	if len(text) == 0 || len(text) > keyMax {
		return nil, "", fmt.Errorf("state: a row's key of %d bytes, must be 1 to %d: %w", len(text), keyMax, ErrKey)
	}
	return key, text, nil
}
