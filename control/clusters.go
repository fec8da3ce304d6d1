package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/yumen-io/yumen/control/compile"
	"github.com/yumen-io/yumen/control/dns"
	"github.com/yumen-io/yumen/control/etcd"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// cluster is a cluster in force. Frozen: a change makes a new one, around the same group where the name stays.
type cluster struct {
	plan  *compile.ClusterPlan
	group *upstream.Group
	names *dns.Resolver  // nil: no endpoint is a name
	found *etcd.Follower // nil: no endpoint is a service in etcd
}

// warmMax is how long a change waits for the first checks of clusters that are new. An endpoint that works answers in
// milliseconds; one that does not must not hold the change up, and is given requests until its check has failed.
const warmMax = time.Second

// prepareClusters makes or finds the live cluster of every plan. Clusters that are what they were are left alone, with
// their connections, health and load. Those that changed are prepared, of which nothing can be seen. New ones begin to be
// checked, so that the first request finds them judged; they are closed again if the change is given up.
//
// A cluster that has no endpoint in common with its namesake is a new one: there is nothing to keep, and a request that
// began before the change and is tried again after it goes where its own configuration leads.
func (c *Controller) prepareClusters(ctx context.Context, w *work) error {
	var fresh []*cluster
	for i, plan := range w.plan.Clusters {
		old := c.cluster(plan.Name)
		if old != nil && old.plan.Fingerprint == plan.Fingerprint && c.secretsOf(plan.Name) == w.secrets.clusters[i] {
			w.clusters = append(w.clusters, &cluster{plan, old.group, old.names, old.found})
			continue
		}
		if old != nil && !overlap(plan, old.plan) {
			old = nil
		}
		cl := &cluster{plan: plan}
		var err error
		if cl.names, err = c.resolve(ctx, cl, old); err != nil {
			return fmt.Errorf("cluster %q: %w", plan.Name, err)
		}
		if cl.names != nil {
			w.undo(cl.names.Stop)
		}
		if cl.found, err = c.discover(ctx, cl, old); err != nil {
			return fmt.Errorf("cluster %q: %w", plan.Name, err)
		}
		if cl.found != nil {
			w.undo(cl.found.Stop)
		}
		if old != nil {
			cl.group = old.group
		} else {
			cl.group = upstream.NewGroup(plan.Name, c.plane.engines)
			w.undo(cl.group.Close)
			fresh = append(fresh, cl)
		}
		if n := plan.ConnsPerEndpoint(); n < len(c.plane.engines) {
			c.logger.Warn("each event loop opens a connection to an endpoint, more than the cluster allows",
				"cluster", plan.Name, "per_endpoint", n, "loops", len(c.plane.engines))
		}
		change, err := cl.group.Prepare(c.specOf(w.secrets, i, plan), cl.targets(), countersOf(w.view, len(c.plane.engines), i))
		if err != nil {
			return fmt.Errorf("cluster %q: %w", plan.Name, err)
		}
		w.snapshot.Changes = append(w.snapshot.Changes, change)
		if old != nil {
			w.commits = append(w.commits, change)
		} else {
			change.Commit()
		}
		w.clusters = append(w.clusters, cl)
	}
	awaitChecks(ctx, fresh)
	return ctx.Err()
}

// overlap tells whether two plans have an endpoint in common.
func overlap(a, b *compile.ClusterPlan) bool {
	return slices.ContainsFunc(a.Endpoints, func(e compile.EndpointPlan) bool {
		return slices.ContainsFunc(b.Endpoints, func(f compile.EndpointPlan) bool { return e.Address == f.Address })
	})
}

// cluster returns the cluster of a name in force.
func (c *Controller) cluster(name string) *cluster {
	if i := slices.IndexFunc(c.clusters, func(cl *cluster) bool { return cl.plan.Name == name }); i >= 0 {
		return c.clusters[i]
	}
	return nil
}

// countersOf returns a cluster's counters, one for each loop.
func countersOf(view *metrics.View, loops, cluster int) []*metrics.Cluster {
	list := make([]*metrics.Cluster, loops)
	for i := range list {
		list[i] = view.Cluster(i, cluster)
	}
	return list
}

// checkTick is how often a change looks whether the first checks have ended.
const checkTick = 5 * time.Millisecond

// awaitChecks waits until every endpoint of these clusters was checked once, where it is checked at all, but not for ever.
func awaitChecks(ctx context.Context, clusters []*cluster) {
	tick := time.NewTicker(checkTick)
	defer tick.Stop()
	enough := time.After(warmMax)
	for slices.ContainsFunc(clusters, unchecked) {
		select {
		case <-tick.C:
		case <-enough:
			return
		case <-ctx.Done():
			return
		}
	}
}

func unchecked(cl *cluster) bool {
	if cl.plan.Spec(1).Probe == nil {
		return false
	}
	statuses := cl.group.Statuses()
	return len(statuses) < len(cl.group.Targets()) ||
		slices.ContainsFunc(statuses, func(s upstream.Status) bool { return !s.Checked })
}

// groups counts by how many snapshots each live group is used: the one in force, and those that exchanges still pin.
// Owned by the controller's goroutine.
type groups map[*upstream.Group]int

// hold notes that a snapshot comes into force.
func (g groups) hold(s *gateway.Snapshot) {
	for _, group := range s.Clusters {
		g[group]++
	}
}

// drop notes that a snapshot has retired, and ends the groups that no other one uses.
func (g groups) drop(s *gateway.Snapshot) {
	for _, group := range s.Clusters {
		if n, ok := g[group]; ok && n == 1 {
			delete(g, group)
			group.Close()
		} else if ok {
			g[group] = n - 1
		}
	}
}

// closeAll ends every group.
func (g groups) closeAll() {
	for group := range g {
		group.Close()
	}
	clear(g)
}
