package saga

import (
	"context"
	"fmt"
	"strings"
)

// How is what a person decides about a saga.
type How int

const (
	// Retry tries the current step again now, with its attempts uncounted.
	Retry How = iota + 1
	// Cancel compensates a saga that is Doing. The current step counts as one that may have happened.
	Cancel
	// Skip goes on as if the current compensation had succeeded: somebody has made it by hand. Only while Undoing.
	Skip
	// Close ends the saga where it is: somebody takes care of all that is left. What has happened stays.
	Close
)

// String is the word.
func (h How) String() string {
	switch h {
	case Retry:
		return "retry"
	case Cancel:
		return "cancel"
	case Skip:
		return "skip"
	case Close:
		return "close"
	}
	return fmt.Sprintf("How(%d)", int(h))
}

// DeadMax is the most that Dead returns.
const DeadMax = 1000

// Dead lists sagas that somebody should look at, those due first before the others, at most max or DeadMax: see
// Status.Dead.
func (l *Log) Dead(ctx context.Context, max int) ([]Status, error) {
	if max <= 0 || max > DeadMax {
		max = DeadMax
	}
	rows, err := l.db.QueryContext(ctx, "SELECT "+statusColumns+" FROM saga_log WHERE shelf IN (?, ?) ORDER BY due LIMIT ?", shelfDead, shelfStray, max)
	if err != nil {
		return nil, fmt.Errorf("saga: dead letters: %w", err)
	}
	defer rows.Close()
	var list []Status
	for rows.Next() {
		var s Status
		if err := s.scan(rows.Scan); err != nil {
			return nil, fmt.Errorf("saga: dead letters: %w", err)
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

// Resolve does with a saga what a person has decided, and keeps the note, of which 900 bytes, with it. Whoever runs it at
// the moment loses it; what he has begun may still happen, once, as the barrier lets it. ErrState means that the saga has
// ended, or that how does not fit its state. Skip leaves the barrier as it is.
func (l *Log) Resolve(ctx context.Context, id string, how How, note string) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("saga: resolve %s: %w", id, err)
	}
	defer func() { _ = tx.Rollback() }()
	// The first statement writes: it waits for whoever writes the row, and fences off who has it.
	if _, err := tx.ExecContext(ctx, "UPDATE saga_log SET fence = fence + 1, writes = writes + 1, note = ? WHERE id = ?", clip(how.String()+": "+note), id); err != nil {
		return fmt.Errorf("saga: resolve %s: %w", id, err)
	}
	var c claimed
	var owner string
	rows, err := tx.QueryContext(ctx, "SELECT "+claimColumns+", owner FROM saga_log WHERE id = ?", id)
	if err != nil {
		return fmt.Errorf("saga: resolve %s: %w", id, err)
	}
	if !rows.Next() {
		rows.Close()
		return fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	err = c.scan(rows.Scan, &owner)
	rows.Close()
	if err != nil {
		return fmt.Errorf("saga: resolve %s: %w", id, err)
	}
	r := &c.record
	if owner != "" {
		r.attempt++ // somebody may be at it
	}
	if err := r.resolve(how); err != nil {
		return fmt.Errorf("%w: %s is %s", err, id, c.state)
	}
	if err := l.save(ctx, tx, r, "", 0, c.data); err != nil {
		return fmt.Errorf("saga: resolve %s: %w", id, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("saga: resolve %s: %w", id, err)
	}
	return nil
}

// resolve is Resolve for the record.
func (r *record) resolve(how How) error {
	if r.state.Final() {
		return ErrState
	}
	if r.shelf == shelfDead {
		r.shelf = shelfLive
	}
	switch {
	case how == Retry && r.state == Undoing:
		r.attempt = 0
	case how == Retry:
		r.attempt, r.unsure = 0, r.unsure || r.attempt > 0
	case how == Cancel && r.state == Doing:
		r.err = strings.TrimSpace("cancelled: " + r.err)
		r.attempt++
		r.turn()
	case how == Skip && r.state == Undoing:
		r.attempt, r.unsure, r.at = 0, false, ""
		r.down()
	case how == Close:
		r.state, r.shelf = Closed, shelfFinished
	default:
		return ErrState
	}
	return nil
}
