package gateway

import (
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"pgregory.net/rapid"
)

// The slow twin keeps every byte that left and counts those of each span of time.
func TestWhatLeavesKeepsToTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.SampledFrom([]int64{1, 3, 10, 240, 1000, 1 << 20, 1e9, ValveRateMax}).Draw(t, "rate")
		start := mono.Time(time.Hour)
		o := outflow{rate: rate, due: start}
		type sent struct {
			at mono.Time
			n  int
		}
		var log []sent
		now := start
		for range rapid.IntRange(1, 60).Draw(t, "turns") {
			left := rapid.SampledFrom([]int{1, 5, 1000, 1 << 20}).Draw(t, "left")
			if rapid.Bool().Draw(t, "timer") {
				next := o.next(left)
				if next < now.Add(-outflowSaved-o.timeOf(1)) {
					t.Fatalf("the timer is set to %v ago", now.Sub(next))
				}
				now = max(now, next)
				if o.allowed(now) == 0 {
					t.Fatal("the timer fires and nothing may leave")
				}
			} else {
				now = now.Add(time.Duration(rapid.SampledFrom([]int64{0, 1, 1e6, 8_400_000, 7e8, 3e9}).Draw(t, "pause")))
			}
			n := min(o.allowed(now), left)
			o.spend(n)
			log = append(log, sent{now, n})
		}
		saved := outflowSaved + o.timeOf(1)
		for from := range log {
			sum := 0
			for _, s := range log[from:] {
				sum += s.n
				if most := float64(rate)*(s.at.Sub(log[from].at)+saved).Seconds() + 1; float64(sum) > most {
					t.Fatalf("%d bytes in %v at %d a second, at most %f", sum, s.at.Sub(log[from].at), rate, most)
				}
			}
		}
	})
}

// However late a timer is, within what is saved, the rate is reached.
func TestATimerThatIsLateCostsNothing(t *testing.T) {
	for _, rate := range []int64{1, 3, 7, 240, 1000, 123_457, 100e6} {
		o := outflow{rate: rate, due: 1}
		left, now := 10*int(rate), mono.Time(1)
		for i := 0; left > 0; i++ {
			now = o.next(left).Add(time.Duration(i%5) * 8 * time.Millisecond)
			n := min(o.allowed(now), left)
			o.spend(n)
			left -= n
		}
		if took := time.Duration(now); took < 10*time.Second-outflowSaved || took > 10*time.Second+100*time.Millisecond {
			t.Errorf("at %d a second, ten seconds' worth takes %v", rate, took)
		}
	}
}
