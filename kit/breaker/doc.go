// Package breaker stops requests to a dependency that fails, and finds out carefully when it works again: as a round
// tripper or gRPC interceptors for a client, as middleware for a server's own handlers, or around any call. Each key (a
// dependency: a host, a service, a database) has a breaker of its own. The decisions are those of the Yumen gateway.
//
//	b, err := breaker.New(breaker.Config{})
//	...
//	client := &http.Client{Transport: b.RoundTripper(nil, nil)} // a breaker for each host
//
// A breaker is closed (all pass), open (all are refused) or half-open, which is a stair: first a few probes, then 1, 5 and
// 25 % of the requests, and each step must go well. The classic rules open it: share of failures and of slow calls in a window, and
// failures in a row. The adaptive rule, beside them, learns how healthy seconds of this dependency look and opens when seconds are
// unlike them.
//
// # What counts
//
// What a client brings about never counts: a context that was cancelled, a client that went away, a refusal by another guard of this
// process. A deadline that passed counts as a timeout if the call had TimeoutMin at least. Requests from before an
// opening are no news and do not count.
//
// # When things fail
//
// A refusal is an *Error with the numbers that led to it, and says when to come again. A probe that never ends keeps
// nothing half-open: others get their turn after as long as the breaker was open. When there are more keys than KeysMax, those that
// were idle for a minute make room; calls of keys for which there is none pass, and are counted. No goroutine is held and nothing
// has to be closed: the state moves on as calls come.
//
// # Concurrency
//
// All methods may be called from any goroutine at any time. While a breaker is closed and calls succeed they share no word that is
// written to; endings are counted in stripes. A lock for each key is taken ten times a second and when the state changes.
package breaker
