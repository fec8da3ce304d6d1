//go:build invariants

package invariant

import "sync/atomic"

// Enabled tells whether the program was built with the tag `invariants`.
const Enabled = true

// Check panics with msg if cond is false.
func Check(cond bool, msg string) {
	if !cond {
		panic("invariant violated: " + msg)
	}
}

// calls numbers the calls of Sometimes over all goroutines. A counter and a hash stand here in place of a generator,
// because a generator would need a lock, and a lock would order goroutines that the race detector should see unordered.
var calls atomic.Uint64

// Sometimes returns true about once in n calls: the i-th call of a run always gets the same answer.
func Sometimes(n int) bool {
	return mix(calls.Add(1))%uint64(n) == 0
}

// mix is the output function of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
func mix(z uint64) uint64 {
	z *= 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Poison overwrites memory that was given back, so that a late reader fails on the spot.
func Poison(b []byte) {
	for i := range b {
		b[i] = 0xDB
	}
}
