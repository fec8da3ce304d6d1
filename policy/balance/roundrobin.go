package balance

import "github.com/yumen-io/yumen/internal/mono"

// roundRobin gives every member of the pool its turn in the order of the list.
//
// A warming endpoint refuses a share of its turns. A refused turn is dealt at random instead of going to the next in
// line, who would carry nearly double: the draw refuses with the same share, which leaves a warming endpoint exactly
// ramp/(sum of ramps) of all turns.
func (s *Set) roundRobin(now mono.Time, rnd uint64) int {
	place := s.after(s.last)
	i := int(s.pool[place])
	s.last = i
	d := dice(rnd)
	if s.admits(i, d.roll(), now) {
		return i
	}
	return int(s.pool[s.draw(&d, now)])
}

// after returns the place of the first member of the pool behind endpoint i, around the end. The turn is remembered as an
// endpoint and not as a place, so that it survives a pool that shrinks and grows; the price is this binary search.
func (s *Set) after(i int) int {
	lo, hi := 0, len(s.pool)
	for lo < hi {
		if mid := (lo + hi) / 2; int(s.pool[mid]) <= i {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(s.pool) {
		return 0
	}
	return lo
}
