package shard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// BatchConfig is what a Batcher needs. Router, Table and Columns are required.
type BatchConfig struct {
	Router *Router
	// Table is a name of Config.Tables.
	Table string
	// Columns are those that rows have values for, in that order.
	Columns []string
	// Suffix comes after the values: "ON DUPLICATE KEY UPDATE n = VALUES(n)", "ON CONFLICT (id) DO NOTHING". It makes a row
	// that may have been written already (ErrUnknown) harmless to write again.
	Suffix string
	// Rows is how many rows one statement has at most: 1 to 5,000, and Rows times Columns at most 30,000. Default: 500.
	Rows int
	// Bytes is how many bytes of values a batch has, after which it is sent: up to 64 MiB, and below what the server takes
	// in a packet. Default: 1 MiB.
	Bytes int
	// Delay is how long a row waits for others: up to a minute. Default: 5 ms.
	Delay time.Duration
	// QueueBytes bounds the bytes of values that wait for one table, in flight included: from Bytes to 1 GiB. Beyond it
	// Queue waits. Default: 4 times Bytes.
	QueueBytes int
	// Timeout bounds one attempt to write a batch: up to 10 minutes. Default: 10 s.
	Timeout time.Duration
}

// BatchStats are counts since the Batcher was made.
type BatchStats struct {
	Rows     uint64 // written
	Failed   uint64 // rows that were not, or of which it is unknown
	Batches  uint64 // transactions that were tried
	Bisected uint64 // of those that failed, how many were cut in two
	Waiting  int64  // bytes of values that wait or are in flight
}

// Batcher inserts rows many at a time. Each table of each database has a lane of its own, with its own bound and its own
// connection, so that a slow database holds up nobody else. Rows of one lane are written in the order of their arrival.
// Methods may be called by any goroutine; Close ends the lanes.
type Batcher struct {
	cfg BatchConfig
	r   *Router

	mu struct {
		sync.Mutex
		lanes  map[Place]*lane
		closed bool
	}
	senders sync.WaitGroup // calls of Queue
	running sync.WaitGroup // lanes
	stop    context.Context
	cancel  context.CancelFunc

	rows, failed, batches, bisected atomic.Uint64
	waiting                         atomic.Int64
}

type lane struct {
	in   chan entry
	free chan struct{} // a token after bytes were given back
	used atomic.Int64  // bytes
}

type entry struct {
	slot   int
	values []any
	bytes  int
	done   func(error)
}

// laneRows bounds the rows of a lane, beside their bytes: empty rows take memory as well.
const laneRows = 10_000

// rowBytes is what a row costs beside its values.
const rowBytes = 64

// NewBatcher makes a Batcher. The error names each field that is wrong.
func NewBatcher(cfg BatchConfig) (*Batcher, error) {
	var errs []error
	number := func(name string, n *int, low, high, by int) {
		if *n == 0 {
			*n = by
		}
		if *n < low || *n > high {
			errs = append(errs, fmt.Errorf("%s is %d and must be %d to %d", name, *n, low, high))
		}
	}
	duration := func(name string, d *time.Duration, high, by time.Duration) {
		if *d == 0 {
			*d = by
		}
		if *d < 0 || *d > high {
			errs = append(errs, fmt.Errorf("%s is %s and must be up to %s", name, *d, high))
		}
	}
	if cfg.Router == nil {
		errs = append(errs, errors.New("the Router must be set"))
	} else if _, ok := cfg.Router.tables[cfg.Table]; !ok {
		errs = append(errs, fmt.Errorf("the Table is %q and must be in the Router's Tables", cfg.Table))
	}
	if len(cfg.Columns) == 0 {
		errs = append(errs, errors.New("the Columns are empty and must have at least one"))
	}
	for i, c := range cfg.Columns {
		if !columnName.MatchString(c) {
			errs = append(errs, fmt.Errorf("column %d is %q and must be letters, digits and _", i, c))
		}
	}
	number("Rows", &cfg.Rows, 1, 5000, 500)
	if n := cfg.Rows * len(cfg.Columns); n > 30_000 {
		errs = append(errs, fmt.Errorf("the product of Rows and Columns is %d and must be at most 30000", n))
	}
	number("Bytes", &cfg.Bytes, 1, 64<<20, 1<<20)
	number("QueueBytes", &cfg.QueueBytes, cfg.Bytes, 1<<30, 4*cfg.Bytes)
	duration("Delay", &cfg.Delay, time.Minute, 5*time.Millisecond)
	duration("Timeout", &cfg.Timeout, 10*time.Minute, 10*time.Second)
	if len(errs) > 0 {
		return nil, fmt.Errorf("shard: batcher: %w", errors.Join(errs...))
	}
	cfg.Columns = slices.Clone(cfg.Columns)
	b := &Batcher{cfg: cfg, r: cfg.Router}
	b.mu.lanes = map[Place]*lane{}
	b.stop, b.cancel = context.WithCancel(context.Background())
	return b, nil
}

// Insert queues a row and waits for its result. An error other than ErrUnknown means that the row was not written; it is
// the database's own where the row was at fault. When ctx ends first the row may still be written.
func (b *Batcher) Insert(ctx context.Context, s Shard, values ...any) error {
	result := make(chan error, 1)
	if err := b.Queue(ctx, s, values, func(err error) { result <- err }); err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("shard: waiting for a batch: %w: %w", ErrUnknown, ctx.Err())
	}
}

// Queue hands in a row and returns once there is room for it. done is called once with the result if Queue returned nil,
// on the goroutine of the lane, which waits for it. The values must not be changed until then.
func (b *Batcher) Queue(ctx context.Context, s Shard, values []any, done func(error)) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	if s.slot < 0 {
		return fmt.Errorf("shard: a place of All is for reading; write by key: %w", ErrNoSlot)
	}
	if len(values) != len(b.cfg.Columns) {
		return fmt.Errorf("shard: a row has %d values for %d columns: %w", len(values), len(b.cfg.Columns), ErrStatement)
	}
	e := entry{slot: s.slot, values: values, bytes: sizeOf(values), done: done}
	l, err := b.lane(s.Place())
	if err != nil {
		return err
	}
	defer b.senders.Done()
	// A row that is larger than the bound passes alone.
	for {
		used := l.used.Load()
		if used > 0 && used+int64(e.bytes) > int64(b.cfg.QueueBytes) {
			select {
			case <-l.free:
				continue
			case <-b.stop.Done():
				return ErrClosed
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if l.used.CompareAndSwap(used, used+int64(e.bytes)) {
			break
		}
	}
	b.waiting.Add(int64(e.bytes))
	l.wake() // there may be room for the next one, too
	select {
	case l.in <- e:
		return nil
	case <-b.stop.Done():
		b.give(l, e)
		return ErrClosed
	case <-ctx.Done():
		b.give(l, e)
		return ctx.Err()
	}
}

func (l *lane) wake() {
	select {
	case l.free <- struct{}{}:
	default:
	}
}

func (b *Batcher) give(l *lane, e entry) {
	l.used.Add(-int64(e.bytes))
	b.waiting.Add(-int64(e.bytes))
	l.wake()
}

func sizeOf(values []any) int {
	n := rowBytes + 16*len(values)
	for _, v := range values {
		switch v := v.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		}
	}
	return n
}

// Stats are for metrics.
func (b *Batcher) Stats() BatchStats {
	return BatchStats{Rows: b.rows.Load(), Failed: b.failed.Load(), Batches: b.batches.Load(), Bisected: b.bisected.Load(), Waiting: b.waiting.Load()}
}

// Close writes what waits and ends the lanes. When ctx ends first, what is in flight is given up, and rows that were not
// written get an error. A row that is queued at the same time is either written or refused.
func (b *Batcher) Close(ctx context.Context) error {
	b.mu.Lock()
	first := !b.mu.closed
	b.mu.closed = true
	b.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.senders.Wait() // the lanes go on meanwhile and make room
		if first {
			for _, l := range b.mu.lanes { // nobody adds one any more
				l.in <- entry{slot: -1}
			}
		}
		b.running.Wait()
	}()
	select {
	case <-ended:
		b.cancel()
		return nil
	case <-ctx.Done():
		b.cancel()
		<-ended
		return ctx.Err()
	}
}

func (b *Batcher) lane(p Place) (*lane, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.closed {
		return nil, ErrClosed
	}
	b.senders.Add(1)
	l := b.mu.lanes[p]
	if l == nil {
		l = &lane{in: make(chan entry, laneRows), free: make(chan struct{}, 1)}
		b.mu.lanes[p] = l
		b.running.Go(func() { b.run(l, p) })
	}
	return l, nil
}

// run collects rows and writes them.
func (b *Batcher) run(l *lane, p Place) {
	timer := time.NewTimer(0)
	<-timer.C
	defer timer.Stop()
	var batch []entry
	bytes := 0
	flush := func() {
		if len(batch) > 0 {
			b.write(p, batch)
			for _, e := range batch {
				b.give(l, e)
			}
			clear(batch)
			batch, bytes = batch[:0], 0
		}
	}
	for {
		var due <-chan time.Time
		if len(batch) > 0 {
			due = timer.C
		}
		select {
		case e := <-l.in:
			if e.slot < 0 {
				flush()
				return
			}
			if len(batch) == 0 {
				timer.Reset(b.cfg.Delay)
			}
			batch = append(batch, e)
			bytes += e.bytes
			if len(batch) >= b.cfg.Rows || bytes >= b.cfg.Bytes {
				flush()
			}
		case <-due:
			flush()
		}
	}
}

func (b *Batcher) finish(e entry, err error) {
	if err == nil {
		b.rows.Add(1)
	} else {
		b.failed.Add(1)
	}
	if e.done != nil {
		e.done(err)
	}
}

// write writes a batch that was collected for a place. Slots that are elsewhere by now, or are moving, go one by one
// through the transaction that knows how.
func (b *Batcher) write(p Place, batch []entry) {
	ctx, cancel := context.WithTimeout(b.stop, b.cfg.Timeout)
	defer cancel()
	b.batches.Add(1)
	away, err := b.writeHere(ctx, p, batch)
	if err != nil {
		b.divide(ctx, p, batch, err)
		return
	}
	for _, e := range batch {
		if !away[e.slot] {
			b.finish(e, nil)
		}
	}
	for slot := range away {
		var part []entry
		for _, e := range batch {
			if e.slot == slot {
				part = append(part, e)
			}
		}
		b.writeAway(ctx, slot, part)
	}
}

// divide cuts a batch that failed in two, until the rows that are at fault stand alone. It does not where no row can be
// at fault: the time is up, the commit was not answered, or the database does not answer either.
func (b *Batcher) divide(ctx context.Context, p Place, batch []entry, err error) {
	if len(batch) == 1 || !b.rowsFault(ctx, p, err) {
		for _, e := range batch {
			b.finish(e, err)
		}
		return
	}
	b.bisected.Add(1)
	b.write(p, batch[:len(batch)/2])
	b.write(p, batch[len(batch)/2:])
}

func (b *Batcher) rowsFault(ctx context.Context, p Place, err error) bool {
	if ctx.Err() != nil || errors.Is(err, ErrUnknown) || errors.Is(err, ErrNotHere) || errors.Is(err, ErrWrongDatabase) {
		return false
	}
	return b.r.databases[p.Database].PingContext(ctx) == nil
}

func (b *Batcher) writeHere(ctx context.Context, p Place, batch []entry) (away map[int]bool, err error) {
	if err := b.r.checkDatabase(ctx, p.Database); err != nil {
		return nil, err
	}
	tx, err := b.r.databases[p.Database].BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	b.r.writes.Add(1)
	if away, err = b.locked(ctx, tx, p, batch); err != nil {
		return nil, err
	}
	here := batch
	if len(away) > 0 {
		here = slices.DeleteFunc(slices.Clone(batch), func(e entry) bool { return away[e.slot] })
	}
	if len(here) == 0 {
		return away, nil
	}
	text, err := b.r.render(b.statement(len(here)), p.Table)
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, text, valuesOf(here)...); err != nil {
		return nil, err
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("shard: committing a batch at %s: %w: %w", p, ErrUnknown, err)
	}
	return away, nil
}

// locked locks the fences of all slots of a batch, in their order, and returns those that the place does not just own.
func (b *Batcher) locked(ctx context.Context, tx *sql.Tx, p Place, batch []entry) (map[int]bool, error) {
	if b.r.store == nil {
		return nil, nil
	}
	var slots []int
	for _, e := range batch {
		slots = append(slots, e.slot)
	}
	slices.Sort(slots)
	slots = slices.Compact(slots)
	args := []any{p.Table}
	away := map[int]bool{}
	for _, s := range slots {
		args = append(args, s)
		away[s] = true
	}
	query := "SELECT slot, state FROM shard_fence WHERE tbl = ? AND slot IN (" + marks(len(slots)) + ") ORDER BY slot"
	if b.r.dialect == MySQL {
		query += " LOCK IN SHARE MODE"
	} else if _, err := tx.ExecContext(ctx, "UPDATE shard_fence SET slot = slot WHERE tbl = ? AND slot = ?", p.Table, slots[0]); err != nil {
		return nil, err
	}
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var slot int
		var state fenceState
		if err := rows.Scan(&slot, &state); err != nil {
			return nil, err
		}
		if state == fenceOwner {
			delete(away, slot)
		}
	}
	return away, rows.Err()
}

// writeAway writes rows of one slot wherever that is.
func (b *Batcher) writeAway(ctx context.Context, slot int, batch []entry) {
	b.batches.Add(1)
	s := Shard{r: b.r, slot: slot}
	_, err := s.Exec(ctx, b.statement(len(batch)), valuesOf(batch)...)
	switch {
	case err == nil || len(batch) == 1 || !b.rowsFault(ctx, s.Place(), err):
		for _, e := range batch {
			b.finish(e, err)
		}
	default:
		b.bisected.Add(1)
		b.writeAway(ctx, slot, batch[:len(batch)/2])
		b.writeAway(ctx, slot, batch[len(batch)/2:])
	}
}

func (b *Batcher) statement(rows int) string {
	var s strings.Builder
	s.WriteString("INSERT INTO {" + b.cfg.Table + "} (")
	for i, c := range b.cfg.Columns {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(quote(c))
	}
	row := "(" + marks(len(b.cfg.Columns)) + ")"
	s.WriteString(") VALUES " + row)
	for range rows - 1 {
		s.WriteString(", " + row)
	}
	if b.cfg.Suffix != "" {
		s.WriteString(" " + b.cfg.Suffix)
	}
	return s.String()
}

func valuesOf(batch []entry) []any {
	var values []any
	for _, e := range batch {
		values = append(values, e.values...)
	}
	return values
}
