package breaker

import (
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Counts is how requests ended in some time. Each is in Latency once; a failure is in Failures as well, one that was a
// timeout in both, a slow one in Slow whatever else it was. Endings that a client brought about are in none.
type Counts struct {
	Latency  Histogram
	Failures uint32
	Timeouts uint32
	Slow     uint32
	// Run is how many failures in a row there have been up to now. It is not summed.
	Run uint32
}

// Add counts one ending.
func (c *Counts) Add(latency time.Duration, failed, timedOut, slow bool) {
	c.Latency.Add(latency)
	if failed {
		c.Failures++
		c.Run++
	} else {
		c.Run = 0
	}
	if timedOut {
		c.Timeouts++
	}
	if slow {
		c.Slow++
	}
}

// Total is the number of endings.
func (c *Counts) Total() uint32 { return c.Latency.total() }

func (c *Counts) merge(o *Counts) {
	c.Latency.merge(&o.Latency)
	c.Failures += o.Failures
	c.Timeouts += o.Timeouts
	c.Slow += o.Slow
	c.Run = o.Run
}

func (c *Counts) subtract(o *Counts) {
	c.Latency.subtract(&o.Latency)
	c.Failures -= o.Failures
	c.Timeouts -= o.Timeouts
	c.Slow -= o.Slow
}

// News returns what has come since seen, of counts that are never reset, and keeps them there for the next time. They may wrap at
// 2^32. Run is as it is now.
func (c *Counts) News(seen *Counts) Counts {
	news := *c
	news.subtract(seen)
	*seen = *c
	return news
}

func ratio(part, of uint32) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}

// windowBuckets is how finely a window slides: a tenth of it leaves at a time.
const windowBuckets = 10

// window is the counts of the last while: a ring of buckets and their sum.
type window struct {
	bucket  time.Duration
	buckets [windowBuckets]Counts
	sum     Counts
	at      int64 // number of the bucket being filled: time in buckets
}

func (w *window) reset(length time.Duration, now mono.Time) {
	*w = window{bucket: length / windowBuckets}
	w.at = int64(now) / int64(w.bucket)
}

// add counts c as of now, after dropping what is too old.
func (w *window) add(now mono.Time, c *Counts) {
	at := int64(now) / int64(w.bucket)
	if at-w.at >= windowBuckets {
		w.buckets, w.sum, w.at = [windowBuckets]Counts{}, Counts{}, at
	}
	for w.at < at {
		w.at++
		b := &w.buckets[w.at%windowBuckets]
		w.sum.subtract(b)
		*b = Counts{}
	}
	w.buckets[w.at%windowBuckets].merge(c)
	w.sum.merge(c)
}
