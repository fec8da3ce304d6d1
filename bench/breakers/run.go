package breakers

import (
	"container/heap"
	"time"
)

// Candidate is a breaker on trial. Its methods are called in the order of time.
type Candidate interface {
	// Admit asks for one request; ticket goes back to Done.
	Admit(now time.Duration) (ticket uint64, ok bool)
	// Done tells how an admitted request ended.
	Done(now time.Duration, ticket uint64, r *Request)
	// Tick is called every 100 ms.
	Tick(now time.Duration)
	// Open tells whether the breaker refuses, and Passing whether it is fully closed.
	Open() bool
	Passing() bool
}

// Result is what a breaker made of a trace.
type Result struct {
	Delays      []time.Duration // of each incident; its length where it was missed
	Missed      int
	FalseOpens  int
	Recoveries  []time.Duration // from the end of an incident that was seen until all requests passed
	Total       int
	RefusedGood int // would have been answered well
	RefusedBad  int
	LetBad      int // failed, and had been let through during an incident
}

// grace is how long after an incident an opening is still its consequence: requests of then are still under way.
const grace = Timeout + 500*time.Millisecond

// step is how finely time moves.
const step = 10 * time.Millisecond

// end is an answer to come.
type end struct {
	at     time.Duration
	ticket uint64
	of     *Request
}

type ends []end

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].at < e[j].at }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(end)) }
func (e *ends) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

// Play plays a trace. advance is called whenever time moves; nil if the candidate needs none but its arguments.
func Play(t *Trace, c Candidate, advance func(now time.Duration)) Result {
	w := watch{t: t, wasPassing: true}
	w.r.Delays = make([]time.Duration, len(t.Incidents))
	for i := range w.r.Delays {
		w.r.Delays[i] = -1
	}
	var under ends
	next := 0
	for now := time.Duration(0); now < Length; now += step {
		if advance != nil {
			advance(now)
		}
		for len(under) > 0 && under[0].at <= now {
			e := heap.Pop(&under).(end)
			c.Done(now, e.ticket, e.of)
			w.look(now, c)
		}
		if now%(100*time.Millisecond) == 0 {
			c.Tick(now)
			w.look(now, c)
		}
		for ; next < len(t.Requests) && t.Requests[next].At <= now; next++ {
			q := &t.Requests[next]
			ticket, ok := c.Admit(now)
			w.r.Total++
			switch {
			case ok:
				heap.Push(&under, end{now + q.Latency, ticket, q})
				if q.Failed && w.incident(now) >= 0 {
					w.r.LetBad++
				}
			case q.Failed:
				w.r.RefusedBad++
			default:
				w.r.RefusedGood++
			}
			w.look(now, c)
		}
	}
	w.finish()
	return w.r
}

// watch notes when the candidate's state changes.
type watch struct {
	t          *Trace
	r          Result
	wasOpen    bool
	wasPassing bool
	waiting    []int // incidents that are over, seen, and not recovered from
	over       int   // incidents that are over
}

// incident is the one of a time, or -1.
func (w *watch) incident(now time.Duration) int {
	for i, in := range w.t.Incidents {
		if now >= in.From && now < in.To {
			return i
		}
	}
	return -1
}

// consequence is the incident whose consequence an opening now is, or -1.
func (w *watch) consequence(now time.Duration) int {
	for i := len(w.t.Incidents) - 1; i >= 0; i-- {
		if in := w.t.Incidents[i]; now >= in.From && now < in.To+grace {
			return i
		}
	}
	return -1
}

func (w *watch) look(now time.Duration, c Candidate) {
	for w.over < len(w.t.Incidents) && now >= w.t.Incidents[w.over].To {
		if w.r.Delays[w.over] >= 0 {
			w.waiting = append(w.waiting, w.over)
		}
		w.over++
	}
	open, passing := c.Open(), c.Passing()
	if i := w.incident(now); i >= 0 && !passing && w.r.Delays[i] < 0 {
		w.r.Delays[i] = now - w.t.Incidents[i].From
	}
	// An opening counts once, not again for each probe that fails.
	if open && !w.wasOpen && w.wasPassing && w.consequence(now) < 0 {
		w.r.FalseOpens++
	}
	if passing {
		for _, i := range w.waiting {
			w.r.Recoveries = append(w.r.Recoveries, now-w.t.Incidents[i].To)
		}
		w.waiting = w.waiting[:0]
	}
	w.wasOpen, w.wasPassing = open, passing
}

func (w *watch) finish() {
	for i, in := range w.t.Incidents {
		if w.r.Delays[i] < 0 {
			w.r.Delays[i] = in.To - in.From
			w.r.Missed++
		}
	}
	for _, i := range w.waiting {
		w.r.Recoveries = append(w.r.Recoveries, Length-w.t.Incidents[i].To)
	}
}
