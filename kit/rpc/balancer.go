package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/loadaware"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"
)

// tickEvery is how often weights are computed anew. What a caller sees by itself works from call to call, so this need not
// be faster than a report that changed much.
const tickEvery = 250 * time.Millisecond

// goneMax is how many endpoints that a resolver has dropped are remembered, the latest ones.
const goneMax = 1000

// builder makes the balancer of each connection. It is stateless: a connection's Client comes with the resolver's state.
type builder struct{}

func (builder) Name() string { return Policy }

func (builder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	b := &loadBalancer{ClientConn: cc, target: opts.Target.String()}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.mu.endpoints = map[string]*endpoint{}
	b.child = endpointsharding.NewBalancer(b, opts, balancer.Get(pickfirst.Name).Build, endpointsharding.Options{})
	return b
}

// lbConfig has nothing in it: the settings are those of the Client.
type lbConfig struct {
	serviceconfig.LoadBalancingConfig `json:"-"`
}

// ParseConfig takes any object, as gRPC asks of a balancer that may get more settings later.
func (builder) ParseConfig(text json.RawMessage) (serviceconfig.LoadBalancingConfig, error) {
	cfg := &lbConfig{}
	if err := json.Unmarshal(text, cfg); err != nil {
		return nil, fmt.Errorf("rpc: balancer's config: %w", err)
	}
	return cfg, nil
}

// loadBalancer is the balancer of one connection: a pick_first child for each endpoint, by endpointsharding, and a
// picker over those that are ready. It intercepts what goes between gRPC and the children.
type loadBalancer struct {
	balancer.ClientConn
	child  balancer.Balancer
	target string

	// One goroutine weighs, and each ready connection has one that probes. Close ends and awaits them.
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu struct {
		sync.Mutex
		client    *Client // from the first state on
		closed    bool
		endpoints map[string]*endpoint // by key, those gone as well
		gone      int
		picker    *picker
		ready     int
		outcome   loadaware.Outcome
		current   []*endpoint         // those not gone
		members   []*loadaware.Member // of those among them that are settled; used again by each weighing
		history   history
	}
}

// UpdateClientConnState takes a new list from the resolver.
func (b *loadBalancer) UpdateClientConnState(s balancer.ClientConnState) error {
	b.adopt(s.ResolverState)
	// Without a config of ours, because the children would not know it, and with health, which they are to follow.
	return b.child.UpdateClientConnState(balancer.ClientConnState{ResolverState: pickfirst.EnableHealthListener(s.ResolverState)})
}

func (b *loadBalancer) adopt(s resolver.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.closed {
		return
	}
	first := b.mu.client == nil
	if first {
		b.mu.client = clientOf(s)
		b.mu.history.limit = b.mu.client.cfg.History
		b.mu.client.add(b)
		b.tasks.Go(b.run)
	}
	now, wall := mono.Now(), time.Now()
	before := b.mu.current
	b.mu.current = nil
	listed := map[*endpoint]bool{}
	for _, re := range s.Endpoints {
		key := keyOf(re)
		e := b.mu.endpoints[key]
		if listed[e] {
			continue // named twice, as endpointsharding sees it, too
		}
		in, _ := re.Attributes.Value(instanceKey{}).(equalInstance)
		var age time.Duration = -1
		if in.Instance != nil && !in.Started.IsZero() {
			age = max(wall.Sub(in.Started), 0)
		}
		switch {
		case e == nil:
			e = &endpoint{key: key, member: loadaware.NewMember(b.warmth(first, age))}
			b.mu.endpoints[key] = e
			b.note(e, "new")
		case e.instance != nil && in.Instance != nil && !e.instance.Started.Equal(in.Started):
			e.renew()
			b.note(e, "restarted")
		case e.goneAt > 0:
			b.note(e, "back")
		}
		if e.goneAt > 0 {
			e.goneAt, e.settled = 0, false
			b.mu.gone--
		}
		e.instance = in.Instance
		listed[e] = true
		b.mu.current = append(b.mu.current, e)
	}
	for _, e := range before {
		if !listed[e] {
			e.goneAt, e.ready = now, false
			e.stopProbing()
			b.mu.gone++
			b.note(e, "gone")
		}
	}
	b.forget(now)
}

// warmth is how warm a new endpoint begins: those of the first list are warm, unless they say that they have just started;
// later ones are cold, unless they say that they have not.
func (b *loadBalancer) warmth(first bool, age time.Duration) float64 {
	slowStart := b.mu.client.settings.SlowStart
	switch {
	case age >= 0 && slowStart > 0:
		return float64(age) / float64(slowStart)
	case first:
		return 1
	}
	return 0
}

// forget removes endpoints that have been gone for long, and the eldest of too many.
func (b *loadBalancer) forget(now mono.Time) {
	for b.mu.gone > 0 {
		var eldest *endpoint
		for _, e := range b.mu.endpoints {
			if e.goneAt > 0 && (eldest == nil || e.goneAt < eldest.goneAt) {
				eldest = e
			}
		}
		if eldest == nil || b.mu.gone <= goneMax && now.Sub(eldest.goneAt) < b.mu.client.cfg.ForgetAfter {
			return
		}
		delete(b.mu.endpoints, eldest.key)
		b.mu.gone--
	}
}

// clientOf is the Client whose resolver made the state; a default one if another resolver did.
func clientOf(s resolver.State) *Client {
	if c, ok := s.Attributes.Value(clientKey{}).(*Client); ok {
		return c
	}
	cfg, settings, _ := Config{}.filled() // the zero value is right
	return &Client{cfg: cfg, settings: settings}
}

// UpdateState takes what the children have become, makes a picker of those that are ready and passes it on.
func (b *loadBalancer) UpdateState(s balancer.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.closed {
		return
	}
	for _, e := range b.mu.current {
		e.ready = false
	}
	now := mono.Now()
	p := &picker{}
	children := endpointsharding.ChildStatesFromPicker(s.Picker)
	for _, child := range children {
		e := b.mu.endpoints[keyOf(child.Endpoint)]
		if e == nil || e.goneAt > 0 {
			continue
		}
		switch child.State.ConnectivityState {
		case connectivity.TransientFailure:
			e.settled = true
			continue
		case connectivity.Ready:
			e.settled, e.ready = true, true
		default:
			continue
		}
		p.ready = append(p.ready, readyEndpoint{e, child.State.Picker})
		b.probe(e, child.State.Picker)
	}
	for _, e := range b.mu.current {
		if !e.ready {
			e.stopProbing()
		}
	}
	b.mu.picker = p
	b.weigh(now)
	switch {
	case len(p.ready) > 0:
		s.Picker = p
	case len(children) == 0 && s.ConnectivityState == connectivity.TransientFailure:
		s.Picker = base.NewErrPicker(fmt.Errorf("rpc: %s has no instances", b.target))
	}
	b.ClientConn.UpdateState(s)
}

// run weighs four times a second, until Close.
func (b *loadBalancer) run() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-ticker.C:
			b.mu.Lock()
			now := mono.Now()
			b.weigh(now)
			b.forget(now)
			b.mu.Unlock()
		}
	}
}

// weigh computes the weights and gives the picker its table. The caller holds the lock.
func (b *loadBalancer) weigh(now mono.Time) {
	if b.mu.client == nil {
		return
	}
	s := &b.mu.client.settings
	b.mu.members = b.mu.members[:0]
	for _, e := range b.mu.current {
		if e.settled {
			e.member.Facts = e.facts(now, s)
			b.mu.members = append(b.mu.members, e.member)
		}
	}
	panicked := b.mu.outcome.Panic
	b.mu.outcome = s.Weigh(now, b.mu.members)
	if p := b.mu.picker; p != nil {
		chances := make([]loadaware.Chance, len(p.ready))
		for i, r := range p.ready {
			chances[i] = loadaware.Chance{Weight: r.member.Weight.Final, Slowness: r.member.Weight.Slowness}
		}
		p.table.Store(loadaware.NewTable(chances))
	}
	b.record()
	if panicked != b.mu.outcome.Panic {
		b.tellPanic()
	}
}

func (b *loadBalancer) tellPanic() {
	c, o := b.mu.client, b.mu.outcome
	if o.Panic {
		c.stats.panics.Add(1)
		c.cfg.Logger.Warn("too few endpoints are healthy, so all that are reachable are used", "target", b.target, "healthy", o.HealthyShare, "ready", o.Ready)
		return
	}
	c.cfg.Logger.Info("enough endpoints are healthy again", "target", b.target, "healthy", o.HealthyShare, "ready", o.Ready)
}

// ResolverError is passed to the children, which keep what they have.
func (b *loadBalancer) ResolverError(err error) { b.child.ResolverError(err) }

// UpdateSubConnState is never called: each SubConn has a listener.
func (b *loadBalancer) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle has the children connect.
func (b *loadBalancer) ExitIdle() { b.child.ExitIdle() }

// Close ends the children and all goroutines.
func (b *loadBalancer) Close() {
	b.mu.Lock()
	b.mu.closed = true
	client := b.mu.client
	b.mu.Unlock()
	if client != nil {
		client.remove(b)
	}
	b.cancel()
	b.child.Close()
	b.tasks.Wait()
}
