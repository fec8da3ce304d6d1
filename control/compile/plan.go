package compile

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/control/etcd"
	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/filters"
	"github.com/yumen-io/yumen/filters/split"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/policy/route"
)

// Plan is what a document asks for. It is frozen, and may be read from any goroutine.
type Plan struct {
	Document *config.Document
	Table    *route.Table
	// Routes are in the order in which Table counts them, where a route of several listeners stands once for each; behind them
	// come those of Passages.
	Routes    []*RoutePlan
	Clusters  []*ClusterPlan
	Listeners []*ListenerPlan
	Passages  []PassagePlan
	Path      message.PathPolicy
	Guards    []*gateway.Guard      // of all filters, each once
	Splits    []*split.Filter       // likewise
	Memory    *gateway.Recollection // what filters remember; nil: nothing
}

// RoutePlan is a route but for the live cluster it leads to.
type RoutePlan struct {
	Name string
	// Route is complete but for Index, Cluster and ClusterIndex.
	Route   gateway.Route
	Cluster int // number in Plan.Clusters; -1 for a route that answers by itself

	said    *config.Route
	filters []*filters.Filter
}

// ClusterPlan is a cluster but for the addresses that its names resolve to.
type ClusterPlan struct {
	Name      string
	Algorithm string // of balancing
	Endpoints []EndpointPlan
	DNS       config.DNS // for endpoints whose Addr is not valid
	// Fingerprint is equal for clusters that are the same in everything but their place in the document: such a cluster is
	// left alone when the configuration changes.
	Fingerprint string

	TLS  *config.ClusterTLS // nil: none
	ALPN []string           // what is asked for in TLS, by preference

	said  *config.Cluster
	whole upstream.Spec // with bounds for the whole process
}

// EndpointPlan is an endpoint as configured.
type EndpointPlan struct {
	Address  string         // host:port, as people know it
	Addr     netip.AddrPort // not valid if Host is a name
	Host     string
	Port     uint16
	Weight   uint32
	Priority uint8
	Etcd     *etcd.Service // not nil: instances of a service; then Address is its name for people, and nothing else but Priority counts
}

// ListenerPlan is a listener but for its sockets.
type ListenerPlan struct {
	Name           string
	Address        string // as engine.Bind takes it
	Server         *engine.ServerConfig
	TLS            *config.ListenerTLS // nil: none
	ALPN           []string            // what is agreed upon in TLS, by preference
	ConnectionsMax int                 // 0: no bound of its own
	Gateway        *gateway.Listener
}

// Spec returns what the data plane needs of the cluster when it runs on so many loops, at least one. A document counts
// the connections and the waiting requests of an endpoint, and the retries of the cluster, for the whole process; loops
// share nothing, so each gets its part, rounded up so that none is left without: with more loops than connections allowed
// there is one for each loop.
func (c *ClusterPlan) Spec(loops int) *upstream.Spec {
	s := c.whole
	share := func(n int) int { return (n + loops - 1) / loops }
	s.Pool.ConnsMax, s.Pool.IdleMax, s.Pool.QueueMax = share(s.Pool.ConnsMax), share(s.Pool.IdleMax), share(s.Pool.QueueMax)
	if s.Retry.FloorPerSecond > 0 {
		s.Retry.FloorPerSecond /= float64(loops)
	}
	return &s
}

// ConnsPerEndpoint is how many connections the document allows to one endpoint, all loops together.
func (c *ClusterPlan) ConnsPerEndpoint() int { return c.whole.Pool.ConnsMax }

// Resolves tells whether some endpoint of the cluster is a name.
func (c *ClusterPlan) Resolves() bool {
	return slices.ContainsFunc(c.Endpoints, func(e EndpointPlan) bool { return e.Etcd == nil && !e.Addr.IsValid() })
}

// Addresses are the endpoints that are addresses or names.
func (c *ClusterPlan) Addresses() []EndpointPlan {
	return slices.DeleteFunc(slices.Clone(c.Endpoints), func(e EndpointPlan) bool { return e.Etcd != nil })
}

// Services are the endpoints that are services in etcd.
func (c *ClusterPlan) Services() []*etcd.Service {
	var list []*etcd.Service
	for i := range c.Endpoints {
		if s := c.Endpoints[i].Etcd; s != nil {
			list = append(list, s)
		}
	}
	return list
}

// Target returns the endpoint at an address: its own, or one that its name resolved to.
func (e *EndpointPlan) Target(addr netip.Addr) upstream.Target {
	return upstream.Target{Addr: netip.AddrPortFrom(addr, e.Port), Name: e.Address, Weight: e.Weight, Priority: e.Priority}
}

// timeout is a duration for people: 1m, not 1m0s.
func timeout(d time.Duration) string {
	if d == 0 {
		return "none"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
