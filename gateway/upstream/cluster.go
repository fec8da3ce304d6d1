// Package upstream is the live side of clusters: on every loop, the endpoints a cluster has, which of them may be chosen,
// and the connections to them; beside the loops, one monitor for each cluster that probes and judges.
//
// A Group is a cluster as the control plane sees it: it hands each loop its Cluster, passes on new endpoint lists and
// verdicts, and outlives configurations that keep the cluster. The loops share nothing but what the Group posts to them.
//
// The package chooses nothing by itself (policy/balance), judges nothing (policy/health), and does not know what a request
// contains: the exchange asks for a connection and uses it.
package upstream

import (
	"net"
	"net/netip"
	"time"

	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/balance"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/policy/retry"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// Spec is what the configuration says of a cluster. Frozen.
type Spec struct {
	Name    string
	Balance balance.Config
	Health  health.Config
	Probe   *Probe // nil: no active checks
	Pool    PoolConfig
	Dial    engine.DialConfig // the server's name of its TLS may be left to the targets
	Proxy   int               // version of the PROXY header that begins a passage of bytes; 0: none
	Retry   retry.BudgetConfig
	// KeepReports leaves reports of load in the answers that clients get. Without it they are taken out where the cluster
	// balances by them: how busy a server is, and by which names it is measured, is nobody else's business.
	KeepReports bool
}

// QueueTimeout is how long a request waits for a connection.
func (s *Spec) QueueTimeout() time.Duration { return s.Pool.QueueTimeout }

// speaks tells whether connections made for s can serve other as well.
func (s *Spec) speaks(other *Spec) bool {
	return s != nil && s.Dial.Protocols == other.Dial.Protocols && s.Dial.TLS == other.Dial.TLS
}

// checksAs tells whether endpoints are checked just as they were for other.
func (s *Spec) checksAs(other *Spec) bool {
	return other != nil && s.Probe != nil && other.Probe != nil && *s.Probe == *other.Probe && other.speaks(s)
}

// dialTo returns how connections to a target are made.
func (s *Spec) dialTo(t Target) *engine.DialConfig {
	d := s.Dial
	if d.TLS != nil && d.TLS.ServerName == "" {
		d.TLS = d.TLS.Clone()
		d.TLS.ServerName = t.host()
	}
	return &d
}

// host returns the target's name without its port.
func (t *Target) host() string {
	if host, _, err := net.SplitHostPort(t.Name); err == nil {
		return host
	}
	return t.Addr.Addr().String()
}

// Target is an address a cluster may send to.
type Target struct {
	Addr     netip.AddrPort
	Name     string // as configured: the host name that was resolved to Addr, or the address itself
	Weight   uint32
	Priority uint8
}

// Cluster is a cluster on one loop. Loop-owned.
type Cluster struct {
	// Set at birth.
	w     *engine.Worker
	group *Group

	// Loop-owned.
	spec      *Spec
	set       *balance.Set
	endpoints []*Endpoint
	counters  *metrics.Cluster

	pace         retry.Pace
	budget       *retry.Budget
	budgetConfig retry.BudgetConfig
}

// Endpoint is one address of a cluster on one loop, with its connections. Loop-owned.
type Endpoint struct {
	// Set at birth.
	cluster *Cluster
	addr    netip.AddrPort
	text    string // of addr
	judged  *judged

	// Loop-owned.
	index      int // in the cluster's present list
	idle       *engine.ClientConn
	idleN      int
	conns      int // connecting, busy and idle
	connecting int
	shared     []*engine.ClientConn // pipelined, or multiplexed
	pace       time.Duration        // of their answers
	queue      queue
	removed    bool
	dial       *engine.DialConfig
	// multiplexed is what its connections are, or, until one stands, are expected to be.
	multiplexed bool
}

// Addr returns the endpoint's address as text.
func (e *Endpoint) Addr() string { return e.text }

// Name returns the group's name.
func (c *Cluster) Name() string { return c.spec.Name }

// Spec returns the cluster's present specification.
func (c *Cluster) Spec() *Spec { return c.spec }

// Budget returns the cluster's retry budget on this loop.
func (c *Cluster) Budget() *retry.Budget { return c.budget }

// Pace returns how long the cluster's answers take to begin, on this loop.
func (c *Cluster) Pace() *retry.Pace { return &c.pace }

// Multiplexed tells whether requests share connections without waiting for each other, as far as is known beforehand.
func (c *Cluster) Multiplexed() bool { return c.spec.Dial.Protocols&engine.HTTP2 != 0 }

// Counters returns the cluster's metrics on this loop.
func (c *Cluster) Counters() *metrics.Cluster { return c.counters }

// Pick chooses an endpoint, nil if there is none; the reason says why. See balance.Set for the arguments.
func (c *Cluster) Pick(rnd, key uint64, tried *balance.Tried) (*Endpoint, balance.Reason) {
	i, why := c.set.Pick(c.w.Loop.Now(), rnd, key, tried)
	if i < 0 {
		return nil, why
	}
	return c.endpoints[i], why
}

// Given is one request given to an endpoint, from Start to Done.
type Given struct {
	endpoint *Endpoint
	set      *balance.Set
	index    int
	began    mono.Time
	answered bool // the head of the answer came
}

// Start notes that a request is given to e.
func (e *Endpoint) Start() Given {
	now := e.cluster.w.Loop.Now()
	e.cluster.set.Start(e.index, now)
	return Given{endpoint: e, set: e.cluster.set, index: e.index, began: now}
}

// Answered notes that the head of the answer came. Once is enough.
func (l *Given) Answered() {
	if !l.answered {
		l.answered = true
		l.set.Answered(l.index, l.endpoint.cluster.w.Loop.Now())
	}
}

// Judge notes a word on the endpoint's health before the request has ended: a tunnel stands, and may for long.
func (l *Given) Judge(outcome health.Outcome) {
	l.endpoint.judged.observe(l.endpoint.cluster, outcome)
}

// Done notes how the request ended: headAfter is when the response's head came, or the failure.
func (l *Given) Done(outcome health.Outcome, headAfter time.Duration) {
	now := l.endpoint.cluster.w.Loop.Now()
	if l.answered {
		l.answered = false
		l.set.Ended(l.index)
	}
	l.set.Done(l.index, now, headAfter, resultOf(outcome))
	l.endpoint.judged.observe(l.endpoint.cluster, outcome)
}

// apply puts a new specification and a new list of endpoints in the place of the present ones. Endpoints whose address
// stays keep their connections, load and health.
func (c *Cluster) apply(p *Prepared, cfg balance.Config, counters *metrics.Cluster) {
	now, before := c.w.Loop.Now(), c.spec
	c.spec, c.counters = p.spec, counters
	if c.budget == nil || p.spec.Retry != c.budgetConfig {
		c.budget, c.budgetConfig = retry.NewBudget(p.spec.Retry), p.spec.Retry
	}
	old := make(map[netip.AddrPort]*Endpoint, len(c.endpoints))
	for _, e := range c.endpoints {
		old[e.addr] = e
	}
	endpoints := make([]*Endpoint, len(p.targets))
	for i, t := range p.targets {
		e := old[t.Addr]
		if e == nil || !before.speaks(p.spec) {
			e = &Endpoint{cluster: c, addr: t.Addr, text: t.Addr.String(), multiplexed: p.spec.Dial.Protocols&engine.HTTP2 != 0}
		} else {
			delete(old, t.Addr)
		}
		e.dial = p.spec.dialTo(t)
		e.index, e.judged = i, p.endpoints[i]
		endpoints[i] = e
	}
	set := balance.New(cfg, balanced(p.targets), now)
	if c.set != nil {
		set.Inherit(c.set, now)
	}
	c.set, c.endpoints = set, endpoints
	for i, j := range p.endpoints {
		set.SetHealth(i, j.verdict(), now)
	}
	for _, e := range old {
		e.remove()
	}
}

// close lets the cluster's connections end.
func (c *Cluster) close() {
	for _, e := range c.endpoints {
		e.remove()
	}
}

// Load is what an endpoint has to do, as an operator sees it.
type Load struct {
	InFlight, Connections, Idle, Waiting int
	Latency                              time.Duration // the largest average of any loop
	Effective                            float64       // weight, after slow start
	Weight                               uint32
	Priority                             uint8
	InPool                               bool // may be chosen by a first attempt
	// Factors are what a load-aware choice goes by, on the loop that has sent the endpoint the most requests; nil for other
	// algorithms. Calls, Failed and Malformed in it are of all loops.
	Factors *balance.Factors
	calls   uint64 // of the loop that Factors are of
}

// addLoads adds this loop's part.
func (c *Cluster) addLoads(sum map[netip.AddrPort]Load) {
	for i, e := range c.endpoints {
		v, l := c.set.View(i, c.w.Loop.Now()), sum[e.addr]
		l.InFlight += v.InFlight
		l.Connections += e.conns
		l.Idle += e.idleN
		l.Waiting += e.queue.n
		l.Latency = max(l.Latency, v.Latency)
		l.Effective, l.Weight, l.Priority, l.InPool = v.Effective, v.Weight, v.Priority, v.InPool
		l.Factors, l.calls = addFactors(l.Factors, v.Factors, l.calls)
		if l.Factors != nil {
			l.Effective = l.Factors.Final
		}
		sum[e.addr] = l
	}
}

// addFactors adds those of another loop to the sum of some, of which the busiest loop had calls.
func addFactors(sum, more *balance.Factors, calls uint64) (*balance.Factors, uint64) {
	switch {
	case more == nil:
		return sum, calls
	case sum == nil:
		return more, more.Calls
	}
	busiest := sum
	if more.Calls > calls {
		busiest, calls = more, more.Calls
	}
	all := *busiest
	all.Calls, all.Failed, all.Malformed = sum.Calls+more.Calls, sum.Failed+more.Failed, sum.Malformed+more.Malformed
	return &all, calls
}
