package etcd

import (
	"net/netip"
	"time"

	"github.com/yumen-io/yumen/kit/registry"
)

// States of a service besides the words of registry.Freshness.
const (
	// StateKept: etcd has no instance that is meant, and those that were known last stay.
	StateKept = "kept"
	// StateNone: it has none, and none was known before.
	StateNone = "none"
)

// States are all words for how it stands with a service, for metrics.
func States() []string {
	return []string{registry.Unknown.String(), registry.FromSnapshot.String(), registry.Stale.String(), registry.Fresh.String(), StateKept, StateNone}
}

// Status is how it stands with a service.
type Status struct {
	Service string // as the document has it, for people
	Etcd    string // the member that answers; empty: none
	// State is unknown (etcd has not answered yet), from_snapshot (a file tells), stale (etcd cannot be asked, or most instances vanished at
	// once), fresh, kept or none.
	State string
	Since time.Time // since when; zero while it is unknown
	// Endpoints are in use, Missing those of them that etcd does not hold now, and Unusable instances without an address that can be used.
	Endpoints, Missing, Unusable int
	LastError                    error // why no member answers
	Instances                    []Instance
}

// Instance is what an endpoint has registered with.
type Instance struct {
	Addr                      netip.AddrPort
	ID, Zone, Colour, Version string
}

// Statuses says how it stands with each service.
func (f *Follower) Statuses() []Status {
	list := make([]Status, len(f.services))
	for i, s := range f.services {
		instances := s.instances()
		stats := s.shared.registry.Stats()
		s.mu.Lock()
		set, kept, unusable := s.mu.seen, s.mu.kept, s.mu.unusable
		s.mu.Unlock()
		st := Status{Service: s.plan.String(), Etcd: stats.Endpoint, State: registry.Unknown.String(), Endpoints: len(instances),
			Unusable: unusable, LastError: stats.LastError}
		if stats.Endpoint != "" {
			st.LastError = nil
		}
		if set != nil {
			st.State, st.Since, st.Missing = set.Freshness.String(), set.Since, set.Missing
			switch {
			case kept && len(instances) > 0:
				st.State, st.Missing = StateKept, len(instances)
			case kept:
				st.State = StateNone
			}
		}
		for _, one := range instances {
			st.Instances = append(st.Instances, Instance{Addr: one.target.Addr, ID: one.id, Zone: one.zone, Colour: one.colour, Version: one.version})
		}
		list[i] = st
	}
	return list
}
