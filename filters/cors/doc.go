// Package cors tells browsers which pages of other origins may use a route, by the CORS protocol of the Fetch standard
// (https://fetch.spec.whatwg.org/#http-cors-protocol).
//
// Preflight requests are answered at the gate and never reach an upstream; on other answers the gateway's word stands in the
// place of whatever the upstream says in Access-Control-* fields, so that there is one policy and not two.
//
// It is a guard of preflights only: what a page may not do is refused there with a reason, so that somebody who looks for it finds
// it. Requests themselves are not refused. It is the browser that keeps an answer from a page that must not have it; whoever
// is no browser sends no Origin, or any.
package cors
