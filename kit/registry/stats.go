package registry

import "sync/atomic"

// Stats are numbers for metrics. Counters only grow; gauges say so.
type Stats struct {
	// Endpoint in use, "" while etcd does not answer, and LastError then says why.
	Endpoint  string
	LastError error
	// Sessions opened with etcd, SessionFailures of opening or holding one, and those of them because of the login.
	Sessions, SessionFailures, AuthFailures uint64
	// Silences are members noticed as frozen: a watch brought nothing though its progress was asked for.
	Silences uint64

	// Registrations and Registered (gauges) are what this process wants and what of it etcd holds as far as is known.
	Registrations, Registered int
	// Heartbeats sent and failed, leases granted, and leases that etcd had lost.
	Heartbeats, HeartbeatFailures, LeaseGrants, LeaseLosses uint64
	// Replaced counts registrations found to be taken by a later process, Restored keys that were gone and written again.
	Replaced, Restored uint64

	// Services (gauge) are those watched, Holding (gauge) those whose vanished instances are being kept, and Stale (gauge)
	// those that are anything but fresh.
	Services, Holding, Stale int
	// Lists of whole services, of which Compactions because history was gone, and Wipes because it was another etcd than before.
	Lists, Compactions, Wipes uint64
	// Holds counts how often vanished instances began to be kept.
	Holds uint64
	// Malformed values and instances beyond the bound of a service, both skipped.
	Malformed, Dropped uint64

	// Snapshots written, failed to be written (a full disk), read at the beginning, and found broken.
	SnapshotsWritten, SnapshotFailures, SnapshotsRead, SnapshotsBroken uint64
}

type counters struct {
	sessions, sessionFailures, authFailures, silences                  atomic.Uint64
	heartbeats, heartbeatFailures, leaseGrants, leaseLosses            atomic.Uint64
	replaced, restored                                                 atomic.Uint64
	lists, compactions, wipes, holds, malformed, dropped               atomic.Uint64
	snapshotsWritten, snapshotFailures, snapshotsRead, snapshotsBroken atomic.Uint64
}

// Stats returns the numbers as they are now. It takes short locks and is meant to be called every few seconds.
func (r *Registry) Stats() Stats {
	c := &r.stats
	s := Stats{
		Sessions: c.sessions.Load(), SessionFailures: c.sessionFailures.Load(), AuthFailures: c.authFailures.Load(),
		Silences: c.silences.Load(), Heartbeats: c.heartbeats.Load(), HeartbeatFailures: c.heartbeatFailures.Load(),
		LeaseGrants: c.leaseGrants.Load(), LeaseLosses: c.leaseLosses.Load(), Replaced: c.replaced.Load(),
		Restored: c.restored.Load(), Lists: c.lists.Load(), Compactions: c.compactions.Load(), Wipes: c.wipes.Load(),
		Holds: c.holds.Load(), Malformed: c.malformed.Load(), Dropped: c.dropped.Load(),
		SnapshotsWritten: c.snapshotsWritten.Load(), SnapshotFailures: c.snapshotFailures.Load(),
		SnapshotsRead: c.snapshotsRead.Load(), SnapshotsBroken: c.snapshotsBroken.Load(),
	}
	s.Endpoint, s.LastError = r.link.trouble()
	s.Registrations, s.Registered = r.registrar.gauges()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.mu.feeds {
		set := f.set.Load()
		s.Services++
		if set.Freshness != Fresh {
			s.Stale++
		}
		if set.Missing > 0 {
			s.Holding++
		}
	}
	return s
}
