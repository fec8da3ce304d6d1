package split

import (
	"sync/atomic"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/health"
)

// Statuses are the classes by which requests are counted, in the words of yumen_requests_total. None: the client left before an answer
// began.
var Statuses = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

// counts are of one variant, those of each loop in memory of its own. They outlive configurations, by the names of split and variant.
type counts struct {
	loops [gateway.LoopsMax]atomic.Pointer[cells]
}

type cells struct {
	statuses         [len(Statuses)]atomic.Uint64
	requests, errors atomic.Uint64
	latency          [SketchBuckets]atomic.Uint64
	_                [64]byte // the next loop's are on other lines of the cache
}

// Start is for gateway.Remembered.
func (c *counts) Start() {}

// Close is for gateway.Remembered.
func (c *counts) Close() {}

// on returns the cells of a loop, which alone makes them and adds to them.
func (c *counts) on(loop int) *cells {
	at := c.loops[loop].Load()
	if at == nil {
		at = new(cells)
		c.loops[loop].Store(at)
	}
	return at
}

// add counts an exchange that has ended.
func (c *counts) add(loop int, o *gateway.Outcome) {
	at := c.on(loop)
	at.statuses[classOf(o.Status)].Add(1)
	counted, failed := speaksOf(o)
	if !counted {
		return
	}
	at.requests.Add(1)
	if failed {
		at.errors.Add(1)
	}
	took := o.FirstByte
	if took < 0 {
		took = o.Took
	}
	at.latency[bucketOf(took)].Add(1)
}

func classOf(status int) int {
	if class := status / 100; class >= 1 && class <= 5 {
		return class
	}
	return 0
}

// speaksOf tells whether how an exchange ended says something of the upstream, and whether that is that it failed.
func speaksOf(o *gateway.Outcome) (counted, failed bool) {
	switch {
	case o.ClientGone:
		return false, false
	case o.Reason != "": // an answer of the gateway's own, or one that was cut
		failed = o.Failure != nil && o.Failure.Side == gateway.Upstream
		return failed, failed
	case o.Attempts == 0: // from a cache
		return false, false
	}
	return true, o.Health != health.OK && o.Health != health.Aborted
}

func (c *counts) totals() (t Totals) {
	for i := range c.loops {
		at := c.loops[i].Load()
		if at == nil {
			continue
		}
		// Errors first: there are never more of them than requests.
		t.Errors += at.errors.Load()
		t.Requests += at.requests.Load()
		for b := range at.latency {
			t.Latency.counts[b] += at.latency[b].Load()
		}
	}
	return t
}

// statuses calls yield with each class and how many there were.
func (c *counts) statuses(yield func(status string, n uint64)) {
	var sums [len(Statuses)]uint64
	for i := range c.loops {
		if at := c.loops[i].Load(); at != nil {
			for class := range sums {
				sums[class] += at.statuses[class].Load()
			}
		}
	}
	for class, n := range sums {
		yield(Statuses[class], n)
	}
}
