package shard

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Tx is a transaction of one shard. It is for the function that it is given to, on one goroutine.
type Tx struct {
	r     *Router
	slot  int
	place Place
	tx    *sql.Tx
	bad   error // of the first statement that failed
	echo  *echo // nil unless the slot is moving and its new place takes writes
}

// echo is the transaction at the new place, in which each statement is repeated.
type echo struct {
	place Place
	tx    *sql.Tx // that of Tx where both places are in one database
	ctx   context.Context
	end   context.CancelFunc
	own   bool
	bad   error
}

// Tx runs f in a transaction of the shard's database and commits it when f returns nil. f gets a context that knows of
// the transaction: with it, any use of this or another shard of the Router is refused. f runs at most once.
//
// While the slot is moving, each statement is repeated at the new place, in the same order for all writers. What fails
// in another database, or is slow there (Config.EchoTimeout), does not fail the transaction: the old place is the truth
// until the switch, and the mover repairs the new one.
//
// Errors: what f returns; that of a statement that failed, also if f went on, because after a deadlock MySQL has already
// rolled back what was before it, the lock of the fence included; ErrNotHere, where nothing was done; ErrUnknown, where the commit had no answer.
func (s Shard) Tx(ctx context.Context, f func(ctx context.Context, tx *Tx) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	if s.slot < 0 {
		return fmt.Errorf("shard: a place of All is for reading; write by key: %w", ErrNoSlot)
	}
	t, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer t.rollback()
	if err := f(context.WithValue(ctx, inTx{}, t), t); err != nil {
		return err
	}
	if t.bad != nil {
		return fmt.Errorf("shard: a statement of the transaction failed: %w", t.bad)
	}
	return t.commit()
}

// begin finds the place whose fence accepts writes and locks it.
func (s Shard) begin(ctx context.Context) (*Tx, error) {
	s.r.writes.Add(1)
	alone := false
	refreshed := false
	for range hopsMax {
		v, err := s.r.loaded(ctx)
		if err != nil {
			return nil, err
		}
		p := v.place(s.slot)
		if err := s.r.checkDatabase(ctx, p.Database); err != nil {
			return nil, err
		}
		tx, err := s.r.databases[p.Database].BeginTx(ctx, nil)
		if err != nil {
			return nil, err
		}
		t := &Tx{r: s.r, slot: s.slot, place: p, tx: tx}
		if s.r.store == nil {
			return t, nil
		}
		f, err := s.r.dialect.lockFence(ctx, tx, s.slot, p.Table, alone)
		if err != nil {
			_ = tx.Rollback()
			return nil, fmt.Errorf("shard: locking the fence of slot %d at %s: %w", s.slot, p, err)
		}
		switch {
		case f.state == fenceOwner:
			return t, nil
		case f.state == fenceSource && (alone || s.r.dialect == SQLite):
			t.beginEcho(ctx, f)
			return t, nil
		}
		_ = tx.Rollback()
		switch f.state {
		case fenceSource:
			alone = true // from the start: two that share it and both want it alone wait for each other
		case fenceGone:
			if err := s.r.follow(ctx, s.slot, f); err != nil {
				return nil, err
			}
		default: // the switch is half done, or the map is older than the last move here
			if refreshed {
				return nil, s.notHere(p)
			}
			refreshed = true
			if err := s.r.Refresh(ctx); err != nil {
				return nil, err
			}
		}
	}
	return nil, s.notHere(s.Place())
}

// beginEcho opens the transaction at the new place, if that is to be had.
func (t *Tx) beginEcho(ctx context.Context, f fence) {
	if f.to.Database == t.place.Database {
		t.echo = &echo{place: f.to, tx: t.tx, ctx: ctx, end: func() {}}
		t.r.echoes.Add(1)
		return
	}
	if until, ok := t.r.pause.Load(t.slot); ok && t.r.now().Before(until.(time.Time)) {
		t.r.echoFailures.Add(1)
		return
	}
	e := &echo{place: f.to, own: true}
	// The transaction ends with its context, so the context lives until the commit.
	e.ctx, e.end = context.WithTimeout(ctx, t.r.echoMax)
	err := t.r.checkDatabase(e.ctx, f.to.Database)
	if err == nil {
		e.tx, err = t.r.databases[f.to.Database].BeginTx(e.ctx, nil)
	}
	if err == nil {
		var g fence
		if g, err = t.r.dialect.lockFence(e.ctx, e.tx, t.slot, f.to.Table, true); err == nil && (g.state != fenceTarget || g.epoch != f.epoch) {
			err = fmt.Errorf("shard: slot %d at %s: %w", t.slot, f.to, ErrNotHere)
		}
	}
	t.echo = e
	t.r.echoes.Add(1)
	if err != nil {
		t.dropEcho(err)
	}
}

// dropEcho goes on without the new place.
func (t *Tx) dropEcho(err error) {
	e := t.echo
	if e == nil || e.bad != nil {
		return
	}
	e.bad = err
	t.r.echoFailures.Add(1)
	if e.own {
		if e.tx != nil {
			_ = e.tx.Rollback()
		}
		if e.ctx.Err() != nil {
			// It hangs or is gone: whoever writes next shall not wait as long.
			t.r.pause.Store(t.slot, t.r.now().Add(echoPause))
		}
		e.end()
	}
}

// Exec runs a statement. Its result is that of the place that is the truth; there is no LastInsertId to rely on across a
// move, so make ids before (kit/id). Values that the database makes, NOW() or a random one, differ between the places and
// cost the mover a repair: pass them as arguments.
func (t *Tx) Exec(ctx context.Context, statement string, args ...any) (sql.Result, error) {
	text, err := t.r.render(statement, t.place.Table)
	if err != nil {
		return nil, err
	}
	if t.bad != nil {
		return nil, t.bad
	}
	res, err := t.tx.ExecContext(ctx, text, args...)
	if err != nil {
		t.bad = err
		return nil, err
	}
	if t.echo == nil || t.echo.bad != nil {
		return res, nil
	}
	if text, err = t.r.render(statement, t.echo.place.Table); err != nil {
		return nil, err
	}
	// What is not copied yet is changed here and not there. Counts may differ then, and only the mover can tell.
	if _, err := t.echo.tx.ExecContext(t.echo.ctx, text, args...); err != nil {
		if !t.echo.own {
			t.bad = err
			return nil, err
		}
		t.dropEcho(err)
	}
	return res, nil
}

// Query runs a statement that reads, with what the transaction has written so far.
func (t *Tx) Query(ctx context.Context, statement string, args ...any) (*sql.Rows, error) {
	if !reads(statement, t.r.dialect) {
		return nil, fmt.Errorf("shard: Query is for statements that read: %w", ErrStatement)
	}
	text, err := t.r.render(statement, t.place.Table)
	if err != nil {
		return nil, err
	}
	return t.tx.QueryContext(ctx, text, args...)
}

// QueryRow is Query for one row. Errors come from Scan.
func (t *Tx) QueryRow(ctx context.Context, statement string, args ...any) *Row {
	rows, err := t.Query(ctx, statement, args...)
	return &Row{rows, err}
}

// Place is where the transaction writes; while the slot is moving, where it writes first.
func (t *Tx) Place() Place { return t.place }

// commit commits at the new place first: whoever finds the fence of the old place free afterwards knows that nothing is
// under way at the new one.
func (t *Tx) commit() error {
	if e := t.echo; e != nil && e.own && e.bad == nil {
		if err := e.tx.Commit(); err != nil {
			t.dropEcho(err)
		}
		e.end()
	}
	if err := t.tx.Commit(); err != nil {
		return fmt.Errorf("shard: committing at %s: %w: %w", t.place, ErrUnknown, err)
	}
	return nil
}

func (t *Tx) rollback() {
	if e := t.echo; e != nil && e.own {
		if e.tx != nil {
			_ = e.tx.Rollback()
		}
		e.end()
	}
	_ = t.tx.Rollback()
}
