package breaker

import (
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Cause is why a breaker changed its state.
type Cause uint8

// Causes.
const (
	None         Cause = iota
	ErrorRatio         // opened: too large a share of failures in the window
	SlowRatio          // opened: too large a share of slow calls in the window
	Consecutive        // opened: too many failures in a row
	Score              // opened: seconds unlike any healthy one
	ProbesFailed       // opened again: a step of half-open went badly
	TimeOver           // half-open: it was open for as long as it should
	ProbesPassed       // half-open: the next step
	Recovered          // closed: the last step went well
	Ordered            // closed: an operator said so
)

var causeWords = [...]string{"none", "error_ratio", "slow_ratio", "consecutive", "score", "probes_failed", "time_over", "probes_passed",
	"recovered", "ordered"}

// String returns the word of logs and records.
func (c Cause) String() string { return causeWords[c] }

// Numbers are counts as people read them.
type Numbers struct {
	Total        uint32
	Failures     uint32
	ErrorRatio   float64
	TimeoutRatio float64
	SlowRatio    float64
	P95          time.Duration
	Run          uint32 // failures in a row
}

func numbersOf(c *Counts) Numbers {
	total := c.Total()
	return Numbers{total, c.Failures, ratio(c.Failures, total), ratio(c.Timeouts, total), ratio(c.Slow, total), c.Latency.Quantile(0.95), c.Run}
}

// Transition is one change of a breaker's state, and all that led to it.
type Transition struct {
	At       mono.Time
	From, To State
	Step     int // of half-open, before the change
	Cause    Cause
	OpenFor  time.Duration // if it opened

	// Numbers of the window, or of the step if it was half-open.
	Numbers Numbers
	// Classic is what the classic rule would have done by the window: the cause by which it would have opened, or None.
	Classic Cause

	// What the adaptive rule went by; meaningless while Learnt is below what Adaptive.Learn asks for.
	Learnt   int      // healthy seconds it knew
	Features Features // of the last second
	Score    float64
	Evidence float64
	Top      Feature // which contributed most to the score
	Typical  float64 // the middle value of that feature in healthy seconds: nanoseconds, or a share
}

// transition fills in what is known before the state changes.
func (b *Breaker) transition(now mono.Time, to State, cause Cause) Transition {
	d := &b.detector
	t := Transition{At: now, From: b.view.State, To: to, Step: b.view.Step, Cause: cause, Learnt: d.reservoir.n, Features: d.last, Score: d.score,
		Evidence: d.evidence, Top: d.top, Typical: d.typical(d.top)}
	switch b.view.State {
	case Closed:
		t.Numbers, t.Classic = numbersOf(&b.window.sum), b.classic()
		if cause == Consecutive {
			t.Classic = Consecutive
		}
	default:
		t.Numbers = numbersOf(&b.step)
	}
	return t
}

// say remembers the transition where those who refuse find its numbers: the last that opened.
func (b *Breaker) say(t Transition) Transition {
	if t.To == Open {
		b.view.Last = t
	}
	return t
}
