package outbox

import (
	"context"
	"fmt"
	"time"
)

// share takes free lanes and gives back surplus ones, so that each live tailer has as many as the others. It is called
// between batches, so that no lane is given back that is being handed over.
func (t *Tailer) share(ctx context.Context) error {
	o := t.outbox
	var members int
	if err := o.db.QueryRowContext(ctx, o.sql("SELECT COUNT(*) FROM {t}_tailer WHERE until > {now}")).Scan(&members); err != nil {
		return fmt.Errorf("outbox: counting tailers: %w", err)
	}
	members = max(members, 1)
	fair := (lanes + members - 1) / members
	mine, err := t.lanes(ctx)
	if err != nil {
		return err
	}
	for ; len(mine) > fair; mine = mine[1:] {
		if err := t.exec(ctx, "UPDATE {t}_lane SET owner = '', until = 0 WHERE lane = ? AND owner = ?", mine[0], t.owner); err != nil {
			return err
		}
	}
	if len(mine) == fair {
		return nil
	}
	free, err := t.numbers(ctx, "SELECT lane FROM {t}_lane WHERE until <= {now} AND owner <> ? ORDER BY lane", t.owner)
	if err != nil {
		return err
	}
	for _, lane := range free[:min(len(free), fair-len(mine))] {
		// Of several tailers that saw it free, one gets it.
		if err := t.exec(ctx, "UPDATE {t}_lane SET owner = ?, until = {now} + ? WHERE lane = ? AND until <= {now}", t.owner, t.config.Lease.Milliseconds(), lane); err != nil {
			return err
		}
	}
	return nil
}

// lanes are those that are this tailer's now.
func (t *Tailer) lanes(ctx context.Context) ([]int, error) {
	return t.numbers(ctx, "SELECT lane FROM {t}_lane WHERE owner = ? AND until > {now} ORDER BY lane", t.owner)
}

// renew keeps the lanes that nobody has taken, and says that this tailer lives. It returns until when they are safe by our clock:
// counted from before the database's clock was read.
func (t *Tailer) renew(ctx context.Context) (time.Time, error) {
	safe := time.Now().Add(t.config.Lease)
	lease := t.config.Lease.Milliseconds()
	for _, s := range []string{
		"UPDATE {t}_lane SET until = {now} + ? WHERE owner = ?",
		"REPLACE INTO {t}_tailer (until, owner) VALUES ({now} + ?, ?)",
	} {
		if err := t.exec(ctx, s, lease, t.owner); err != nil {
			return safe, err
		}
	}
	return safe, nil
}

// leave gives everything back, so that others need not wait for the lease.
func (t *Tailer) leave(ctx context.Context) error {
	if err := t.exec(ctx, "UPDATE {t}_lane SET owner = '', until = 0 WHERE owner = ?", t.owner); err != nil {
		return err
	}
	return t.exec(ctx, "DELETE FROM {t}_tailer WHERE owner = ? OR until < {now} - 3600000", t.owner)
}

// keep renews the lease while a handler runs, and lets lost know when it has run out.
func (t *Tailer) keep(ctx context.Context, safe time.Time, lost func()) {
	guard := time.AfterFunc(time.Until(safe), lost)
	defer guard.Stop()
	tick := time.NewTicker(t.config.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		attempt, cancel := context.WithTimeout(ctx, t.config.Lease/3)
		safe, err := t.renew(attempt)
		cancel()
		if err == nil && guard.Stop() {
			guard.Reset(time.Until(safe))
		}
	}
}

func (t *Tailer) exec(ctx context.Context, statement string, args ...any) error {
	if _, err := t.outbox.db.ExecContext(ctx, t.outbox.sql(statement), args...); err != nil {
		return fmt.Errorf("outbox: %q: %w", statement, err)
	}
	return nil
}

func (t *Tailer) numbers(ctx context.Context, query string, args ...any) ([]int, error) {
	rows, err := t.outbox.db.QueryContext(ctx, t.outbox.sql(query), args...)
	if err != nil {
		return nil, fmt.Errorf("outbox: %q: %w", query, err)
	}
	defer rows.Close()
	var out []int
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			return nil, fmt.Errorf("outbox: %q: %w", query, err)
		}
		out = append(out, n)
	}
	return out, rows.Err()
}
