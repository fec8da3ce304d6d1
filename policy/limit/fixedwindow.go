package limit

import (
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// A fixed window's word is its number and what was admitted in it. Windows are those of the process's clock, the same for
// all keys. It is the cheapest to explain, and lets through twice the count around the seam of two windows.
//
//	 63         32 31          0
//	| window      | admitted    |
const fixedCountMask = 1<<32 - 1

func fixedWindow(word Word, now mono.Time, cost, count, per int64) (Word, Verdict) {
	window, used := fixedAt(word, now, per)
	v := Verdict{Limit: count, Used: used, Remaining: max(count-used, 0), Reset: time.Duration((window+1)*per - int64(now))}
	if cost > count-used {
		if cost <= count {
			v.RetryAfter = v.Reset
		}
		if used == 0 {
			return word, v
		}
		return Word(window)<<32 | Word(used), v
	}
	used += cost
	v.Allowed, v.Used, v.Remaining = true, used, count-used
	return Word(window)<<32 | Word(used), v
}

// fixedAt is the window that counts now, and what was admitted in it. A word of the next window was written by a loop whose
// clock is a moment ahead; one further ahead by a clock that has jumped, and its count is taken over.
func fixedAt(word Word, now mono.Time, per int64) (window, used int64) {
	window, used = int64(now)/per, int64(word&fixedCountMask)
	switch of := int64(word >> 32); {
	case of == window+1:
		return of, used
	case of < window:
		return window, 0
	}
	return window, used
}

func fixedLoad(word Word, now mono.Time, count, per int64) float64 {
	_, used := fixedAt(word, now, per)
	return float64(used) / float64(count)
}
