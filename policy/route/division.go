package route

import (
	"hash/maphash"

	"github.com/yumen-io/yumen/policy/match"
)

// division is the way into a large leaf: the name of which most of its entries ask for an exact value, and the entries
// by that value. An entry that asks for a value the request does not have would be refused in any case; a thousand
// tenants told apart by a header cost a lookup this way and not a thousand comparisons.
type division struct {
	by     *match.Predicate // one of those that ask; only its place and name count
	values index            // (0, value) to a list
	lists  [][]uint32       // entries that ask for it, in their order
	others []uint32         // entries that ask for no value
}

const (
	// divisionMin is the number of entries that ask for a value from which on a lookup is cheaper than asking them.
	divisionMin = 16
	// mergedMax is how many lists a lookup merges. A request that has more of the values asked for than that, by repeating
	// the name, has all entries asked, as in a small leaf.
	mergedMax = 8
)

// newDivision makes the division of the entries from first to end, or nil if it would not pay.
func (c *compilation) newDivision(seed maphash.Seed, first, end uint32) *division {
	if end-first < divisionMin {
		return nil
	}
	g := c.divide(first, end)
	if int(end-first)-len(g.others) < divisionMin {
		return nil
	}
	d := &division{by: g.by, values: newIndex(seed), others: g.others}
	for i := first; i < end; i++ {
		if !g.asks[i-first] {
			continue
		}
		value := []byte(g.value[i-first])
		if _, ok := d.values.find(0, value); !ok {
			d.values.add(0, value, uint32(len(d.lists)))
			d.lists = append(d.lists, g.values[string(value)])
		}
	}
	return d
}

// divided asks the entries of a large leaf that the request's values leave. It reports whether the walk is over, and
// not ok if the request has too many of the values.
func (w *walk) divided(d *division) (over, ok bool) {
	var lists [mergedMax][]uint32
	lists[0] = d.others
	n := 1
	values := d.by.Values(w.r)
next:
	for v, more := values.Next(); more; v, more = values.Next() {
		at, found := d.values.find(0, v)
		if !found {
			continue
		}
		list := d.lists[at]
		for _, have := range lists[1:n] {
			if have[0] == list[0] {
				continue next // the same value again
			}
		}
		if n == mergedMax {
			return false, false
		}
		lists[n] = list
		n++
	}
	// All lists are in order; the entries are asked in the order of all together.
	for {
		first := -1
		for i := range n {
			if len(lists[i]) > 0 && (first < 0 || lists[i][0] < lists[first][0]) {
				first = i
			}
		}
		if first < 0 {
			return false, true
		}
		if w.entry(lists[first][0]) {
			return true, true
		}
		lists[first] = lists[first][1:]
	}
}
