package control

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/gateway/upstream"
)

// ClusterStatus is a cluster as an operator sees it.
type ClusterStatus struct {
	Name      string           `json:"name"`
	Balance   string           `json:"balance"` // the algorithm
	Pipeline  int              `json:"pipeline,omitempty"`
	Healthy   int              `json:"healthy"` // endpoints that may be chosen
	Endpoints []EndpointStatus `json:"endpoints"`
	// Unresolved are the names that have no address, each with the reason.
	Unresolved []UnresolvedName `json:"unresolved,omitempty"`
	// Discovery says where endpoints come from that are found in etcd, and how fresh that is.
	Discovery []DiscoveryStatus `json:"discovery,omitempty"`
}

// UnresolvedName is a host name of an endpoint that has no address.
type UnresolvedName struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// EndpointStatus is an endpoint: its health and why, its load over all loops, its last errors.
type EndpointStatus struct {
	Address     string        `json:"address"`
	Name        string        `json:"name,omitempty"` // the host name that stands for it, if one does
	Weight      int           `json:"weight"`
	Effective   float64       `json:"effective_weight"` // while it starts slowly
	Priority    int           `json:"priority"`
	State       string        `json:"state"` // healthy, ejected, failing, drained
	For         time.Duration `json:"for_ns"`
	Why         string        `json:"why"`
	LastError   string        `json:"last_error,omitempty"`
	LastCheck   string        `json:"last_check,omitempty"` // how the last check failed
	InPool      bool          `json:"in_pool"`              // a first attempt may choose it
	InFlight    int           `json:"in_flight"`
	Connections int           `json:"connections"`
	Idle        int           `json:"idle"`
	Waiting     int           `json:"waiting"`
	Latency     time.Duration `json:"latency_ns"`
	// Instance, Zone, Colour and Version are what an endpoint that was found in etcd has registered with.
	Instance string `json:"instance,omitempty"`
	Zone     string `json:"zone,omitempty"`
	Colour   string `json:"colour,omitempty"`
	Version  string `json:"version,omitempty"`
	// Factors are what load_aware goes by; nil for the others.
	Factors *EndpointFactors `json:"factors,omitempty"`
}

// healthy is the state word of an endpoint that nothing speaks against.
const healthy = "healthy"

// Clusters describes every cluster in force, in the document's order.
func (c *Controller) Clusters() []ClusterStatus {
	list := []ClusterStatus{}
	for _, cl := range c.state().clusters {
		list = append(list, cl.status())
	}
	return list
}

func (cl *cluster) status() ClusterStatus {
	s := ClusterStatus{
		Name: cl.plan.Name, Balance: cl.plan.Algorithm, Pipeline: cl.plan.Spec(1).Pool.Pipeline,
		Endpoints: []EndpointStatus{}, Unresolved: cl.unresolved(),
	}
	registered := cl.discovery(&s)
	loads := cl.group.Loads()
	statuses := make(map[string]upstream.Status)
	for _, st := range cl.group.Statuses() {
		statuses[st.Address] = st
	}
	for _, t := range cl.group.Targets() {
		load, st := loads[t.Addr], statuses[t.Addr.String()]
		e := EndpointStatus{
			Address: t.Addr.String(), Weight: int(t.Weight), Priority: int(t.Priority),
			State: cmp.Or(st.State, healthy), For: st.For, Why: st.Why, LastError: st.LastError, LastCheck: st.LastCheck,
			Effective: load.Effective, InPool: load.InPool, InFlight: load.InFlight, Connections: load.Connections,
			Idle: load.Idle, Waiting: load.Waiting, Latency: load.Latency,
			Factors: factorsOf(load.Factors),
		}
		if i, ok := registered[t.Addr]; ok {
			e.Instance, e.Zone, e.Colour, e.Version = i.ID, i.Zone, i.Colour, i.Version
		}
		if t.Name != e.Address {
			e.Name = t.Name
		}
		if e.State == healthy {
			s.Healthy++
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

// ErrNoEndpoint is returned for a cluster or endpoint that the configuration in force does not have.
var ErrNoEndpoint = errors.New("no such endpoint")

// DrainEndpoint takes an endpoint out of balancing, or back in. It lasts while the endpoint stays in the configuration and
// the process runs. The address is an EndpointStatus's.
func (c *Controller) DrainEndpoint(name, address string, drained bool) error {
	clusters := c.state().clusters
	i := slices.IndexFunc(clusters, func(cl *cluster) bool { return cl.plan.Name == name })
	if i < 0 {
		return fmt.Errorf("cluster %q: %w", name, ErrNoEndpoint)
	}
	if !clusters[i].group.Drain(address, drained) {
		return fmt.Errorf("endpoint %q of cluster %q: %w", address, name, ErrNoEndpoint)
	}
	c.logger.Info("an endpoint was drained or put back by an operator", "cluster", name, "endpoint", address, "drained", drained)
	return nil
}

// RouteStatus is a route as an operator sees it.
type RouteStatus struct {
	Name      string   `json:"name"`
	Listeners []string `json:"listeners,omitempty"` // none: all
	Hosts     []string `json:"hosts,omitempty"`     // none: all
	Path      string   `json:"path"`
	Methods   []string `json:"methods,omitempty"` // none: all
	// Conditions is how many conditions on fields, query and cookies it has beside; the document says which.
	Conditions int    `json:"conditions,omitempty"`
	Cluster    string `json:"cluster,omitempty"`
	// Answers is the status of a route that answers by itself: a response or a redirect.
	Answers int `json:"answers,omitempty"`
}

// Routes describes every route in force, in the document's order.
func (c *Controller) Routes() []RouteStatus {
	list := []RouteStatus{}
	plan := c.Plan()
	if plan == nil {
		return list
	}
	for i := range plan.Document.Routes {
		r := &plan.Document.Routes[i]
		s := RouteStatus{
			Name: r.Name, Listeners: words(r.Match.Listeners), Hosts: words(r.Match.Hosts), Path: r.Match.Path.Value,
			Methods: words(r.Match.Methods), Cluster: r.Cluster.Value,
			Conditions: len(r.Match.Headers) + len(r.Match.Query) + len(r.Match.Cookies),
		}
		switch {
		case r.Respond != nil:
			s.Answers = r.Respond.Status
		case r.Redirect != nil:
			s.Answers = r.Redirect.Status
		}
		list = append(list, s)
	}
	return list
}

func words(texts []config.Text) []string {
	var list []string
	for _, t := range texts {
		list = append(list, t.Value)
	}
	return list
}

// ListenerStatus is a listener as an operator sees it.
type ListenerStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"` // as configured
	Bound   string `json:"bound"`   // with the port that the kernel picked
	// Protocols are what is spoken, in the words of the document; TLS is whether it ends here.
	Protocols []string `json:"protocols"`
	TLS       bool     `json:"tls"`
	Accepting bool     `json:"accepting"`
	Why       string   `json:"why,omitempty"` // it does not accept
	Open      int64    `json:"open"`
	Accepted  int64    `json:"accepted"`
	Turned    int64    `json:"turned_away"` // answered 503: a limit on connections was reached
	Exhausted int64    `json:"exhausted"`   // not accepted for want of descriptors or memory
	Moved     int64    `json:"moved"`       // handed to a less busy loop
}

// Listeners describes every listener in force.
func (c *Controller) Listeners() []ListenerStatus {
	list := []ListenerStatus{}
	s := c.state()
	for _, l := range s.listeners {
		st := l.status()
		for _, p := range s.plan.Document.Listeners[l.index].Protocols {
			st.Protocols = append(st.Protocols, string(p))
		}
		list = append(list, st)
	}
	return list
}

// AdminAddress returns where the admin API listens, with the port the kernel picked; empty if it does not.
func (c *Controller) AdminAddress() string { return c.state().admin }
