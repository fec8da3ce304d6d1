package quota

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestLog(t *testing.T) {
	const s = int64(second)
	type line struct {
		at, n int64
		want  LogAnswer
	}
	for name, lines := range map[string][]line{
		"up to the count": {
			{s, 2, LogAnswer{Admitted: 2, Used: 2}},
			{s, 3, LogAnswer{Admitted: 1, Used: 3, Wait: s}},
			{s + s/2, 1, LogAnswer{Used: 3, Wait: s / 2}},
		},
		"a window later": {
			{s, 3, LogAnswer{Admitted: 3, Used: 3, Wait: s}},
			{2 * s, 1, LogAnswer{Admitted: 1, Used: 3, Wait: 1}},
			{2*s + 2, 5, LogAnswer{Admitted: 2, Used: 3, Wait: s - 2}},
		},
		"a clock that goes back a little": {
			{s, 3, LogAnswer{Admitted: 3, Used: 3, Wait: s}},
			{s - 1000, 1, LogAnswer{Used: 3, Wait: s + 1000}},
		},
		"a clock that goes back far": {
			{9 * s, 3, LogAnswer{Admitted: 3, Used: 3, Wait: s}},
			{s, 1, LogAnswer{Admitted: 1, Used: 1}},
		},
	} {
		var l Log
		for i, c := range lines {
			if got := l.Admit(c.at, s, 3, c.n); got != c.want {
				t.Errorf("%s: line %d: %+v, want %+v", name, i+1, got, c.want)
			}
		}
	}
}

// In no window is more admitted than the count.
func TestTheLogIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 5))
		const window, count = 1000, 7
		var l Log
		var admitted []int64
		now := int64(1e6)
		for range 300 {
			now += rng.Int64N(400)
			n := rng.Int64N(5)
			in := int64(0)
			for _, at := range admitted {
				if at > now-window {
					in++
				}
			}
			a := l.Admit(now, window, count, n)

			if in+a.Admitted > count {
				t.Fatalf("%d were in the window, %d of %d admitted", in, a.Admitted, n)
			}
			for range a.Admitted {
				admitted = append(admitted, now)
			}
		}
	})
}
