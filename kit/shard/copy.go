package shard

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// fetchMax is how many rows are fetched or written by one statement: well below the 32,766 variables of SQLite even with
// a hundred columns each.
const fetchMax = 100

// cursor walks over a table by the primary key; from and to are both inside.
type cursor struct {
	table    Table
	from, to int64
	done     bool
}

func startOf(t Table) cursor { return cursor{table: t, from: math.MinInt64} }

func (c *cursor) next() {
	if c.to == math.MaxInt64 {
		c.done = true
		return
	}
	c.from = c.to + 1
}

// digest stands for the contents of a row.
type digest [sha256.Size]byte

// difference is what a chunk looks like at both places.
type difference struct {
	count [2]int
	sum   [2]uint64 // of the rows' digests, whatever their order
	rows  [2]map[int64]digest
}

func (d *difference) same() bool {
	return d.count[atOld] == d.count[atNew] && d.sum[atOld] == d.sum[atNew]
}

// compare looks at the next chunk from c.from on, and sets c.to to its end.
func (m *Mover) compare(ctx context.Context, b *both, v Move, c *cursor) (difference, error) {
	c.to = math.MaxInt64
	var ids [2][]int64
	for at, p := range []Place{v.From, v.To} {
		var last int64
		var full bool
		var err error
		if ids[at], last, full, err = m.idsOf(ctx, b.tx[at], v.Slot, p, c.table, c.from, m.chunkRows); err != nil {
			return difference{}, fmt.Errorf("shard: at %s: %w", p, err)
		}
		if full {
			c.to = min(c.to, last)
		}
	}
	for at := range ids {
		end, _ := slices.BinarySearch(ids[at], c.to)
		if end < len(ids[at]) && ids[at][end] == c.to {
			end++
		}
		ids[at] = ids[at][:end]
	}
	return m.digests(ctx, b, v, c.table, ids)
}

// compareAgain looks at a chunk whose ends are known.
func (m *Mover) compareAgain(ctx context.Context, b *both, v Move, c cursor) (difference, error) {
	end := c.to
	d, err := m.compare(ctx, b, v, &c)
	if err == nil && c.to < end {
		err = fmt.Errorf("shard: the chunk of slot %d that was repaired has become longer: %w", v.Slot, ErrDiffers)
	}
	return d, err
}

// idsOf are the primary keys of the slot's rows among the next limit rows of a table, the last key of these, and whether
// there may be more.
func (m *Mover) idsOf(ctx context.Context, tx *sql.Tx, slot int, p Place, t Table, from int64, limit int) (ids []int64, last int64, full bool, err error) {
	key := t.Key
	if key == "" {
		key = t.ID
	}
	rows, err := tx.QueryContext(ctx, fmt.Sprintf("SELECT %s, %s FROM %s WHERE %s >= ? ORDER BY %s LIMIT %d", quote(t.ID), quote(key),
		t.Name+m.r.suffixes[p.Table], quote(t.ID), quote(t.ID), limit), from)
	if err != nil {
		return nil, 0, false, err
	}
	defer rows.Close()
	n, slots := 0, m.r.Map().Slots()
	for rows.Next() {
		var text sql.RawBytes
		if err := rows.Scan(&last, &text); err != nil {
			return nil, 0, false, fmt.Errorf("table %s: the column %s must hold integers of 64 bits with a sign: %w", t.Name, t.ID, err)
		}
		n++
		at := 0
		if t.Key != "" {
			at = hashSlot(text, slots) // a number is its decimal form
		} else if at, err = m.r.idBits.slot(last); err != nil {
			return nil, 0, false, err
		}
		if at == slot {
			ids = append(ids, last)
		}
	}
	return ids, last, n == limit, rows.Err()
}

func (m *Mover) digests(ctx context.Context, b *both, v Move, t Table, ids [2][]int64) (difference, error) {
	var d difference
	for at, p := range []Place{v.From, v.To} {
		d.rows[at] = map[int64]digest{}
		for part := range slices.Chunk(ids[at], fetchMax) {
			_, err := m.fetch(ctx, b.tx[at], p, t, part, func(id int64, values []any) error {
				g, err := digestOf(values)
				d.rows[at][id] = g
				d.count[at]++
				d.sum[at] += binary.LittleEndian.Uint64(g[:])
				return err
			})
			if err != nil {
				return d, fmt.Errorf("shard: at %s: %w", p, err)
			}
		}
	}
	return d, nil
}

// fetch reads whole rows, with columns in the order of their names, so that two tables may have them in different order.
func (m *Mover) fetch(ctx context.Context, tx *sql.Tx, p Place, t Table, ids []int64, row func(id int64, values []any) error) (columns []string, err error) {
	name := t.Name + m.r.suffixes[p.Table]
	if columns, err = columnsOf(ctx, tx, name); err != nil {
		return nil, err
	}
	selected := make([]string, len(columns))
	for i, c := range columns {
		if selected[i] = quote(c); m.dialect == SQLite {
			// An expression has no declared type, so that a driver does not make a time of a text and write another text back.
			selected[i] = "+" + selected[i]
		}
	}
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	rows, err := tx.QueryContext(ctx, fmt.Sprintf("SELECT %s, %s FROM %s WHERE %s IN (%s)", quote(t.ID), strings.Join(selected, ", "), name, quote(t.ID),
		marks(len(ids))), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	values := make([]any, len(columns))
	var id int64
	dest := []any{&id}
	for i := range values {
		dest = append(dest, &values[i])
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		for i := range values {
			// Text is written back as text: MySQL takes bytes for binary, and a JSON column refuses them.
			if text, ok := values[i].([]byte); ok && m.dialect == MySQL && !binaryType(types[i+1].DatabaseTypeName()) {
				values[i] = string(text)
			}
		}
		if err := row(id, values); err != nil {
			return nil, err
		}
	}
	return columns, rows.Err()
}

func binaryType(name string) bool {
	return strings.HasSuffix(name, "BLOB") || strings.HasSuffix(name, "BINARY") || name == "BIT" || name == "GEOMETRY"
}

func columnsOf(ctx context.Context, tx interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, name string) ([]string, error) {
	rows, err := tx.QueryContext(ctx, "SELECT * FROM "+name+" WHERE 1 = 0")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	slices.Sort(columns)
	return columns, rows.Err()
}

// comparable checks before anything is begun that each name has its table at the new place, with the same columns.
func (m *Mover) comparable(ctx context.Context, at *Map, slot int, to Place) error {
	from := at.places[slot]
	if v, ok := at.Move(slot); ok {
		from = v.From
	}
	for _, t := range m.r.order {
		var columns [2][]string
		for i, p := range []Place{from, to} {
			var err error
			if columns[i], err = columnsOf(ctx, m.r.databases[p.Database], t.Name+m.r.suffixes[p.Table]); err != nil {
				return fmt.Errorf("shard: looking at table %s at %s: %w", t.Name, p, err)
			}
		}
		if !slices.Equal(columns[0], columns[1]) {
			return fmt.Errorf("shard: table %s has columns %v at %s and %v at %s: %w", t.Name, columns[0], from, columns[1], to, ErrDiffers)
		}
	}
	return nil
}

// copy makes the new place like the old one, chunk by chunk, with writers in between. It is over at once where a move was
// interrupted after the old place had gone.
func (m *Mover) copy(ctx context.Context, v Move, rep *Report) (gone bool, err error) {
	for _, t := range m.r.order {
		for c := startOf(t); !c.done; c.next() {
			if err := m.crash("before a chunk is copied"); err != nil {
				return false, err
			}
			err := m.fenced(ctx, v, func(b *both) error {
				if f := b.fence[atOld]; f.state == fenceGone && f.epoch == v.Epoch {
					gone = true
					return nil
				}
				if err := b.inMove(v); err != nil {
					return err
				}
				d, err := m.compare(ctx, b, v, &c)
				if err != nil || d.same() {
					return err
				}
				return m.repair(ctx, b, v, &c, &d, rep)
			})
			if err != nil || gone {
				return gone, err
			}
		}
	}
	return false, nil
}

// repair writes to the new place what differs there.
func (m *Mover) repair(ctx context.Context, b *both, v Move, c *cursor, d *difference, rep *Report) error {
	var drop, put []int64
	for id, g := range d.rows[atNew] {
		if other, ok := d.rows[atOld][id]; !ok {
			rep.Removed++
			drop = append(drop, id)
		} else if other != g {
			drop = append(drop, id)
		}
	}
	for id, g := range d.rows[atOld] {
		if other, ok := d.rows[atNew][id]; !ok || other != g {
			put = append(put, id)
		}
	}
	slices.Sort(drop)
	slices.Sort(put)
	if err := m.remove(ctx, b.tx[atNew], v.To, c.table, drop); err != nil {
		return fmt.Errorf("shard: removing from %s: %w", v.To, err)
	}
	name := c.table.Name + m.r.suffixes[v.To.Table]
	for part := range slices.Chunk(put, fetchMax) {
		var values []any
		n := 0
		columns, err := m.fetch(ctx, b.tx[atOld], v.From, c.table, part, func(_ int64, row []any) error {
			values = append(values, row...)
			n++
			return nil
		})
		if err != nil {
			return fmt.Errorf("shard: reading at %s: %w", v.From, err)
		}
		for i, column := range columns {
			columns[i] = quote(column)
		}
		row := "(" + marks(len(columns)) + ")"
		if _, err := b.tx[atNew].ExecContext(ctx, fmt.Sprintf("INSERT INTO %s (%s) VALUES %s%s", name, strings.Join(columns, ", "), row,
			strings.Repeat(", "+row, n-1)), values...); err != nil {
			return fmt.Errorf("shard: copying to %s: %w", v.To, err)
		}
		rep.Copied += n
	}
	return nil
}

func (m *Mover) remove(ctx context.Context, tx *sql.Tx, p Place, t Table, ids []int64) error {
	for part := range slices.Chunk(ids, fetchMax) {
		args := make([]any, len(part))
		for i, id := range part {
			args[i] = id
		}
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("DELETE FROM %s WHERE %s IN (%s)", t.Name+m.r.suffixes[p.Table], quote(t.ID), marks(len(part))), args...); err != nil {
			return err
		}
	}
	return nil
}

// clean removes the slot's rows from a place, as long as its fence says that the move left it.
func (m *Mover) clean(ctx context.Context, v Move, p Place, want fenceState, removed *int) error {
	for _, t := range m.r.order {
		for c := startOf(t); !c.done; c.next() {
			if err := m.crash("before a chunk is cleaned"); err != nil {
				return err
			}
			err := m.fenced(ctx, v, func(b *both) error {
				at := atOld
				if p == v.To {
					at = atNew
				}
				if f := b.fence[at]; f.state != want || f.epoch != v.Epoch {
					return errLeft
				}
				ids, last, full, err := m.idsOf(ctx, b.tx[at], v.Slot, p, t, c.from, m.chunkRows)
				if err != nil {
					return fmt.Errorf("shard: at %s: %w", p, err)
				}
				if c.to = math.MaxInt64; full {
					c.to = last
				}
				*removed += len(ids)
				return m.remove(ctx, b.tx[at], p, t, ids)
			})
			if errors.Is(err, errLeft) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// errLeft ends a cleaning that is nobody's any more: another move has come back to the place.
var errLeft = errors.New("the place was taken again")

// digestOf is SHA-256 over the values, each with its kind and length before it.
func digestOf(values []any) (digest, error) {
	var b []byte
	for _, x := range values {
		switch x := x.(type) {
		case nil:
			b = append(b, 'n')
		case int64:
			b = binary.LittleEndian.AppendUint64(append(b, 'i'), uint64(x))
		case uint64:
			b = binary.LittleEndian.AppendUint64(append(b, 'u'), x)
		case float64:
			b = binary.LittleEndian.AppendUint64(append(b, 'f'), math.Float64bits(x))
		case float32:
			b = binary.LittleEndian.AppendUint32(append(b, 'g'), math.Float32bits(x))
		case bool:
			if b = append(b, 'b', 0); x {
				b[len(b)-1] = 1
			}
		case []byte:
			b = append(binary.LittleEndian.AppendUint64(append(b, 'x'), uint64(len(x))), x...)
		case string:
			b = append(binary.LittleEndian.AppendUint64(append(b, 's'), uint64(len(x))), x...)
		case time.Time:
			b = binary.LittleEndian.AppendUint64(append(b, 't'), uint64(x.Unix()))
			b = binary.LittleEndian.AppendUint32(b, uint32(x.Nanosecond()))
		default:
			return digest{}, fmt.Errorf("shard: the driver returns a %T, which cannot be compared", x)
		}
	}
	return sha256.Sum256(b), nil
}

// quote quotes a column's name; SQLite understands MySQL's way.
func quote(column string) string { return "`" + strings.ReplaceAll(column, "`", "``") + "`" }

// marks are n question marks.
func marks(n int) string { return "?" + strings.Repeat(", ?", n-1) }
