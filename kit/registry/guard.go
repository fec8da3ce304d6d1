package registry

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// guard decides what callers see of a service. It is given what etcd says and what time it is, and does nothing itself.
//
//	live       what etcd held when it was heard last, or what the snapshot held before that
//	departed   who left during the last grace period, in case that it was too many
//	shown      live, and while it holds, departed too
//
// It holds when fewer than half of the instances are left of as many as there were within the last grace period, or none
// at all: services do not die like this, but their leases do, when etcd loses its data or its disk stalls, and a caller
// who believes it has an outage. Each one held is dropped when it comes back, when another instance is seen at its
// address, or when etcd was heard for a whole grace period in which it did not come back. Time in which etcd is out of
// reach does not count, so without etcd the last good set is kept for ever.
//
// Owned by one goroutine.
type guard struct {
	grace time.Duration

	live     map[string]Instance
	departed map[string]departure
	// counts are how many were live until some time, within the last grace period.
	counts  []count
	holding bool
	need    int // how many live ones end the holding

	freshness Freshness
	since     time.Time
	connected bool
}

type departure struct {
	Instance
	at time.Time
}

type count struct {
	until time.Time
	n     int
}

func newGuard(grace time.Duration) *guard {
	return &guard{grace: grace, live: map[string]Instance{}, departed: map[string]departure{}}
}

// restore begins with what a snapshot holds.
func (g *guard) restore(instances []Instance, saved time.Time) {
	for _, i := range instances {
		g.live[i.ID] = i
	}
	g.freshness, g.since = FromSnapshot, saved
}

// list takes in everything that etcd holds. wiped says that it is another etcd than before, or lost its data: then who
// is missing is expected back, however few they are.
func (g *guard) list(now time.Time, all map[string]Instance, wiped bool) {
	if !g.connected && g.holding {
		// They had no chance to come back while etcd was away.
		g.postpone(now)
	}
	g.connected = true
	before := g.live
	g.live = all
	g.settle(now, before, wiped)
}

// change takes in what a watch reports: instances that were written, and ids of those that are gone.
func (g *guard) change(now time.Time, put []Instance, gone []string) {
	before := maps.Clone(g.live)
	for _, i := range put {
		g.live[i.ID] = i
	}
	for _, id := range gone {
		delete(g.live, id)
	}
	g.settle(now, before, false)
}

// disconnect says that etcd is out of reach: from now on everything is kept.
func (g *guard) disconnect(now time.Time) {
	if g.connected {
		g.connected = false
		g.mark(now)
	}
}

func (g *guard) settle(now time.Time, before map[string]Instance, wiped bool) {
	for id, i := range before {
		if _, ok := g.live[id]; !ok {
			g.departed[id] = departure{i, now}
		}
	}
	addresses := map[string]bool{}
	for _, i := range g.live {
		addresses[i.Address] = true
	}
	maps.DeleteFunc(g.departed, func(id string, d departure) bool {
		_, back := g.live[id]
		return back || addresses[d.Address]
	})

	peak := g.peak(now, len(before))
	switch {
	case g.holding:
		g.need = max(g.need, peak)
	case 2*len(g.live) < peak || wiped && len(g.live) < len(before):
		g.holding, g.need = true, peak
		g.postpone(now)
	}
	g.wake(now)
}

// peak is how many there were at most in the last grace period, of which the last is n until now. Counts that a later one
// exceeds are of no use any more, so what is kept falls from the first to the last.
func (g *guard) peak(now time.Time, n int) int {
	g.counts = slices.DeleteFunc(g.counts, func(c count) bool { return c.n <= n || now.Sub(c.until) > g.grace })
	g.counts = append(g.counts, count{now, n})
	return g.counts[0].n
}

// postpone begins the grace period of all departed anew.
func (g *guard) postpone(now time.Time) {
	for id, d := range g.departed {
		d.at = now
		g.departed[id] = d
	}
}

// wake drops what was kept long enough.
func (g *guard) wake(now time.Time) {
	if !g.connected {
		return
	}
	maps.DeleteFunc(g.departed, func(_ string, d departure) bool { return now.Sub(d.at) >= g.grace })
	switch {
	case g.holding && (len(g.departed) == 0 || len(g.live) >= g.need):
		// What is left is what there is from now on, and is not measured against the past.
		g.holding, g.counts = false, nil
		clear(g.departed)
	case !g.holding && len(g.departed) > instancesMax:
		clear(g.departed) // so many come and go that none of them is a loss
	}
	g.mark(now)
}

func (g *guard) mark(now time.Time) {
	f := Fresh
	if !g.connected || g.holding {
		f = Stale
	}
	if f != g.freshness {
		g.freshness, g.since = f, now
	}
}

// deadline is when wake has to be called, if no change comes before.
func (g *guard) deadline() (at time.Time, ok bool) {
	if !g.connected || !g.holding {
		return time.Time{}, false
	}
	for _, d := range g.departed {
		if t := d.at.Add(g.grace); !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// shown are the instances for callers, sorted by id.
func (g *guard) shown() []Instance {
	all := make([]Instance, 0, len(g.live)+g.missing())
	for _, i := range g.live {
		all = append(all, i)
	}
	if g.holding {
		for _, d := range g.departed {
			all = append(all, d.Instance)
		}
	}
	slices.SortFunc(all, func(a, b Instance) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// missing is how many of those shown etcd does not hold.
func (g *guard) missing() int {
	if g.holding {
		return len(g.departed)
	}
	return 0
}
