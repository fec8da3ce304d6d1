package control

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/yumen-io/yumen/control/etcd"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// DiscoveryStatus is how it stands with a service in etcd whose instances are endpoints.
type DiscoveryStatus struct {
	Service string `json:"service"`        // as the document has it: etcd orders, colour blue
	Etcd    string `json:"etcd,omitempty"` // the member that answers
	// State is fresh, stale (what was known last is used), from_snapshot (what the process before knew), kept (etcd has no instance, those
	// known last are used), none (there is none) or unknown (etcd has not answered yet).
	State     string        `json:"state"`
	For       time.Duration `json:"for_ns"`
	Endpoints int           `json:"endpoints"`          // in use
	Missing   int           `json:"missing"`            // of these, not in etcd now
	Unusable  int           `json:"unusable,omitempty"` // instances without an IP address, or beyond the bound
	Why       string        `json:"why,omitempty"`      // no member of etcd answers
}

// Detail is the rest of it for people.
func (d *DiscoveryStatus) Detail() string {
	s := fmt.Sprintf("%d endpoints for %s", d.Endpoints, d.For.Round(time.Second))
	if d.Missing > 0 {
		s += fmt.Sprintf(", %d of them not in etcd now", d.Missing)
	}
	if d.Unusable > 0 {
		s += fmt.Sprintf(", %d instances cannot be used", d.Unusable)
	}
	if d.Why != "" {
		s += ": " + d.Why
	}
	return s
}

// discover begins to follow the services of a cluster that is new or changed; there may be none, and then there is no follower. old, if not
// nil, is the cluster it takes the place of.
//
// As with names, a service of which nothing can be found out fails a change, and does not fail a start. One without instances is no error:
// the first may be about to begin.
func (c *Controller) discover(ctx context.Context, cl, old *cluster) (*etcd.Follower, error) {
	services := cl.plan.Services()
	if len(services) == 0 {
		return nil, nil
	}
	cfg := etcd.Config{Services: services, Changed: func() { c.mail.post(func() { c.retarget(cl, cl.targets()) }) }}
	if old != nil {
		cfg.Before = old.found
	}
	f, err := c.etcd.Follow(cfg)
	if err != nil {
		return nil, err
	}
	if err := f.First(ctx); err != nil {
		if c.current.Number != 0 || ctx.Err() != nil {
			f.Stop()
			return nil, err
		}
		c.logger.Error("the cluster begins without some of its endpoints", "cluster", cl.plan.Name, "error", err)
	}
	return f, nil
}

// discovery adds to a status where endpoints come from, and returns what those found in etcd have registered with.
func (cl *cluster) discovery(s *ClusterStatus) map[netip.AddrPort]etcd.Instance {
	if cl.found == nil {
		return nil
	}
	registered := map[netip.AddrPort]etcd.Instance{}
	for _, st := range cl.found.Statuses() {
		d := DiscoveryStatus{Service: st.Service, Etcd: st.Etcd, State: st.State, Endpoints: st.Endpoints, Missing: st.Missing, Unusable: st.Unusable}
		if !st.Since.IsZero() {
			d.For = max(time.Since(st.Since), 0)
		}
		if st.LastError != nil {
			d.Why = st.LastError.Error()
		}
		s.Discovery = append(s.Discovery, d)
		for _, i := range st.Instances {
			registered[i.Addr] = i
		}
	}
	return registered
}

// discoveries are the services of all clusters, for a scrape.
func (c *Controller) discoveries() []metrics.Discovery {
	var list []metrics.Discovery
	for _, cl := range c.state().clusters {
		var s ClusterStatus
		cl.discovery(&s)
		for _, d := range s.Discovery {
			list = append(list, metrics.Discovery{Cluster: cl.plan.Name, Service: d.Service, State: d.State, For: d.For, Endpoints: d.Endpoints, Missing: d.Missing})
		}
	}
	return list
}
