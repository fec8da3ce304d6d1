// Package rewrite is the filter that changes the path or the host that the upstream sees of a request.
//
// # The path
//
// It works on the path in its normal form, the one that was routed, and leaves a path in normal form behind: what rules saw
// and what the upstream sees differ by what the document says and by nothing else. That holds by construction. What comes
// from the document is brought to normal form when it is compiled; what comes from the request is whole segments of
// a path in normal form; and the two meet only at slashes. So there is no way to make a dot segment out of two halves, a
// second slash, or an escape that is decoded twice.
//
//	strip_prefix: /api    /api/users -> /users, /api -> /, /apix stays
//	prefix: /v2           /users -> /v2/users, after strip_prefix
//	path: /u/:id/*rest    the whole path, of the route's parameters: each is a segment of its own, written as in the
//	                      route's pattern; \: and \* are the plain characters
//
// The query stays as it is. The route was chosen before and is not chosen again.
//
// # The host
//
// It is the authority of the request to the upstream, that is the Host field of HTTP/1. X-Forwarded-Host still says what
// the client asked for.
package rewrite
