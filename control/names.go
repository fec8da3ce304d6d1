package control

import (
	"context"
	"net/netip"
	"slices"

	"github.com/yumen-io/yumen/control/dns"
	"github.com/yumen-io/yumen/gateway/upstream"
)

// resolve asks for the names of a cluster that is new or changed; there may be none, and then there is no resolver. old, if
// not nil, is the cluster it takes the place of, whose answers stand until there are newer ones.
//
// A name without an address fails a change: it is mistyped, or the gateway runs on as before until it can be asked. It does
// not fail a start: a gateway that is restarted while DNS is out of order serves what it can, and the rest once it can.
func (c *Controller) resolve(ctx context.Context, cl, old *cluster) (*dns.Resolver, error) {
	if !cl.plan.Resolves() {
		return nil, nil
	}
	cfg := dns.Config{
		Endpoints: cl.plan.Addresses(), Refresh: cl.plan.DNS.Refresh, Timeout: cl.plan.DNS.Timeout,
		Changed: func([]upstream.Target) {
			// Not waited for: this very goroutine may be what a command there is waiting for.
			c.mail.post(func() { c.retarget(cl, cl.targets()) })
		},
	}
	if old != nil && old.names != nil {
		cfg.Known = old.names.Answers()
	}
	r := dns.New(cfg)
	if err := r.First(ctx); err != nil {
		if c.current.Number != 0 || ctx.Err() != nil {
			r.Stop()
			return nil, err
		}
		c.logger.Error("the cluster begins without some of its endpoints", "cluster", cl.plan.Name, "error", err)
	}
	return r, nil
}

// retarget puts what discovery found into the place of a cluster's endpoints, if it is still the one that asked.
func (c *Controller) retarget(cl *cluster, targets []upstream.Target) {
	if now := c.cluster(cl.plan.Name); now == nil || now.names != cl.names || now.found != cl.found || c.stopping.Load() {
		return
	}
	if slices.Equal(targets, cl.group.Targets()) {
		return
	}
	if err := cl.group.SetTargets(targets); err != nil {
		c.logger.Error("new addresses cannot be used, the former ones stay", "cluster", cl.plan.Name, "error", err)
		return
	}
	c.logger.Info("a cluster has other addresses", "cluster", cl.plan.Name, "endpoints", len(targets))
}

// swapClusters lets the resolvers of new clusters go on asking and ends those of clusters that are no more.
func (c *Controller) swapClusters(w *work) {
	old := c.clusters
	c.clusters = w.clusters
	for _, cl := range c.clusters {
		if cl.names != nil && !slices.ContainsFunc(old, cl.sharesNames) {
			cl.names.Start()
		}
		if cl.found != nil && !slices.ContainsFunc(old, cl.sharesFound) {
			cl.found.Start()
		}
	}
	for _, cl := range old {
		if cl.names != nil && !slices.ContainsFunc(c.clusters, cl.sharesNames) {
			cl.names.Stop()
		}
		if cl.found != nil && !slices.ContainsFunc(c.clusters, cl.sharesFound) {
			cl.found.Stop()
		}
	}
}

func (cl *cluster) sharesNames(other *cluster) bool { return cl.names == other.names }

func (cl *cluster) sharesFound(other *cluster) bool { return cl.found == other.found }

// targets returns the addresses of a cluster as far as they are known; never nil. Those that stand in the document, or that names lead
// to, come before those found in etcd, and an address that is both is there once.
func (cl *cluster) targets() []upstream.Target {
	list := []upstream.Target{}
	if cl.names != nil {
		list = cl.names.Targets()
	} else {
		for i := range cl.plan.Endpoints {
			if e := &cl.plan.Endpoints[i]; e.Etcd == nil {
				list = append(list, e.Target(e.Addr.Addr()))
			}
		}
	}
	if cl.found == nil {
		return list
	}
	seen := make(map[netip.AddrPort]bool, len(list))
	for _, t := range list {
		seen[t.Addr] = true
	}
	for _, t := range cl.found.Targets() {
		if !seen[t.Addr] {
			seen[t.Addr] = true
			list = append(list, t)
		}
	}
	return list
}

// unresolved returns the names that have no address.
func (cl *cluster) unresolved() []UnresolvedName {
	if cl.names == nil {
		return nil
	}
	var list []UnresolvedName
	for _, s := range cl.names.Statuses() {
		if len(s.Addrs) > 0 {
			continue
		}
		n := UnresolvedName{Name: s.Host}
		if s.LastError != nil {
			n.Why = s.LastError.Error()
		}
		list = append(list, n)
	}
	return list
}
