// Package jwt is the guard that lets a request pass by the signed token it carries (RFC 7519, signed by RFC 7515 in its
// compact form), says who asks to the guards behind it and, in header fields, to the upstream.
//
// What decides is written in the settings and never in the token: the algorithms, the issuer, the audience, where the keys
// come from. A key belongs to one family of algorithms and is used with no other. A token's own keys (jwk, jku, x5c, x5u)
// are not looked at, one with crit is refused, one that is encrypted (RFC 7516) too.
//
// The life of a request here, in the order of the files: place.go finds the token, cache.go knows those that were verified
// before, token.go reads a new one and claims.go its claims by the strict reader of json.go, key.go and jwks.go hold what it
// is verified with, source.go and fetch.go keep that fresh off the loop, filter.go joins these and answers.
//
// It keeps no sessions, logs nobody in and asks no issuer about a token: what a token says holds until it expires, unless
// its key goes.
package jwt
