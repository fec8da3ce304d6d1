package control

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// percent is how often the collector runs now.
func percent() int {
	now := debug.SetGCPercent(100)
	debug.SetGCPercent(now)
	return now
}

func TestTheCollectorIsHeldAndLetGo(t *testing.T) {
	before := percent()
	defer debug.SetGCPercent(before)
	debug.SetGCPercent(70)
	var c collector
	c.hold(untidyBytes - 1)
	if got := percent(); got != 70 {
		t.Errorf("for a small document it runs at %d %%", got)
	}
	c.hold(untidyBytes)
	if got := percent(); got <= 100 {
		t.Errorf("for a large document it runs at %d %%", got)
	}
	c.hold(untidyBytes) // another at the same time
	c.release()
	c.release()
	if got := percent(); got != 70 {
		t.Errorf("afterwards it runs at %d %%", got)
	}
	c.hold(untidyBytes)
	c.leave()
	runtime.GC()
	eventually(t, "a collection ends the hold", func() bool { return percent() == 70 })
	debug.SetGCPercent(-1)
	c.hold(untidyBytes)
	if got := percent(); got != -1 {
		t.Errorf("it was off, and runs at %d %%", got)
	}
	c.release()
	if got := percent(); got != -1 {
		t.Errorf("it was off before, and runs at %d %%", got)
	}
}
