//go:build linux

// Package cache judges a running gateway by http-tests/cache-tests, the public suite for HTTP caches, at the version that suite_test.go
// names: its cases for shared caches, with the suite's own origin behind the gateway and its own client before it.
//
// The suite has three kinds of case. One that is required and fails, or optimal and fails, stands in exceptions.txt with its
// reason. A check only asks how a cache behaves, and has no right answer; what ours do stands in checks.txt, so that a change of
// behaviour is seen. A case there that does otherwise is an error, in both.
//
// The suite is fetched by npm, once, into the user's cache folder. Without node, npm or the registry the test is skipped, unless
// YUMEN_REQUIRE insists on "cache-tests"; "all" insists on node and npm.
package cache
