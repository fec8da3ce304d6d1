//go:build linux

// Package gateway starts a real yumen process for the conformance suites and talks to it as anybody could: a config
// file, signals, sockets and the admin API.
//
// It owns the child process, its config file, its log and its end (every process started here must leave with exit
// status 0 on SIGTERM, or the test that started it fails), and a small load client that judges each answer.
//
// It imports nothing of the house on purpose: what it checks is the program a user runs, so a mistake shared by the
// gateway and its client cannot hide here. It is Linux only, because the measures it takes (CPU time, resident memory,
// adopted grandchildren after an upgrade) are read from /proc and prctl.
package gateway
