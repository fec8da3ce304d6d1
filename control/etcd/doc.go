// Package etcd finds the endpoints of clusters in etcd, where instances of services keep themselves registered (kit/registry).
//
// Registries has one connection for each etcd that some configuration names, however many clusters ask it, and ends it when none does
// any more. A Follower is the services of one cluster: it says what its endpoints are now, and calls back when they are others.
//
// What to do when etcd is away is kit/registry's to know: sets go stale and not empty, and a file has them for a process that starts
// while etcd is down. The package adds one rule: an empty set is never given to a cluster that had endpoints, whatever the reason. Whoever
// is gone is found by calling; a cluster without endpoints finds nobody.
//
// It writes nothing to etcd, and judges nobody's health.
package etcd
