package gateway

import (
	"math"
	"testing"
	"time"
)

func TestHowLongAClientWaits(t *testing.T) {
	f := func(s string, want time.Duration) {
		t.Helper()
		if got := parsePatience([]byte(s)); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
	f("250ms", 250*time.Millisecond)
	f("2s", 2*time.Second)
	f("1.5s", 1500*time.Millisecond)
	f("0.001s", time.Millisecond)
	f("1.23456789s", 1234*time.Millisecond)
	f("0.5ms", 500*time.Microsecond)
	f("999999999999s", math.MaxInt64)
	f("99999999999999s", math.MaxInt64)
	for _, s := range []string{"", "s", "ms", ".s", "1", "1500", "1.s", ".5s", "1.2.3s", "-1s", "+1s", "1m", "1h", "1S", " 1s", "1s ", "1e3s", "0x1s", "0s",
		"0.0ms", "12345678901234567s"} {
		f(s, 0)
	}
}

// What the upstream is told is never more than is left, and never nothing, which would say nothing.
func TestWhatIsLeftIsSaid(t *testing.T) {
	f := func(left time.Duration, call bool, want string) {
		t.Helper()
		got := ""
		if b, ok := appendPatience(nil, left, call); ok {
			got = string(b)
		}
		if got != want {
			t.Errorf("%v: %q, want %q", left, got, want)
		}
	}
	f(1500*time.Millisecond, false, "1500ms")
	f(1999*time.Microsecond, false, "1ms")
	f(time.Millisecond-1, false, "")
	f(0, false, "")
	f(-time.Second, false, "")
	f(1500*time.Microsecond, true, "1500000n")
	f(1, true, "1n")
	f(0, true, "")
}
