package limit

import "github.com/yumen-io/yumen/internal/mono"

// take is the token bucket: a request takes as many tokens as it costs, or is refused and takes none.
func (b *bucket) take(word Word, now mono.Time, cost int64) (Word, Verdict) {
	at := ticks(now)
	ahead, jumped := b.ahead(word, at)
	if cost <= b.burst {
		if after := ahead + cost*b.interval; after <= b.capacity {
			v := b.verdict(after)
			v.Allowed = true
			return Word(at + after), v
		}
	}
	v := b.verdict(ahead)
	if cost <= b.burst {
		v.RetryAfter = untickUp(ahead + cost*b.interval - b.capacity)
	}
	if jumped {
		word = Word(at + ahead)
	}
	return word, v
}
