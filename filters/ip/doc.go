// Package ip is the guard that lets clients in by their addresses: lists of networks to allow and to deny, of which the longest
// one that has the client's address decides.
//
// The address is the one the listener's trust found out, so that behind a trusted proxy it is the client's own. Lists stand in
// the document or in files, which are followed while the gateway runs; a list that cannot be read leaves the one before
// in use. The filter opens no files: it is given published tables (policy/cidr).
package ip
