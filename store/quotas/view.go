package quotas

import (
	"math"
	"slices"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/quota"
)

// LinkView is a Redis as an operator sees it.
type LinkView struct {
	Address   string
	Reachable bool
	For       time.Duration // since when
	Trouble   error         // why the last round trip failed that did; nil if none has
	Trips     uint64        // round trips
	Failures  uint64        // those that failed, and connections that could not be made
	Took      time.Duration // the last round trip
	Waiting   int64         // requests that wait for an answer now
}

// View describes the link. From any goroutine.
func (l *Link) View(now mono.Time) LinkView {
	l.mu.Lock()
	defer l.mu.Unlock()
	return LinkView{
		Address: l.settings.Address, Reachable: !l.unreachable.Load(), For: now.Sub(l.mu.since), Trouble: l.mu.trouble,
		Trips: l.trips.Load(), Failures: l.failures.Load(), Took: time.Duration(l.took.Load()), Waiting: l.waiting.Load(),
	}
}

// TableView is a shared rule as an operator sees it.
type TableView struct {
	Name  string // in Redis
	Exact bool
	Keys  int64 // in hand on this node
	Held  int64 // tokens in hand, of all keys
	Nodes int64 // that have the rule, as the store said last
	// Excess is what this node may add at most, for one key in one window of the rule's, to what the rule admits, as things
	// have been in the last window: 0 in the ordinary way. Added up over the nodes it is that of all. Infinite while a node
	// admits everything.
	Excess  float64
	Reports uint64 // on a key
	Waits   uint64 // requests that waited for an answer
	Alone   uint64 // requests that this node judged by itself because Redis could not be reached
	Crowded uint64 // and because too many keys were in hand, or too many waited
	Lost    uint64 // keys that the store should have known
	Errors  uint64 // of single keys
}

// Link is the Redis that the rule is shared through.
func (t *Table) Link() *Link { return t.link }

// View describes the rule. From any goroutine; it goes through all keys.
func (t *Table) View(now mono.Time) TableView {
	t.mu.Lock()
	cells := slices.Clone(t.mu.cells)
	t.mu.Unlock()
	v := TableView{
		Name: t.name, Exact: t.exact, Keys: int64(len(cells)), Nodes: t.nodes.Load(), Excess: t.excess(now),
		Reports: t.counts.reports.Load(), Waits: t.counts.waits.Load(), Alone: t.counts.alone.Load(),
		Crowded: t.counts.crowded.Load(), Lost: t.counts.lost.Load(), Errors: t.counts.errors.Load(),
	}
	for _, c := range cells {
		v.Held += c.held.Load()
	}
	return v
}

// excess is quota.Rule.Most less what the rule itself says, of this node's part.
func (t *Table) excess(now mono.Time) float64 {
	at := t.terms.Load()
	if at == nil {
		return 0
	}
	window := at.rule.Per
	from := now.Add(-window - quota.Lease)
	s := quota.Situation{Over: window}
	t.link.mu.Lock()
	defer t.link.mu.Unlock()
	for _, at := range t.link.mu.losses {
		if at >= from && !t.link.isOfOutage(at) {
			s.Losses++
		}
	}
	nodes := max(t.nodes.Load(), 1)
	for _, o := range t.link.mu.outages {
		begin, end := max(o.from, from), min(o.to, now)
		if end <= begin {
			continue
		}
		// A Redis that comes back may have started anew: that it has forgotten a key is seen only by who knew the key within a lease, and
		// of an exact one by nobody.
		s.Losses++
		switch at.unreachable {
		case Open:
			return math.Inf(1)
		case LocalShare:
			s.Local += at.rule.LocalMost(max(nodes, at.nodesMin), min(end.Sub(begin), window))
		}
	}
	// A loss is the store's, not each node's: its burst is divided among those who add up.
	return s.Local + float64(s.Losses)*float64(at.rule.Burst)/float64(nodes)
}

// isOfOutage tells whether a loss was seen after an outage, to which it is put down. Under the lock.
func (l *Link) isOfOutage(at mono.Time) bool {
	return slices.ContainsFunc(l.mu.outages, func(o outage) bool {
		return at >= o.from && (o.to == mono.Never || at < o.to.Add(2*quota.Lease))
	})
}

// Tell yields what metrics say of the rule and its Redis. From any goroutine.
func (s *Source) Tell(yield func(number string, value float64)) {
	now := mono.Now()
	l, t := s.table.link.View(now), s.table.View(now)
	unreachable, unbounded, excess := 0.0, 0.0, t.Excess
	if !l.Reachable {
		unreachable = 1
	}
	if math.IsInf(excess, 1) { // which is no number in JSON
		unbounded, excess = 1, 0
	}
	yield("store_unreachable", unreachable)
	yield("store_round_trips", float64(l.Trips))
	yield("store_failures", float64(l.Failures))
	yield("store_round_trip_seconds", l.Took.Seconds())
	yield("store_waiting", float64(l.Waiting))
	yield("store_waits", float64(t.Waits))
	yield("store_reports", float64(t.Reports))
	yield("store_keys_lost", float64(t.Lost))
	yield("store_key_errors", float64(t.Errors))
	yield("store_nodes", float64(t.Nodes))
	yield("leased_keys", float64(t.Keys))
	yield("leased_tokens", float64(t.Held))
	yield("judged_alone", float64(t.Alone))
	yield("judged_crowded", float64(t.Crowded))
	yield("excess_bound", excess)
	yield("excess_unbounded", unbounded)
}
