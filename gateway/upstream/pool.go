package upstream

import (
	"errors"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/internal/mono"
)

// Errors of waiting for a connection.
var (
	// ErrQueueFull: as many requests wait for a connection to the endpoint as may.
	ErrQueueFull = errors.New("too many requests wait for a connection")
)

// PoolConfig bounds the connections to one endpoint on one loop. All fields are filled in.
type PoolConfig struct {
	ConnsMax    int           // open at once; 0 is no limit
	IdleMax     int           // kept without a request
	IdleTimeout time.Duration // how long
	AgeMax      time.Duration // of a connection; it ends after the answer that finds it older; 0 is no limit
	ServedMax   int           // requests on one connection; 0 is no limit
	QueueMax    int           // requests waiting for a connection
	// Pipeline is how many requests may be outstanding on one connection. 0 is one at a time.
	Pipeline int
	// Streams is how many requests may be open on one connection that is multiplexed. 0 means 100.
	Streams        int
	ConnectTimeout time.Duration
	QueueTimeout   time.Duration // of a wait for a connection
}

// streamsDefault is what RFC 9113 6.5.2 asks servers to allow at least.
const streamsDefault = 100

// sharers is how many requests a connection may carry at once, if it is multiplexed or if it is not.
func (p *PoolConfig) sharers(multiplexed bool) int {
	switch {
	case !multiplexed:
		return max(1, p.Pipeline)
	case p.Streams == 0:
		return streamsDefault
	}
	return p.Streams
}

// takes tells whether a further request may begin on a connection that is shared.
func (e *Endpoint) takes(c *engine.ClientConn) bool {
	p := e.pool()
	return c.Usable() && c.Open() < p.sharers(c.Multiplexed()) && (p.ServedMax <= 0 || c.Served() < p.ServedMax)
}

// Waiter is who asked for a connection. Calls come on the loop, later than the asking.
type Waiter interface {
	// ConnReady hands over a connection for one request, which must begin before this call returns.
	ConnReady(c *engine.ClientConn)
	// ConnFailed tells that there is none.
	ConnFailed(err error)
}

// Ticket is a waiter's place in an endpoint's queue. It is embedded in the waiter; the zero value is in no queue.
type Ticket struct {
	waiter     Waiter
	endpoint   *Endpoint
	next, prev *Ticket
	piped      bool // may share a connection that is not multiplexed
	once       bool // not on a connection that may be dead
	fresh      bool // not on a connection older than the wait
	since      mono.Time
}

// Init names whose ticket it is.
func (t *Ticket) Init(w Waiter) { t.waiter = w }

// Waiting tells whether the ticket is in a queue.
func (t *Ticket) Waiting() bool { return t.endpoint != nil }

// Leave takes the ticket out of its queue.
func (t *Ticket) Leave() {
	if e := t.endpoint; e != nil {
		e.queue.remove(t)
	}
}

// queue is first in, first out, and lets anyone leave.
type queue struct {
	first, last *Ticket
	n           int
	piped       int // of them, those that may share any connection
}

func (q *queue) add(t *Ticket, e *Endpoint) {
	t.endpoint, t.prev, t.next = e, q.last, nil
	if q.last == nil {
		q.first = t
	} else {
		q.last.next = t
	}
	q.last = t
	q.n++
	if t.piped {
		q.piped++
	}
}

func (q *queue) remove(t *Ticket) {
	if t.prev == nil {
		q.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		q.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.endpoint, t.next, t.prev = nil, nil, nil
	q.n--
	if t.piped {
		q.piped--
	}
}

// Request says what a connection is wanted for.
type Request struct {
	// Pipelined: the request may share any connection with others: it is safe and has no body.
	Pipelined bool
	// Once: the request must not be sent twice, so an idle connection is asked whether it still lives.
	Once bool
	// Fresh: an idle connection has just turned out dead, the others may be too: a new one is wanted.
	Fresh bool
}

// Acquire returns a connection for one request, to begin at once; or nil, and then the ticket's waiter is told later.
func (e *Endpoint) Acquire(t *Ticket, r Request) (*engine.ClientConn, error) {
	if c := e.roomy(r.Once || r.Fresh); c != nil {
		return c, nil
	}
	switch {
	case r.Fresh:
	case r.Pipelined && e.pool().Pipeline > 1:
		if c := e.joinable(); c != nil {
			return c, nil
		}
		if c := e.popIdle(false); c != nil {
			e.share(c)
			return c, nil
		}
	default:
		if c := e.popIdle(r.Once); c != nil {
			return c, nil
		}
		if c := e.emptyShared(r.Once); c != nil {
			return c, nil
		}
	}
	t.piped = r.Pipelined && !r.Fresh && e.pool().Pipeline > 1
	t.once, t.fresh, t.since = r.Once, r.Fresh, e.cluster.w.Loop.Now()
	return nil, e.enqueue(t)
}

func (e *Endpoint) pool() *PoolConfig { return &e.cluster.spec.Pool }

// popIdle takes the connection that was used last: it is the likeliest to live, and the others may grow old and end.
func (e *Endpoint) popIdle(once bool) *engine.ClientConn {
	for c := e.idle; c != nil; c = e.idle {
		e.idle, c.Next = c.Next, nil
		e.idleN--
		if c.Usable() && (!once || c.Fresh()) {
			c.OwnerMark = markBusy
			e.cluster.counters.ConnReused()
			return c
		}
		c.Close()
	}
	return nil
}

// enqueue puts a ticket at the end of the queue. Those for whom a connection is under way do not count as waiting.
func (e *Endpoint) enqueue(t *Ticket) error {
	p := e.pool()
	if e.queue.n >= p.QueueMax+e.connecting*p.sharers(e.multiplexed) && !e.mayDial() {
		return ErrQueueFull
	}
	e.queue.add(t, e)
	e.dialForQueue()
	return nil
}

// mayDial tells whether the endpoint may have a further connection.
func (e *Endpoint) mayDial() bool { return e.pool().ConnsMax <= 0 || e.conns < e.pool().ConnsMax }

// dialForQueue begins as many connections as the queue can use. A failure for want of our own resources is told to those
// in the queue from a later turn, like any other.
func (e *Endpoint) dialForQueue() {
	for e.wantsConn() {
		if err := e.cluster.w.Dial(e.addr, e.dial, e, e.cluster.w.Loop.Now().Add(e.pool().ConnectTimeout)); err != nil {
			e.cluster.w.Loop.Post(func() { e.notBegun(err) })
			return
		}
		e.conns++
		e.connecting++
	}
}

// notBegun tells of a connection that could not even be begun. By now the queue may have been served by others.
func (e *Endpoint) notBegun(err error) {
	if e.wantsConn() {
		e.failOne(err)
	}
}

// wantsConn tells whether the queue can use more connections than are under way: one for each request, or for as many as
// may share it. Connections that are to be had once their upstream takes requests again are under way.
func (e *Endpoint) wantsConn() bool {
	useful, sharing := e.queue.n, e.queue.piped
	if e.multiplexed {
		sharing = e.queue.n
	}
	if n := e.pool().sharers(e.multiplexed); n > 1 {
		useful += (sharing+n-1)/n - sharing
	}
	return useful > 0 && e.connecting+e.shut() < useful && e.mayDial()
}

// What a connection is to its endpoint, kept in its OwnerMark.
const (
	markBusy = iota // one request at a time, or on its way out
	markIdle
	markShared // pipelined, or multiplexed
)

// Connected is called by the engine.
func (e *Endpoint) Connected(c *engine.ClientConn) {
	e.connecting--
	e.cluster.counters.ConnOpened()
	if c.Multiplexed() != e.multiplexed {
		e.learn(c.Multiplexed())
	}
	if c.Multiplexed() {
		e.share(c)
	}
	e.offer(c)
}

// DialFailed is called by the engine: a connection did not come about.
func (e *Endpoint) DialFailed(err error) {
	e.connecting--
	e.conns--
	e.failOne(err)
}

// learn notes that the endpoint turned out to speak otherwise than was taken for granted: what it speaks is agreed upon when
// a connection begins. Those that began before remain what they are.
func (e *Endpoint) learn(multiplexed bool) {
	e.multiplexed = multiplexed
	e.dialForQueue()
}

// Answered is called by the engine: a response is complete, or the upstream takes more requests than it did.
func (e *Endpoint) Answered(c *engine.ClientConn) {
	p := e.pool()
	if c.OwnerMark == markShared && !c.Multiplexed() {
		e.paced(c.Took())
	}
	if e.removed || p.AgeMax > 0 && c.IdleSince().Sub(c.Began()) > p.AgeMax || p.ServedMax > 0 && c.Served() >= p.ServedMax {
		e.leaveShared(c)
		c.CloseAfter()
		return
	}
	e.offer(c)
}

// offer gives a connection to whoever waits, or keeps it.
func (e *Endpoint) offer(c *engine.ClientConn) {
	if c.OwnerMark == markShared {
		e.offerShared(c)
		return
	}
	t := e.firstFor(c)
	switch {
	case t == nil && e.queue.first != nil && !e.mayDial():
		c.Close() // all who wait want a new connection, and this one is in its place
	case t == nil && e.removed:
		c.CloseAfter()
	case t == nil:
		e.keep(c)
	case t.piped:
		e.share(c)
		e.offerShared(c)
	case t.once && c.Served() > 0 && !c.Fresh():
		c.Close()
	default:
		e.queue.remove(t)
		t.waiter.ConnReady(c)
	}
}

// firstFor returns the first of the queue that a connection may be given to.
func (e *Endpoint) firstFor(c *engine.ClientConn) *Ticket {
	t := e.queue.first
	for t != nil && t.fresh && c.Began() < t.since {
		t = t.next
	}
	return t
}

func (e *Endpoint) keep(c *engine.ClientConn) {
	if e.idleN >= e.pool().IdleMax {
		c.CloseAfter()
		return
	}
	c.OwnerMark = markIdle
	c.Next, e.idle = e.idle, c
	e.idleN++
	e.cluster.counters.ConnParked()
	c.IdleUntil(e.idleDeadline())
}

func (e *Endpoint) idleDeadline() mono.Time { return e.cluster.w.Loop.Now().Add(e.pool().IdleTimeout) }

// Gone is called by the engine: the connection is closed.
func (e *Endpoint) Gone(c *engine.ClientConn, _ error) {
	e.conns--
	e.cluster.counters.ConnClosed(c.OwnerMark == markIdle)
	switch c.OwnerMark {
	case markIdle:
		e.dropIdle(c) // unless popIdle has it already
	case markShared:
		e.leaveShared(c)
	}
	e.dialForQueue()
}

func (e *Endpoint) dropIdle(c *engine.ClientConn) {
	for at := &e.idle; *at != nil; at = &(*at).Next {
		if *at == c {
			*at, c.Next = c.Next, nil
			e.idleN--
			return
		}
	}
}

// failOne tells the oldest waiter that its connection did not come about, and those who would have shared it, so that they
// can try another endpoint; the others have connections of their own under way.
func (e *Endpoint) failOne(err error) {
	t := e.queue.first
	n := 1
	if t != nil && (t.piped || e.multiplexed) {
		n = e.pool().sharers(e.multiplexed)
	}
	e.failWaiting(n, err)
	e.dialForQueue()
}

// failWaiting fails the n oldest waiters: not those who come back to this queue because they find nothing better.
func (e *Endpoint) failWaiting(n int, err error) {
	for n = min(n, e.queue.n); n > 0 && e.queue.first != nil; n-- {
		t := e.queue.first
		e.queue.remove(t)
		t.waiter.ConnFailed(err)
	}
}

// remove is called when the endpoint has left the cluster: nobody chooses it any more. Requests that did so before are
// served by it, those that wait for a connection too: to fail them, or to send them where their configuration does not
// lead, would make a change felt.
func (e *Endpoint) remove() {
	e.removed = true
	for c := e.idle; c != nil; c = e.idle {
		c.Close()
	}
	for _, c := range append([]*engine.ClientConn(nil), e.shared...) {
		c.CloseAfter()
	}
}
