//go:build !invariants

package invariant

// Enabled tells whether the program was built with the tag `invariants`.
const Enabled = false

// Check panics with msg if cond is false; without the tag it does nothing. Its arguments are evaluated all the same:
// where they cost something, stand it behind Enabled.
func Check(cond bool, msg string) {}

// Sometimes returns true about once in n calls; without the tag never. The sequence is the same in every run.
func Sometimes(n int) bool { return false }

// Poison overwrites memory that was given back, so that a late reader fails on the spot; without the tag it does nothing.
func Poison(b []byte) {}
