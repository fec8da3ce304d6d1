package log

import "math"

// sampler decides which records are kept. It is a stream of numbers from a seed, so that the same seed and the same
// order of requests keep the same records; it is not made from anything in the request, or a client that learned of one
// request that is not logged could repeat it.
type sampler struct {
	all        bool
	keepBelow  uint64 // of 2^64
	dropErrors bool   // responses of 500 and above are sampled like others

	state uint64 // loop's
}

// newSampler keeps the given fraction, in 0 to 1.
func newSampler(fraction float64, dropErrors bool, seed uint64) sampler {
	s := sampler{dropErrors: dropErrors, state: seed}
	if s.all = fraction >= 1; !s.all {
		s.keepBelow = uint64(fraction * (1 << 32) * (1 << 32))
	}
	return s
}

// keep draws for one record. The draw is made also where the answer is known, so that one request's status does not
// change what becomes of the next.
func (s *sampler) keep(status int) bool {
	if s.all {
		return true
	}
	s.state += 0x9e3779b97f4a7c15 // SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014
	z := s.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z^z>>31 < s.keepBelow || status >= 500 && !s.dropErrors
}

// seedOf gives each ring a stream of its own.
func seedOf(seed uint64, ring int) uint64 {
	return seed ^ uint64(ring+1)*(math.MaxUint64/3)
}
