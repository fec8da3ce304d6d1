// Package admission lets as many requests in at a time as what is behind it works on, has the others wait in an order that is fair
// to tenants, and tells those at once that come too late: as middleware for net/http, as interceptors for gRPC, as a round tripper in front of
// a service that is called, or asked directly. How many that are, it finds out from latency. It is the admission of the Yumen gateway, with the
// same words, numbers and rules.
//
//	door, err := admission.New(admission.Config{})
//	...
//	ask := func(r *http.Request) admission.Request { return admission.Request{Tenant: r.Header.Get("X-Tenant")} }
//	http.ListenAndServe(":8080", door.Middleware(ask)(mux))
//
// # What it promises
//
// There are never more inside than the limit, and a place that becomes free is taken at once by whose turn it is. Tenants take
// turns, and what counts is how long their requests keep their places: one that sends fifty times as much waits for itself, and raises what
// others wait by less than a quarter. Higher priorities go first; a lower one in which somebody waits is passed over 16 times at most. A
// tenant fills half of the free room in the queue at most, so that a newcomer finds some.
//
// The limit is the gradient of Netflix's concurrency-limits with what simulation found it lacks: a mean of logarithms, and a base that is measured
// anew every 30 seconds at half the limit. It follows a service that becomes faster, slower or larger within seconds.
//
// # When things fail
//
// Nothing outside is needed. Requests that fail quickly do not count as work, so that a service that breaks does not look fast;
// those that had no answer in time count with that time. A handler that panics gives its place back.
//
// Put it behind what finds out who asks, and behind what answers by itself (a cache, a limit): these need no place.
//
// # Concurrency
//
// All methods are safe for concurrent use. A Door has one lock, because whose turn it is, is one decision over all requests; it is held
// for less than a microsecond, twice a request. A request that waits does so in its own goroutine. A Door has no goroutine, and is not closed.
package admission
