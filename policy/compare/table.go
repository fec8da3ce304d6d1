package compare

import (
	"cmp"
	"slices"
)

// Table is what was found over many requests. Not safe for concurrent use.
type Table struct {
	rows     map[string]*Row
	overflow uint64
}

// Row is one place.
type Row struct {
	Difference
	Count uint64 // comparisons in which the new version's answer differed here, and it was not noise
	Noise uint64 // comparisons in which the old version's two answers did
	raw   uint64
}

// RowsMax bounds the places of a table: keys of objects are the sender's to choose.
const RowsMax = 500

// noisyShare: a place in which the old version differs from itself at least a fifth as often as the new one does is noise even in a
// comparison in which its two answers happened to be the same there: a coin falls the same way twice half of the time.
const noisyShare = 5

// Judge takes in one comparison: in what the new answer differs from the old, and in what the second old answer does. It returns
// what is no noise.
func (t *Table) Judge(found, noise []Difference) (left []Difference) {
	for i := range noise {
		if r := t.row(&noise[i]); r != nil {
			r.Noise++
		}
	}
	for i := range found {
		if r := t.row(&found[i]); r != nil {
			r.raw++
		}
	}
	for _, d := range Without(found, noise) {
		r := t.rows[d.Path]
		if r != nil && r.Noise > 0 && r.Noise*noisyShare >= r.raw {
			continue
		}
		left = append(left, d)
		if r != nil {
			if r.Count == 0 {
				r.Difference = d // an example that is no noise
			}
			r.Count++
		}
	}
	return left
}

// row returns the row of a place, nil if there is no room for one.
func (t *Table) row(d *Difference) *Row {
	if r := t.rows[d.Path]; r != nil {
		return r
	}
	if len(t.rows) == RowsMax {
		t.overflow++
		return nil
	}
	if t.rows == nil {
		t.rows = map[string]*Row{}
	}
	r := &Row{Difference: *d}
	t.rows[d.Path] = r
	return r
}

// Rows returns the places, those that differ most often first, and how often there was no room for one.
func (t *Table) Rows() (list []Row, overflow uint64) {
	for _, r := range t.rows {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(b.Noise, a.Noise), cmp.Compare(a.Path, b.Path))
	})
	return list, t.overflow
}
