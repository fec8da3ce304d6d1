// Package identity is who a request comes from, once somebody has found out: a name and attributes, which other guards can use
// as claims and which an upstream can be told in header fields; and the lists that consumers and their secrets are kept in.
//
// It verifies nothing. What a secret is, and how it is compared, is decided where it is checked.
package identity
