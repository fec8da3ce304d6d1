package quota

import (
	"math"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
)

// Lease is how long what was granted is good for. Within it, a node that is cut off spends what it has; after it, what a dead
// node took with it is there again.
const Lease = 2 * time.Second

const (
	// goodFor is the part of the lease that the node uses, from when it asked: clocks may differ by a sixteenth in pace.
	goodFor = Lease - Lease/16
	// ahead is for how long a node takes tokens in advance, and refill with how long left it asks for more: some round
	// trips, so that requests need not wait for one. Together they make some ten reports a second for a busy key.
	ahead  = 150 * time.Millisecond
	refill = 50 * time.Millisecond
	// quiet is after how long without a request tokens are given back.
	quiet = 300 * time.Millisecond
	// memory is what the estimate of the demand looks back on, roughly.
	memory = 200 * time.Millisecond
	// busy is the demand, per second, from which tokens are kept in advance at all. Below it each request asks for its own: a
	// key that is asked for once or twice leaves nothing lying here.
	busy = 2.0
	// againMin and againMax bound how long a node that got too little waits before it asks again.
	againMin = 2 * time.Millisecond
	againMax = 50 * time.Millisecond
	// dryMax bounds how long it takes a store's word for it that nothing is there: others may give some back.
	dryMax = 250 * time.Millisecond
)

// Facts are what has happened to a key on a node, as totals since the account began.
type Facts struct {
	Held    int64 // tokens in hand now
	Seen    int64 // tokens that requests asked for, granted or not
	Owed    int64 // admitted without a token
	Waiting int64 // tokens that requests wait for now
}

// Account is a node's half for one key: what to ask for, what to give back, until when what is held is good. The tokens
// themselves lie in a cell of the caller's that requests take from at any time, so the account is told how many there are, and says
// how many to add. It has one owner: not safe for concurrent use.
type Account struct {
	rule    Rule
	terms   Terms
	node    uint64
	number  int64
	granted int64
	settled int64
	said    int64 // of what was spent, what the store knows
	nodes   int64

	asked     bool // a report is on its way
	sent      mono.Time
	sentOwed  int64
	sentSpent int64
	wanted    int64
	known     bool // the store has answered
	answered  mono.Time
	good      mono.Time // until then what is held may be spent
	againAt   mono.Time // before that there is no use in asking
	freeAt    mono.Time // then the store expects to have a token
	demand    float64   // tokens a second
	seen      int64
	seenAt    mono.Time
	lastUseAt mono.Time
}

// NewAccount opens an account. number tells it from the node's earlier accounts of the same key: it must be larger.
func NewAccount(rule Rule, terms Terms, node uint64, number int64, now mono.Time) *Account {
	return &Account{rule: rule, terms: terms, node: node, number: number, nodes: 1, seenAt: now, lastUseAt: now}
}

// SetRule has later reports follow another rule. What is held stays.
func (a *Account) SetRule(rule Rule, terms Terms) { a.rule, a.terms = rule, terms }

// Surplus is how many of the tokens in hand the account would rather give back: all of them if nobody asks for them any
// more, and what lies far above what is needed. The caller takes up to as many out of the cell, and says so to Report.
func (a *Account) Surplus(now mono.Time, f Facts) int64 {
	if f.Seen == a.seen && now.Sub(a.lastUseAt) >= quiet {
		return f.Held
	}
	if want := a.target(); f.Held > 2*want+1 {
		return f.Held - want
	}
	return 0
}

// Report says what to tell the store, now that back tokens were taken out of the cell to be given back. f.Held is what is left.
// Serials grow with each report of the node.
func (a *Account) Report(now mono.Time, serial int64, f Facts, back int64) Report {
	a.Look(now, f)
	a.granted -= back
	want := int64(0)
	if back == 0 || f.Waiting > 0 {
		want = min(max(a.target()+f.Waiting-f.Held, f.Waiting), WantMax)
	}
	a.asked, a.sent, a.sentOwed, a.sentSpent, a.wanted = true, now, f.Owed, a.granted-f.Held, want
	return Report{
		Terms: a.terms, Lease: Lease.Microseconds(),
		Node: a.node, Account: a.number, Serial: serial,
		Granted: a.granted, Spent: a.granted - f.Held, Owed: f.Owed, Settled: a.settled,
		Want: want, Known: a.known && now.Sub(a.answered) < goodFor,
	}
}

// Answered takes the store's answer to the last report and says how many tokens to add to the cell. They are good until Good.
func (a *Account) Answered(now mono.Time, s Answer) (add int64) {
	if s.Stale || now.Sub(a.sent) >= goodFor {
		// A grant that comes when its lease is over is none: the next report, which does not count it, gives it back.
		a.Failed()
		return 0
	}
	add = s.Granted - a.granted
	a.asked, a.known = false, true
	a.answered, a.good = a.sent, a.sent.Add(goodFor)
	a.granted, a.settled, a.said, a.nodes = s.Granted, a.sentOwed, a.sentSpent, max(s.Nodes, 1)
	a.againAt, a.freeAt = now, now
	if add < a.wanted {
		wait := time.Duration(s.Wait) * time.Microsecond
		a.freeAt = now.Add(wait)
		a.againAt = now.Add(min(max(wait, a.again()), dryMax))
	}
	return add
}

// Failed says that the last report was not answered. Whether the store has acted on it is not known and does not matter.
func (a *Account) Failed() { a.asked = false }

// Discard says that so many tokens were taken out of the cell because they are not good any more.
func (a *Account) Discard(n int64) { a.granted -= n }

// Asked tells whether a report is on its way.
func (a *Account) Asked() bool { return a.asked }

// Good is until when what is in the cell may be spent.
func (a *Account) Good() mono.Time { return a.good }

// AgainAt is when to ask next if the cell is empty, FreeAt when the store expects to have a token.
func (a *Account) AgainAt() mono.Time { return a.againAt }

// FreeAt is described at AgainAt.
func (a *Account) FreeAt() mono.Time { return a.freeAt }

// Nodes is how many nodes have an account of this key, as the store said last.
func (a *Account) Nodes() int64 { return a.nodes }

// Low is with how many tokens in hand to ask for more.
func (a *Account) Low() int64 {
	if a.demand < busy {
		return 0
	}
	return min(max(int64(a.demand*refill.Seconds()), 1), a.target()/2)
}

// Due tells whether to report now though no request asks for it: to give back, to have the lease renewed, to own up to what was
// admitted alone, or because a small bucket cannot fill before the store knows that what it gave out is spent.
func (a *Account) Due(now mono.Time, f Facts) bool {
	if a.asked {
		return false
	}
	unsaid := a.granted - f.Held - a.said
	return f.Held > 0 && (a.Surplus(now, f) > 0 || now.Sub(a.answered) >= Lease/2) || f.Owed > a.settled ||
		unsaid > 0 && unsaid >= a.rule.Burst/4
}

// Idle tells whether the account can be closed: nothing is held, owed or on its way, and nobody has asked for a lease's time.
func (a *Account) Idle(now mono.Time, f Facts) bool {
	return !a.asked && f.Held == 0 && f.Owed == a.settled && f.Waiting == 0 && f.Seen == a.seen && now.Sub(a.lastUseAt) >= Lease
}

// Look brings the estimate of the demand up to date. It is to be called some twenty times a second; Report does so too.
func (a *Account) Look(now mono.Time, f Facts) {
	passed := now.Sub(a.seenAt)
	if passed < 5*time.Millisecond { // what one turn brought is no rate
		return
	}
	came := float64(f.Seen - a.seen)
	weight := -math.Expm1(-passed.Seconds() / memory.Seconds())
	a.demand += weight * (came/passed.Seconds() - a.demand)
	if f.Seen != a.seen {
		a.lastUseAt = now
	}
	a.seen, a.seenAt = f.Seen, now
}

// target is how many tokens to have in hand: what is needed for a while, and together with the other nodes no more than half of
// the bucket, so that most of a burst is left for whoever needs it.
func (a *Account) target() int64 {
	if a.demand < busy {
		return 0
	}
	need := max(int64(math.Ceil(a.demand*ahead.Seconds())), 2)
	return max(min(need, a.rule.Burst/(2*a.nodes), WantMax), 1)
}

// again is how long to wait at least after getting too little: a quarter of what the bucket takes to fill, so that it does not run
// over meanwhile.
func (a *Account) again() time.Duration {
	return min(max(a.rule.FillTime()/4, againMin), againMax)
}
