package shard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// MoverConfig is what a Mover needs.
type MoverConfig struct {
	// Router is one with a Store. Required.
	Router *Router
	// ChunkRows is how many rows of a table are looked at while the slot's writers wait: 10 to 100,000. Default: 2,000.
	ChunkRows int
	// PauseMax bounds how long the slot's writers wait for the comparison before the switch: up to 10 minutes. It has to
	// suffice for reading the two tables of each name. Default: 10 s.
	PauseMax time.Duration
	// Rounds is how many times copy and comparison are tried while they end with a difference or PauseMax: 1 to 100.
	// Default: 3.
	Rounds int
	// Logger is told of each phase. Default: slog.Default().
	Logger *slog.Logger

	// crash stands before each persisted step, and ends the mover there.
	crash func(step string) error
	// wait stands in for the wait of ReadLease.
	wait func(ctx context.Context, d time.Duration) error
}

// Mover moves slots. It keeps nothing that is not in the store or in the databases: any other Mover, in any process, goes
// on where one has ended, and two at the same move hurt nobody. Methods may be called by any goroutine.
type Mover struct {
	r         *Router
	store     Store
	dialect   Dialect
	chunkRows int
	pauseMax  time.Duration
	rounds    int
	logger    *slog.Logger
	crash     func(string) error
	wait      func(context.Context, time.Duration) error
}

// Report is what a move did.
type Report struct {
	Rows     int // of the slot, at the comparison before the switch
	Checksum uint64
	Copied   int // rows that were written to the new place, also to repair it
	Removed  int // rows that were too many at the new place
	Cleaned  int // rows that were removed at the old place
	Rounds   int
	Pause    time.Duration // for which writers waited for the comparison and the switch
}

// NewMover makes a Mover. The error names each field that is wrong.
func NewMover(cfg MoverConfig) (*Mover, error) {
	var errs []error
	if cfg.Router == nil || cfg.Router.store == nil {
		errs = append(errs, errors.New("the Router must be set and have a Store"))
	}
	number := func(name string, n *int, low, high, by int) {
		if *n == 0 {
			*n = by
		}
		if *n < low || *n > high {
			errs = append(errs, fmt.Errorf("%s is %d and must be %d to %d", name, *n, low, high))
		}
	}
	number("ChunkRows", &cfg.ChunkRows, 10, 100_000, 2000)
	number("Rounds", &cfg.Rounds, 1, 100, 3)
	if cfg.PauseMax == 0 {
		cfg.PauseMax = 10 * time.Second
	}
	if cfg.PauseMax < 0 || cfg.PauseMax > 10*time.Minute {
		errs = append(errs, fmt.Errorf("PauseMax is %s and must be up to 10m", cfg.PauseMax))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("shard: mover: %w", errors.Join(errs...))
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.crash == nil {
		cfg.crash = func(string) error { return nil }
	}
	if cfg.wait == nil {
		cfg.wait = waitFor
	}
	return &Mover{
		r: cfg.Router, store: cfg.Router.store, dialect: cfg.Router.dialect, chunkRows: cfg.ChunkRows, pauseMax: cfg.PauseMax,
		rounds: cfg.Rounds, logger: cfg.Logger, crash: cfg.crash, wait: cfg.wait,
	}, nil
}

func waitFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Move takes a slot to another place, and returns when nothing of it is left at the old one. When it fails, the slot is
// served as before, by whichever place has it, and calling Move again goes on: that is also what to do after a crash.
// ErrMoving: the slot is on its way to somewhere else, or on its way back. ErrDiffers: after Rounds, both places still
// were not the same; the slot has not been switched.
func (m *Mover) Move(ctx context.Context, slot int, to Place) (Report, error) {
	if err := m.r.Refresh(ctx); err != nil {
		return Report{}, err
	}
	at := m.r.Map()
	if slot < 0 || slot >= at.Slots() || to.Database < 0 || to.Database >= at.databases || to.Table < 0 || to.Table >= at.tables {
		return Report{}, fmt.Errorf("shard: moving slot %d to %s: one of them is not in the map: %w", slot, to, ErrMap)
	}
	if _, moving := at.Move(slot); !moving && at.places[slot] == to {
		return Report{}, nil
	}
	if err := m.comparable(ctx, at, slot, to); err != nil {
		return Report{}, err
	}
	if err := m.crash("before the move is in the map"); err != nil {
		return Report{}, err
	}
	v, err := m.change(ctx, slot, func(old *Map) (*Map, error) {
		v, moving := old.Move(slot)
		switch {
		case moving && v.To != to || moving && v.Phase == Aborting:
			return nil, fmt.Errorf("shard: slot %d is %s from %s to %s: %w", slot, v.Phase, v.From, v.To, ErrMoving)
		case moving || old.places[slot] == to:
			return nil, nil
		}
		return old.withMove(Move{Slot: slot, From: old.places[slot], To: to, Phase: Copying, Epoch: old.version + 1}), nil
	})
	if err != nil || v == nil {
		return Report{}, err
	}
	return m.run(ctx, *v)
}

// Resume goes on with all moves of the map, one after another, those that were being aborted included.
func (m *Mover) Resume(ctx context.Context) error {
	if err := m.r.Refresh(ctx); err != nil {
		return err
	}
	var errs []error
	for _, v := range m.r.Map().Moves() {
		var err error
		if v.Phase == Aborting {
			err = m.Abort(ctx, v.Slot)
		} else {
			_, err = m.run(ctx, v)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// run takes a move through its phases.
func (m *Mover) run(ctx context.Context, v Move) (rep Report, err error) {
	if v.Phase != Cleaning {
		if err := m.open(ctx, v); err != nil {
			return rep, err
		}
		m.logger.Info("shard: a slot is moving", "slot", v.Slot, "from", v.From.String(), "to", v.To.String(), "epoch", v.Epoch)
		if err := m.copyAndSwitch(ctx, v, &rep); err != nil {
			return rep, err
		}
		if err := m.crash("before the new place is in the map"); err != nil {
			return rep, err
		}
		if _, err := m.phase(ctx, v, Cleaning); err != nil {
			return rep, err
		}
		m.logger.Info("shard: a slot is switched", "slot", v.Slot, "to", v.To.String(), "rows", rep.Rows, "pause", rep.Pause)
	}
	// Whoever loaded the map before reads at the old place for as long.
	if err := m.wait(ctx, ReadLease); err != nil {
		return rep, err
	}
	if err := m.clean(ctx, v, v.From, fenceGone, &rep.Cleaned); err != nil {
		return rep, err
	}
	if err := m.crash("before the move is out of the map"); err != nil {
		return rep, err
	}
	_, err = m.change(ctx, v.Slot, func(old *Map) (*Map, error) {
		if now, ok := old.Move(v.Slot); !ok || now.Epoch != v.Epoch {
			return nil, nil
		}
		return old.withoutMove(v.Slot), nil
	})
	return rep, err
}

// change stores what edit makes of the stored map, and returns the slot's move in it. Where edit returns nil, nothing is
// to be done any more: somebody was here before, perhaps this call, when an answer was lost.
func (m *Mover) change(ctx context.Context, slot int, edit func(*Map) (*Map, error)) (*Move, error) {
	const tries = 20 // others change the map for their moves
	for range tries {
		old, err := m.store.Load(ctx)
		if err != nil {
			return nil, err
		}
		now, err := edit(old)
		if err != nil {
			return nil, err
		}
		if now != nil {
			if err := m.store.Swap(ctx, now); errors.Is(err, ErrStaleMap) {
				continue
			} else if err != nil {
				return nil, err
			}
		} else {
			now = old
		}
		if err := m.r.Refresh(ctx); err != nil {
			return nil, err
		}
		if v, ok := now.Move(slot); ok {
			return &v, nil
		}
		return nil, nil
	}
	return nil, fmt.Errorf("shard: the map changed %d times meanwhile: %w", tries, ErrStaleMap)
}

// phase notes a phase of the move v.
func (m *Mover) phase(ctx context.Context, v Move, p Phase) (*Move, error) {
	return m.change(ctx, v.Slot, func(old *Map) (*Map, error) {
		now, ok := old.Move(v.Slot)
		switch {
		case !ok && old.places[v.Slot] == v.To, ok && now.Phase == p, ok && now.Phase == Cleaning:
			return nil, nil
		case !ok || now.Epoch != v.Epoch || now.Phase == Aborting:
			return nil, fmt.Errorf("shard: the move of slot %d was aborted: %w", v.Slot, ErrMoving)
		}
		now.Phase = p
		return old.withMove(now), nil
	})
}

// open sets the fences from which on writes go to both places: first the new one is ready, then the old one says so.
func (m *Mover) open(ctx context.Context, v Move) error {
	if err := m.crash("before the fence of the new place"); err != nil {
		return err
	}
	err := m.fenced(ctx, v, func(b *both) error {
		switch {
		case b.fence[atOld].epoch > v.Epoch || b.fence[atNew].epoch > v.Epoch || b.fence[atNew].epoch == v.Epoch && b.fence[atNew].state == fenceGone:
			return fmt.Errorf("shard: the move of slot %d was ended by somebody else: %w", v.Slot, ErrMoving)
		case b.fence[atNew].state == fenceOwner && b.fence[atOld].state != fenceGone:
			return fmt.Errorf("shard: slot %d is owned at %s already: %w", v.Slot, v.To, ErrMap)
		case b.fence[atOld].state != fenceOwner && b.fence[atOld].epoch != v.Epoch:
			return fmt.Errorf("shard: slot %d is not owned at %s; was Setup called? %w", v.Slot, v.From, ErrNotHere)
		case b.fence[atOld].state == fenceGone, b.fence[atNew].state == fenceTarget && b.fence[atNew].epoch == v.Epoch:
			return nil
		}
		return m.dialect.writeFence(ctx, b.tx[atNew], v.Slot, v.To.Table, fence{fenceTarget, v.Epoch, v.From})
	})
	if err != nil {
		return err
	}
	if err := m.crash("before the fence of the old place"); err != nil {
		return err
	}
	return m.fenced(ctx, v, func(b *both) error {
		if b.fence[atOld].state != fenceOwner {
			return nil
		}
		if b.fence[atNew].state != fenceTarget || b.fence[atNew].epoch != v.Epoch {
			return fmt.Errorf("shard: the move of slot %d was aborted: %w", v.Slot, ErrMoving)
		}
		return m.dialect.writeFence(ctx, b.tx[atOld], v.Slot, v.From.Table, fence{fenceSource, v.Epoch, v.To})
	})
}

// copyAndSwitch ends with the new place as the owner.
func (m *Mover) copyAndSwitch(ctx context.Context, v Move, rep *Report) error {
	var last error
	for rep.Rounds = 1; rep.Rounds <= m.rounds; rep.Rounds++ {
		gone, err := m.copy(ctx, v, rep)
		if err != nil {
			return err
		}
		if !gone {
			if err := m.crash("before the phase verifying is in the map"); err != nil {
				return err
			}
			if _, err := m.phase(ctx, v, Verifying); err != nil {
				return err
			}
			last = m.verifyAndLeave(ctx, v, rep)
			if errors.Is(last, ErrDiffers) || errors.Is(last, context.DeadlineExceeded) && ctx.Err() == nil {
				m.logger.Warn("shard: a slot is not switched yet", "slot", v.Slot, "round", rep.Rounds, "error", last)
				continue
			}
			if last != nil {
				return last
			}
		}
		if err := m.crash("before the new place is the owner"); err != nil {
			return err
		}
		return m.fenced(ctx, v, func(b *both) error {
			if b.fence[atOld].state != fenceGone || b.fence[atOld].epoch != v.Epoch {
				return fmt.Errorf("shard: the move of slot %d was aborted: %w", v.Slot, ErrMoving)
			}
			if b.fence[atNew].state != fenceTarget || b.fence[atNew].epoch != v.Epoch {
				return nil // done, by whoever was faster
			}
			return m.dialect.writeFence(ctx, b.tx[atNew], v.Slot, v.To.Table, fence{fenceOwner, v.Epoch, v.To})
		})
	}
	rep.Rounds = m.rounds
	return fmt.Errorf("shard: slot %d stays at %s after %d rounds: %w", v.Slot, v.From, m.rounds, last)
}

// verifyAndLeave compares both places while nobody can write to the slot, and if they are the same, the old place has it
// no more. Between this and the next step nobody has it, which is a moment unless the mover dies there.
func (m *Mover) verifyAndLeave(ctx context.Context, v Move, rep *Report) error {
	ctx, cancel := context.WithTimeout(ctx, m.pauseMax)
	defer cancel()
	began := m.r.now()
	err := m.fenced(ctx, v, func(b *both) error {
		if b.fence[atOld].state == fenceGone && b.fence[atOld].epoch == v.Epoch {
			return nil
		}
		if err := b.inMove(v); err != nil {
			return err
		}
		rep.Rows, rep.Checksum = 0, 0
		for _, t := range m.r.order {
			for c := startOf(t); !c.done; {
				d, err := m.compare(ctx, b, v, &c)
				if err != nil {
					return err
				}
				if !d.same() {
					// A repair here, where it cannot be undone by a writer, and a second look.
					if err := m.repair(ctx, b, v, &c, &d, rep); err != nil {
						return err
					}
					if d, err = m.compareAgain(ctx, b, v, c); err != nil {
						return err
					}
					if !d.same() {
						return fmt.Errorf("shard: slot %d, table %s, ids %d to %d: %d rows with checksum %016x at %s, %d with %016x at %s: %w",
							v.Slot, t.Name, c.from, c.to, d.count[atOld], d.sum[atOld], v.From, d.count[atNew], d.sum[atNew], v.To, ErrDiffers)
					}
				}
				rep.Rows += d.count[atOld]
				rep.Checksum ^= d.sum[atOld]
				c.next()
			}
		}
		if err := m.crash("before the old place is gone"); err != nil {
			return err
		}
		return m.dialect.writeFence(ctx, b.tx[atOld], v.Slot, v.From.Table, fence{fenceGone, v.Epoch, v.To})
	})
	rep.Pause = m.r.now().Sub(began)
	return err
}

// Abort ends a move that has not switched: the slot stays where it was, and what was copied is removed. Like Move it can
// be called again after a crash. ErrSwitched: too late; let Move end, and move it back.
func (m *Mover) Abort(ctx context.Context, slot int) error {
	if err := m.r.Refresh(ctx); err != nil {
		return err
	}
	v, ok := m.r.Map().Move(slot)
	if !ok {
		return nil
	}
	// The fence of the old place decides whether the move or its end was first.
	err := m.fenced(ctx, v, func(b *both) error {
		switch f := b.fence[atOld]; {
		case f.state == fenceGone && f.epoch == v.Epoch:
			return fmt.Errorf("shard: slot %d: %w", slot, ErrSwitched)
		case f.state == fenceSource && f.epoch == v.Epoch:
			return m.dialect.writeFence(ctx, b.tx[atOld], slot, v.From.Table, fence{fenceOwner, v.Epoch, v.From})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := m.crash("before the phase aborting is in the map"); err != nil {
		return err
	}
	if _, err := m.change(ctx, slot, func(old *Map) (*Map, error) {
		now, ok := old.Move(slot)
		if !ok || now.Epoch != v.Epoch || now.Phase == Aborting {
			return nil, nil
		}
		if now.Phase == Cleaning {
			return nil, fmt.Errorf("shard: slot %d: %w", slot, ErrSwitched)
		}
		now.Phase = Aborting
		return old.withMove(now), nil
	}); err != nil {
		return err
	}
	if err := m.crash("before the new place is let go"); err != nil {
		return err
	}
	err = m.fenced(ctx, v, func(b *both) error {
		switch f := b.fence[atOld]; {
		case f.state == fenceGone && f.epoch == v.Epoch:
			return fmt.Errorf("shard: slot %d: %w", slot, ErrSwitched)
		case f.state == fenceSource && f.epoch == v.Epoch:
			// Another mover opened it in between; it will find the phase.
			if err := m.dialect.writeFence(ctx, b.tx[atOld], slot, v.From.Table, fence{fenceOwner, v.Epoch, v.From}); err != nil {
				return err
			}
		}
		// Also where it was never opened, so that a mover that is late does not open it any more.
		if f := b.fence[atNew]; f.epoch <= v.Epoch && f.state != fenceOwner {
			return m.dialect.writeFence(ctx, b.tx[atNew], slot, v.To.Table, fence{fenceGone, v.Epoch, v.From})
		}
		return nil
	})
	if err != nil {
		return err
	}
	removed := 0
	if err := m.clean(ctx, v, v.To, fenceGone, &removed); err != nil {
		return err
	}
	if err := m.crash("before the aborted move is out of the map"); err != nil {
		return err
	}
	_, err = m.change(ctx, slot, func(old *Map) (*Map, error) {
		if now, ok := old.Move(slot); !ok || now.Epoch != v.Epoch {
			return nil, nil
		}
		return old.withoutMove(slot), nil
	})
	return err
}

// Grow makes the map know of more databases, which have no slot before one is moved there. All processes must have been
// given them (Config.Databases) before; one that has not keeps its old map and finds no slot that moves there.
func (m *Mover) Grow(ctx context.Context, databases int) error {
	if databases > len(m.r.databases) {
		return fmt.Errorf("shard: %d databases are wanted and %d are in Config.Databases: %w", databases, len(m.r.databases), ErrMap)
	}
	_, err := m.change(ctx, -1, func(old *Map) (*Map, error) {
		if databases <= old.databases {
			return nil, nil
		}
		now := old.next()
		now.databases = databases
		for n := old.databases; n < databases; n++ {
			if err := m.r.setupDatabase(ctx, n, now); err != nil {
				return nil, err
			}
		}
		return now, now.validateSize(now.Slots())
	})
	return err
}

// The two ends of a move, as indexes.
const (
	atOld = 0
	atNew = 1
)

// both are transactions at the two places of a move, each with the fence of the slot locked for it alone.
type both struct {
	tx    [2]*sql.Tx // the same one where both places are in one database
	fence [2]fence
}

func (b *both) inMove(v Move) error {
	for at, want := range []fenceState{fenceSource, fenceTarget} {
		if b.fence[at].state != want || b.fence[at].epoch != v.Epoch {
			return fmt.Errorf("shard: the move of slot %d was ended by somebody else: %w", v.Slot, ErrMoving)
		}
	}
	return nil
}

// fenced runs f with both fences and commits the new place first, as writers do.
func (m *Mover) fenced(ctx context.Context, v Move, f func(*both) error) error {
	var b both
	for at, p := range []Place{v.From, v.To} {
		if at == atNew && v.From.Database == v.To.Database {
			b.tx[atNew] = b.tx[atOld]
		} else {
			if err := m.r.checkDatabase(ctx, p.Database); err != nil {
				return err
			}
			tx, err := m.r.databases[p.Database].BeginTx(ctx, nil)
			if err != nil {
				return fmt.Errorf("shard: at %s: %w", p, err)
			}
			defer tx.Rollback()
			b.tx[at] = tx
		}
		var err error
		if b.fence[at], err = m.dialect.lockFence(ctx, b.tx[at], v.Slot, p.Table, true); err != nil {
			return fmt.Errorf("shard: locking the fence of slot %d at %s: %w", v.Slot, p, err)
		}
	}
	if err := f(&b); err != nil {
		return err
	}
	if b.tx[atNew] != b.tx[atOld] {
		if err := b.tx[atNew].Commit(); err != nil {
			return fmt.Errorf("shard: committing at %s: %w", v.To, err)
		}
	}
	if err := b.tx[atOld].Commit(); err != nil {
		return fmt.Errorf("shard: committing at %s: %w", v.From, err)
	}
	return nil
}
