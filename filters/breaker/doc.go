// Package breaker is the guard that stops sending requests where they fail: the hooks around policy/breaker, which decides.
//
// Each loop counts how its requests ended in memory of its own; ten times a second the memory's goroutine adds the counts up, hands them to
// the decision and publishes what follows as one pointer, which is all that a request reads. Two things do not wait for that: failures in
// a row open the breaker with the request that completes the run, and the probes of half-open are dealt out one by one.
//
// A filter has a breaker for each route that uses it, or for each cluster (Spec.Scope). They outlive configurations: new settings
// hold from the first request that meets them, and an open breaker stays open.
//
// What a client brought about is never counted, nor what another guard, the configuration or the gateway itself answered.
package breaker
