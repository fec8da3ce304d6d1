package control

import (
	"crypto/rand"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/loop"
	"github.com/yumen-io/yumen/engine/tlsconn"
	"github.com/yumen-io/yumen/filters"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// plane is the data plane: what is made once for the life of the process. Its fields are frozen.
type plane struct {
	engines  []*engine.Worker
	gateway  *gateway.Gateway
	registry *metrics.Registry
	quota    *engine.Quota
	// Shared by all loops. Each side has its own, so that a flood of clients does not keep us from our upstreams.
	handshakes, upstreamHandshakes *tlsconn.Handshaker
	limits                         config.Limits // as it was made with
	metrics                        config.Metrics
	running                        sync.WaitGroup // loops
	offload                        *offload
}

// newPlane starts the loops. What of the document can be changed later is not looked at here.
func newPlane(o Options, doc *config.Document) (*plane, error) {
	handshakes := tlsconn.NewHandshaker(tlsconn.HandshakerConfig{RunningMax: doc.Limits.Handshakes, WaitingMax: doc.Limits.HandshakesWaiting})
	p := &plane{quota: new(engine.Quota), handshakes: handshakes,
		upstreamHandshakes: tlsconn.NewHandshaker(tlsconn.HandshakerConfig{}), limits: doc.Limits, metrics: doc.Telemetry.Metrics}
	n := loopCount(o, doc.Limits)
	// One more than loops, at least: control work must find a processor while every loop is busy. Never fewer than before,
	// for others in the process may have asked for them.
	if runtime.GOMAXPROCS(0) < n+1 {
		runtime.GOMAXPROCS(n + 1)
	}
	registry, err := metrics.New(gateway.Vocabulary(metrics.Config{
		Reasons: filters.Reasons(),
		Loops:   n,
		// Zero means none to people and the default to the registry; one is as near to none as it offers.
		RouteLimit: max(1, doc.Telemetry.Metrics.RouteLimit), EndpointLimit: max(1, doc.Telemetry.Metrics.EndpointLimit),
		Version: o.Version, Commit: o.Commit,
	}))
	if err != nil {
		return nil, err
	}
	p.registry = registry
	for i := range n {
		l, err := loop.New(loop.Config{ID: i, OnTurn: p.turns(i)})
		if err != nil {
			p.stop()
			return nil, fmt.Errorf("start event loop %d of %d: %w", i+1, n, err)
		}
		p.engines = append(p.engines, engine.NewWorker(l, int(doc.Limits.BufferBytes)/n))
	}
	var seed [8]byte
	rand.Read(seed[:]) // never fails: it ends the process instead
	p.offload = newOffload()
	p.gateway = gateway.New(gateway.Config{Engines: p.engines, Metrics: registry, Wall: time.Now, IDSeed: seed,
		Offload: p.offload.take, Reasons: filters.Reasons()})
	for _, w := range p.engines {
		p.running.Go(w.Loop.Run)
	}
	return p, nil
}

// loopCount is one for each core the process may use, unless somebody said otherwise.
func loopCount(o Options, l config.Limits) int {
	switch {
	case o.Loops > 0:
		return o.Loops
	case l.Loops > 0:
		return l.Loops
	}
	return runtime.NumCPU()
}

// turns counts a loop's turns. It runs on the loop, when all of the plane is made.
func (p *plane) turns(i int) func(began, ended mono.Time, events int) {
	shard := p.registry.Shard(i)
	return func(began, ended mono.Time, events int) {
		took := ended.Sub(began)
		shard.Turn(took, events)
		p.gateway.Workers[i].Turned(took)
	}
}

// counts returns what a loop counts by itself.
func (p *plane) counts(i int) metrics.Loop {
	w := p.engines[i]
	s := w.Loop.Stats()
	return metrics.Loop{
		StaleEvents:        s.Stale.Load(),
		MailboxWakes:       s.Wakes.Load(),
		AcceptsExhausted:   s.FDExhausted.Load(),
		AcceptsRefused:     s.Refused.Load(),
		AcceptPauses:       s.AcceptPauses.Load(),
		ConnectionsMoved:   w.Moved(),
		ConnectionsDelayed: w.Delayed(),
		ConnectionsStarved: w.Starved(),
	}
}

// countHandshakes returns those with clients and those with upstreams.
func (p *plane) countHandshakes() (client, upstream metrics.Handshakes) {
	return handshakesOf(p.handshakes), handshakesOf(p.upstreamHandshakes)
}

// handshakesOf reads what is a part of a number before it, so that no difference is below zero.
func handshakesOf(h *tlsconn.Handshaker) metrics.Handshakes {
	n := metrics.Handshakes{
		Resumed: h.Resumed(), Displaced: h.Displaced(), Refused: h.Refused(), Challenges: h.Challenges(),
		Running: h.Running(), Waiting: h.Waiting(),
	}
	n.Done, n.Failed = h.Done()-n.Resumed, h.Failed()-n.Displaced
	return n
}

// stop ends the loops and closes every connection that is left.
func (p *plane) stop() {
	for _, w := range p.engines {
		w.Loop.Stop()
		if p.gateway == nil {
			w.Loop.Run() // never ran: it returns at once and frees what it holds
		}
	}
	p.running.Wait()
	if p.offload != nil {
		p.offload.stop()
	}
}

// open returns the number of connections from clients.
func (p *plane) open() int { return int(p.quota.Open()) }

// later names what a document says differently from what the data plane was made with.
func (c *Controller) later(doc *config.Document) []string {
	if c.plane == nil {
		return nil
	}
	var list []string
	if loopCount(c.options, doc.Limits) != len(c.plane.engines) {
		list = append(list, "limits.loops")
	}
	if doc.Limits.BufferBytes != c.plane.limits.BufferBytes {
		list = append(list, "limits.buffer_bytes")
	}
	if doc.Limits.Handshakes != c.plane.limits.Handshakes || doc.Limits.HandshakesWaiting != c.plane.limits.HandshakesWaiting {
		list = append(list, "limits.handshakes")
	}
	if doc.Telemetry.Metrics.RouteLimit != c.plane.metrics.RouteLimit {
		list = append(list, "telemetry.metrics.route_limit")
	}
	if doc.Telemetry.Metrics.EndpointLimit != c.plane.metrics.EndpointLimit {
		list = append(list, "telemetry.metrics.endpoint_limit")
	}
	if directory := doc.Revisions.Directory; c.options.RevisionDir == "" && directory != c.revisionsSaid {
		list = append(list, "revisions.directory")
	}
	return list
}
