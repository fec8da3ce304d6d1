package quota

import (
	"math/rand/v2"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/limit"
)

// A world is some nodes, one store and the network between them, in steps of a millisecond of true time. Nodes and store each have a
// clock of their own. What happens is drawn from one seed.
type world struct {
	rng   *rand.Rand
	rule  Rule
	terms Terms
	local bool // what nodes do that cannot reach the store: admit their share, or nothing

	now    time.Duration // true time
	nodes  []*simNode
	ledger *Ledger
	pace   float64       // of the store's clock
	offset time.Duration // of the store's clock, after its jumps
	losses int
	gone   time.Duration // until then nothing reaches the store
	faults faults

	mail     []letter
	admitted []int64 // in each step
	demanded []int64
	reports  int
}

// faults are chances, per report or per step.
type faults struct {
	lost, deaf, late float64 // the report; the answer; the report is carried out long after its node gave up
	gone             float64 // per step: the store cannot be reached for up to 3 s
	restart          float64 // per step: the store forgets
	jump             float64 // per step: the store's clock jumps by up to 10 s, either way
	latency          time.Duration
}

type simNode struct {
	w       *world
	pace    float64
	offset  time.Duration
	account *Account
	number  int64
	serial  int64
	facts   Facts

	down     bool
	downAt   mono.Time
	share    limit.Word
	retryAt  mono.Time
	deadline mono.Time
	away     time.Duration // all the true time that it was cut off
	awayN    int           // how often
	waiting  int
}

// letter is a report on its way, or an answer to one.
type letter struct {
	at     time.Duration
	node   *simNode
	report *Report
	answer Answer
	serial int64
	deaf   bool
}

const (
	step       = time.Millisecond
	simTimeout = 100 * time.Millisecond
	simBackoff = 100 * time.Millisecond
)

func newWorld(seed uint64, rule Rule, nodes int, f faults, local bool) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 7)), rule: rule, ledger: new(Ledger), faults: f, local: local}
	w.terms, _ = rule.Terms()
	w.pace = 1 + Drift*(w.rng.Float64()-0.5)
	for range nodes {
		n := &simNode{w: w, pace: 1 + 0.01*(w.rng.Float64()-0.5), offset: time.Duration(1+w.rng.IntN(1000)) * time.Second}
		n.account = NewAccount(rule, w.terms, uint64(len(w.nodes)+1), 1, n.clock())
		n.number = 1
		w.nodes = append(w.nodes, n)
	}
	return w
}

func (n *simNode) clock() mono.Time {
	return mono.Time(float64(n.w.now)*n.pace) + mono.Time(n.offset)
}

func (w *world) storeClock() int64 {
	return int64(float64(w.now.Microseconds())*w.pace) + w.offset.Microseconds() + 1e15
}

// step lets a millisecond pass in which so many requests come to each node.
func (w *world) step(arrivals func(node int) int) {
	w.now += step
	r, f := w.rng, w.faults
	if r.Float64() < f.gone {
		w.gone = w.now + time.Duration(r.IntN(3000))*step
	}
	if r.Float64() < f.restart {
		w.ledger = new(Ledger)
		w.losses++
	}
	if r.Float64() < f.jump {
		by := time.Duration(r.IntN(20000)-10000) * step
		w.offset += by
		w.losses++ // back and forth may come in any order: each counts
	}
	w.deliver()
	w.admitted, w.demanded = append(w.admitted, 0), append(w.demanded, 0)
	for i, n := range w.nodes {
		n.tend()
		k := arrivals(i)
		w.demanded[len(w.demanded)-1] += int64(k)
		for range k {
			n.request()
		}
		if n.down {
			n.away += step
		}
	}
}

func (w *world) deliver() {
	// Letters whose time has come, in the order of their times: those sent later may overtake.
	for {
		first := -1
		for i, l := range w.mail {
			if l.at <= w.now && (first < 0 || l.at < w.mail[first].at) {
				first = i
			}
		}
		if first < 0 {
			return
		}
		l := w.mail[first]
		w.mail = append(w.mail[:first], w.mail[first+1:]...)
		if l.report == nil {
			l.node.answered(l)
			continue
		}
		answer := w.ledger.Settle(w.storeClock(), *l.report)
		if !l.deaf {
			w.mail = append(w.mail, letter{at: l.at + w.latency(), node: l.node, answer: answer, serial: l.serial})
		}
	}
}

func (w *world) latency() time.Duration {
	if w.faults.latency == 0 {
		return step
	}
	return step + time.Duration(w.rng.Int64N(int64(w.faults.latency)))
}

// tend is what a node does now and then.
func (n *simNode) tend() {
	now := n.clock()
	if n.facts.Held > 0 && now >= n.account.Good() {
		n.account.Discard(n.facts.Held)
		n.facts.Held = 0
	}
	if n.account.Asked() && now >= n.deadline {
		n.account.Failed()
		n.settleWaiters(false)
		if !n.down {
			n.down, n.downAt = true, now
			n.awayN++
			share, _ := NewShare(n.w.rule, int64(len(n.w.nodes)))
			n.share = share.Empty(now)
		}
		n.retryAt = now.Add(simBackoff)
	}
	if n.w.now/step%50 == 0 {
		n.account.Look(now, n.facts)
	}
	if n.account.Asked() {
		return
	}
	if n.down && now >= n.retryAt || !n.down && n.w.now/step%50 == 0 && n.account.Due(now, n.facts) {
		n.ask()
	}
	if !n.down && n.account.Idle(now, n.facts) {
		n.number++
		n.account = NewAccount(n.w.rule, n.w.terms, n.account.node, n.number, now)
		n.facts = Facts{}
	}
}

func (n *simNode) ask() {
	w, now := n.w, n.clock()
	n.facts.Waiting = int64(n.waiting)
	back := n.account.Surplus(now, n.facts)
	n.facts.Held -= back
	n.serial++
	w.reports++
	report := n.account.Report(now, n.serial, n.facts, back)
	n.deadline = now.Add(simTimeout)
	l := letter{at: w.now + w.latency(), node: n, report: &report, serial: n.serial}
	switch r := w.rng; {
	case r.Float64() < w.faults.lost || w.now < w.gone:
		return
	case r.Float64() < w.faults.deaf:
		l.deaf = true
	case r.Float64() < w.faults.late:
		l.at += time.Duration(r.IntN(4000)) * step
	}
	w.mail = append(w.mail, l)
}

func (n *simNode) answered(l letter) {
	now := n.clock()
	if l.serial != n.serial || !n.account.Asked() || now >= n.deadline {
		return // nobody waits for it any more
	}
	n.facts.Held += n.account.Answered(now, l.answer)
	n.down = false
	n.settleWaiters(true)
	if n.account.Due(now, n.facts) {
		n.ask()
	}
}

// settleWaiters decides on those who waited for a report.
func (n *simNode) settleWaiters(answered bool) {
	waiting := n.waiting
	n.waiting = 0
	for range waiting {
		switch {
		case answered && n.facts.Held > 0:
			n.facts.Held--
			n.admit()
		case !answered:
			n.alone()
		}
	}
}

func (n *simNode) admit() { n.w.admitted[max(len(n.w.admitted)-1, 0)]++ }

// request is what a loop does with a request.
func (n *simNode) request() {
	now := n.clock()
	n.facts.Seen++
	if n.facts.Held > 0 && now < n.account.Good() {
		n.facts.Held--
		n.admit()
		if n.facts.Held <= n.account.Low() && !n.account.Asked() && !n.down && now >= n.account.AgainAt() {
			n.ask()
		}
		return
	}
	switch {
	case n.down:
		n.alone()
	case n.account.Asked():
		n.waiting++
	case now >= n.account.AgainAt():
		n.waiting++
		n.ask()
	}
}

func (n *simNode) alone() {
	if !n.w.local {
		return
	}
	share, _ := NewShare(n.w.rule, int64(len(n.w.nodes)))
	next, v := share.Decide(n.share, n.clock(), 1)
	if n.share = next; v.Allowed {
		n.facts.Owed++
		n.admit()
	}
}

// most is the largest number of requests admitted in any interval beyond what the rate allows in it.
func (w *world) most() float64 {
	perStep := w.rule.Rate() * step.Seconds() * (1 + Drift)
	worst, run := 0.0, 0.0
	for _, a := range w.admitted {
		// The interval of one step is taken to have no length at all: that is the strictest reading.
		run = max(run, 0) + float64(a)
		worst = max(worst, run)
		run -= perStep
	}
	return worst
}
