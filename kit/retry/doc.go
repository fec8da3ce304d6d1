// Package retry tries again what failed and may be tried again, within a budget: as a round tripper or gRPC interceptor for
// a client, or around any call. The decisions are those of the Yumen gateway.
//
//	r, err := retry.New(retry.Config{})
//	...
//	client := &http.Client{Transport: r.RoundTripper(nil, nil)}
//
// # What it promises
//
// A request that is not idempotent (RFC 9110 section 9.2.2) is sent again only if it cannot have reached anybody: no
// connection came about. WithIdempotent says that one is, as the field Idempotency-Key does. A body is sent again if Request.GetBody
// gives it back. Of calls of gRPC those are tried again whose status is on Config.Codes, which says that they may be; streams only while they begin.
//
// Retries are a share of the live traffic: in any time no more than a fifth of the requests to a key (its host), and three a second, by
// default. When everything fails, what is sent in all rises by a fifth and not to a multiple. Hedges are retries.
//
// Waits are drawn from zero to a bound that doubles (full jitter), so that those who failed together do not return in step. A wait that the
// deadline leaves no room for is not begun. What a server says of when to come again (Retry-After, grpc-retry-pushback-ms) is kept to, and
// a try that it would have wait longer than Config.PushbackMax is not made.
//
// # When things fail
//
// The error, or answer, of the last try is what the caller gets, as it is. A refusal by another guard of this process (its error has a method
// NotSent() bool) is not tried again: a breaker that is open stays open.
//
// # Concurrency
//
// All methods may be called from any goroutine. Each key has a lock that is held for some ten nanoseconds a request.
package retry
