// Package fallback is the filter that has something to say when an upstream has not: the degradation chain of a route.
//
//	fresh -> stale -> another cluster -> a fixed answer -> 503 with Retry-After
//
// The first two are the upstream's and the cache's: a filter cache behind this one answers with what it has kept before this one is
// asked. The rest is here, step by step, as far as the document has them. It acts only as long as the client was told nothing, and
// asks another cluster only what may be asked twice. The field X-Degraded says which step it was; an answer without it is fresh.
//
// A failure is replaced before it is told. An answer of the upstream whose status is on the list is dropped when its head has come,
// and another cluster asked, if the request may be sent twice and still can be; else it is replaced by the fixed answer, and what
// follows of it is thrown away. Without a fixed answer it goes on as it came.
package fallback
