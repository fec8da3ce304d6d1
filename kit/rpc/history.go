package rpc

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/policy/loadaware"
)

// changeMin is the part of its base by which a weight must have moved to be recorded.
const changeMin = 0.1

// record is what the history said last of an endpoint.
type record struct {
	share float64
	told  bool
}

// Change is a change of a weight that was recorded.
type Change struct {
	At       time.Time `json:"at"`
	Endpoint string    `json:"endpoint"`
	// From and To are shares of the endpoint's base weight.
	From float64 `json:"from"`
	To   float64 `json:"to"`
	// Reason is one word: what takes most of the weight now, or new, back, gone or restarted.
	Reason string `json:"reason"`
}

// history is a ring of the latest changes.
type history struct {
	limit, next int
	changes     []Change
}

func (h *history) add(c Change) {
	if len(h.changes) < h.limit {
		h.changes = append(h.changes, c)
		return
	}
	if h.limit == 0 {
		return
	}
	h.changes[h.next] = c
	h.next = (h.next + 1) % h.limit
}

// list is the eldest first.
func (h *history) list() []Change {
	return append(append(make([]Change, 0, len(h.changes)), h.changes[h.next:]...), h.changes[:h.next]...)
}

// note records what the resolver did.
func (b *loadBalancer) note(e *endpoint, reason string) {
	b.mu.history.add(Change{At: time.Now(), Endpoint: e.key, From: e.recorded.share, To: e.recorded.share, Reason: reason})
}

// record takes down the weights that have moved far enough, or to or from nothing.
func (b *loadBalancer) record() {
	for _, e := range b.mu.current {
		if !e.settled {
			continue
		}
		w := &e.member.Weight
		moved := math.Abs(w.Share-e.recorded.share) >= changeMin || (w.Share == 0) != (e.recorded.share == 0)
		if !moved && e.recorded.told {
			continue
		}
		if !e.recorded.told && w.Reason == loadaware.NotReady {
			continue // not connected yet, which is no news
		}
		b.mu.history.add(Change{At: time.Now(), Endpoint: e.key, From: e.recorded.share, To: w.Share, Reason: w.Reason.String()})
		e.recorded = record{w.Share, true}
		b.mu.client.stats.changes.Add(1)
	}
}

// counters are shared by the connections of a Client.
type counters struct {
	probes, probeFailures, changes, panics atomic.Uint64
}

// Stats are numbers for metrics. All but the first three only grow.
type Stats struct {
	Connections   int    // that are open, or rather: not idle
	Endpoints     int    // of them, which the resolvers name
	Ready         int    // of those, that can be given calls
	InFlight      int64  // calls that are on their way, streams included
	Probes        uint64 // that were made
	ProbeFailures uint64 // that were not answered in time
	Changes       uint64 // of weights, recorded
	Panics        uint64 // times at which too few were healthy
}

// Stats returns them as of now.
func (c *Client) Stats() Stats {
	s := Stats{Probes: c.stats.probes.Load(), ProbeFailures: c.stats.probeFailures.Load(), Changes: c.stats.changes.Load(),
		Panics: c.stats.panics.Load()}
	for _, b := range c.balancers() {
		b.mu.Lock()
		s.Connections++
		s.Endpoints += len(b.mu.current)
		s.Ready += b.mu.outcome.Ready
		for _, e := range b.mu.current {
			s.InFlight += e.inFlight.Load() + e.streams.Load()
		}
		b.mu.Unlock()
	}
	return s
}
