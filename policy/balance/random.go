package balance

import (
	"math/bits"

	"github.com/yumen-io/yumen/internal/mono"
)

// random draws a member of the pool with a probability in proportion to its weight.
func (s *Set) random(now mono.Time, rnd uint64) int {
	d := dice(rnd)
	return int(s.pool[s.draw(&d, now)])
}

// draw returns the place of a member drawn by effective weight: by configured weight, and drawn again when a warming one
// refuses. Rejection leaves the proportions exact without touching the sums as time passes. Only when everybody warms
// does it run into rampDraws, and then all ramps are much the same anyway.
func (s *Set) draw(d *dice, now mono.Time) int {
	place := s.drawPlace(d)
	for range rampDraws {
		if s.admits(int(s.pool[place]), d.roll(), now) {
			break
		}
		place = s.drawPlace(d)
	}
	return place
}

// drawPlace returns the place of a member drawn by configured weight, in O(log n) by the running sums. An alias table
// would be O(1) at n = 1000 and slower below fifty.
func (s *Set) drawPlace(d *dice) int {
	if s.equal {
		return int(below(d.roll(), uint64(len(s.pool))))
	}
	x := below(d.roll(), s.sums[len(s.sums)-1])
	lo, hi := 0, len(s.sums)
	for lo < hi {
		if mid := (lo + hi) / 2; s.sums[mid] <= x {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// admits says whether slow start lets endpoint i have this request, by 64 bits of chance.
func (s *Set) admits(i int, rnd uint64, now mono.Time) bool {
	if now >= s.warmUntil {
		return true
	}
	return float64(rnd>>11)/(1<<53) < s.ramp(i, now)
}

// dice stretches the 64 random bits of one Pick to as many as it needs: SplitMix64 (Steele, Lea, Flood 2014).
type dice uint64

func (d *dice) roll() uint64 {
	*d += 0x9e3779b97f4a7c15
	return mix(uint64(*d))
}

// mix is SplitMix64's finaliser: a bijection in which every bit of the input reaches every bit of the output.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// fold multiplies to 128 bits and adds the halves without carry.
func fold(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	return hi ^ lo
}
