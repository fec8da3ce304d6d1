//go:build linux

package gateway

import (
	"testing"
	"time"
)

// pollEvery is the pause between two looks at something that has no event to wait for: short against a human,
// long against a system call.
const pollEvery = 10 * time.Millisecond

// Eventually calls check until it returns nil, and fails the test with its last error when the time is over.
func Eventually(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain until %s: %v", within, what, err)
		}
		<-tick.C
	}
}
