package gateway

import (
	"math"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Mode is what becomes of a guard's refusals.
type Mode uint8

// Modes.
const (
	Enforce Mode = iota // they are answered
	Shadow              // they are counted and recorded, and the request goes on
)

var modeWords = [...]string{Enforce: "enforce", Shadow: "shadow"}

// String returns the word of documents and metrics.
func (m Mode) String() string { return modeWords[m] }

// GuardOutcome is what a guard made of a request.
type GuardOutcome uint8

// Outcomes of guards.
const (
	Passed   GuardOutcome = iota
	Delayed               // it had to wait, and then passed
	Refused               // the guard answers
	Degraded              // it got less than it asked for: an old answer, another cluster
)

var outcomeWords = [...]string{Passed: "passed", Delayed: "delayed", Refused: "refused", Degraded: "degraded"}

// String returns the word of logs and metrics.
func (o GuardOutcome) String() string { return outcomeWords[o] }

// Guard is what filters that judge requests have in common: who they are, whether their word counts, and how often they said
// what. Frozen, but for its counters, which a guard of the same kind and name shares over configurations.
type Guard struct {
	Kind string // of the filter
	Name string // the filter's in the document; of one without a name: its route's and the kind
	Mode Mode

	// Tell calls yield with the numbers that the guard is at now, of which metrics and the admin API tell; nil: it has none. From any
	// goroutine. The names are constants.
	Tell func(yield func(number string, value float64))
	// Detail returns what else there is to say, for the admin API, as encoding/json takes it; nil: nothing. From any goroutine.
	Detail func() any

	counts *guardCounts
}

// NewGuard returns a guard that goes on counting where one of its kind and name left off.
func NewGuard(kind, name string, mode Mode, r *Recollection) *Guard {
	return &Guard{Kind: kind, Name: name, Mode: mode, counts: Recall(r, "guard/"+kind+"/"+name, func() *guardCounts { return new(guardCounts) })}
}

// guardCounts are a guard's counters, those of each loop on a cache line of their own.
type guardCounts struct {
	loops [LoopsMax]atomic.Pointer[guardCells]
}

type guardCells [len(modeWords)][len(outcomeWords)]atomic.Uint64

// Start is for Remembered.
func (c *guardCounts) Start() {}

// Close is for Remembered.
func (c *guardCounts) Close() {}

// on returns the counters of a loop, which alone makes them.
func (c *guardCounts) on(loop int) *guardCells {
	cells := c.loops[loop].Load()
	if cells == nil {
		cells = new(guardCells)
		c.loops[loop].Store(cells)
	}
	return cells
}

// Count returns how often guards of this kind and name, in this one's mode, said so. From any goroutine.
func (g *Guard) Count(o GuardOutcome) uint64 {
	var n uint64
	for i := range g.counts.loops {
		if cells := g.counts.loops[i].Load(); cells != nil {
			n += cells[g.Mode][o].Load()
		}
	}
	return n
}

// Outcomes calls yield with each outcome and how often it was.
func (g *Guard) Outcomes(yield func(o GuardOutcome, n uint64)) {
	for o := range outcomeWords {
		yield(GuardOutcome(o), g.Count(GuardOutcome(o)))
	}
}

// NumbersMax is how many numbers a judgement has at most.
const NumbersMax = 8

// Number is one of the numbers by which a guard judged.
type Number struct {
	Name  string
	Value float64
	Unit  string // "/s", "s", "ms", "%", "B", "B/s", or empty for a count
}

// Judgement is what a guard made of a request, and why. It is a loop's scratch: Exchange.Judgement gives it out, Exchange.Judge
// ends it.
type Judgement struct {
	Guard      *Guard
	Outcome    GuardOutcome
	Status     int    // of a refusal
	Reason     string // one word for header, log and metric
	Text       string // a sentence for people
	RetryAfter time.Duration
	Key        []byte  // who was judged, as people read it
	Fields     []Field // further ones of the answer

	numbers [NumbersMax]Number
	count   int
	words   wordList
	said    []byte // their values, one behind the other; the memory is used again
}

// WordsMax is how many words a judgement has at most: what a request said, and what was asked for.
const WordsMax = 2

// wordBytesMax bounds each of them (an issuer's address is half as long); with it, the memory that a record takes.
const wordBytesMax = 96

// wordList says of each how it is called, and where its value ends.
type wordList [WordsMax]struct {
	name string
	end  uint8
}

// Word is something by which a guard judged that is no number: a network, an issuer.
type Word struct{ Name, Value string }

// Word adds one. The name is a constant; the value is copied, and cut where it is too long, which three dots show. It may be what a
// client wrote: whoever shows it to people has to escape it. Those beyond WordsMax are left out.
func (j *Judgement) Word(name string, value []byte) {
	for i := range j.words {
		if j.words[i].name != "" {
			continue
		}
		const dots = "..."
		if len(value) > wordBytesMax {
			n := wordBytesMax - len(dots)
			for n > wordBytesMax-len(dots)-utf8.UTFMax && !utf8.RuneStart(value[n]) {
				n--
			}
			j.said = append(append(j.said, value[:n]...), dots...)
		} else {
			j.said = append(j.said, value...)
		}
		j.words[i].name, j.words[i].end = name, uint8(len(j.said))
		return
	}
}

// Number adds one of the numbers. The names and units are constants; those beyond NumbersMax are left out, and what JSON has no
// words for: infinity, and what is no number.
func (j *Judgement) Number(name string, value float64, unit string) {
	if j.count < NumbersMax && !math.IsNaN(value) && !math.IsInf(value, 0) {
		j.numbers[j.count] = Number{name, value, unit}
		j.count++
	}
}

// Judgement returns the loop's judgement, empty, for a guard to fill in.
func (x *Exchange) Judgement(g *Guard) *Judgement {
	j := &x.w.judgement
	*j = Judgement{Guard: g, said: j.said[:0]}
	return j
}

// Judge carries a judgement out: it is counted, recorded if it is no pass or the exchange is one of the sample, and a refusal
// answered, unless the guard is in shadow mode. What it returns is what the hook returns.
func (x *Exchange) Judge(j *Judgement) Verdict {
	g, w := j.Guard, x.w
	g.counts.on(w.index)[g.Mode][j.Outcome].Add(1)
	if j.Outcome == Passed {
		if x.sampled {
			w.decisions.add(x, j)
		}
		return GoOn
	}
	w.decisions.add(x, j)
	if g.Mode == Shadow {
		if x.shadowed == nil {
			x.shadowed = g
		}
		return GoOn
	}
	x.guard = g
	if j.Outcome != Refused {
		return GoOn
	}
	x.refuseFor(j)
	return Answered
}

// refuseFor answers in a guard's words, unless a filter before it has a better answer.
func (x *Exchange) refuseFor(j *Judgement) {
	if x.hasFailed(x.calling) {
		// Whoever takes over judges in turn, with the same scratch, and may fail again before it returns.
		status, reason, text, retryAfter, fields := j.Status, j.Reason, j.Text, j.RetryAfter, j.Fields
		side := Client
		if status >= 500 {
			side = Self
		}
		x.failure = &Failure{Side: side, Status: status, Reason: reason, Text: text}
		if x.takenOver(x.calling, x.failure) {
			return
		}
		x.sayRefusal(status, reason, text, retryAfter, fields)
		return
	}
	x.sayRefusal(j.Status, j.Reason, j.Text, j.RetryAfter, j.Fields)
}

func (x *Exchange) sayRefusal(status int, reason, text string, retryAfter time.Duration, fields []Field) {
	x.reason = reason
	e := Explanation{status, callStatus(status, reason), reason, text, retryAfter, fields}
	if x.explain(e) {
		return
	}
	h := x.w.newAnswer(status, reason, x.requestID)
	h.AddString("Content-Type", plainText)
	e.addTo(h)
	x.send(h, x.w.explanation(reason, text, x.requestID))
}
