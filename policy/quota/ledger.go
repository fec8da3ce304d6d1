package quota

import "math"

// Report is what a node tells the store about one key, and asks of it.
type Report struct {
	Terms Terms
	Lease int64 // microseconds that what is granted is good for, from when the store answers

	Node    uint64 // this run of this process
	Account int64  // of the node's accounts of this key, one after the other; a later one has a larger number
	Serial  int64  // grows with each report of the node

	// Totals of this account.
	Granted int64 // what it was given and has not given back
	Spent   int64 // of that
	Owed    int64 // what it admitted without having been given it
	Settled int64 // of that, what the store has confirmed

	Want  int64 // how much more it would like, up to WantMax
	Known bool  // the store knew this key within the lease
}

// Answer is what the store says to it.
type Answer struct {
	Stale   bool  // a later report came first: nothing was done
	Granted int64 // the account's new total
	Nodes   int64 // that have an account of this key, this one included
	Wait    int64 // microseconds until a token is there, if less was granted than wanted
	Free    int64 // whole tokens that the store still has; below 0 it is owed some
	Lost    bool  // the store had forgotten a key that the node knew
}

// Ledger is the store's half for one key: the bucket, and who was given what. It is the twin of the script that the store
// runs, line by line, and not what the gateway runs. The zero value is a key that the store does not know.
type Ledger struct {
	known    bool
	free     int64 // credits; below 0 when nodes owe more than there was
	at       int64 // microseconds
	accounts map[uint64]*entry
}

// entry is what the ledger knows of a node.
type entry struct {
	account, serial      int64
	granted, spent, owed int64
	want                 int64
	until                int64 // then the lease has ended, and what was out is taken for spent
}

// out is what the node may still spend.
func (e *entry) out() int64 { return max(e.granted-e.spent, 0) }

// Settle carries a report out at a time in microseconds on the store's clock.
func (l *Ledger) Settle(now int64, r Report) Answer {
	t := r.Terms
	if e := l.accounts[r.Node]; e != nil && r.Serial <= e.serial {
		return Answer{Stale: true}
	}
	lost := false
	if !l.known {
		// A key is kept for as long as anything is known of it that matters, so an unknown one is full, unless somebody
		// knows better: then the store has lost its memory, and there is no telling what was spent.
		lost = r.Known
		*l = Ledger{known: true, free: t.full(), at: now, accounts: map[uint64]*entry{}}
		if lost {
			l.free = 0
		}
	}
	if now < l.at { // the clock went back
		for _, e := range l.accounts {
			e.until = min(e.until, now+r.Lease)
		}
		l.at = now
	}
	for {
		node, e := l.firstEnded(now)
		if e == nil {
			break
		}
		l.fill(t, e.until)
		delete(l.accounts, node)
	}
	l.fill(t, now)

	e := l.accounts[r.Node]
	if e != nil && r.Account == e.account {
		// What was granted and never arrived, and what the node gives back, is free again.
		l.free += (e.granted - r.Granted - (r.Owed - e.owed)) * t.Token
	} else {
		l.free -= (r.Owed - r.Settled) * t.Token
	}
	delete(l.accounts, r.Node)
	wants := r.Want
	for _, other := range l.accounts {
		wants += other.want
	}
	l.free = max(min(l.free, t.full()-(l.out()+max(r.Granted-r.Spent, 0))*t.Token), -t.full())

	grant := share(floorDiv(l.free, t.Token), r.Want, wants)
	l.free -= grant * t.Token
	l.accounts[r.Node] = &entry{
		account: r.Account, serial: r.Serial, granted: r.Granted + grant, spent: r.Spent, owed: r.Owed,
		want: r.Want, until: now + r.Lease,
	}
	a := Answer{Granted: r.Granted + grant, Nodes: int64(len(l.accounts)), Free: floorDiv(l.free, t.Token), Lost: lost}
	if grant < r.Want && l.free < t.Token {
		a.Wait = floorDiv(t.Token-l.free-1, t.Fill) + 1
	}
	return a
}

// firstEnded finds the lease that ended first, by now; of several that ended together any one.
func (l *Ledger) firstEnded(now int64) (uint64, *entry) {
	var first *entry
	var of uint64
	for node, e := range l.accounts {
		if e.until <= now && (first == nil || e.until < first.until) {
			first, of = e, node
		}
	}
	return of, first
}

// fill adds what came in since the last time. The bucket is full when what is in it and what is out make its size: what
// nodes hold is theirs to spend at any time, so it has to count until it is known to be spent.
func (l *Ledger) fill(t Terms, to int64) {
	passed := min(to-l.at, t.fillMax())
	l.at = max(to, l.at)
	room := t.full() - l.out()*t.Token - l.free
	if passed > 0 && room > 0 {
		l.free += min(room, passed*t.Fill)
	}
}

// out is what all nodes together may still spend.
func (l *Ledger) out() int64 {
	sum := int64(0)
	for _, e := range l.accounts {
		sum += e.out()
	}
	return sum
}

// Keep is how long the store must keep a key that nobody asks for, in microseconds: until all leases have ended and the bucket
// is full, when to know it is to know nothing. A second is added for what is on its way.
func (l *Ledger) Keep(t Terms, lease int64) int64 {
	return lease + floorDiv(t.full()-l.free, t.Fill) + 1 + second
}

const second = 1e6 // in microseconds

// share is how many of the free tokens a node gets that wants so many, when all together want so many: what it wants, if
// there is enough for all, else in proportion, and one at least while there is one.
func share(free, want, wants int64) int64 {
	if free < 1 || want < 1 {
		return 0
	}
	if wants <= free {
		return want
	}
	return min(want, max(1, int64(math.Floor(float64(free)*float64(want)/float64(wants)))))
}

// floorDiv is a/b rounded down, of b > 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
