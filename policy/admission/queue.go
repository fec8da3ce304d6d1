package admission

import "github.com/yumen-io/yumen/internal/mono"

// Bounds of a queue that no setting changes.
const (
	// PassesMax is how often requests of higher priority are let in ahead of a lower one that waits. So each of the lower
	// priorities gets at least one place in PassesMax+3.
	PassesMax = 16
	// TenantsKept is how many tenants are kept for their debts alone. Those with a request here are bounded by the queue and
	// the limit; a tenant that is forgotten early gets away with what it owes.
	TenantsKept = 1024
	// costMin and costMax bound, in means, what one request is charged: a clock that jumped or a request that hung must not
	// keep its tenant out for long.
	costMin, costMax = 1.0 / 16, 16
)

// Queue holds those who wait: tenants of each priority, in the order of start-time fair queueing. Every operation is O(log n) in
// the tenants that wait. Loop-owned: not safe for concurrent use.
type Queue struct {
	length int
	lanes  [Classes]lane
}

// lane is one priority.
type lane struct {
	virtual float64 // the start tag of the last request that was let in; seconds
	passed  int     // how often others were let in while somebody waited here
	length  int
	weight  float64 // of those that wait
	tenants map[uint64]*tenant
	spare   *tenant   // for the next newcomer, linked by after
	heap    []*tenant // those that wait, by start
	// Tenants that are kept for their debts alone, by the time of their last request.
	idle, idleLast *tenant
	idleCount      int
}

// tenant is who is treated fairly, within one priority.
type tenant struct {
	id     uint64
	weight float64
	// start is the tag of its next request, in the lane's virtual seconds.
	start          float64
	length         int // requests that wait
	inside         int // requests that have been let in
	place          int // in the heap; -1: not there
	oldest, newest *Ticket
	before, after  *tenant // among the idle
	isIdle         bool
}

// Len returns how many wait.
func (q *Queue) Len() int { return q.length }

// LenOf returns how many of a tenant wait with that priority.
func (q *Queue) LenOf(c Class, id uint64) int {
	if t := q.lanes[c].tenants[id]; t != nil {
		return t.length
	}
	return 0
}

// Tenants returns how many tenants are known: those with requests here, and those with debts.
func (q *Queue) Tenants() int {
	n := 0
	for i := range q.lanes {
		n += len(q.lanes[i].tenants)
	}
	return n
}

// tenant returns a tenant, known or new. Whoever asks either gives it a request or settles it.
func (q *Queue) tenant(c Class, id uint64, weight float64) *tenant {
	l := &q.lanes[c]
	l.forget()
	t := l.tenants[id]
	if t == nil {
		t = l.newcomer(id)
	}
	l.wake(t)
	if t.place < 0 {
		t.weight = weight
	}
	return t
}

func (l *lane) newcomer(id uint64) *tenant {
	t := l.spare
	if t != nil {
		l.spare, t.after = t.after, nil
	} else {
		t = new(tenant)
	}
	t.id, t.start, t.place = id, l.virtual, -1
	if l.tenants == nil {
		l.tenants = map[uint64]*tenant{}
	}
	l.tenants[id] = t
	return t
}

// push lets a request wait.
func (q *Queue) push(t *tenant, k *Ticket, now mono.Time) {
	l := &q.lanes[k.class]
	k.state, k.tenant, k.arrived = waiting, t, now
	k.older, k.newer = t.newest, nil
	if t.newest != nil {
		t.newest.newer = k
	} else {
		t.oldest = k
	}
	t.newest = k
	t.length++
	l.length++
	q.length++
	if t.place < 0 {
		t.start = max(t.start, l.virtual)
		l.weight += t.weight
		l.add(t)
	}
}

// remove takes a request out of the queue, wherever in it it is.
func (q *Queue) remove(k *Ticket) {
	t, l := k.tenant, &q.lanes[k.class]
	if k.older != nil {
		k.older.newer = k.newer
	} else {
		t.oldest = k.newer
	}
	if k.newer != nil {
		k.newer.older = k.older
	} else {
		t.newest = k.older
	}
	k.older, k.newer, k.tenant = nil, nil, nil
	k.state = outside
	t.length--
	l.length--
	q.length--
	if t.length == 0 {
		l.weight -= t.weight
		if len(l.heap) == 1 {
			l.weight = 0 // what rounding left
		}
		l.drop(t)
	}
	l.settle(t)
}

// turn returns the priority whose turn it is; false if nobody waits.
func (q *Queue) turn() (Class, bool) {
	first := -1
	for i := range q.lanes {
		l := &q.lanes[i]
		if l.length == 0 {
			continue
		}
		if first < 0 {
			first = i
		} else if l.passed >= PassesMax {
			return Class(i), true
		}
	}
	return Class(max(first, 0)), first >= 0
}

// next returns whom to let in, who stays in the queue. A tenant's newest goes first once its oldest has waited since before
// the time lifo.
func (q *Queue) next(lifo mono.Time) *Ticket {
	c, ok := q.turn()
	if !ok {
		return nil
	}
	t := q.lanes[c].heap[0]
	if t.oldest.arrived < lifo {
		return t.newest
	}
	return t.oldest
}

// take lets a request in that next returned, and charges its tenant with that many seconds.
func (q *Queue) take(k *Ticket, cost float64, now mono.Time) {
	t, l := k.tenant, &q.lanes[k.class]
	for i := int(k.class) + 1; i < Classes; i++ {
		if q.lanes[i].length > 0 {
			q.lanes[i].passed++
		}
	}
	l.passed = 0
	l.virtual = max(l.virtual, t.start)
	t.inside++ // before it is removed, or its tenant might be forgotten
	q.remove(k)
	q.charge(t, l, cost)
	k.state, k.tenant, k.admitted, k.charged = inside, t, now, cost
}

// enter lets a request in past the queue. A cost of 0 is not settled either: while nobody waits, nobody takes anything from
// anybody.
func (q *Queue) enter(t *tenant, k *Ticket, cost float64, now mono.Time) {
	t.inside++
	if cost > 0 {
		l := &q.lanes[k.class]
		t.start = max(t.start, l.virtual)
		q.charge(t, l, cost)
	}
	k.state, k.tenant, k.arrived, k.admitted, k.charged = inside, t, now, now, cost
}

// charge adds to what a tenant has had; a negative cost is given back.
func (q *Queue) charge(t *tenant, l *lane, cost float64) {
	t.start += cost / t.weight
	if t.place >= 0 {
		l.fix(t.place)
	}
}

// leave settles what a request has cost.
func (q *Queue) leave(k *Ticket, cost float64) {
	t, l := k.tenant, &q.lanes[k.class]
	if k.charged > 0 {
		q.charge(t, l, cost-k.charged)
	}
	t.inside--
	k.state, k.tenant = outside, nil
	l.settle(t)
}

// settle forgets a tenant without requests here, or puts it among the idle if it has a debt.
func (l *lane) settle(t *tenant) {
	if t.length > 0 || t.inside > 0 || t.isIdle {
		return
	}
	t.isIdle, t.before = true, l.idleLast
	if l.idleLast != nil {
		l.idleLast.after = t
	} else {
		l.idle = t
	}
	l.idleLast = t
	l.idleCount++
	switch {
	case t.start <= l.virtual:
		l.erase(t)
	case l.idleCount > TenantsKept:
		l.erase(l.idle)
	}
}

// wake takes a tenant from among the idle.
func (l *lane) wake(t *tenant) {
	if !t.isIdle {
		return
	}
	if t.before != nil {
		t.before.after = t.after
	} else {
		l.idle = t.after
	}
	if t.after != nil {
		t.after.before = t.before
	} else {
		l.idleLast = t.before
	}
	t.before, t.after, t.isIdle = nil, nil, false
	l.idleCount--
}

// forget drops some of those that have paid their debts: two for each that may come, so that they become fewer.
func (l *lane) forget() {
	for range 2 {
		if t := l.idle; t != nil && t.start <= l.virtual {
			l.erase(t)
		}
	}
}

func (l *lane) erase(t *tenant) {
	l.wake(t)
	delete(l.tenants, t.id)
	t.after, l.spare = l.spare, t
}
