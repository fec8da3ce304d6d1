// Package retry decides whether a failed attempt of a request may be followed by another, and keeps the budget that stops
// retries from becoming the outage.
//
// The promise: a request that is not idempotent is never sent again once any byte of it was handed to a socket, because
// from then on the upstream may have acted on it (RFC 9110 section 9.2.2). Only if nothing was written, or the upstream itself
// said that it did not process the request, is sending it the first time still ahead of us.
//
// The second promise: with requests coming in at any pace, all the upstreams sick, the retries that put load on them are at most
// the budget's share of the requests, and its floor.
//
// The package keeps no clock and draws no random numbers; it does not choose the endpoint (policy/balance), wait, or send.
package retry
