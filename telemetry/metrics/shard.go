package metrics

import (
	"time"
)

// Shard holds one loop's own counters: connections, the gateway's own answers, the loop's turns. The loop adds, the
// scraper loads. Every method is a handful of atomic adds on memory no other loop writes: no lock, no allocation, no
// wait. Because they are adds, a second goroutine calling them would be slow but not wrong; Registry.Control hands out a
// shard for exactly that.
type Shard struct {
	// Frozen after New; the counters they lead to are the loop's.
	n        *shardCounters
	reasons  []counter
	refusals []counter
	closes   []counter
	rejects  []counter
}

// shardCounters is a multiple of a cache line and free of pointers, so that it has its lines to itself.
type shardCounters struct {
	turns  histogram
	events histogram

	requestsStarted  counter
	requestsFinished counter
	connsAccepted    counter

	_ [5]counter
}

func newShard(c *Config) *Shard {
	return &Shard{
		n:        new(shardCounters),
		reasons:  newCounters(len(c.Reasons)),
		refusals: newCounters(len(c.Refusals)),
		closes:   newCounters(len(c.CloseReasons)),
		rejects:  newCounters(len(c.RejectLimits)),
	}
}

// ConnAccepted counts a client connection that was accepted and kept.
func (s *Shard) ConnAccepted() { s.n.connsAccepted.Add(1) }

// ConnClosed counts the end of a connection that ConnAccepted counted; reason is an index into Config.CloseReasons.
func (s *Shard) ConnClosed(reason int) { s.closes[reason].Add(1) }

// ConnRejected counts a connection turned away and never counted as accepted; limit is an index into
// Config.RejectLimits.
func (s *Shard) ConnRejected(limit int) { s.rejects[limit].Add(1) }

// RequestStarted counts a request whose head was read and found well formed. Exactly one RequestDone must follow.
func (s *Shard) RequestStarted() { s.n.requestsStarted.Add(1) }

// RequestDone counts the end of a request that RequestStarted counted, whatever the end was. status is what the client
// was sent, and 0 if it left before anything was; d is from the first byte of the head to the last of the answer; in
// and out are bytes of head and body on the client's side. rt comes from View.Route for this shard's loop.
func (s *Shard) RequestDone(rt *Route, status int, d time.Duration, in, out int64) {
	// First the end, then the cell: a scrape reads the cells before the ends, and so never finds more requests by status
	// than have ended.
	s.n.requestsFinished.Add(1)
	rt.done(status, d, in, out)
}

// Refused counts a request that was not well formed and never counted as started; refusal is an index into
// Config.Refusals.
func (s *Shard) Refused(refusal int) { s.refusals[refusal].Add(1) }

// Answered counts a response the gateway made by itself; reason is an index into Config.Reasons.
func (s *Shard) Answered(reason int) { s.reasons[reason].Add(1) }

// Turn counts one turn of the loop: how long it ran, without the wait in the poller, and how many events it had.
func (s *Shard) Turn(d time.Duration, events int) {
	s.n.turns.observe(turnScale, nanos(d))
	s.n.events.observe(eventScale, uint64(events))
}
