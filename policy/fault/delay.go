package fault

import (
	"fmt"
	"math"
	"time"
)

// Distribution is how delays are spread.
type Distribution uint8

// Distributions.
const (
	Fixed       Distribution = iota // all are Time
	Uniform                         // from Min to Max
	Exponential                     // Time on average, as waiting in a queue is, at most Max
)

var distributionWords = [...]string{"fixed", "uniform", "exponential"}

// String returns the word of documents.
func (d Distribution) String() string { return distributionWords[d] }

// Delay is how long requests are held.
type Delay struct {
	Distribution Distribution
	Time         time.Duration
	Min, Max     time.Duration
}

// DelayMax bounds every delay: what is longer is a request that never ends, and there are timeouts for that.
const DelayMax = time.Minute

// tail is how many times the mean an exponential delay is at most, unless a document says otherwise: five in a hundred thousand
// are longer.
const tail = 10

// Check returns what is wrong with the delay, empty if nothing, and fills in the bound of an exponential one.
func (d *Delay) Check() string {
	if d.Distribution == Exponential && d.Max == 0 {
		d.Max = min(tail*d.Time, DelayMax)
	}
	switch {
	case d.Distribution == Uniform && (d.Min < 0 || d.Max <= d.Min || d.Max > DelayMax):
		return fmt.Sprintf("a uniform delay has a min and a greater max, up to %s", DelayMax)
	case d.Distribution == Fixed && (d.Time <= 0 || d.Time > DelayMax):
		return fmt.Sprintf("a fixed delay has a time, up to %s", DelayMax)
	case d.Distribution == Exponential && (d.Time <= 0 || d.Max < d.Time || d.Max > DelayMax):
		return fmt.Sprintf("an exponential delay has a time, its mean, and a max that is not less, up to %s", DelayMax)
	}
	return ""
}

// Draw returns a delay for 64 random bits.
func (d *Delay) Draw(random uint64) time.Duration {
	u := Unit(random)
	switch d.Distribution {
	case Uniform:
		return d.Min + time.Duration(u*float64(d.Max-d.Min))
	case Exponential:
		return min(time.Duration(-math.Log(1-u)*float64(d.Time)), d.Max)
	}
	return d.Time
}

// Unit makes a number from 0 up to, not including, 1 of 64 random bits.
func Unit(random uint64) float64 { return float64(random>>11) / (1 << 53) }
