package outbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/kit/cdc"
	"github.com/yumen-io/yumen/kit/cdc/internal/handover"
)

// Defaults of TailerConfig.
const (
	BatchEventsDefault = 512
	BatchBytesDefault  = 4 << 20
	PollDefault        = 200 * time.Millisecond
	LeaseDefault       = 15 * time.Second
	BackoffMinDefault  = 50 * time.Millisecond
	BackoffMaxDefault  = 5 * time.Second
)

// TailerConfig is how a Tailer is made. The zero value of an optional field is its default.
type TailerConfig struct {
	// Outbox is whose messages are handed over. Required.
	Outbox *Outbox
	// Name is Event.Source. Default: the outbox's table.
	Name string
	// BatchEvents is the most messages in one call of the Handler, BatchBytes after how many bytes of payload a batch is closed.
	// Defaults 512 and 4 MiB.
	BatchEvents, BatchBytes int
	// Poll is how often an empty outbox is looked at: how late a message is at most that nobody called Wake for. 10 ms to a
	// minute, default 200 ms.
	Poll time.Duration
	// Lease is how long the keys of a tailer that died wait for another one. It is renewed while a handler runs. 1 s to 10
	// min, default 15 s.
	Lease time.Duration
	// BackoffMin and BackoffMax bound the pauses before another try, of the database and of the Handler. Defaults 50 ms and 5 s.
	BackoffMin, BackoffMax time.Duration
	// Logger is for transitions. Default slog.Default().
	Logger *slog.Logger
}

// Tailer hands over the messages of an outbox, alone or with others. It is a cdc.Source.
type Tailer struct {
	config  TailerConfig
	outbox  *Outbox
	running atomic.Bool
	wake    chan struct{}

	stats struct {
		connected                          atomic.Bool
		events, batches, retries, failures atomic.Uint64
		sessions                           atomic.Uint64
		mu                                 struct {
			sync.Mutex
			err   error
			fresh time.Time
		}
	}

	// Owned by Run.
	owner   string
	handled []int64 // handed over and not yet deleted
	turn    int     // which lane is read first
	shared  time.Time
}

// NewTailer checks the configuration.
func NewTailer(config TailerConfig) (*Tailer, error) {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("outbox: "+format, args...)) }
	if config.Outbox == nil {
		return nil, errors.New("outbox: Outbox: want one")
	}
	fill(&config.Name, config.Outbox.table)
	fill(&config.BatchEvents, BatchEventsDefault)
	fill(&config.BatchBytes, BatchBytesDefault)
	fill(&config.Poll, PollDefault)
	fill(&config.Lease, LeaseDefault)
	fill(&config.BackoffMin, BackoffMinDefault)
	fill(&config.BackoffMax, max(BackoffMaxDefault, config.BackoffMin))
	if config.BatchEvents < 1 || config.BatchEvents > 10_000 {
		wrong("BatchEvents: want 1 to 10000, have %d", config.BatchEvents)
	}
	if config.BatchBytes < 1 || config.BatchBytes > 1<<30 {
		wrong("BatchBytes: want 1 to 1 GiB, have %d", config.BatchBytes)
	}
	if config.Poll < 10*time.Millisecond || config.Poll > time.Minute {
		wrong("Poll: want 10ms to 1m, have %v", config.Poll)
	}
	if config.Lease < time.Second || config.Lease > 10*time.Minute {
		wrong("Lease: want 1s to 10m, have %v", config.Lease)
	}
	if config.BackoffMin < time.Millisecond || config.BackoffMax < config.BackoffMin {
		wrong("BackoffMin and BackoffMax: want 1ms or more, the second not below the first, have %v and %v", config.BackoffMin, config.BackoffMax)
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Tailer{config: config, outbox: config.Outbox, wake: make(chan struct{}, 1)}, nil
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Wake says that something was committed. It never blocks.
func (t *Tailer) Wake() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// leaveMax is how long a tailer that was told to stop takes to delete what it has handed over and to give its lanes back.
const leaveMax = 2 * time.Second

// Run implements cdc.Source. Besides ctx's error it returns ErrNoTables.
func (t *Tailer) Run(ctx context.Context, handle cdc.Handler) error {
	if !t.running.CompareAndSwap(false, true) {
		return cdc.ErrRunning
	}
	defer t.running.Store(false)
	defer t.stats.connected.Store(false)
	t.owner, t.handled, t.shared = rand.Text(), nil, time.Time{}
	pause := handover.Backoff{Min: t.config.BackoffMin, Max: t.config.BackoffMax}
	said := false
	for ctx.Err() == nil {
		err := t.tenure(ctx, handle, func() {
			pause.Reset()
			if said {
				said = false
				t.config.Logger.Info("outbox is read again", slog.String("source", t.config.Name))
			}
		})
		t.stats.connected.Store(false)
		if ctx.Err() != nil {
			break
		}
		if text := err.Error(); strings.Contains(text, "no such table") || strings.Contains(text, "Error 1146") {
			return fmt.Errorf("%w: %w", ErrNoTables, err)
		}
		t.failed(err)
		t.stats.failures.Add(1)
		if !said {
			said = true
			t.config.Logger.Warn("outbox cannot be read and is tried again", slog.String("source", t.config.Name), slog.Any("error", err))
		}
		if handover.Sleep(ctx, pause.Next()) != nil {
			break
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveMax)
	defer cancel()
	if t.clean(last) == nil {
		_ = t.leave(last)
	}
	return ctx.Err()
}

// errLeaseLost ends a tenure whose lease could not be renewed in time.
var errLeaseLost = errors.New("outbox: the lease has run out")

// tenure works until something fails or the lease is lost.
func (t *Tailer) tenure(ctx context.Context, handle cdc.Handler, works func()) error {
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	safe, err := t.renew(ctx)
	if err != nil {
		return err
	}
	var keeper sync.WaitGroup
	defer keeper.Wait()
	defer lose(nil)
	keeper.Go(func() { t.keep(ctx, safe, func() { lose(errLeaseLost) }) })
	t.stats.connected.Store(true)
	t.stats.sessions.Add(1)
	t.failed(nil)
	works()
	t.shared = time.Time{}
	poll := time.NewTicker(t.config.Poll)
	defer poll.Stop()
	for {
		found, err := t.round(ctx, handle)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
		if found {
			continue
		}
		select {
		case <-poll.C:
		case <-t.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// round hands over one batch, and says whether there may be more.
func (t *Tailer) round(ctx context.Context, handle cdc.Handler) (bool, error) {
	if err := t.clean(ctx); err != nil {
		return false, err
	}
	if time.Since(t.shared) >= t.config.Lease/3 {
		if err := t.share(ctx); err != nil {
			return false, err
		}
		t.shared = time.Now()
	}
	lanes, err := t.lanes(ctx)
	if err != nil || len(lanes) == 0 {
		return false, err
	}
	began := time.Now()
	events, ids, cut, err := t.read(ctx, lanes)
	if err != nil {
		return false, err
	}
	if len(events) > 0 {
		err := handover.Deliver(ctx, handle, events, handover.Backoff{Min: t.config.BackoffMin, Max: t.config.BackoffMax}, func(err error, times int) {
			t.stats.retries.Add(1)
			t.failed(err)
			if times == 1 {
				t.config.Logger.Warn("handler failed and gets the same events again", slog.String("source", t.config.Name), slog.Any("error", err))
			}
		})
		if err != nil {
			return false, err
		}
		t.failed(nil)
		t.handled = ids
		t.stats.events.Add(uint64(len(ids)))
		t.stats.batches.Add(1)
	}
	t.reached(began, events, cut)
	return len(events) > 0, t.clean(ctx)
}

// clean deletes what was handed over. Rows of a lane that was lost meanwhile are deleted too: they were handed over.
func (t *Tailer) clean(ctx context.Context) error {
	if len(t.handled) == 0 {
		return nil
	}
	args := make([]any, len(t.handled))
	for i, id := range t.handled {
		args[i] = id
	}
	if err := t.exec(ctx, "DELETE FROM {t} WHERE id IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...); err != nil {
		return err
	}
	t.handled = nil
	return nil
}

// read takes the first rows of each lane, by number. Each lane's part is looked up in the index by itself, so that an empty
// lane costs nothing and a full one not more than its share; which one is first changes, as the bytes may end the batch.
func (t *Tailer) read(ctx context.Context, lanes []int) (events []cdc.Event, ids []int64, cut bool, err error) {
	t.turn++
	share := max(1, t.config.BatchEvents/len(lanes))
	var query strings.Builder
	for i := range lanes {
		if i > 0 {
			query.WriteString(" UNION ALL ")
		}
		fmt.Fprintf(&query, "SELECT * FROM (SELECT id, topic, name, payload, created FROM {t} WHERE lane = %d ORDER BY id LIMIT %d) AS l%d",
			lanes[(i+t.turn)%len(lanes)], share, i)
	}
	rows, err := t.outbox.db.QueryContext(ctx, t.outbox.sql(query.String()))
	if err != nil {
		return nil, nil, false, fmt.Errorf("outbox: reading: %w", err)
	}
	defer rows.Close()
	type found struct {
		id    int64
		event cdc.Event
	}
	var all []found
	bytes := 0
	for !cut && rows.Next() {
		var topic, key, payload []byte
		var id, created int64
		if err := rows.Scan(&id, &topic, &key, &payload, &created); err != nil {
			return nil, nil, false, fmt.Errorf("outbox: reading: %w", err)
		}
		all = append(all, found{id, cdc.Event{
			Source: t.config.Name, Kind: cdc.Message, Topic: string(topic), Key: string(key), Payload: payload,
			Transaction: strconv.FormatInt(id, 10), Last: true, Time: time.UnixMilli(created).UTC(),
		}})
		bytes += len(payload)
		cut = bytes >= t.config.BatchBytes || len(all) >= t.config.BatchEvents
	}
	if err := rows.Err(); err != nil {
		return nil, nil, false, fmt.Errorf("outbox: reading: %w", err)
	}
	slices.SortFunc(all, func(a, b found) int { return int(a.id - b.id) })
	for _, f := range all {
		events, ids = append(events, f.event), append(ids, f.id)
	}
	// A lane that gave its whole share may have more.
	return events, ids, cut || len(events) >= share, nil
}

func (t *Tailer) failed(err error) {
	t.stats.mu.Lock()
	t.stats.mu.err = err
	t.stats.mu.Unlock()
}

// reached notes up to when all was handed over: of this tailer's lanes, that is.
func (t *Tailer) reached(began time.Time, events []cdc.Event, cut bool) {
	if cut {
		began = events[0].Time
	}
	t.stats.mu.Lock()
	if began.After(t.stats.mu.fresh) {
		t.stats.mu.fresh = began
	}
	t.stats.mu.Unlock()
}

// Stats implements cdc.Source. Fresh is of the keys that this tailer has at the time.
func (t *Tailer) Stats() cdc.Stats {
	s := &t.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	return cdc.Stats{
		Connected: s.connected.Load(), LastError: s.mu.err, Fresh: s.mu.fresh, Events: s.events.Load(), Batches: s.batches.Load(),
		Retries: s.retries.Load(), Sessions: s.sessions.Load(), SessionFailures: s.failures.Load(),
	}
}
