// Package invariant is the part of the program that exists only under the build tag `invariants`: checks of what must
// hold, and rare events made frequent. Without the tag Enabled is the constant false, and everything behind
// `if invariant.Enabled` is gone from the binary; the hot path pays nothing for being checked in tests.
//
// Check is for our mistakes alone. What a peer, a disk or a user can cause is an error, never an invariant.
package invariant
