package quota

import (
	"fmt"
	"time"
)

// Rule is the limit that nodes share: Count requests Per so long, and Burst at once after a pause.
type Rule struct {
	Count int64
	Per   time.Duration // at least a microsecond, in whole ones
	Burst int64         // at least 1
}

const (
	// BurstMax keeps products of two counts exact in the store, which calculates in floating point: below 2^53.
	BurstMax = 1 << 30
	// WantMax is the most that a node asks for at a time, for the same reason.
	WantMax = 1 << 20
	// creditsMax leaves room for sums of four full buckets below 2^53.
	creditsMax = 1 << 51
)

// Rate is how many requests a second the rule admits in the long run.
func (r Rule) Rate() float64 { return float64(r.Count) / r.Per.Seconds() }

// FillTime is how long an empty bucket takes to be full.
func (r Rule) FillTime() time.Duration {
	return time.Duration(float64(r.Burst) / r.Rate() * float64(time.Second))
}

// Terms are a rule in the whole numbers that a ledger calculates in, so that the store and its twin come to the same results:
// a token is worth Token credits, and Fill credits come with each microsecond.
type Terms struct {
	Fill, Token int64
	Burst       int64 // tokens
}

// Terms returns the rule's terms, or says why they would not be exact.
func (r Rule) Terms() (Terms, error) {
	us := r.Per.Microseconds()
	if r.Count < 1 || us < 1 || r.Burst < 1 {
		return Terms{}, fmt.Errorf("quota: %d per %v with a burst of %d: each has to be at least 1", r.Count, r.Per, r.Burst)
	}
	g := gcd(r.Count, us)
	t := Terms{Fill: r.Count / g, Token: us / g, Burst: r.Burst}
	if r.Burst > BurstMax || t.Token > creditsMax/r.Burst/4 || t.Fill > creditsMax/4 {
		return Terms{}, fmt.Errorf("quota: a burst of %d at %d per %v is more than a store counts exactly", r.Burst, r.Count, r.Per)
	}
	return t, nil
}

// full is what a full bucket is worth.
func (t Terms) full() int64 { return t.Burst * t.Token }

// fillMax is the longest time, in microseconds, that can make a difference: from the deepest debt to full.
func (t Terms) fillMax() int64 { return 2*t.full()/t.Fill + 1 }

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
