package saga

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
	"github.com/yumen-io/yumen/kit/internal/servers/self"
)

func TestMain(m *testing.M) {
	self.Main(worker)
	goleak.VerifyTestMain(m)
}

// clock is a time that tests move.
type clock struct{ at time.Time }

func newClock() *clock                { return &clock{time.UnixMilli(1_800_000_000_000)} }
func (c *clock) now() time.Time       { return c.at }
func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }

// onEach runs a test on each kind of database.
func onEach(t *testing.T, f func(t *testing.T, db *sql.DB, d Dialect)) {
	t.Run("sqlite", func(t *testing.T) { f(t, sqliteFile(t, "FULL"), SQLite) })
	t.Run("mariadb", func(t *testing.T) {
		s := mariadb.Shared(t)
		f(t, s.Open(t, s.Database(t)), MySQL)
	})
}

func sqliteDSN(path, synchronous string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_pragma=synchronous(" + synchronous + ")&_txlock=immediate"
}

func sqliteFile(t testing.TB, synchronous string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", sqliteDSN(filepath.Join(t.TempDir(), "test.db"), synchronous))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func sqliteMemory(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func newLog(t testing.TB, db *sql.DB, d Dialect, now func() time.Time) *Log {
	t.Helper()
	l, err := NewLog(LogConfig{DB: db, Dialect: d, Clock: now})
	must(t, err)
	must(t, l.CreateTables(t.Context()))
	must(t, l.CreateTables(t.Context()))
	return l
}

func newParty(t testing.TB, db *sql.DB, d Dialect, now func() time.Time) *Party {
	t.Helper()
	p, err := NewParty(PartyConfig{DB: db, Dialect: d, Clock: now})
	must(t, err)
	must(t, p.CreateTables(t.Context()))
	must(t, p.CreateTables(t.Context()))
	return p
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func define[T any](t testing.TB, p Plan[T]) *Definition[T] {
	t.Helper()
	d, err := Define(p)
	must(t, err)
	return d
}

func newEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	if cfg.Rand == nil {
		cfg.Rand = func() float64 { return 0.5 }
	}
	e, err := New(cfg)
	must(t, err)
	return e
}

func runDue(t testing.TB, e *Engine) int {
	t.Helper()
	n, err := e.RunDue(t.Context())
	must(t, err)
	return n
}

// status is state, step, attempt and whether it is dead, in a line.
func status(t testing.TB, l *Log, id string) string {
	t.Helper()
	s, err := l.Status(t.Context(), id)
	must(t, err)
	text := fmt.Sprintf("%v %s %d", s.State, s.Step, s.Attempt)
	if s.Dead {
		text += " dead"
	}
	return text
}

func run(t testing.TB, db *sql.DB, statement string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(context.Background(), statement, args...)
	must(t, err)
}

func number(t testing.TB, db *sql.DB, query string, args ...any) int {
	t.Helper()
	var n int
	must(t, db.QueryRowContext(context.Background(), query, args...).Scan(&n))
	return n
}
