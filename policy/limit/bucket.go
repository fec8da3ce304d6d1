package limit

import (
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// bucket is the arithmetic that both buckets share: the generic cell rate algorithm of ATM (ITU-T I.371, annex A). In place
// of a level and the time when it was true, it keeps one time: when the bucket will be full again. Each request moves
// it one interval on; a request that would move it further ahead of now than the capacity is one too many.
//
//	        full       now                           fullAt        now + capacity
//	---------|----------|------------------------------|-----------------|------>
//	                    |<-- used: (fullAt - now) ---->|<-- remaining -->|
//
// Times are ticks of 1/16 ns, so that the interval of a million a second, 16000 ticks, is rounded by less than a ten
// thousandth, and a word still reaches eighteen years. Intervals are rounded up: never more than was asked for.
type bucket struct {
	interval int64 // between two requests
	capacity int64 // burst x interval
	burst    int64
	patience int64 // of a leaky bucket: how long a request may wait
}

const (
	tickBits = 4
	// skewMax is how far loops of one process may read their clocks apart: a loop reads it once a turn, and a turn that
	// takes a second is ill. What is further ahead of now than capacity and this was not set by this clock and these
	// settings.
	skewMax = int64(time.Second) << tickBits
)

func ticks(t mono.Time) int64             { return int64(t) << tickBits }
func untick(t int64) time.Duration        { return time.Duration(t >> tickBits) }
func untickUp(t int64) time.Duration      { return time.Duration((t + 1<<tickBits - 1) >> tickBits) }
func (b *bucket) tooFar(ahead int64) bool { return ahead > b.capacity+b.patience+skewMax }

// ahead is how far before now+0 the bucket is from full: what is used, as a time.
func (b *bucket) ahead(word Word, now int64) (ahead int64, jumped bool) {
	ahead = max(int64(word)-now, 0)
	if b.tooFar(ahead) {
		return b.capacity + b.patience, true
	}
	return ahead, false
}

// verdict fills in the numbers for a bucket that is ahead.
func (b *bucket) verdict(ahead int64) Verdict {
	used := ceilDiv(ahead, b.interval)
	return Verdict{Limit: b.burst, Used: used, Remaining: max(b.burst-used, 0), Reset: untickUp(ahead)}
}

func (b *bucket) load(word Word, now mono.Time) float64 {
	ahead, _ := b.ahead(word, ticks(now))
	return float64(ahead) / float64(b.capacity)
}
