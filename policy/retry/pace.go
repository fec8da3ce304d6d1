package retry

import (
	"math/bits"
	"time"
)

// Pace is how long a cluster's answers have taken of late to begin: a histogram with four buckets to an octave, so that a quantile
// is at most a quarter above the truth, in which what is old counts half of what is new, a quarter, and so on. Observing is a
// few instructions. Loop-owned.
type Pace struct {
	counts [paceBuckets]uint32
	total  uint32
}

const (
	paceShift   = 14  // 16 us: what is quicker counts as that
	paceBuckets = 104 // up to 2^14 ns x 2^26: 18 minutes
	paceFull    = 4096
	paceEnough  = 64 // observations below which a quantile would be a guess
)

// Observe adds an answer's time to its first byte.
func (p *Pace) Observe(d time.Duration) {
	p.counts[paceBucket(d)]++
	if p.total++; p.total >= paceFull {
		p.total = 0
		for i := range p.counts {
			p.counts[i] /= 2
			p.total += p.counts[i]
		}
	}
}

// paceBucket returns the bucket of a time: the octave, and the two bits behind its highest.
func paceBucket(d time.Duration) int {
	n := uint64(max(d, 0)) >> (paceShift - 2)
	if n < 4 {
		return 0
	}
	octave := bits.Len64(n) - 3
	return min(octave*4+int(n>>octave&3), paceBuckets-1)
}

// paceBound returns where a bucket ends.
func paceBound(bucket int) time.Duration {
	return time.Duration(4+uint64(bucket%4)+1) << (bucket/4 + paceShift - 2)
}

// Quantile returns the time within which a share q of the answers began, rounded up; 0 if too few were seen to tell.
func (p *Pace) Quantile(q float64) time.Duration {
	if p.total < paceEnough {
		return 0
	}
	need := uint32(q*float64(p.total) + 0.999999)
	var sum uint32
	for i, n := range p.counts {
		if sum += n; sum >= need {
			return paceBound(i)
		}
	}
	return paceBound(paceBuckets - 1)
}

// Hedge is a second try for a request whose first is slow to answer, of which the one that answers first counts (Dean and
// Barroso, The Tail at Scale, 2013). Frozen.
type Hedge struct {
	Quantile float64       // of Pace after which it begins, as 0.95; 0: After alone says when
	After    time.Duration // at the earliest; without a quantile, or while too little is known for one, just then
}

// Delay returns how long the first try is waited for.
func (h *Hedge) Delay(p *Pace) time.Duration {
	if h.Quantile == 0 {
		return h.After
	}
	return max(p.Quantile(h.Quantile), h.After)
}
