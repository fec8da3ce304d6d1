package gateway

import (
	"net/netip"
	"slices"
	"time"
)

// Decision is the record of what a guard made of one request. It is a copy: nothing in it belongs to an exchange.
type Decision struct {
	At         time.Time
	RequestID  string
	Revision   uint64
	Route      string
	Client     netip.Addr
	Method     string
	Path       string // in its normal form, cut at pathKept
	Kind       string // of the guard
	Guard      string
	Mode       Mode
	Outcome    GuardOutcome
	Status     int // of a refusal
	Reason     string
	Text       string
	Key        string
	RetryAfter time.Duration
	Numbers    []Number
	Words      []Word
}

// How much of a request's words a record keeps: enough to know it by, and little enough that nobody fills the ring's memory.
const (
	idKept     = 64
	keyKept    = 128
	pathKept   = 128
	methodKept = 16
)

// decisionsKept is how many records a loop keeps until SetDecisions says otherwise: some 4 MB.
const decisionsKept = 4096

// entry is a Decision as a loop keeps it, without pointers into anything that goes away.
type entry struct {
	at         int64  // nanoseconds since 1970
	kind       string // of the guard, which itself would keep its filter in memory
	guard      string
	mode       Mode
	route      string
	reason     string
	text       string
	client     netip.Addr
	revision   uint64
	retryAfter time.Duration
	status     int
	outcome    GuardOutcome
	count      uint8
	lengths    [4]uint8
	id         [idKept]byte
	key        [keyKept]byte
	path       [pathKept]byte
	method     [methodKept]byte
	numbers    [NumbersMax]Number
	words      wordList
	said       [WordsMax * wordBytesMax]byte
}

// decisions is a loop's ring of records: the last so many. Loop-owned.
type decisions struct {
	ring []entry // made when the first is added
	next uint64  // how many were added, ever
	keep int     // how many are kept
}

func (d *decisions) add(x *Exchange, j *Judgement) {
	if d.keep == 0 {
		return
	}
	if len(d.ring) != d.keep {
		d.ring, d.next = make([]entry, d.keep), 0
	}
	e := &d.ring[d.next%uint64(d.keep)]
	d.next++
	e.at, e.client, e.revision = x.Wall().UnixNano(), x.ClientAddr, x.snapshot.Revision
	e.kind, e.guard, e.mode = j.Guard.Kind, j.Guard.Name, j.Guard.Mode
	e.route, e.reason, e.text = x.Route.Name, j.Reason, j.Text
	e.retryAfter, e.status, e.outcome = j.RetryAfter, j.Status, j.Outcome
	e.count, e.numbers, e.words = uint8(j.count), j.numbers, j.words
	copy(e.said[:], j.said)
	e.lengths = [4]uint8{
		uint8(copy(e.id[:], x.requestID)), uint8(copy(e.key[:], j.Key)),
		uint8(copy(e.path[:], x.Request.Bytes(x.path))), uint8(copy(e.method[:], x.clientMethod())),
	}
}

func (e *entry) decision() Decision {
	return Decision{
		At: time.Unix(0, e.at), RequestID: string(e.id[:e.lengths[0]]), Revision: e.revision, Route: e.route, Client: e.client,
		Method: string(e.method[:e.lengths[3]]), Path: string(e.path[:e.lengths[2]]),
		Kind: e.kind, Guard: e.guard, Mode: e.mode, Outcome: e.outcome, Status: e.status, Reason: e.reason, Text: e.text,
		Key: string(e.key[:e.lengths[1]]), RetryAfter: e.retryAfter, Numbers: slices.Clone(e.numbers[:e.count]),
		Words: e.list(),
	}
}

// list is the words.
func (e *entry) list() (list []Word) {
	from := uint8(0)
	for _, w := range e.words {
		if w.name != "" {
			list = append(list, Word{w.name, string(e.said[from:w.end])})
			from = w.end
		}
	}
	return list
}

// latest calls yield with the records, newest first, until it says enough.
func (d *decisions) latest(yield func(e *entry) bool) {
	for i := range min(d.next, uint64(len(d.ring))) {
		if !yield(&d.ring[(d.next-1-i)%uint64(len(d.ring))]) {
			return
		}
	}
}

// SetDecisions says how many records each loop keeps, and of how many exchanges one is taken whose passes are recorded too; 0
// takes none. What is kept already is lost if its number changes.
func (g *Gateway) SetDecisions(keep, sample int) {
	g.OnEach(func(w *Worker) {
		if w.sample = sample; w.decisions.keep != keep {
			w.decisions = decisions{keep: keep}
		}
	})
}

// DecisionQuery says which records are asked for; what is empty does not matter.
type DecisionQuery struct {
	RequestID string
	Guard     string
	Route     string
	Key       string
	Refused   bool // those only
	Max       int
}

func (q *DecisionQuery) takes(e *entry) bool {
	return (q.RequestID == "" || string(e.id[:e.lengths[0]]) == q.RequestID) &&
		(q.Guard == "" || e.guard == q.Guard) &&
		(q.Route == "" || e.route == q.Route) &&
		(q.Key == "" || string(e.key[:e.lengths[1]]) == q.Key) &&
		(!q.Refused || e.outcome == Refused)
}

// Decisions returns the records that a query asks for, newest first. It asks the loops, one after the other.
func (g *Gateway) Decisions(q DecisionQuery) []Decision {
	if len(q.RequestID) > idKept {
		q.RequestID = q.RequestID[:idKept]
	}
	if len(q.Key) > keyKept {
		q.Key = q.Key[:keyKept]
	}
	var list []Decision
	g.OnEach(func(w *Worker) {
		found := 0
		w.decisions.latest(func(e *entry) bool {
			if q.takes(e) {
				list = append(list, e.decision())
				found++
			}
			return found < q.Max
		})
	})
	slices.SortStableFunc(list, func(a, b Decision) int { return b.At.Compare(a.At) })
	return list[:min(len(list), q.Max)]
}
