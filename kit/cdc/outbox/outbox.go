package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"strings"
	"time"
)

// Dialect is the kind of SQL that a database understands.
type Dialect int

const (
	// SQLite is for modernc.org/sqlite and others. Open the file with WAL, a busy timeout and immediate transactions:
	// "file:x.db?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)&_txlock=immediate".
	SQLite Dialect = 1
	// MySQL is for MySQL from 5.7 and MariaDB from 10.2. readTimeout=30s in the DSN ends the wait for a server that is frozen.
	MySQL Dialect = 2
)

// Bounds of a Message.
const (
	// PayloadBytesMax keeps a batch in bounds, and a record of Kafka with its key and headers below the 1,000,012 bytes that
	// clients and brokers take by default: one that they refuse would hold up all that comes after it.
	PayloadBytesMax = 960 << 10
	// KeyBytesMax is what the column holds.
	KeyBytesMax = 255
	// TopicBytesMax is Kafka's limit of a topic's name.
	TopicBytesMax = 249
)

// TableDefault is the name of the table of messages.
const TableDefault = "outbox"

// ErrMessage is what errors of Append wrap when a message is beyond a bound.
var ErrMessage = errors.New("outbox: the message cannot be stored")

// ErrNoTables is returned by Tailer.Run when CreateTables was not called.
var ErrNoTables = errors.New("outbox: the tables are not there")

// lanes is how many tailers can share the work at most. It is in the rows, so it is not a setting.
const lanes = 16

// Config is where an outbox is. The zero value of an optional field is its default.
type Config struct {
	// DB is the program's database. Required.
	DB *sql.DB
	// Dialect is its kind. Required.
	Dialect Dialect
	// Table is the name of the table of messages, of 1 to 40 of a-z, 0-9 and _. Two more have it as prefix. Default "outbox".
	Table string
}

// Outbox is the tables of messages in one database.
type Outbox struct {
	db      *sql.DB
	dialect Dialect
	table   string
}

var tableName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)

// New checks the configuration and connects to nothing.
func New(config Config) (*Outbox, error) {
	var errs []error
	if config.DB == nil {
		errs = append(errs, errors.New("outbox: DB: want a database"))
	}
	if config.Dialect != SQLite && config.Dialect != MySQL {
		errs = append(errs, errors.New("outbox: Dialect: want SQLite or MySQL"))
	}
	if config.Table == "" {
		config.Table = TableDefault
	}
	if !tableName.MatchString(config.Table) {
		errs = append(errs, fmt.Errorf("outbox: Table: want 1 to 40 of a-z, 0-9 and _, have %q", config.Table))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Outbox{db: config.DB, dialect: config.Dialect, table: config.Table}, nil
}

// sql writes a statement for the dialect: {t} is the table's name, {now} the database's time in milliseconds, so that the
// clocks of the machines with tailers need not agree.
func (o *Outbox) sql(statement string) string {
	now := "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
	id, name, key, data, end, ignore := "INTEGER PRIMARY KEY AUTOINCREMENT", "TEXT", "BLOB", "BLOB", "", "OR IGNORE"
	if o.dialect == MySQL {
		now = "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"
		id, name, key, data = "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY", "VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin", "VARBINARY(255)", "MEDIUMBLOB"
		end, ignore = " ENGINE=InnoDB", "IGNORE"
	}
	return strings.NewReplacer("{t}", o.table, "{now}", now, "{id}", id, "{name}", name, "{key}", key, "{data}", data, "{end}", end, "{ignore}", ignore).Replace(statement)
}

// CreateTables makes what is not there. It may be called at each start of each process.
func (o *Outbox) CreateTables(ctx context.Context) error {
	index := ""
	if o.dialect == MySQL {
		index = ", KEY {t}_by_lane (lane, id)"
	}
	statements := []string{
		"CREATE TABLE IF NOT EXISTS {t} (id {id}, lane SMALLINT NOT NULL, topic {key} NOT NULL, name {key} NOT NULL, payload {data} NOT NULL, created BIGINT NOT NULL" +
			index + "){end}",
		"CREATE TABLE IF NOT EXISTS {t}_lane (lane SMALLINT NOT NULL PRIMARY KEY, owner {name} NOT NULL, until BIGINT NOT NULL){end}",
		"CREATE TABLE IF NOT EXISTS {t}_tailer (owner {name} NOT NULL PRIMARY KEY, until BIGINT NOT NULL){end}",
	}
	if o.dialect == SQLite {
		statements = append(statements, "CREATE INDEX IF NOT EXISTS {t}_by_lane ON {t} (lane, id)")
	}
	for lane := range lanes {
		statements = append(statements, fmt.Sprintf("INSERT {ignore} INTO {t}_lane (lane, owner, until) VALUES (%d, '', 0)", lane))
	}
	for _, s := range statements {
		if _, err := o.db.ExecContext(ctx, o.sql(s)); err != nil {
			return fmt.Errorf("outbox: creating tables: %w", err)
		}
	}
	return nil
}

// Message is what a transaction says to the world.
type Message struct {
	// Topic is what it is about, up to TopicBytesMax bytes.
	Topic string
	// Key is what its order is kept by, up to KeyBytesMax bytes. Messages with no key are kept in order among each other.
	Key string
	// Payload is up to PayloadBytesMax bytes.
	Payload []byte
}

// Tx is what of *sql.Tx is needed here. A *sql.Conn with a transaction will do.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Append adds messages to the transaction tx of the same database. They are handed over after its commit, never before and
// never without. After the commit, Tailer.Wake in the same process saves the wait for the next poll.
func (o *Outbox) Append(ctx context.Context, tx Tx, messages ...Message) error {
	for _, m := range messages {
		for _, bound := range []struct {
			name      string
			have, max int
		}{{"topic", len(m.Topic), TopicBytesMax}, {"key", len(m.Key), KeyBytesMax}, {"payload", len(m.Payload), PayloadBytesMax}} {
			if bound.have > bound.max {
				return fmt.Errorf("%w: its %s has %d bytes, want %d at most", ErrMessage, bound.name, bound.have, bound.max)
			}
		}
	}
	for _, m := range messages {
		payload := m.Payload
		if payload == nil {
			payload = []byte{}
		}
		_, err := tx.ExecContext(ctx, o.sql("INSERT INTO {t} (lane, topic, name, payload, created) VALUES (?, ?, ?, ?, {now})"),
			laneOf(m.Key), []byte(m.Topic), []byte(m.Key), payload)
		if err != nil {
			return fmt.Errorf("outbox: appending: %w", err)
		}
	}
	return nil
}

func laneOf(key string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum32() % lanes)
}

// Waiting returns how many messages wait to be handed over, and for how long the first of them. It reads an index as a whole.
func (o *Outbox) Waiting(ctx context.Context) (n int, oldest time.Duration, err error) {
	var ms int64
	row := o.db.QueryRowContext(ctx, o.sql("SELECT COUNT(*), COALESCE({now} - (SELECT created FROM {t} ORDER BY id LIMIT 1), 0) FROM {t}"))
	if err := row.Scan(&n, &ms); err != nil {
		return 0, 0, fmt.Errorf("outbox: counting: %w", err)
	}
	return n, time.Duration(max(0, ms)) * time.Millisecond, nil
}
