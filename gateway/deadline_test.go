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
