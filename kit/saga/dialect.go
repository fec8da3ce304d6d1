package saga

import (
	"context"
	"database/sql"
	"strings"
)

// Dialect is the kind of SQL that a database understands.
type Dialect int

const (
	// SQLite is for modernc.org/sqlite and others. Open the file with WAL, a busy timeout and immediate transactions:
	// "file:x.db?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)&_txlock=immediate".
	SQLite Dialect = 1
	// MySQL is for MySQL from 8.0 and MariaDB from 10.6, which know SKIP LOCKED. interpolateParams=true in the DSN saves
	// two round trips for each statement; readTimeout=30s ends the wait for a commit, which no context does.
	MySQL Dialect = 2
)

func (d Dialect) valid() bool { return d == SQLite || d == MySQL }

// now is the time in milliseconds: the argument, or if that is NULL the database's own, so that the clocks of the
// machines with engines need not agree.
func (d Dialect) now() string {
	if d == SQLite {
		return "COALESCE(?, CAST(unixepoch('subsec') * 1000 AS INTEGER))"
	}
	return "COALESCE(?, CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED))"
}

// sql writes a statement for the dialect: {now} is the time, {ignore} is what INSERT says to pass over a row that is there.
func (d Dialect) sql(statement string) string {
	ignore := "IGNORE"
	if d == SQLite {
		ignore = "OR IGNORE"
	}
	return strings.NewReplacer("{now}", d.now(), "{ignore}", ignore).Replace(statement)
}

// create makes tables from a description with types {name}, {text}, {data} and {int}.
func (d Dialect) create(ctx context.Context, db *sql.DB, statements []string) error {
	types := strings.NewReplacer("{name}", "VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin", "{def}", "VARCHAR(160) CHARACTER SET ascii COLLATE ascii_bin",
		"{text}", "VARCHAR(1000) CHARACTER SET utf8mb4", "{data}", "MEDIUMBLOB", "{int}", "BIGINT", "{end}", " ENGINE=InnoDB")
	if d == SQLite {
		types = strings.NewReplacer("{name}", "TEXT", "{def}", "TEXT", "{text}", "TEXT", "{data}", "BLOB", "{int}", "INTEGER", "{end}", " WITHOUT ROWID")
	}
	for _, s := range statements {
		if d == MySQL {
			s = strings.Replace(s, "CREATE INDEX IF NOT EXISTS", "CREATE INDEX", 1)
		}
		if _, err := db.ExecContext(ctx, types.Replace(s)); err != nil {
			return err
		}
	}
	return nil
}
