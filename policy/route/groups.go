package route

import (
	"iter"

	"github.com/yumen-io/yumen/policy/match"
)

// groups divides the entries of a leaf by the exact value that most of them ask for of one name, say a tenant in a
// header. Two entries that ask for different values of it have no request in common that does not repeat the name, so the
// analysis need not compare them; without this a thousand tenants would be half a million pairs.
type groups struct {
	first  uint32
	by     *match.Predicate // one that asks; its place and name are those that divide
	asks   []bool           // by entry, counted from first
	value  []string         // that it asks for
	values map[string][]uint32
	others []uint32 // the entries that do not ask
}

// dividedMin is the number of entries from which on dividing is worth its maps.
const dividedMin = 8

// divide makes the groups of the entries from first to end. Few entries are left undivided.
func (c *compilation) divide(first, end uint32) groups {
	g := groups{first: first, asks: make([]bool, end-first)}
	if end-first < dividedMin {
		return g
	}
	type key struct {
		place match.Place
		name  string
	}
	counts := map[key]int{}
	var most key
	for i := first; i < end; i++ {
		ps := c.origins[i].matcher.Predicates()
		for n := range ps {
			if place, name, _, ok := ps[n].AsksExact(); ok {
				k := key{place, name}
				if counts[k]++; counts[k] > counts[most] {
					most = k
				}
			}
		}
	}
	g.value, g.values = make([]string, end-first), map[string][]uint32{}
	for i := first; i < end; i++ {
		ps := c.origins[i].matcher.Predicates()
		for n := range ps {
			if place, name, value, ok := ps[n].AsksExact(); ok && (key{place, name}) == most {
				g.value[i-first], g.asks[i-first], g.by = value, true, &ps[n]
			}
		}
		if g.asks[i-first] {
			g.values[g.value[i-first]] = append(g.values[g.value[i-first]], i)
		} else {
			g.others = append(g.others, i)
		}
	}
	return g
}

// before yields the entries before j that may have a request in common with it.
func (g *groups) before(j uint32) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		if !g.asks[j-g.first] {
			for i := g.first; i < j && yield(i); i++ {
			}
			return
		}
		for _, list := range [...][]uint32{g.values[g.value[j-g.first]], g.others} {
			for _, i := range list {
				if i >= j {
					break
				}
				if !yield(i) {
					return
				}
			}
		}
	}
}
