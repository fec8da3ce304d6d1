//go:build linux

// Package guards asks a running gateway what its filters promise: each of its tests is a table of situations, with real servers
// behind the gateway and real clients before it.
package guards
