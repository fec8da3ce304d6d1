package balance

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/yumen-io/yumen/internal/mono"
)

// Maglev hashing (Eisenbud et al., NSDI 2016). Every endpoint has its own permutation of the table's slots and claims the
// first free one of it when its turn comes, turns going by weight, until the table is full. A key belongs to the endpoint
// whose slot it hashes to. The table depends on identities and weights alone, not on their order in the list, so every
// gateway builds the same one; an endpoint more or less moves little beyond the keys that it takes or leaves.
//
// Health does not touch the table. A key whose endpoint is not in the pool follows its own probe sequence through the table to
// the first that is: keys of a dead endpoint scatter over the others by weight, keys of living ones stay, and when the dead one
// returns it gets its own back.

// TableSizeDefault is the number of slots: a prime (every stride then visits all of them), some hundred slots for each of
// several hundred endpoints, 128 kB. The share of an endpoint is exact to about one slot in its own.
const TableSizeDefault = 65537

const tableEndpointsMax = 1<<16 - 1 // slots are 16 bits wide

// probesMax bounds the walk through the table. With a tenth of the endpoints in the pool one key in thirty gets this far.
const probesMax = 32

// Table is the frozen part of Maglev: it may be shared by any number of loops.
type Table struct {
	size  uint64
	tiers []slots // by ascending priority
	ids   []uint64
}

type slots []uint16 // the endpoint that owns each slot

// NewTable builds the table of these endpoints, one of size slots for each priority. It takes some milliseconds: not for a
// loop. size must be a prime, 0 means TableSizeDefault; more endpoints than slots, or than 65535, is an error.
func NewTable(endpoints []Endpoint, size uint32) (*Table, error) {
	if size == 0 {
		size = TableSizeDefault
	}
	if !prime(size) {
		return nil, fmt.Errorf("maglev table of %d slots: the size must be a prime, such as %d", size, TableSizeDefault)
	}
	if most := min(int(size), tableEndpointsMax); len(endpoints) > most {
		return nil, fmt.Errorf("maglev table of %d slots: %d endpoints, at most %d fit", size, len(endpoints), most)
	}
	return newTable(endpoints, uint64(size)), nil
}

func prime(n uint32) bool {
	for d := uint32(2); uint64(d)*uint64(d) <= uint64(n); d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}

func newTable(endpoints []Endpoint, size uint64) *Table {
	t := &Table{size: size, ids: make([]uint64, len(endpoints))}
	order := make([]int, len(endpoints))
	for i, e := range endpoints {
		t.ids[i] = HashKey([]byte(e.Identity), 0)
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(
			cmp.Compare(endpoints[a].Priority, endpoints[b].Priority),
			cmp.Compare(endpoints[a].Identity, endpoints[b].Identity),
			cmp.Compare(a, b))
	})
	for len(order) > 0 {
		n := 1
		for n < len(order) && endpoints[order[n]].Priority == endpoints[order[0]].Priority {
			n++
		}
		t.tiers = append(t.tiers, t.fill(endpoints, order[:n]))
		order = order[n:]
	}
	return t
}

// fill deals out the slots of one tier.
func (t *Table) fill(endpoints []Endpoint, order []int) slots {
	type claimant struct {
		endpoint       uint16
		slot, stride   uint64 // where it asks next, and how far on after that
		weight, credit uint32 // a turn costs the tier's greatest weight
	}
	claimants := make([]claimant, len(order))
	var heaviest uint32
	for _, i := range order {
		heaviest = max(heaviest, endpoints[i].weight())
	}
	for k, i := range order {
		h := mix(t.ids[i])
		claimants[k] = claimant{
			endpoint: uint16(i),
			slot:     h % t.size,
			stride:   mix(h)%max(t.size-1, 1) + 1,
			weight:   endpoints[i].weight(),
		}
	}
	owned, free := make(slots, t.size), t.size
	taken := make([]bool, t.size)
	for {
		for k := range claimants {
			c := &claimants[k]
			if c.credit += c.weight; c.credit < heaviest {
				continue
			}
			c.credit -= heaviest
			for taken[c.slot] {
				if c.slot += c.stride; c.slot >= t.size {
					c.slot -= t.size
				}
			}
			taken[c.slot], owned[c.slot] = true, c.endpoint
			if free--; free == 0 {
				return owned
			}
		}
	}
}

// hashed returns the owner of key or, if that one is not eligible, the next along the key's probe sequence. A first attempt
// (tried is nil) always finds one, as the pool is not empty; a later one asks for a healthy endpoint not yet tried
// and may find none (-1).
func (s *Set) hashed(now mono.Time, key uint64, tried *Tried) int {
	t := s.table
	owned := t.tiers[s.tier]
	h := mix(key)
	for range probesMax {
		i := int(owned[below(h, t.size)])
		if s.eligible(i, tried) && s.admitsKey(i, key, now) {
			return i
		}
		h = mix(h + 1)
	}
	// The pool is a small part of the tier, or warming: rendezvous hashing over it, as stable and O(pool).
	best, bestScore := -1, uint64(0)
	for _, i := range s.pool {
		if !s.eligible(int(i), tried) {
			continue
		}
		if score := mix(key ^ t.ids[i]); best < 0 || score > bestScore {
			best, bestScore = int(i), score
		}
	}
	return best
}

func (s *Set) eligible(i int, tried *Tried) bool {
	if tried == nil {
		return s.member[i]
	}
	return s.member[i] && s.states[i].health == Healthy && !tried.has(s.endpoints[i].Identity)
}

// admitsKey says whether slow start lets endpoint i have this key yet. The key's threshold with an endpoint is fixed, so as
// the ramp rises each key comes home once and stays.
func (s *Set) admitsKey(i int, key uint64, now mono.Time) bool {
	return now >= s.warmUntil || s.admits(i, mix(key+s.table.ids[i]), now)
}

// HashKey hashes a request's key for Pick. It multiplies and folds (as wyhash and foldhash do), a word at a time, and ends in
// a strong finaliser, so that keys that differ in one character are spread well. It is no defence: someone who wants all
// his requests on one endpoint needs no collisions, he repeats one key. The result may be kept: it does not change between versions.
func HashKey(b []byte, seed uint64) uint64 {
	const k0, k1 = 0xa0761d6478bd642f, 0xe7037ed1a0b428db // odd, half their bits set
	h := seed ^ fold(uint64(len(b))^k1, k0)
	for len(b) >= 8 {
		// A word equal to h folds to zero; unlike in schemes that multiply two inputs, zero does not stick.
		h = fold(h^binary.LittleEndian.Uint64(b), k0) + k1
		b = b[8:]
	}
	if len(b) > 0 {
		var tail uint64
		for i, c := range b {
			tail |= uint64(c) << (8 * i)
		}
		h = fold(h^tail, k0) + k1
	}
	return mix(h)
}
