package split

import (
	"encoding/binary"
	"fmt"
	"math"
)

// VariantsMax bounds the variants of one split: each costs every request a logarithm.
const VariantsMax = 16

// Variant is one of those that keys are divided among.
type Variant struct {
	Name   string
	Weight float64 // its share is this of the sum; not below zero; of zero it gets no key
}

// Table is compiled variants. It is frozen, and may be asked from any goroutine.
type Table struct {
	seed     uint64
	variants []entry
}

type entry struct {
	seed uint64
	rate float64 // one by the weight: what the time drawn is multiplied by
}

// New makes a table. Splits with different salts put the same key into variants that have nothing to do with each other. It
// is an error if there are no variants or more than VariantsMax, if two have one name, a weight is no number of zero
// or more, or none is above zero.
func New(salt string, variants []Variant) (*Table, error) {
	if len(variants) == 0 || len(variants) > VariantsMax {
		return nil, fmt.Errorf("there are %d variants, and 1 to %d can be", len(variants), VariantsMax)
	}
	t := &Table{seed: hash([]byte(salt), 0), variants: make([]entry, len(variants))}
	sum := 0.0
	for i, v := range variants {
		if !(v.Weight >= 0) || math.IsInf(v.Weight, 0) {
			return nil, fmt.Errorf("variant %q: %v is no weight", v.Name, v.Weight)
		}
		for _, o := range variants[:i] {
			if o.Name == v.Name {
				return nil, fmt.Errorf("there are two variants %q", v.Name)
			}
		}
		sum += v.Weight
		t.variants[i] = entry{hash([]byte(v.Name), nameSeed), 1 / v.Weight}
	}
	if sum == 0 {
		return nil, fmt.Errorf("no variant has a weight above zero")
	}
	return t, nil
}

// Pick returns the place of the key's variant in the list that the table was made of. It allocates nothing.
func (t *Table) Pick(key []byte) int {
	h := hash(key, t.seed)
	best, first := -1, math.Inf(1)
	for i := range t.variants {
		v := &t.variants[i]
		// 53 bits, and never zero: a number in (0, 1], whose negative logarithm is the time of an event that comes at rate one.
		u := float64(mix(h^v.seed)>>11+1) / (1 << 53)
		// The conversion keeps the product from being fused with the sum before it, which some processors would round differently.
		if at := float64(-math.Log(u) * v.rate); at < first {
			best, first = i, at
		}
	}
	if best < 0 { // every time was 0 times infinity, or infinite
		return t.heaviest()
	}
	return best
}

// heaviest is the answer for keys whose numbers decide nothing: one in 2^53.
func (t *Table) heaviest() int {
	best := 0
	for i := range t.variants {
		if t.variants[i].rate < t.variants[best].rate {
			best = i
		}
	}
	return best
}

// nameSeed makes the hash of a variant's name differ from that of a salt.
const nameSeed = 0x73706c6974

// hash multiplies and folds, eight bytes at a time, and ends in a strong finaliser. It is part of what
// variant a key gets: it does not change between versions. It is no defence: who wants to be in a variant changes his key.
func hash(b []byte, seed uint64) uint64 {
	h := mix(seed ^ uint64(len(b)))
	for len(b) >= 8 {
		h = mix(h ^ binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	if len(b) > 0 {
		var tail uint64
		for i, c := range b {
			tail |= uint64(c) << (8 * i)
		}
		h = mix(h ^ tail)
	}
	return h
}

// mix is a bijection in which every bit of x reaches every bit of the result (the finaliser of MurmurHash3, with the constants
// that David Stafford found, and an addition before it so that zero does not stay zero).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
