package retry

import (
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// BudgetConfig says how many retries a cluster bears.
type BudgetConfig struct {
	// Ratio of retries to requests over the window; 0 means 0.2, below 0 none.
	Ratio float64
	// FloorPerSecond lets a quiet cluster retry too; 0 means 3, below 0 none. It may be a fraction: a cluster's floor
	// is divided among its loops, each of which has a budget.
	FloorPerSecond float64
}

const (
	ratioDefault = 0.2
	floorDefault = 3.0

	// The window is long enough that a burst of failures is measured against the traffic before it, and short
	// enough that this morning's traffic is no licence for tonight's retries.
	window     = bucketSpan * buckets
	bucketSpan = time.Second
	buckets    = 10
)

// Budget counts the requests and retries of the last ten seconds, the running one in part: retries are allowed as long as there
// are at most ratio x requests + floor x 10 s of them. A retry stays in the window at least as long as the requests that paid for
// it, so a request pays once: over any time T, retries <= ratio x requests + floor x (T + 10 s).
//
// Every operation is O(1) and allocates nothing. Loop-owned: not safe for concurrent use.
type Budget struct {
	ratio, floor float64 // floor: of the whole window

	requests, retries uint64 // sums over counts
	counts            [buckets]struct{ requests, retries uint32 }
	current           int64 // the number, since time zero, of the bucket that counts now
}

// NewBudget returns a budget without history.
func NewBudget(cfg BudgetConfig) *Budget {
	if cfg.Ratio == 0 {
		cfg.Ratio = ratioDefault
	}
	if cfg.FloorPerSecond == 0 {
		cfg.FloorPerSecond = floorDefault
	}
	return &Budget{ratio: max(cfg.Ratio, 0), floor: max(cfg.FloorPerSecond, 0) * window.Seconds()}
}

// Request counts a request (not an attempt) of the cluster.
func (b *Budget) Request(now mono.Time) {
	b.advance(now)
	b.counts[b.current%buckets].requests++
	b.requests++
}

// HasRoom says whether one more retry is within the budget.
func (b *Budget) HasRoom(now mono.Time) bool {
	b.advance(now)
	return float64(b.retries+1) <= b.ratio*float64(b.requests)+b.floor
}

// Spend counts a retry. The caller asked HasRoom in the same turn.
func (b *Budget) Spend(now mono.Time) {
	b.advance(now)
	b.counts[b.current%buckets].retries++
	b.retries++
}

// advance drops the buckets that left the window: at most all ten. A time before the current bucket counts in it.
func (b *Budget) advance(now mono.Time) {
	bucket := int64(now) / int64(bucketSpan)
	if bucket <= b.current {
		return
	}
	for k := max(b.current+1, bucket-buckets+1); k <= bucket; k++ {
		c := &b.counts[k%buckets]
		b.requests -= uint64(c.requests)
		b.retries -= uint64(c.retries)
		c.requests, c.retries = 0, 0
	}
	b.current = bucket
}

// BudgetView is a budget as an operator sees it.
type BudgetView struct {
	Requests, Retries uint64  // in the window
	Allowed           float64 // retries the window bears
}

// View describes the budget at now.
func (b *Budget) View(now mono.Time) BudgetView {
	b.advance(now)
	return BudgetView{b.requests, b.retries, b.ratio*float64(b.requests) + b.floor}
}
