// Package registry tells processes of a service to those who call it, through etcd: each keeps itself registered under a
// lease, with its address, weight, zone, version and colour, and callers watch the set. It is made for the day on which
// etcd is down: a process that was registered is again, however long that lasts, and callers keep what they knew.
// It knows nothing of how calls are made; kit/rpc and the gateway stand on it.
//
//	r, err := registry.New(registry.Config{Endpoints: []string{"10.0.0.1:2379"}, SnapshotDir: "/var/lib/orders"})
//	...
//	defer r.Close()
//	g, err := r.Register(ctx, registry.Instance{Service: "orders", ID: host, Address: "10.1.2.3:8080"})
//	...
//	w, err := r.Watch("payments")
//	for set := range w.Sets(ctx) {
//		use(set.Instances)
//	}
//
// # What happens when things fail
//
// New, Register and Watch return at once and do not need etcd. One member of etcd is used at a time. When it is killed,
// this is seen at once; when it is frozen or has no leader, within two request timeouts; then a new client is made for the
// next endpoint, with a new login, and after all endpoints have failed, after a pause of full jitter. There is no number
// of attempts after which anything is given up.
//
// With each new session every watched service is listed again, and every lease and key looked at: what etcd has lost is
// written again. This also covers compaction, a watch that is closed, and an etcd whose data was removed.
//
// A caller's Set goes stale and not empty. While etcd is away it stays as it was, for ever. When etcd answers and has none
// of the instances, or fewer than half of those of a minute ago, the missing ones are kept for Config.Grace, marked by
// Stale and counted in Missing. With Config.SnapshotDir the last good set of each service is also in a file, and a
// process that starts while etcd is down begins with that. A file that is broken is reported and ignored, and a disk that
// is full is counted and tried again.
//
// Of two processes that register the same ID the later has it. The earlier sees ErrReplaced in its State, cannot delete
// the other's key, and is back when the other is gone.
//
// # Concurrency
//
// All methods are safe for concurrent use. Watcher.Set is one atomic load, and what it returns is never changed. Each
// Registry has a goroutine for its session (and two within it), one for registrations, one for snapshots, and one for
// each watched service; Close ends and awaits them all.
package registry
