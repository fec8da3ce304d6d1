package loadaware

import "slices"

// Table draws endpoints by weight, in a time that does not depend on their number (Walker's alias method, in Vose's form),
// and prefers one of two. One that NewTable made is not changed any more and may be shared. The zero value is empty, for who
// owns it alone and fills it again and again.
type Table struct {
	places []place

	// Of Fill: room that is used again.
	space        []place
	shares       []float64
	small, large []int32
}

type place struct {
	keep     uint32 // of 2^32: the chance that a draw of this place stays here
	other    int32  // where it goes else
	trial    uint32 // of 2^32: the chance that a slow one that loses is taken all the same
	load     float32
	slowness float32
}

// Chance is what a Table needs to know of an endpoint: what it is drawn by, 0 for never, and its Slowness.
type Chance struct{ Weight, Slowness float64 }

const (
	// trialShare is the part of all calls that goes to slow endpoints as trials. It is a fifth of what a p99 sees.
	trialShare = 0.002
	redraws    = 3
	whole      = 1 << 32
)

// NewTable makes a table of endpoints 0 to len(chances)-1.
func NewTable(chances []Chance) *Table {
	t := &Table{}
	t.Fill(chances)
	t.space, t.shares, t.small, t.large = nil, nil, nil, nil
	return t
}

// Fill makes t a table of endpoints 0 to len(chances)-1, in the memory that it has if that is enough.
func (t *Table) Fill(chances []Chance) {
	t.places = nil
	sum, usable, slow := 0.0, 0, 0
	for _, c := range chances {
		if c.Weight > 0 {
			sum, usable = sum+c.Weight, usable+1
			if c.Slowness > 1 {
				slow++
			}
		}
	}
	if usable == 0 {
		return
	}
	n := len(chances)
	t.space, t.shares = slices.Grow(t.space[:0], n)[:n], slices.Grow(t.shares[:0], n)[:n] // each place is written below
	t.places = t.space
	mean := sum / float64(usable)
	t.small, t.large = slices.Grow(t.small[:0], n), slices.Grow(t.large[:0], n)
	share, small, large := t.shares, t.small, t.large
	for i, c := range chances {
		p := &t.places[i]
		*p = place{keep: whole - 1, other: int32(i), slowness: float32(max(c.Slowness, 1))}
		weight := max(c.Weight, 0)
		if weight > 0 {
			p.load = float32(mean / weight)
			if c.Slowness > 1 {
				p.trial = chance(trialShare / float64(slow) / (weight / sum))
			}
		}
		share[i] = weight / sum * float64(n)
		if share[i] < 1 {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		t.places[s].keep, t.places[s].other = chance(share[s]), l
		if share[l] -= 1 - share[s]; share[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	// What is left has a share of one but for rounding. Only an endpoint without any weight must not keep what was left to it.
	for _, s := range small {
		if !(chances[s].Weight > 0) {
			t.places[s].keep, t.places[s].other = 0, t.any(chances)
		}
	}
}

func (t *Table) any(chances []Chance) int32 {
	for i, c := range chances {
		if c.Weight > 0 {
			return int32(i)
		}
	}
	return 0
}

func chance(p float64) uint32 { return uint32(min(max(p, 0)*whole, whole-1)) }

// Empty tells that nobody can be drawn: no weight is above 0.
func (t *Table) Empty() bool { return len(t.places) == 0 }

// Draw returns two endpoints by weight, different ones unless one has nearly all of the weight. The table is not empty.
func (t *Table) Draw(rnd, more uint64) (first, second int) {
	first = t.draw(rnd)
	second = t.draw(more)
	for k := 0; second == first && k < redraws; k++ {
		more = mix(more)
		second = t.draw(more)
	}
	return first, second
}

func (t *Table) draw(rnd uint64) int {
	i := (rnd >> 32) * uint64(len(t.places)) >> 32
	p := &t.places[i]
	if uint32(rnd) < p.keep {
		return int(i)
	}
	return int(p.other)
}

// Prefer returns first or second, whichever promises the shorter wait with so many calls in flight at each. The first has
// been drawn honestly and stays among equals, so that without news the weights are what counts.
func (t *Table) Prefer(first, second int, inFirst, inSecond int64, rnd uint64) int {
	a, b := &t.places[first], &t.places[second]
	if a.cost(inFirst) <= b.cost(inSecond) {
		return first
	}
	if a.trial > 0 && uint32(mix(rnd)>>16) < a.trial && inFirst == 0 {
		return first
	}
	return second
}

func (p *place) cost(inFlight int64) float32 { return (float32(inFlight)*p.load + 1) * p.slowness }

// mix is a step of splitmix64: another random number from one, for where a new one would cost more.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
