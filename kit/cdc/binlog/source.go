package binlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	"github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/yumen-io/yumen/kit/cdc"
	"github.com/yumen-io/yumen/kit/cdc/internal/handover"
)

// Source follows one server. It is a cdc.Source.
type Source struct {
	config  Config
	filter  *filter
	running atomic.Bool
	stats   counters

	// Owned by Run.
	handle    cdc.Handler
	saved     time.Time      // when the checkpoint was saved
	at        cdc.Checkpoint // what has been handled
	known     bool           // at is a place to go on from
	dirty     dirt
	silent    bool      // a failure has been logged, and not yet its end
	unsaved   bool      // the same of the checkpoint
	freeSince time.Time // when the handler last returned
	met       bool      // the server answered once
}

// dirt is how far the saved checkpoint is behind.
type dirt int

const (
	clean   dirt = iota
	passed       // transactions without followed tables
	handled      // events
)

// idleSave is how often the position is saved that only moved over transactions of others. The purge of binlogs takes
// days, and a cdc.Table in the same server makes such a transaction with each save.
const idleSave = time.Minute

// New checks the configuration and connects to nothing.
func New(config Config) (*Source, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	f, err := newFilter(config.Tables)
	if err != nil {
		return nil, err
	}
	return &Source{config: config, filter: f}, nil
}

// Run implements cdc.Source. It returns an error other than ctx's only before it has followed the server for the first time,
// and only one that waiting does not heal: ErrServer, or a refused login.
func (s *Source) Run(ctx context.Context, handle cdc.Handler) error {
	if !s.running.CompareAndSwap(false, true) {
		return cdc.ErrRunning
	}
	defer s.running.Store(false)
	defer s.stats.connected.Store(false)
	s.handle, s.met, s.silent, s.dirty = handle, false, false, clean
	pause := s.backoff()
	reason, detail, err := s.load(ctx)
	if err != nil {
		return err
	}
	defer s.goodbye(ctx)
	for {
		err := s.session(ctx, &reason, &detail, &pause)
		s.stats.connected.Store(false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !s.met && hopeless(err) {
			return err
		}
		s.stats.sessionFailures.Add(1)
		s.failed(err)
		if err := handover.Sleep(ctx, pause.Next()); err != nil {
			return err
		}
	}
}

func (s *Source) backoff() handover.Backoff {
	return handover.Backoff{Min: s.config.BackoffMin, Max: s.config.BackoffMax}
}

// load reads the checkpoint, and tries again while the store is gone.
func (s *Source) load(ctx context.Context) (cdc.Reason, string, error) {
	pause := s.backoff()
	for {
		at, err := s.config.Checkpoints.Load(ctx)
		switch {
		case errors.Is(err, cdc.ErrBroken):
			s.at, s.known = cdc.Checkpoint{}, false
			return cdc.Start, err.Error(), nil
		case err == nil:
			s.at, s.known = at, at.Origin != ""
			if !s.known {
				return cdc.Start, "there is no checkpoint", nil
			}
			return "", "", nil
		case ctx.Err() != nil:
			return "", "", ctx.Err()
		}
		s.failed(err)
		if err := handover.Sleep(ctx, pause.Next()); err != nil {
			return "", "", err
		}
	}
}

// session connects, settles where to go on, and reads until something fails. If reason is set, what the checkpoint says
// cannot be used, and an epoch has to be told before anything else; it is emptied when that is done.
func (s *Source) session(ctx context.Context, reason *cdc.Reason, detail *string, pause *handover.Backoff) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server, err := probe(ctx, &s.config)
	if err != nil {
		return err
	}
	err = s.settle(ctx, server, reason, detail)
	_ = server.conn.Close()
	if err != nil {
		return err
	}
	err = s.follow(ctx, server, pause)
	if why, is := lost(err); is {
		*reason, *detail = why, err.Error()
	}
	return err
}

func (s *Source) settle(ctx context.Context, server *server, reason *cdc.Reason, detail *string) error {
	if *reason == "" {
		why, what, err := server.judge(s.at)
		if err != nil {
			return err
		}
		*reason, *detail = why, what
	}
	if !s.met {
		cascades, err := server.cascades(s.filter)
		if err != nil {
			return err
		}
		if len(cascades) > 0 {
			s.config.Logger.Warn("rows that foreign keys change are not in the binlog", slog.String("source", s.config.Name),
				slog.Any("constraints", cascades))
		}
	}
	s.met = true
	if *reason == "" {
		return nil
	}
	// First the place, then the epoch: whoever reads the database after the epoch sees all that was before the place.
	at, err := server.present()
	if err != nil {
		return err
	}
	at.Epoch = s.nextEpoch()
	s.config.Logger.Warn("changes may be missing and an epoch begins", slog.String("source", s.config.Name),
		slog.String("reason", string(*reason)), slog.String("detail", *detail), slog.Uint64("epoch", at.Epoch))
	now := s.config.Clock()
	event := cdc.Event{Source: s.config.Name, Kind: cdc.Epoch, Reason: *reason, Detail: *detail, Time: now.UTC(), Epoch: at.Epoch, Last: true}
	if err := s.deliver(ctx, []cdc.Event{event}); err != nil {
		return err
	}
	s.at, s.known, s.dirty = at, true, handled
	*reason, *detail = "", ""
	s.stats.reached(now, at)
	s.save(ctx)
	return nil
}

// nextEpoch grows even if the checkpoint was lost, as time does.
func (s *Source) nextEpoch() uint64 {
	s.stats.epochs.Add(1)
	s.at.Epoch = max(s.at.Epoch+1, uint64(max(0, s.config.Clock().UnixMilli())))
	return s.at.Epoch
}

// inbox carries events from the library's goroutine to ours, and holds that up when it is full.
type inbox struct {
	ctx    context.Context
	events chan *replication.BinlogEvent
}

// inboxEvents is how many events of the binlog wait: each is some 8 kB, or one row.
const inboxEvents = 64

func (i *inbox) HandleEvent(e *replication.BinlogEvent) error {
	select {
	case i.events <- e:
		return nil
	case <-i.ctx.Done():
		return i.ctx.Err()
	}
}

// follow reads the binlog from s.at on.
func (s *Source) follow(ctx context.Context, server *server, pause *handover.Backoff) error {
	ctx, cancel := context.WithCancel(ctx)
	position, err := mysql.ParseGTIDSet(server.flavor, s.at.Position)
	if err != nil {
		cancel()
		return fmt.Errorf("binlog: the checkpoint's position: %w", err)
	}
	// The library's goroutine has a filter of its own.
	decode, err := newFilter(s.config.Tables)
	if err != nil {
		cancel()
		return err
	}
	in := &inbox{ctx: ctx, events: make(chan *replication.BinlogEvent, inboxEvents)}
	syncer := replication.NewBinlogSyncer(s.syncerConfig(ctx, server, in, decode))
	failures := make(chan error, 1)
	var reader sync.WaitGroup
	defer func() {
		cancel()
		syncer.Close()
		reader.Wait()
	}()
	streamer, err := syncer.StartSyncGTID(position.Clone())
	if err != nil {
		return fmt.Errorf("binlog: asking for the binlog: %w", err)
	}
	reader.Go(func() {
		_, err := streamer.GetEvent(ctx)
		failures <- err
	})
	t := &transactions{
		source: s.config.Name, filter: s.filter, charsets: server.charsets, local: time.Local, epoch: s.nextEpoch, epochNo: s.at.Epoch,
		done: position, file: s.at.File, offset: s.at.Offset,
	}
	return s.read(ctx, in.events, failures, t, server.origin, pause)
}

func (s *Source) syncerConfig(ctx context.Context, server *server, in *inbox, decode *filter) replication.BinlogSyncerConfig {
	host, port, _ := net.SplitHostPort(s.config.Addr)
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		number = 3306
	}
	return replication.BinlogSyncerConfig{
		ServerID: s.config.ServerID, Flavor: server.flavor, Host: host, Port: uint16(number), User: s.config.User, Password: s.config.Password,
		TLSConfig: s.config.TLS, Logger: slog.New(slog.DiscardHandler), Dialer: dialer(ctx, s.config.Silence),
		HeartbeatPeriod: s.config.Silence / 3, TimestampStringLocation: time.UTC, VerifyChecksum: true,
		// The library would go on by itself from what it has read; we go on from what was handled.
		DisableRetrySync: true, DiscardGTIDSet: true, SynchronousEventHandler: in, EventCacheCount: 1,
		// MariaDB from 11.4 leaves places out.
		FillZeroLogPos: server.flavor == mysql.MariaDBFlavor && leavesPlacesOut(server.version),
		RowsEventDecodeFunc: func(e *replication.RowsEvent, data []byte) error {
			at, err := e.DecodeHeader(data)
			if err != nil || !decode.follows(string(e.Table.Schema), string(e.Table.Table)) {
				return err
			}
			return e.DecodeData(at, data)
		},
		Option: func(c *client.Conn) error {
			// A server gives up on a reader that takes nothing for this long, and a handler may be slow.
			_, err := c.Execute("SET SESSION net_write_timeout=3600")
			return err
		},
	}
}

func leavesPlacesOut(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return err1 == nil && err2 == nil && (a > 11 || a == 11 && b >= 4)
}

// read hands over what comes, in batches that end with a transaction or are full.
func (s *Source) read(ctx context.Context, events <-chan *replication.BinlogEvent, failures <-chan error, t *transactions, origin string, pause *handover.Backoff) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var e *replication.BinlogEvent
		select {
		case e = <-events:
		default:
			// Nothing waits: what is whole is not kept waiting either.
			if !t.open {
				if err := s.flush(ctx, t, origin); err != nil {
					return err
				}
			}
			select {
			case e = <-events:
			case err := <-failures:
				return fmt.Errorf("binlog: reading: %w", err)
			case <-tick.C:
				s.saveIfDue(ctx)
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s.alive(pause)
		if _, is := e.Event.(*replication.HeartbeatEvent); is {
			// The server sends one when it has nothing else to send. After a slow handler it may be an old one.
			now, period := s.config.Clock(), s.config.Silence/3
			if !t.open && len(t.pending) == 0 && len(events) == 0 && now.Sub(s.freeSince) > period {
				s.stats.reached(now.Add(-period), s.at)
			}
			continue
		}
		if err := t.add(e); err != nil {
			return &undecodable{err}
		}
		if err := s.relieve(ctx, t, origin); err != nil {
			return err
		}
	}
}

// relieve hands over when a batch is full: first the whole transactions, then parts of one that alone is too large.
func (s *Source) relieve(ctx context.Context, t *transactions, origin string) error {
	full := func() bool {
		return len(t.pending) > s.config.BatchEvents || t.bytes >= s.config.BatchBytes && len(t.pending) > 0
	}
	if full() && t.whole > 0 {
		if err := s.part(ctx, t, t.whole, origin); err != nil {
			return err
		}
	}
	// The last one stays until it is known whether it is the last of its transaction.
	for t.open && full() && len(t.pending) > 1 {
		if err := s.part(ctx, t, min(s.config.BatchEvents, len(t.pending)-1), origin); err != nil {
			return err
		}
	}
	return nil
}

// flush hands over all that is pending, which ends with a transaction, and moves the position.
func (s *Source) flush(ctx context.Context, t *transactions, origin string) error {
	for len(t.pending) > 0 {
		if err := s.part(ctx, t, min(s.config.BatchEvents, len(t.pending)), origin); err != nil {
			return err
		}
	}
	if t.moved {
		s.move(t, origin)
		s.dirty = max(s.dirty, passed)
	}
	return nil
}

// part hands over the first n events.
func (s *Source) part(ctx context.Context, t *transactions, n int, origin string) error {
	if err := s.deliver(ctx, t.pending[:n:n]); err != nil {
		return err
	}
	// The handler has the array now.
	t.pending = append([]cdc.Event(nil), t.pending[n:]...)
	t.whole = max(0, t.whole-n)
	t.bytes = 0
	if t.whole > 0 {
		return nil
	}
	s.move(t, origin)
	s.dirty = handled
	if s.config.CheckpointEvery == 0 || s.config.Clock().Sub(s.saved) >= s.config.CheckpointEvery {
		s.save(ctx)
	}
	return nil
}

// move notes the end of the last whole transaction as handled.
func (s *Source) move(t *transactions, origin string) {
	if !t.moved {
		return
	}
	t.moved = false
	s.at = cdc.Checkpoint{Position: t.done.String(), Origin: origin, File: t.file, Offset: t.offset, Epoch: s.at.Epoch}
	s.stats.reached(t.wholeTime, s.at)
}

func (s *Source) deliver(ctx context.Context, events []cdc.Event) error {
	err := handover.Deliver(ctx, s.handle, events, s.backoff(), func(err error, times int) {
		s.stats.retries.Add(1)
		if times == 1 {
			s.config.Logger.Warn("handler failed and gets the same events again", slog.String("source", s.config.Name), slog.Any("error", err))
		}
		s.stats.failed(err)
	})
	if err != nil {
		return err
	}
	s.freeSince = s.config.Clock()
	s.stats.failed(nil)
	s.stats.events.Add(uint64(len(events)))
	s.stats.batches.Add(1)
	return nil
}

// alive notes that the server sends.
func (s *Source) alive(pause *handover.Backoff) {
	if s.stats.connected.Swap(true) {
		return
	}
	pause.Reset()
	s.stats.sessions.Add(1)
	s.stats.failed(nil)
	if s.silent {
		s.silent = false
		s.config.Logger.Info("server is followed again", slog.String("source", s.config.Name))
	}
}

func (s *Source) failed(err error) {
	s.stats.failed(err)
	if !s.silent {
		s.silent = true
		s.config.Logger.Warn("server cannot be followed and is tried again", slog.String("source", s.config.Name), slog.Any("error", err))
	}
}

func (s *Source) saveIfDue(ctx context.Context) {
	since := s.config.Clock().Sub(s.saved)
	if s.dirty == handled && since >= s.config.CheckpointEvery || s.dirty == passed && since >= idleSave {
		s.save(ctx)
	}
}

// save saves what was handled. That it fails holds nothing up: the next one is tried within a second, and a crash before
// that repeats events.
func (s *Source) save(ctx context.Context) {
	s.saved = s.config.Clock()
	if err := s.config.Checkpoints.Save(ctx, s.at); err != nil {
		s.stats.failed(err)
		if s.stats.checkpointFailures.Add(1); !s.unsaved {
			s.unsaved = true
			s.config.Logger.Warn("checkpoint cannot be saved and is tried again", slog.String("source", s.config.Name), slog.Any("error", err))
		}
		return
	}
	s.unsaved = false
	s.dirty = clean
	s.stats.checkpoints.Add(1)
}

// goodbyeMax is how long the last save may take after ctx has ended.
const goodbyeMax = 2 * time.Second

func (s *Source) goodbye(ctx context.Context) {
	if s.dirty == clean {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeMax)
	defer cancel()
	s.save(ctx)
}

// undecodable is a part of the binlog that cannot be read.
type undecodable struct{ error }

func (u *undecodable) Unwrap() error { return u.error }

// lost tells errors after which asking again brings the same error.
func lost(err error) (cdc.Reason, bool) {
	var u *undecodable
	var event *replication.EventError
	var said *mysql.MyError
	switch {
	case errors.As(err, &u), errors.As(err, &event), err != nil && strings.Contains(err.Error(), "panic "):
		return cdc.Undecodable, true
	case errors.As(err, &said) && said.Code == mysql.ER_MASTER_FATAL_ERROR_READING_BINLOG:
		// Two replicas with one number get this code too, and there asking again helps.
		if strings.Contains(said.Message, "same server_") {
			return "", false
		}
		return cdc.Gap, true
	}
	return "", false
}

// hopeless tells errors that a person has to do something about.
func hopeless(err error) bool {
	if errors.Is(err, ErrServer) {
		return true
	}
	var said *mysql.MyError
	if !errors.As(err, &said) {
		return false
	}
	switch said.Code {
	case mysql.ER_ACCESS_DENIED_ERROR, mysql.ER_DBACCESS_DENIED_ERROR, mysql.ER_SPECIFIC_ACCESS_DENIED_ERROR, mysql.ER_HOST_NOT_PRIVILEGED:
		return true
	}
	return false
}
