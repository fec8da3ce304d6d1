//go:build race

package rpc

// raceEnabled: the detector lets pools drop what they hold.
const raceEnabled = true
