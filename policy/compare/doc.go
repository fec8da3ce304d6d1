// Package compare says in what two answers to one request differ: in status, in fields, and in their bodies, JSON by its structure. It
// decides nothing about where they come from; the caller has three of them, an old version's, a new version's and another of the old
// version's, and what differs between the two old ones is noise: clocks, identifiers, orders of maps.
//
//	compare.go    two answers
//	json.go       two JSON texts
//	path.go       where in a text, and which of these places do not matter
//	number.go     numbers
//	table.go      what was found over many requests, and which of it is noise
package compare
