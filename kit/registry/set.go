package registry

import (
	"strconv"
	"time"
)

// Freshness says how far a Set can be trusted.
type Freshness uint8

const (
	// Unknown: nothing was heard yet and there is no snapshot. The Set is empty and means nothing.
	Unknown Freshness = iota
	// FromSnapshot: read from the file that an earlier process left; etcd has not answered yet. Since is when it was written.
	FromSnapshot
	// Stale: what was known last. Either etcd cannot be reached, or most instances vanished at once and the grace period
	// for them runs. Since is when that began.
	Stale
	// Fresh: what etcd holds, as of the last second or so. Since is when it became so.
	Fresh
)

// String is the word for logs and metrics.
func (f Freshness) String() string {
	switch f {
	case Unknown:
		return "unknown"
	case FromSnapshot:
		return "from_snapshot"
	case Stale:
		return "stale"
	case Fresh:
		return "fresh"
	}
	return "freshness_" + strconv.Itoa(int(f))
}

// Set is the instances of a service at one time. It is never changed: a later one takes its place.
type Set struct {
	Service string
	// Instances are sorted by ID, each ID once. Readers share them and change nothing.
	Instances []Instance
	// Version grows by one with each change of Instances, and not with a change of Freshness alone. 0 is the empty set of
	// who knows nothing. It begins anew with each Registry, and when all watchers of the service were closed.
	Version   uint64
	Freshness Freshness
	Since     time.Time
	// Missing counts those among Instances that etcd does not hold now and that are kept for the grace period.
	Missing int
}
