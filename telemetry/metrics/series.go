package metrics

import (
	"slices"
	"time"
)

// classes are the values of the label status. A request that ended before any byte of a response went out is counted
// too, or requests would not be the sum over status.
var classes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

// classOf returns the index in classes of a status code; what is no status code at all is none.
func classOf(status int) int {
	if c := uint(status) / 100; c < uint(len(classes)) {
		return int(c)
	}
	return 0
}

// Route is one loop's counters of one route: 12 cache lines, no pointers.
//
// A request is one add to one cell, chosen by status class and by duration: requests by status are the sums of the rows,
// the histogram is the sums of the columns. Two sets of counters would be an add more, and would disagree whenever a
// scrape fell between the two.
type Route struct {
	cells    [len(classes)][bucketsMax]counter
	duration counter // nanoseconds
	bytesIn  counter
	bytesOut counter

	_ [3]counter
}

func (r *Route) done(status int, d time.Duration, in, out int64) {
	n := nanos(d)
	r.cells[classOf(status)][requestScale.bucket(n)].Add(1)
	r.duration.Add(n)
	r.bytesIn.Add(uint64(max(in, 0)))
	r.bytesOut.Add(uint64(max(out, 0)))
}

// Cluster is one loop's counters of one cluster: 9 cache lines, no pointers. It comes from View.Cluster; a live cluster
// may hold it for as long as it lives, over any number of configurations, so that a connection is closed on the
// counters it was opened on.
//
// A connection is opened, then parked (busy to idle) and reused (idle to busy) in turn, then closed. The gauges are
// differences of these four, and need no adds of their own.
type Cluster struct {
	latency histogram
	queue   histogram

	attempts [wordsMax]counter
	retries  [wordsMax]counter

	opened     counter
	parked     counter
	reused     counter
	closed     counter
	closedIdle counter // of closed
	ejected    counter
	dropped    counter

	_ [1]counter
}

// AttemptDone counts the end of an attempt; outcome is an index into Config.Outcomes. firstByte is the time from the
// attempt's start to the first byte of its response; negative when none came, which keeps a quickly refused connection
// out of the latency.
func (c *Cluster) AttemptDone(outcome int, firstByte time.Duration) {
	c.attempts[outcome].Add(1)
	if firstByte >= 0 {
		c.latency.observe(requestScale, uint64(firstByte))
	}
}

// RetryDecided counts what was decided when an attempt failed; verdict is an index into Config.Verdicts.
func (c *Cluster) RetryDecided(verdict int) { c.retries[verdict].Add(1) }

// Queued counts a request that had to wait for a connection, and for how long it did, however the wait ended.
func (c *Cluster) Queued(d time.Duration) { c.queue.observe(requestScale, nanos(d)) }

// ConnOpened counts a new upstream connection, busy from now on.
func (c *Cluster) ConnOpened() { c.opened.Add(1) }

// ConnParked counts a connection that became idle.
func (c *Cluster) ConnParked() { c.parked.Add(1) }

// ConnReused counts an idle connection that was taken for a request.
func (c *Cluster) ConnReused() { c.reused.Add(1) }

// ConnClosed counts the end of a connection that ConnOpened counted; idle says that it was parked at the time.
func (c *Cluster) ConnClosed(idle bool) {
	if idle {
		c.closedIdle.Add(1)
	}
	c.closed.Add(1)
}

// Ejected counts an endpoint taken out of balancing because of its outcomes.
func (c *Cluster) Ejected() { c.ejected.Add(1) }

// OutcomeDropped counts an outcome of a live request that did not reach those who judge the endpoint: they were behind.
func (c *Cluster) OutcomeDropped() { c.dropped.Add(1) }

// series is the counters of one name in all shards. T is Route or Cluster, whose size is a multiple of a cache line, so
// that neighbours in shards share none.
type series[T any] struct {
	name   string
	shards []T // one for each loop, and the last for Registry.Control
	users  int // live views that name it; guarded by Registry.mu
}

// seriesSet holds the series of one kind by name.
type seriesSet[T any] struct {
	limit  int // of one view
	shards int
	live   map[string]*series[T] // without the fixed ones
}

// add makes a series; who wants it found again puts it into live.
func (s *seriesSet[T]) add(name string) *series[T] {
	return &series[T]{name: name, shards: make([]T, s.shards)}
}

// resolve finds or makes the series for each name, in order, and counts one more user for each. Names beyond the limit
// share other, and are counted in folded. A name that has a series already is served before one that has not: who once
// had a label keeps it. Repeated names share theirs; a name that is one of the fixed labels shares other, for the same
// label must not be exposed twice.
func (s *seriesSet[T]) resolve(names []string, other *series[T], fixed ...string) (at []*series[T], used []*series[T], folded int) {
	at = make([]*series[T], len(names))
	mine := make(map[string]*series[T], min(len(names), s.limit))
	take := func(sr *series[T]) {
		mine[sr.name] = sr
		used = append(used, sr)
		sr.users++
	}
	for _, name := range names {
		name = validLabel(name)
		if sr := s.live[name]; sr != nil && mine[name] == nil && len(used) < s.limit {
			take(sr)
		}
	}
	for i, name := range names {
		name = validLabel(name)
		sr := mine[name]
		if sr == nil && len(used) < s.limit && !slices.Contains(fixed, name) {
			sr = s.add(name)
			s.live[name] = sr
			take(sr)
		}
		if sr == nil {
			sr = other
			folded++
		}
		at[i] = sr
	}
	return at, used, folded
}

// release counts one user less for each and forgets those that have none left.
func (s *seriesSet[T]) release(used []*series[T]) {
	for _, sr := range used {
		if sr.users--; sr.users == 0 {
			delete(s.live, sr.name)
		}
	}
}
