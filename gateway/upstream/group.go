package upstream

import (
	"net/netip"
	"sync"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/policy/balance"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// Group is a cluster over all loops. Its methods are for the control plane's goroutines, but for On.
type Group struct {
	Name    string
	workers []*engine.Worker
	locals  []*Cluster
	monitor *monitor

	mu struct {
		sync.Mutex
		spec      *Spec
		targets   []Target
		endpoints []*judged
		counters  []*metrics.Cluster // one for each loop
	}
}

// NewGroup returns a group without endpoints. Close ends it.
func NewGroup(name string, workers []*engine.Worker) *Group {
	g := &Group{Name: name, workers: workers}
	for _, w := range workers {
		g.locals = append(g.locals, &Cluster{w: w, group: g})
	}
	g.monitor = newMonitor(g)
	return g
}

// On returns the cluster on a loop, for use on that loop.
func (g *Group) On(loop int) *Cluster { return g.locals[loop] }

// Prepared is a change of a group that is ready to be carried out on each loop.
type Prepared struct {
	group     *Group
	spec      *Spec
	targets   []Target
	endpoints []*judged
	counters  []*metrics.Cluster
	balance   balance.Config
}

// Prepare works out a change, which takes what time it takes, and lets nothing be seen of it. A nil argument keeps what
// the group has. The change must be carried out by Commit, or forgotten.
func (g *Group) Prepare(spec *Spec, targets []Target, counters []*metrics.Cluster) (*Prepared, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := &Prepared{group: g, spec: spec, targets: targets, counters: counters}
	if p.spec == nil {
		p.spec = g.mu.spec
	}
	if p.targets == nil {
		p.targets = g.mu.targets
	}
	if p.counters == nil {
		p.counters = g.mu.counters
	}
	known := make(map[string]*judged, len(g.mu.endpoints))
	for _, e := range g.mu.endpoints {
		known[e.identity] = e
	}
	for _, t := range p.targets {
		id := t.Addr.String()
		e := known[id]
		if e == nil {
			e = &judged{identity: id}
		}
		p.endpoints = append(p.endpoints, e)
	}
	p.balance = p.spec.Balance
	if p.balance.Algorithm == balance.Maglev && len(p.targets) > 0 {
		table, err := balance.NewTable(balanced(p.targets), 0)
		if err != nil {
			return nil, err
		}
		p.balance.Table = table
	}
	return p, nil
}

func balanced(targets []Target) []balance.Endpoint {
	list := make([]balance.Endpoint, len(targets))
	for i, t := range targets {
		list[i] = balance.Endpoint{Identity: t.Addr.String(), Weight: t.Weight, Priority: t.Priority}
	}
	return list
}

// Commit makes the change known to the monitor. Then, on each loop, Apply must be called.
func (p *Prepared) Commit() {
	g := p.group
	g.mu.Lock()
	g.mu.spec, g.mu.targets, g.mu.endpoints, g.mu.counters = p.spec, p.targets, p.endpoints, p.counters
	g.mu.Unlock()
	g.monitor.order(change{spec: p.spec, targets: p.targets, endpoints: p.endpoints})
}

// Apply carries the change out on a loop. It is called on that loop.
func (p *Prepared) Apply(loop int) {
	c := p.group.locals[loop]
	cfg := p.balance
	cfg.Seed = uint64(loop) + 1
	c.apply(p, cfg, p.counters[loop])
}

// SetTargets puts a new list of endpoints in the place of the present one, on every loop: discovery found it.
func (g *Group) SetTargets(targets []Target) error {
	p, err := g.Prepare(nil, targets, nil)
	if err != nil {
		return err
	}
	p.Commit()
	for i, w := range g.workers {
		w.Loop.Post(func() { p.Apply(i) })
	}
	return nil
}

// Targets returns the present list.
func (g *Group) Targets() []Target {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.targets
}

// Drain takes an endpoint out of balancing, or back in, on an operator's word. It reports whether there is such an
// endpoint.
func (g *Group) Drain(address string, drained bool) bool {
	g.mu.Lock()
	endpoints := g.mu.endpoints
	g.mu.Unlock()
	for _, e := range endpoints {
		if e.identity == address {
			g.monitor.order(change{drain: &drainOrder{e, drained}})
			return true
		}
	}
	return false
}

func (m *monitor) order(c change) {
	c.applied = make(chan struct{})
	select {
	case m.changes <- c:
		<-c.applied
	case <-m.done:
	}
}

// tell passes a verdict on to the loops.
func (g *Group) tell(j *judged, h balance.Health) {
	for _, c := range g.locals {
		c.w.Loop.Post(func() {
			for i, e := range c.endpoints {
				if e.judged == j {
					if h == balance.Ejected && c.counters != nil && c == g.locals[0] {
						c.counters.Ejected()
					}
					c.set.SetHealth(i, h, c.w.Loop.Now())
				}
			}
		})
	}
}

// Statuses describes the endpoints' health; of a closed group, it is nil.
func (g *Group) Statuses() []Status {
	answer := make(chan []Status, 1)
	select {
	case g.monitor.asked <- answer:
		return <-answer
	case <-g.monitor.done:
		return nil
	}
}

// Loads describes the endpoints' load, summed over the loops, by address.
func (g *Group) Loads() map[netip.AddrPort]Load {
	sum := make(map[netip.AddrPort]Load)
	for _, c := range g.locals {
		done := make(chan struct{})
		if !c.w.Loop.Post(func() { defer close(done); c.addLoads(sum) }) {
			continue
		}
		<-done
	}
	return sum
}

// Close ends the group: its connections end when they are idle, its monitor at once.
func (g *Group) Close() {
	g.monitor.end()
	for _, c := range g.locals {
		c.w.Loop.Post(c.close)
	}
}

// resultOf says what an outcome means to the balancer.
func resultOf(o health.Outcome) balance.Result {
	switch o {
	case health.OK, health.ServerError:
		return balance.Succeeded
	case health.Aborted:
		return balance.Abandoned
	}
	return balance.Failed
}
