// Package certs reads certificates, their keys and bundles of authorities from files, and keeps them fresh.
//
// [Load] and [LoadBundle] read once and judge what they read before anybody serves it: that the chain is in order and the
// key belongs to it, that it is valid now, that the key is strong enough, that it carries names. Every error says which
// file, what is wrong, and what to do about it, because it is read by somebody whose site is down.
//
// A [Keeper] does the same again whenever a file changes. What it holds on to is the last good state: a file that is bad,
// missing or expired takes nothing away, is said once, and stays in the status until it is mended. A certificate and its
// key are two files that are replaced one after the other, so a pair that does not fit together is looked at again after a
// settling time before it counts as a fault.
//
// The package watches files and owns one goroutine for each Keeper, and those of the watches. It serves nothing: whoever
// is called back hands the certificates to listeners and clusters.
package certs
