//go:build invariants

package invariant

import "testing"

func TestSometimesIsAboutOnceInN(t *testing.T) {
	const n, rounds = 8, 80_000
	hits := 0
	for range rounds {
		if Sometimes(n) {
			hits++
		}
	}
	if want := rounds / n; hits < want*9/10 || hits > want*11/10 {
		t.Errorf("Sometimes(%d): %d of %d calls, want about %d", n, hits, rounds, want)
	}
}

func TestCheckPanicsWithItsMessage(t *testing.T) {
	defer func() {
		if got, want := recover(), "invariant violated: owner"; got != want {
			t.Errorf("recovered %v, want %q", got, want)
		}
	}()
	Check(true, "never seen")
	Check(false, "owner")
}
