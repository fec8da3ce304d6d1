package shard

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Shard is where the rows of one key are. It is a small value that stays right when the slot moves: the place is looked up
// each time. Its statements must touch no rows but those of keys of its slot: name the key in each WHERE. Nothing checks
// that, and while the slot moves, what touches others is repeated where it must not.
type Shard struct {
	r     *Router
	slot  int
	place Place // of All, if slot is -1
	all   *view
	err   error
}

// For is the shard of a number, by its hash.
func (r *Router) For(key int64) Shard {
	return r.shardOf(func(m *Map) (int, error) { return Slot(key, m.Slots()), nil })
}

// ForString is the shard of a text, by its hash.
func (r *Router) ForString(key string) Shard {
	return r.shardOf(func(m *Map) (int, error) { return SlotOfString(key, m.Slots()), nil })
}

// ForID is the shard that an id names by its own bits (Config.IDBits).
func (r *Router) ForID(id int64) Shard {
	return r.shardOf(func(*Map) (int, error) { return r.idBits.slot(id) })
}

// shardOf keeps an error for the first use, so that For can stand in the middle of an expression.
func (r *Router) shardOf(slot func(*Map) (int, error)) Shard {
	v, err := r.loaded(context.Background())
	if err != nil {
		return Shard{r: r, slot: -1, err: err}
	}
	n, err := slot(v.m)
	return Shard{r: r, slot: n, err: err}
}

// Same is the shard of several numbers, if all are in one slot. Otherwise the error is ErrCrossShard, also where two slots
// happen to share a table today: tomorrow one may have moved.
func (r *Router) Same(keys ...int64) (Shard, error) {
	if len(keys) == 0 {
		return Shard{}, fmt.Errorf("shard: Same wants at least one key: %w", ErrNoSlot)
	}
	s := r.For(keys[0])
	if s.err != nil {
		return Shard{}, s.err
	}
	for _, key := range keys[1:] {
		if other := r.For(key); other.slot != s.slot {
			return Shard{}, fmt.Errorf("shard: keys %d and %d are in slots %d and %d: %w", keys[0], key, s.slot, other.slot, ErrCrossShard)
		}
	}
	return s, nil
}

// Slot is the slot, or -1 for a shard of All and for one that is in error.
func (s Shard) Slot() int { return s.slot }

// Place is where the slot is by the last map, or where All is.
func (s Shard) Place() Place {
	if s.slot < 0 {
		return s.place
	}
	return s.r.view.Load().place(s.slot)
}

// Owns tells, inside All, whether the rows of a key belong to this place. While a slot moves they are at two places, and
// for some time after; only one of them owns them. Rows that their own bits place: ask OwnsID.
func (s Shard) Owns(key int64) bool { return s.owns(Slot(key, s.r.Map().Slots())) }

// OwnsString is Owns for keys that are text.
func (s Shard) OwnsString(key string) bool { return s.owns(SlotOfString(key, s.r.Map().Slots())) }

// OwnsID is Owns for ids that carry their slot.
func (s Shard) OwnsID(id int64) bool {
	slot, err := s.r.idBits.slot(id)
	return err == nil && slot < s.r.Map().Slots() && s.owns(slot)
}

func (s Shard) owns(slot int) bool {
	if s.slot >= 0 {
		return s.slot == slot
	}
	return s.all != nil && s.all.place(slot) == s.place
}

// inTx marks the context inside a transaction.
type inTx struct{}

// enter checks that a use of the shard stands in no transaction already.
func (s Shard) enter(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	if s.r == nil {
		return fmt.Errorf("shard: the zero Shard: %w", ErrNoSlot)
	}
	if tx, ok := ctx.Value(inTx{}).(*Tx); ok && tx.r == s.r {
		if tx.slot == s.slot {
			return fmt.Errorf("shard: slot %d: %w", s.slot, ErrNested)
		}
		return fmt.Errorf("shard: a transaction of slot %d reaches for slot %d, and cannot be atomic over both; use a saga: %w", tx.slot, s.slot, ErrCrossShard)
	}
	return nil
}

// Exec runs one statement that writes, in a transaction of its own.
func (s Shard) Exec(ctx context.Context, statement string, args ...any) (res sql.Result, err error) {
	err = s.Tx(ctx, func(ctx context.Context, tx *Tx) error {
		res, err = tx.Exec(ctx, statement, args...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// Query runs a statement that reads: SELECT, or WITH without a word that writes. The answer may be as old as ReadLease
// where the slot has moved; one inside of Tx is never old. It is not cut by the end of this call: close the rows.
func (s Shard) Query(ctx context.Context, statement string, args ...any) (*sql.Rows, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	if !reads(statement, s.r.dialect) {
		return nil, fmt.Errorf("shard: Query is for statements that read: %w", ErrStatement)
	}
	for range hopsMax {
		place, from, err := s.readPlace(ctx)
		if err != nil {
			return nil, err
		}
		text, err := s.r.render(statement, place.Table)
		if err != nil {
			return nil, err
		}
		if err := s.r.checkDatabase(ctx, place.Database); err != nil {
			return nil, err
		}
		rows, err := s.r.databases[place.Database].QueryContext(ctx, text, args...)
		if err != nil {
			return nil, err
		}
		if s.slot < 0 || s.r.store == nil || s.r.now().Sub(from) < ReadLease {
			return rows, nil // begun while the rows were surely there; All checks for itself
		}
		_ = rows.Close()
	}
	return nil, fmt.Errorf("shard: slot %d: reads take longer than %s to begin: %w", s.slot, ReadLease, ErrNotHere)
}

// Row is the answer of QueryRow.
type Row struct {
	rows *sql.Rows
	err  error
}

// Scan is sql.Row.Scan: sql.ErrNoRows where there is none, and what is after the first is dropped.
func (r *Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	return r.rows.Close()
}

// QueryRow is Query for one row. Errors come from Scan.
func (s Shard) QueryRow(ctx context.Context, statement string, args ...any) *Row {
	rows, err := s.Query(ctx, statement, args...)
	return &Row{rows, err}
}

// readPlace is where to read and since when that is known.
func (s Shard) readPlace(ctx context.Context) (p Place, since time.Time, err error) {
	if s.slot < 0 {
		return s.place, s.all.at, nil
	}
	for range hopsMax {
		v, fresh, err := s.r.readable(ctx)
		if err != nil {
			return Place{}, since, err
		}
		p := v.place(s.slot)
		if fresh {
			return p, v.at, nil
		}
		// The store does not answer. The fence in the database knows as well.
		if err := s.r.checkDatabase(ctx, p.Database); err != nil {
			return Place{}, since, err
		}
		at := s.r.now()
		f, err := scanFence(s.r.databases[p.Database].QueryRowContext(ctx,
			"SELECT state, epoch, to_database, to_tbl FROM shard_fence WHERE slot = ? AND tbl = ?", s.slot, p.Table))
		switch {
		case err != nil:
			return Place{}, since, err
		case f.state == fenceOwner || f.state == fenceSource:
			return p, at, nil
		case f.state == fenceGone:
			if err := s.r.follow(ctx, s.slot, f); err != nil {
				return Place{}, since, err
			}
		default:
			return Place{}, since, s.notHere(p)
		}
	}
	return Place{}, since, s.notHere(s.Place())
}

func (s Shard) notHere(p Place) error {
	return fmt.Errorf("shard: slot %d is neither at %s nor where it was said to have gone: %w", s.slot, p, ErrNotHere)
}

// All calls f for each place that has slots, on up to Config.AllMax goroutines. It is the one way to cross shards, and for
// reading only: each place is read for itself, at its own time. The first error ends the context of the others and is
// returned with those that came before. It is ErrStaleMap where slots moved so long ago that rows may have been missed.
//
// Rows of a slot on its way are in two places: leave out those that the shard does not own (Shard.Owns).
func (r *Router) All(ctx context.Context, f func(ctx context.Context, s Shard) error) error {
	if tx, ok := ctx.Value(inTx{}).(*Tx); ok && tx.r == r {
		return fmt.Errorf("shard: All inside a transaction of slot %d: %w", tx.slot, ErrCrossShard)
	}
	v, fresh, err := r.readable(ctx)
	if err != nil {
		return err
	}
	if !fresh {
		return fmt.Errorf("shard: All wants a map that is not older than %s: %w", ReadLease, ErrStaleMap)
	}
	seen := map[Place]bool{}
	var places []Place
	for slot := range v.m.places {
		if p := v.place(slot); !seen[p] {
			seen[p] = true
			places = append(places, p)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work := make(chan Place)
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for range min(r.allMax, len(places)) {
		wg.Go(func() {
			for p := range work {
				err := f(ctx, Shard{r: r, slot: -1, place: p, all: v})
				if err == nil {
					err = r.unmoved(ctx, v)
				}
				if err != nil {
					mu.Lock()
					errs = append(errs, fmt.Errorf("shard: at %s: %w", p, err))
					mu.Unlock()
					cancel()
				}
			}
		})
	}
hand:
	for _, p := range places {
		select {
		case work <- p:
		case <-ctx.Done():
			break hand
		}
	}
	close(work)
	wg.Wait()
	if len(errs) == 0 {
		return ctx.Err()
	}
	return errors.Join(errs...)
}

// unmoved tells whether what was just read by v was there: nothing is removed within ReadLease of the load of v, and
// later it was not if the map is still the same.
func (r *Router) unmoved(ctx context.Context, v *view) error {
	if r.store == nil || r.now().Sub(v.at) < ReadLease {
		return nil
	}
	if err := r.Refresh(ctx); err != nil {
		return err
	}
	if r.Map().version != v.m.version {
		return fmt.Errorf("shard: slots have moved since %s ago: %w", r.now().Sub(v.at), ErrStaleMap)
	}
	return nil
}
