// Package apikey is the guard that knows clients by keys they send: in a header field, in the query or in a cookie.
//
// Keys are kept as their SHA-256 and nothing else. What a request sends is hashed, and the hash is looked up: how long that
// takes says nothing about the keys there are, since nobody can choose a hash. A fast hash is enough for a key that nobody
// can guess; passwords, which people choose, are package basicauth's.
//
// The consumer's name and attributes become the claims of the request. The key is taken off the request in every place the
// filter looks, so that upstreams and their logs do not see it, unless the settings say otherwise.
package apikey
