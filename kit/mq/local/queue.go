package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/yumen-io/yumen/kit/mq"
)

// Defaults of Config.
const (
	PartitionsDefault   = 8
	BytesMaxDefault     = 8 << 30
	MessageBytesDefault = 1 << 20
	RetentionDefault    = 24 * time.Hour
)

const (
	pageBytes   = 4096
	groupRows   = 2000 // messages that share a transaction and its fsync, at most one Publish more
	waitingMax  = 256  // calls of Publish that wait for the writer; more block
	sweepEvery  = time.Minute
	sweepRows   = 2000
	busyTimeout = 10 * time.Second // for another process that writes
)

// Config is what Open needs. Only Path has no default.
type Config struct {
	// Path is the file of the queue, which is made if there is none; "-wal" and "-shm" files lie beside it while it is
	// open. It must be on a local disk. Any number of processes may open the same file.
	Path string
	// Partitions is how many partitions a topic gets when it is first published to or consumed: 8 (1 to 1024). A topic
	// keeps what it has.
	Partitions int
	// BytesMax bounds the file: 8 GiB (at least 1 MiB). A full queue refuses messages with mq.ErrFull.
	BytesMax int64
	// MessageBytes is the largest message: 1 MiB (1 KiB to 64 MiB).
	MessageBytes int
	// Retention is how long messages are kept that every group has done: 24 h (at least 1 s). Those that a group has not
	// done, or that no group has asked for, are kept until the queue is full.
	Retention time.Duration

	// Clock is for times of messages and retention: nil means time.Now. Leases of consumers use it too; all processes must
	// have the same.
	Clock func() time.Time
	// Logger is for changes of state: nil means slog.Default().
	Logger *slog.Logger
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Partitions == 0 {
		cfg.Partitions = PartitionsDefault
	}
	if cfg.BytesMax == 0 {
		cfg.BytesMax = BytesMaxDefault
	}
	if cfg.MessageBytes == 0 {
		cfg.MessageBytes = MessageBytesDefault
	}
	if cfg.Retention == 0 {
		cfg.Retention = RetentionDefault
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	var errs []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("local: "+format, args...))
		}
	}
	refuse(cfg.Path == "" || strings.HasPrefix(cfg.Path, ":"), "Path is %q, and should name a file", cfg.Path)
	refuse(cfg.Partitions < 1 || cfg.Partitions > 1024, "Partitions is %d, and should be 1 to 1024", cfg.Partitions)
	refuse(cfg.BytesMax < 1<<20, "BytesMax is %d, and should be at least 1 MiB", cfg.BytesMax)
	refuse(cfg.MessageBytes < 1024 || cfg.MessageBytes > 64<<20, "MessageBytes is %d, and should be 1 KiB to 64 MiB", cfg.MessageBytes)
	refuse(cfg.Retention < time.Second, "Retention is %v, and should be at least 1s", cfg.Retention)
	return cfg, errors.Join(errs...)
}

// Queue is an open queue, and its Publisher. It may be used by many goroutines, which share transactions.
type Queue struct {
	cfg   Config
	write *sql.DB // one connection: writers of a process wait for each other here, not by polling for the file's lock
	read  *sql.DB
	// What is done for each message or batch is prepared: to parse a statement takes longer than to run it.
	insertRow, selectRows *sql.Stmt

	requests chan *request
	closing  chan struct{}
	once     sync.Once
	workers  sync.WaitGroup

	mu struct {
		sync.Mutex
		news chan struct{} // closed and replaced when something was written
	}

	// Owned by the writer.
	topics map[string]topic
	turn   uint32 // for messages without a key
}

type topic struct {
	id         int64
	partitions int
}

// request is one Publish on its way through the writer.
type request struct {
	messages []mq.Message
	errs     []error
	done     chan struct{}
}

var _ mq.Publisher = (*Queue)(nil)

const schema = `
CREATE TABLE IF NOT EXISTS topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS ends (topic INTEGER NOT NULL, part INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (topic, part)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
	topic INTEGER NOT NULL, part INTEGER NOT NULL, off INTEGER NOT NULL, time INTEGER NOT NULL, key BLOB, value BLOB, headers BLOB
);
CREATE UNIQUE INDEX IF NOT EXISTS messages_place ON messages (topic, part, off);
CREATE TABLE IF NOT EXISTS members (grp TEXT NOT NULL, id TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (grp, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lanes (
	grp TEXT NOT NULL, topic INTEGER NOT NULL, part INTEGER NOT NULL,
	next INTEGER NOT NULL, epoch INTEGER NOT NULL, owner TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (grp, topic, part)
) WITHOUT ROWID;`

const (
	insertRow  = "INSERT INTO messages (topic, part, off, time, key, value, headers) VALUES (?, ?, ?, ?, ?, ?, ?)"
	selectRows = "SELECT off, time, key, value, headers FROM messages WHERE topic = ? AND part = ? AND off >= ? ORDER BY off LIMIT ?"
)

// Open checks cfg and opens the queue, or makes it.
func Open(ctx context.Context, cfg Config) (*Queue, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	q := &Queue{cfg: cfg, requests: make(chan *request, waitingMax), closing: make(chan struct{}), topics: map[string]topic{}}
	q.mu.news = make(chan struct{})
	options := url.Values{"_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyTimeout/time.Millisecond),
		"journal_mode(WAL)",
		"synchronous(FULL)", // in WAL mode: an fsync before each commit is answered
		fmt.Sprintf("page_size(%d)", pageBytes),
		fmt.Sprintf("max_page_count(%d)", cfg.BytesMax/pageBytes),
	}}
	name := "file:" + (&url.URL{Path: cfg.Path}).EscapedPath() + "?" + options.Encode()
	if q.write, err = sql.Open("sqlite", name+"&_txlock=immediate"); err != nil {
		return nil, fmt.Errorf("local: opening %s: %w", cfg.Path, err)
	}
	q.write.SetMaxOpenConns(1)
	if q.read, err = sql.Open("sqlite", name); err != nil {
		q.write.Close()
		return nil, fmt.Errorf("local: opening %s: %w", cfg.Path, err)
	}
	q.read.SetMaxOpenConns(4)
	if err := q.prepare(ctx); err != nil {
		q.write.Close()
		q.read.Close()
		return nil, fmt.Errorf("local: opening %s: %w", cfg.Path, err)
	}
	q.workers.Go(q.writeLoop)
	q.workers.Go(q.sweepLoop)
	return q, nil
}

func (q *Queue) prepare(ctx context.Context) (err error) {
	if err = q.createTables(ctx); err != nil {
		return err
	}
	if q.insertRow, err = q.write.PrepareContext(ctx, insertRow); err != nil {
		return err
	}
	q.selectRows, err = q.read.PrepareContext(ctx, selectRows)
	return err
}

// createTables also waits for what SQLite does not wait for by itself: another process that recovers the file after a
// kill, or switches it to WAL, when both open it at the same time.
func (q *Queue) createTables(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(busyTimeout); ; {
		err := q.transact(ctx, func(tx *sql.Tx) error { _, err := tx.ExecContext(ctx, schema); return err })
		var e *sqlite.Error
		if err == nil || !errors.As(err, &e) || e.Code()&0xff != sqlite3.SQLITE_BUSY || time.Now().After(end) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends the queue once the transaction under way is done; calls of Publish that wait get mq.ErrClosed. Consumers of
// the queue must have ended.
func (q *Queue) Close() error {
	var err error
	q.once.Do(func() {
		close(q.closing)
		q.workers.Wait()
		err = errors.Join(q.insertRow.Close(), q.selectRows.Close(), q.write.Close(), q.read.Close())
	})
	return err
}

// Publish writes the messages in one transaction, which those of other goroutines may share, and returns when it is on the
// disk: all of them are written or none, except those that are too large. The error is a *mq.PublishError.
func (q *Queue) Publish(ctx context.Context, messages ...mq.Message) error {
	if len(messages) == 0 {
		return nil
	}
	own := make([]mq.Message, len(messages)) // the call may end before the writer is done with them
	copy(own, messages)
	r := &request{messages: own, errs: make([]error, len(messages)), done: make(chan struct{})}
	for i := range own {
		own[i].Headers = mq.Inject(ctx, own[i].Headers)
		if own[i].Topic == "" || strings.Contains(own[i].Topic, "/") {
			r.errs[i] = fmt.Errorf("local: the topic is %q, and should be a name without a slash", own[i].Topic)
		} else if size := own[i].Size(); size > q.cfg.MessageBytes {
			r.errs[i] = fmt.Errorf("%w: %d bytes, and the queue takes %d", mq.ErrTooLarge, size, q.cfg.MessageBytes)
		}
	}
	select {
	case <-q.closing:
		return r.fail(mq.ErrClosed)
	default:
	}
	select {
	case q.requests <- r:
	case <-ctx.Done():
		return r.fail(ctx.Err())
	case <-q.closing:
		return r.fail(mq.ErrClosed)
	}
	select {
	case <-r.done:
		return r.result()
	case <-ctx.Done():
		unknown := &request{errs: make([]error, len(messages))}
		return unknown.fail(fmt.Errorf("%w: %w", mq.ErrUnknown, context.Cause(ctx)))
	}
}

func (r *request) fail(err error) error {
	for i := range r.errs {
		if r.errs[i] == nil {
			r.errs[i] = err
		}
	}
	return r.result()
}

func (r *request) result() error {
	for _, err := range r.errs {
		if err != nil {
			return &mq.PublishError{Errs: r.errs}
		}
	}
	return nil
}

// writeLoop puts what waits into one transaction at a time, so that goroutines share the fsync.
func (q *Queue) writeLoop() {
	for {
		var group []*request
		select {
		case r := <-q.requests:
			group = append(group, r)
		case <-q.closing:
			q.refuseWaiting()
			return
		}
		rows := len(group[0].messages)
	more:
		for rows < groupRows {
			select {
			case r := <-q.requests:
				group = append(group, r)
				rows += len(r.messages)
			default:
				break more
			}
		}
		err := q.transact(context.Background(), func(tx *sql.Tx) error { return q.insert(tx, group) })
		if err != nil {
			// What the transaction has made is gone with it.
			q.topics = map[string]topic{}
		}
		for _, r := range group {
			if err != nil {
				_ = r.fail(written(err))
			}
			close(r.done)
		}
		q.wake()
	}
}

func (q *Queue) refuseWaiting() {
	for {
		select {
		case r := <-q.requests:
			_ = r.fail(mq.ErrClosed)
			close(r.done)
		default:
			return
		}
	}
}

// insert writes the messages of a group. Offsets are counted here, and the ends of partitions are read and written once, since a statement costs more
// than what it does.
func (q *Queue) insert(tx *sql.Tx, group []*request) error {
	now := q.cfg.Clock()
	row := tx.Stmt(q.insertRow)
	defer row.Close()
	next := map[place]int64{}
	for _, r := range group {
		for i := range r.messages {
			m := &r.messages[i]
			if r.errs[i] != nil {
				continue
			}
			t, err := q.topic(tx, m.Topic)
			if err != nil {
				return err
			}
			to := place{t.id, int32(q.partition(m.Key, t.partitions))}
			off, known := next[to]
			if !known {
				if err := tx.QueryRow("SELECT next FROM ends WHERE topic = ? AND part = ?", to.topic, to.partition).Scan(&off); err != nil {
					return err
				}
			}
			next[to] = off + 1
			at := m.Time
			if at.IsZero() {
				at = now
			}
			if _, err := row.Exec(to.topic, to.partition, off, at.UnixMilli(), m.Key, m.Value, appendHeaders(nil, m.Headers)); err != nil {
				return err
			}
		}
	}
	for at, n := range next {
		if _, err := tx.Exec("UPDATE ends SET next = ? WHERE topic = ? AND part = ?", n, at.topic, at.partition); err != nil {
			return err
		}
	}
	return nil
}

func (q *Queue) partition(key []byte, partitions int) int {
	if key == nil {
		q.turn++
		return int(q.turn % uint32(partitions))
	}
	h := fnv.New32a()
	_, _ = h.Write(key)
	return int(h.Sum32() % uint32(partitions))
}

// topic finds a topic or makes it. It is called by the writer, which remembers it.
func (q *Queue) topic(tx *sql.Tx, name string) (topic, error) {
	if t, ok := q.topics[name]; ok {
		return t, nil
	}
	t, err := q.needTopic(tx, name)
	if err == nil {
		q.topics[name] = t
	}
	return t, err
}

func (q *Queue) needTopic(tx *sql.Tx, name string) (t topic, err error) {
	err = tx.QueryRow("SELECT id, partitions FROM topics WHERE name = ?", name).Scan(&t.id, &t.partitions)
	if !errors.Is(err, sql.ErrNoRows) {
		return t, err
	}
	t.partitions = q.cfg.Partitions
	if err := tx.QueryRow("INSERT INTO topics (name, partitions) VALUES (?, ?) RETURNING id", name, t.partitions).Scan(&t.id); err != nil {
		return t, err
	}
	for part := range t.partitions {
		if _, err := tx.Exec("INSERT INTO ends (topic, part, next) VALUES (?, ?, 0)", t.id, part); err != nil {
			return t, err
		}
	}
	return t, nil
}

// transact runs f in a transaction that has the write lock from its beginning.
func (q *Queue) transact(ctx context.Context, f func(tx *sql.Tx) error) error {
	tx, err := q.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func written(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL {
		return fmt.Errorf("%w: %w", mq.ErrFull, err)
	}
	return fmt.Errorf("local: writing the messages: %w", err)
}

func (q *Queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.mu.news)
	q.mu.news = make(chan struct{})
}

// news is closed when something was written after the call.
func (q *Queue) news() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.news
}

func (q *Queue) sweepLoop() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := q.Sweep(context.Background()); err != nil {
				q.cfg.Logger.Warn("old messages cannot be removed from the queue", "path", q.cfg.Path, "error", err)
			}
		case <-q.closing:
			return
		}
	}
}

// Sweep removes messages that are older than Retention and done by all groups, and returns how many. It happens every
// minute by itself.
func (q *Queue) Sweep(ctx context.Context) (removed int64, err error) {
	before := q.cfg.Clock().Add(-q.cfg.Retention).UnixMilli()
	for {
		var n int64
		err := q.transact(ctx, func(tx *sql.Tx) error {
			result, err := tx.ExecContext(ctx, `DELETE FROM messages WHERE rowid IN (SELECT m.rowid FROM messages m
				JOIN (SELECT topic, part, MIN(next) AS next FROM lanes GROUP BY topic, part) l
				ON m.topic = l.topic AND m.part = l.part AND m.off < l.next WHERE m.time < ? LIMIT ?)`, before, sweepRows)
			if err != nil {
				return err
			}
			n, err = result.RowsAffected()
			return err
		})
		removed += n
		if err != nil {
			return removed, fmt.Errorf("local: removing old messages: %w", err)
		}
		if n < sweepRows {
			return removed, nil
		}
	}
}

// ForgetGroup removes a group and its offsets, so that messages are not kept for it. Its consumers must not run.
func (q *Queue) ForgetGroup(ctx context.Context, group string) error {
	err := q.transact(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM lanes WHERE grp = ?", group)
		return err
	})
	if err != nil {
		return fmt.Errorf("local: forgetting the group %q: %w", group, err)
	}
	return nil
}
