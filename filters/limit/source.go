package limit

import (
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/limit"
)

// Source decides for one rule in the place of the counters of this node: it is who knows what others have let through. A rule
// without one asks its own counters.
type Source interface {
	// Decide judges a request of a key that costs cost. It is called on any loop, must not block or allocate, and takes part
	// in no lock that someone may hold for long. The key, "tenant=a", is the loop's scratch: whoever wants to keep it copies it.
	Decide(h Hash, key []byte, now mono.Time, cost int64) limit.Verdict
}

// Hash stands for a key. Two hashes with seeds of this process's own make 128 bits of it, so that a table need not keep keys: that
// two of a billion keys share one has a chance of 10^-21, and without the seeds nobody can look for two that do.
type Hash struct{ Low, High uint64 }
