package limit

import "github.com/yumen-io/yumen/internal/mono"

// queue is the leaky bucket: a request that finds no token waits for the next that nobody else waits for, unless that is
// longer than the patience; then it is refused and takes no place. Since the wait is told in advance there is no queue to keep,
// and requests leave in the order in which they asked.
func (b *bucket) queue(word Word, now mono.Time, cost int64) (Word, Verdict) {
	at := ticks(now)
	ahead, jumped := b.ahead(word, at)
	if cost <= b.burst {
		after := ahead + cost*b.interval
		if wait := after - b.capacity; wait <= b.patience {
			v := b.verdict(after)
			v.Allowed, v.Delay = true, untickUp(max(wait, 0))
			return Word(at + after), v
		}
	}
	v := b.verdict(ahead)
	if cost <= b.burst {
		v.RetryAfter = untickUp(ahead + cost*b.interval - b.capacity - b.patience)
	}
	if jumped {
		word = Word(at + ahead)
	}
	return word, v
}
