package rpc

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// connMaker gets at a SubConn's calls. It has nothing to end: the goroutine that uses the connection is the balancer's.
type connMaker struct{}

// Build is gRPC's.
func (connMaker) Build(conn any) (balancer.Producer, func()) { return conn, func() {} }

// probe has an endpoint that is ready asked for its load, as long as it is, on its own connection: what cannot be asked there
// cannot be called there. The child's picker is what tells its connection. The caller holds the lock.
func (b *loadBalancer) probe(e *endpoint, child balancer.Picker) {
	if b.mu.client.cfg.ProbeInterval < 0 {
		return
	}
	result, err := child.Pick(balancer.PickInfo{Ctx: b.ctx})
	if err != nil || result.SubConn == e.probed {
		return
	}
	e.stopProbing()
	made, release := result.SubConn.GetOrBuildProducer(connMaker{})
	conn, ok := made.(grpc.ClientConnInterface)
	if !ok {
		release()
		return
	}
	e.noStat.Store(0) // another version may serve there now
	e.probeFailures.Store(0)
	ctx, cancel := context.WithCancel(b.ctx)
	e.probed, e.stop = result.SubConn, cancel
	c := b.mu.client
	b.tasks.Go(func() {
		defer release()
		defer cancel()
		probe(ctx, conn, e, c)
	})
}

// stopProbing ends the probes and does not wait: what is under way is told of the end by its context.
func (e *endpoint) stopProbing() {
	if e.stop != nil {
		e.stop()
	}
	e.probed, e.stop = nil, nil
}

// probe asks again and again, until ctx ends or the server says that it has no Stats.
func probe(ctx context.Context, conn grpc.ClientConnInterface, e *endpoint, c *Client) {
	interval := c.cfg.ProbeInterval
	// The first comes soon, and not at once from all callers of a server that has just started.
	timer := time.NewTimer(rand.N(interval/4 + 1))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if !ask(ctx, conn, e, c) {
			return
		}
		timer.Reset(interval*3/4 + rand.N(interval/2+1))
	}
}

// ask makes one probe; false: there is nothing to ask for.
func ask(ctx context.Context, conn grpc.ClientConnInterface, e *endpoint, c *Client) bool {
	began := mono.Now()
	limited, cancel := context.WithTimeout(ctx, c.cfg.ProbeTimeout)
	defer cancel()
	reply := &structpb.Struct{}
	err := conn.Invoke(limited, loadMethod, &emptypb.Empty{}, reply)
	if ctx.Err() != nil {
		return false
	}
	e.probes.Add(1)
	c.stats.probes.Add(1)
	now := mono.Now()
	switch status.Code(err) {
	case codes.OK:
		e.roundTrip.Store(int64(now.Sub(began)))
		e.noStat.Store(0)
		n := func(name string) float64 { return reply.Fields[name].GetNumberValue() }
		e.told(now, n(fieldCPU), n(fieldMemory), n(fieldLatency))
		e.saidInFlight.Store(int64(n(fieldInFlight)))
		if failures := e.probeFailures.Swap(0); failures >= int32(c.settings.ProbeFailuresMax) {
			e.unlearn() // what calls went through then tells nothing of now; it begins cold instead
			c.cfg.Logger.Info("an endpoint answers probes again", "endpoint", e.key, "failed", failures)
		}
	case codes.Unimplemented:
		e.noStat.Store(1)
		e.probeFailures.Store(0)
		return false
	case codes.Unavailable, codes.DeadlineExceeded:
		c.stats.probeFailures.Add(1)
		failures := e.probeFailures.Add(1)
		most := int32(c.settings.ProbeFailuresMax)
		if failures >= most && mono.Time(e.progressAt.Load()) > began {
			e.probeFailures.Store(most - 1) // it has answered calls meanwhile: it is busy and not gone
		} else if failures == most {
			c.cfg.Logger.Warn("an endpoint does not answer probes and gets no calls", "endpoint", e.key, "failed", failures, "error", err)
		}
	default:
		// It refuses to tell, but it answers.
		e.noStat.Store(1)
		e.probeFailures.Store(0)
	}
	return true
}
