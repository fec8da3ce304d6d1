package route

import (
	"fmt"
	"strings"

	"github.com/yumen-io/yumen/policy/match"
)

// Candidate is a route whose host and path patterns match a request, and what became of it.
type Candidate struct {
	Index  int  // of the spec
	Chosen bool // it is the winner
	Holds  bool // it matches; without Chosen another one that matches came before
	// Why says, for people, why the route was refused or passed over; empty for the winner.
	Why string
}

// Explain returns all candidates for a request in the order in which Match asks them. It is the very walk of Match, only
// that it goes on after the winner and names those too that Match skips in a large leaf, since they ask for a value that
// the request does not have. It allocates as it likes.
func (t *Table) Explain(r *match.Request) []Candidate {
	var p Params
	var tr trace
	w := t.walk(r, &p)
	w.trace = &tr
	w.hosts()
	return tr.candidates
}

// trace notes what a walk meets.
type trace struct {
	candidates []Candidate
	chosen     bool
}

func (tr *trace) note(w *walk, i uint32, by refusal) {
	e := &w.t.entries[i]
	c := Candidate{Index: int(e.spec), Holds: by == accepted}
	switch by {
	case accepted:
		c.Chosen, tr.chosen = !tr.chosen, true
		if !c.Chosen {
			c.Why = "matches too, but a more specific route came first"
		}
	case byMethod:
		c.Why = fmt.Sprintf("method %s is not among %s", w.r.Method, w.t.AppendAllow(nil, Allow(e.methods)))
	case byListener:
		c.Why = fmt.Sprintf("serves listener %q only, the request came in on %q", w.t.listeners[e.listener-1], w.r.Listener)
	case byPredicate:
		p := w.failing(e)
		c.Why = fmt.Sprintf("%s does not hold: it is %s", p, strings.TrimSpace(p.Found(w.r)))
	}
	tr.candidates = append(tr.candidates, c)
}
