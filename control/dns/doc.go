// Package dns keeps the endpoints of a cluster that are names in step with what the names resolve to.
//
// A [Resolver] asks for all names of one cluster, at once when it begins and then again and again, and says when the
// addresses are others than before. What it holds on to is the last good answer: a resolver that fails, times out or
// answers with nothing takes no endpoint away, since a gateway without endpoints is worse off than one that tries old ones,
// which checks and live requests judge anyway. Statuses tell that it happened.
//
// The package owns one goroutine for each Resolver. It knows how names become targets and not what a live cluster is:
// whoever is called back does what is to be done. It follows no TTL: those of one round differ, and the interval of the
// document is what an operator can rely on.
package dns
