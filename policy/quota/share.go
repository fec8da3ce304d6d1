package quota

import (
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/limit"
)

// Share is what a node that cannot reach the store admits by itself: its part of the rule, that of one of so many nodes. It is
// frozen. Words are those of policy/limit; one that was made by a share for other nodes goes on to be good.
type Share struct {
	bucket *limit.Limit
	nodes  int64
	burst  int64
}

// NewShare divides a rule among so many nodes, at least 1. Each request pays for all of them, so that the parts of a rule of 3/s are
// 3/s together and not three times 1/s rounded in some direction; and the bucket holds one request at least.
func NewShare(rule Rule, nodes int64) (Share, error) {
	nodes = min(max(nodes, 1), NodesMax)
	burst := max(rule.Burst, nodes)
	bucket, err := limit.New(limit.Config{Algorithm: limit.TokenBucket, Count: rule.Count, Per: rule.Per, Burst: burst})
	return Share{bucket, nodes, burst}, err
}

// NewWindowShare is NewShare for an exact limit: as many as its part in any window, nearly; see limit.SlidingWindow.
func NewWindowShare(rule Rule, nodes int64) (Share, error) {
	nodes = min(max(nodes, 1), NodesMax)
	count := max(rule.Count, nodes)
	window, err := limit.New(limit.Config{Algorithm: limit.SlidingWindow, Count: count, Per: rule.Per})
	return Share{window, nodes, count}, err
}

// NodesMax is how many nodes share a rule at most. A store goes through all of them for each report.
const NodesMax = 128

// Nodes is among how many the rule is divided.
func (s Share) Nodes() int64 { return s.nodes }

// Empty is the word of a key whose part is used up: who loses the store begins with it, since what the store has granted
// already fills the bucket.
func (s Share) Empty(now mono.Time) limit.Word {
	word, _ := s.bucket.Decide(0, now, s.burst)
	return word
}

// Decide judges a request. The verdict's counts are in requests.
func (s Share) Decide(word limit.Word, now mono.Time, cost int64) (limit.Word, limit.Verdict) {
	next, v := s.bucket.Decide(word, now, cost*s.nodes)
	v.Limit, v.Remaining = v.Limit/s.nodes, v.Remaining/s.nodes
	v.Used = v.Limit - v.Remaining
	return next, v
}

// Drift is by how much the store's clock may be fast: a clock that is slewed into place runs up to 1/2000 fast.
const Drift = 0.0005

// Situation is what happened in an interval and in the time of a lease before it.
type Situation struct {
	Over time.Duration // the interval
	// Losses is how often the store lost what it knew, or its clock jumped forwards.
	Losses int
	// Stalled are tokens in the hands of nodes that stood still, clock and all, for longer than a lease, and went on.
	Stalled int64
	// Local is what nodes admitted by themselves: the sum of LocalMost over those that were cut off.
	Local float64
}

// Most is the largest number of requests that all nodes together admit of one key. The package's comment has the proof.
func (r Rule) Most(s Situation) float64 {
	return r.Rate()*s.Over.Seconds()*(1+Drift) + float64(r.Burst)*float64(1+s.Losses) + float64(s.Stalled) + s.Local
}

// LocalMost is what one node admits at most by its share in an interval in which it was cut off for so long.
func (r Rule) LocalMost(nodes int64, away time.Duration) float64 {
	if away <= 0 {
		return 0
	}
	n := float64(max(nodes, 1))
	return r.Rate()*away.Seconds()/n + max(float64(r.Burst)/n, 1)
}
