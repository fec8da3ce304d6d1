package config

import (
	"fmt"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
)

// Cluster is a group of endpoints that do the same work.
type Cluster struct {
	Pos
	Name           string
	Endpoints      []Endpoint
	Protocol       Protocol
	TLS            *ClusterTLS // nil for none
	Streams        int         // requests at a time on an HTTP/2 connection; 0 for what the endpoint allows
	ProxyProtocol  ProxyVersion
	Balance        Balance
	SlowStart      time.Duration // 0 for none
	PanicThreshold Percent       // 0 for none
	Health         *Health       // nil for no active checks
	Eject          *Eject        // nil for none
	Connections    Connections
	Pipeline       int // at most 64; 0 for none
	Timeouts       ClusterTimeouts
	RetryBudget    Budget
	DNS            DNS
}

// Endpoint is one server of a cluster. A name stands for every address it resolves to, and a service in etcd for its instances.
type Endpoint struct {
	Pos
	Address  Address
	Etcd     *EtcdService // nil: Address says where it is
	Weight   int
	Priority int
}

// DNS is how names of endpoints are resolved.
type DNS struct {
	Refresh time.Duration
	Timeout time.Duration
}

// weightMax keeps the sum of weights of a large cluster far from overflow and weighted round robin's turn short.
const weightMax = 1000

// pipelineMax is how many requests an HTTP/1 connection can have outstanding: the codec keeps a bit of each in one word.
const pipelineMax = 64

var clusterObject = sync.OnceValue(func() *object[Cluster] {
	type T = Cluster
	return &object[T]{
		name: "cluster", article: "a",
		about: "A group of endpoints that do the same work.",
		pos:   func(v *T) *Pos { return &v.Pos },
		keys: []key[T]{
			need("endpoints", endpointList(), func(v *T) *[]Endpoint { return &v.Endpoints },
				`The servers: host:port, where the host is an IP address or a name, or {address, weight, priority}; or a service in etcd, {etcd: orders}.`),
			def("protocol", clusterProtocol(), func(v *T) *Protocol { return &v.Protocol }, ProtocolHTTP1,
				`What endpoints speak: http1, h2c (HTTP/2 without TLS, by prior knowledge), h2 (HTTP/2 over TLS), auto (h2 or http1 over TLS, as they choose by ALPN), or tcp, for the bytes of tcp and tls listeners. h2 and auto imply tls. http1 is what every server speaks; gRPC needs h2c, h2 or auto.`),
			off("tls", clusterTLSObject, func(v *T) **ClusterTLS { return &v.TLS },
				`TLS to the endpoints; on verifies them by the authorities of the system. Off: cleartext, as most speak within one network, unless protocol says h2 or auto.`),
			def("streams", orOff(integer(1, 100_000)), func(v *T) *int { return &v.Streams }, usualStreams,
				`Requests at a time on one HTTP/2 connection to an endpoint, of which it may allow fewer; past it another connection is opened. Off: as many as it allows. A hundred is what most allow, and one connection lost takes no more requests with it.`).
				when(func(v *T) bool { return v.Protocol.isH2() }),
			def("proxy_protocol", orOff(choice("version of the PROXY header", ProxyV1, ProxyV2)), func(v *T) *ProxyVersion { return &v.ProxyProtocol }, ProxyNone,
				`v1 or v2: a PROXY header before the bytes of each connection tells the endpoint who the client is. For protocol tcp only; requests tell it by header fields. Off: a server that does not expect it takes it for a broken client.`),
			always("balance", section(balanceObject), func(v *T) *Balance { return &v.Balance },
				`Which endpoint takes the next request.`),
			def("slow_start", orOff(duration(time.Millisecond, time.Hour)), func(v *T) *time.Duration { return &v.SlowStart }, 0,
				`The time in which an endpoint that came back is led up to its full share. 10s with load_aware, else off: most servers are ready when they say so.`),
			def("panic_threshold", orOff(percent()), func(v *T) *Percent { return &v.PanicThreshold }, 0,
				`Below this share of healthy endpoints health is ignored and all are used, so that the few left are not crushed. Off: nothing healthy then means 503 at once, with the reason.`),
			off("health", healthObject, func(v *T) **Health { return &v.Health },
				`Active checks. Off: only the user knows a path that may be asked.`),
			on("eject", ejectObject, func(v *T) **Eject { return &v.Eject },
				`What live requests say about an endpoint: no connection, resets, timeouts, 502, 503 and 504, but not 500. On, as max_fails of nginx: it needs nothing from the upstream.`),
			always("connections", section(connectionsObject), func(v *T) *Connections { return &v.Connections },
				`Connections to the endpoints.`),
			def("pipeline", orOff(integer(1, pipelineMax)), func(v *T) *int { return &v.Pipeline }, 0,
				`Safe requests without a body that share a connection at a time, up to 64; past a dozen there is little left to gain. Off: faster by half, but for upstreams known to answer in order and without long pauses.`),
			inherited("timeouts", section(clusterTimeoutsObject), func(v *T) *ClusterTimeouts { return &v.Timeouts },
				`How long an endpoint may take. By default what defaults say.`),
			always("retry_budget", section(budgetObject), func(v *T) *Budget { return &v.RetryBudget },
				`The most retries it gets.`),
			always("dns", section(dnsObject), func(v *T) *DNS { return &v.DNS },
				`How names of endpoints are resolved.`),
		},
		prepare: func(d *decoder, v *T) {
			t := d.doc.Defaults.Timeouts
			v.Timeouts = ClusterTimeouts{Connect: t.Connect, FirstByte: t.FirstByte, BetweenBytes: t.BetweenBytes}
		},
		short: &short[T]{
			about: "an address, or a list of addresses",
			takes: yaml.ScalarNode | yaml.SequenceNode,
			read: func(d *decoder, n *yaml.Node, v *T) {
				oneOrMore(section(endpointObject)).read(d, n, &v.Endpoints)
			},
			schema: func(b *schemaBuilder) map[string]any { return oneOrMore(section(endpointObject)).schema(b) },
		},
		check: checkCluster,
	}
})

func checkCluster(d *decoder, n *yaml.Node, v *Cluster, g given[Cluster]) {
	settleProtocol(d, v, g)
	if v.Balance.Algorithm == LoadAware && g.key("slow_start") == nil {
		v.SlowStart = slowStartLoadAware
	}
	at := n
	if said := g.key("endpoints"); said != nil {
		at = said
	}
	if len(v.Endpoints) == 0 && (g.key("endpoints") != nil || n.Kind == yaml.SequenceNode) && g.clean {
		d.fail(at, "list at least one endpoint: [10.0.0.1:9000]", "the cluster has no endpoint")
	}
	first := make(map[Address]Pos, len(v.Endpoints))
	weighted := false
	for i, e := range v.Endpoints {
		if earlier, twice := first[e.Address]; twice && e.Address.Port != 0 {
			d.fail(nodeAt(e.Pos), fmt.Sprintf("keep one of them; weight: 2 gives it a double share (first in line %d)", earlier.Line),
				"endpoint %s is given twice", e.Address)
		}
		first[e.Address] = e.Pos
		weighted = weighted || e.Weight != v.Endpoints[0].Weight && v.Endpoints[i].Weight != 0
	}
	if !weighted {
		return
	}
	// Weights that nobody looks at would be the silent kind of mistake.
	switch balance := g.key("balance"); {
	case balance == nil:
		v.Balance.Algorithm = Weighted
	case v.Balance.Algorithm == RoundRobin:
		d.warn(balance, "use balance: weighted", "round_robin gives every endpoint the same share, whatever its weight")
	}
}

// endpointList is a list of endpoints. One alone needs no brackets, also where it is written as a map.
func endpointList() kind[[]Endpoint] {
	one := section(endpointObject)
	k := oneOrMore(one)
	read := k.read
	k.read = func(d *decoder, n *yaml.Node, v *[]Endpoint) {
		target := resolved(n)
		if target.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(target.Content); i += 2 {
				if name := target.Content[i].Value; name == "etcd" || name == "address" {
					*v = make([]Endpoint, 1)
					one.fill(d, &(*v)[0])
					one.read(d, n, &(*v)[0])
					return
				}
			}
		}
		read(d, n, v)
	}
	return k
}

var endpointObject = sync.OnceValue(func() *object[Endpoint] {
	return &object[Endpoint]{
		name: "endpoint", article: "an",
		about: "One server of a cluster.",
		pos:   func(v *Endpoint) *Pos { return &v.Pos },
		keys: []key[Endpoint]{
			may("address", endpointAddress(), func(v *Endpoint) *Address { return &v.Address },
				`host:port. A name stands for every address it resolves to. Needed unless etcd is said.`),
			may("etcd", present(etcdServiceObject), func(v *Endpoint) **EtcdService { return &v.Etcd },
				`The instances of a service that have registered in etcd, in the place of an address. Each has the weight that it has registered with, 100 by default and at most 1000.`),
			def("weight", integer(1, weightMax), func(v *Endpoint) *int { return &v.Weight }, 1,
				`Its share of requests against the others. Weights that differ make weighted the default balance.`).when(func(v *Endpoint) bool { return v.Etcd == nil }),
			def("priority", integer(0, 9), func(v *Endpoint) *int { return &v.Priority }, 0,
				`Endpoints of priority 1 are a reserve for those of priority 0, and so on.`),
		},
		short: &short[Endpoint]{
			about:  "an address",
			takes:  yaml.ScalarNode,
			read:   func(d *decoder, n *yaml.Node, v *Endpoint) { endpointAddress().read(d, n, &v.Address) },
			schema: func(b *schemaBuilder) map[string]any { return endpointAddress().schema(b) },
		},
		schema: func(_ *schemaBuilder, self map[string]any) {
			self["oneOf"] = []any{map[string]any{"required": []any{"address"}}, map[string]any{"required": []any{"etcd"}}}
		},
		check: func(d *decoder, n *yaml.Node, v *Endpoint, g given[Endpoint]) {
			address, etcd := g.key("address"), g.key("etcd")
			switch {
			case n.Kind != yaml.MappingNode:
			case address == nil && etcd == nil && g.clean:
				d.fail(n, "add address: with an endpoint address, or etcd: with the name of a service", "an endpoint needs \"address\" or \"etcd\"")
			case address != nil && etcd != nil:
				d.fail(etcd, "make them two endpoints", "an endpoint is found by its address or in etcd, and not both")
			case etcd != nil && g.key("weight") != nil:
				d.fail(g.key("weight"), "remove it", "instances of a service in etcd have the weights that they have registered with")
			}
		},
	}
})

var dnsObject = sync.OnceValue(func() *object[DNS] {
	return &object[DNS]{
		name: "dns", article: "a",
		about: "How names of endpoints are resolved. While a name does not resolve, its last addresses are used.",
		keys: []key[DNS]{
			def("refresh", duration(time.Second, 24*time.Hour), func(v *DNS) *time.Duration { return &v.Refresh }, 30*time.Second,
				`How often a name is asked again. Half a minute follows a deployment, and is no load for a resolver.`),
			def("timeout", duration(time.Millisecond, time.Minute), func(v *DNS) *time.Duration { return &v.Timeout }, 5*time.Second,
				`The longest one question may take, as resolvers have it.`),
		},
	}
})

// clusterMap is the map of clusters by name.
func clusterMap() kind[[]Cluster] {
	return mapOf(section(clusterObject), func(v *Cluster) *string { return &v.Name }, func(v *Cluster) *Pos { return &v.Pos },
		func(d *decoder, n *yaml.Node, name string) bool {
			return d.passes(n, name, []check{checkName})
		}, asWritten)
}

// nameClusters tells the decoder which clusters there are. If they were not a map at all, that is one problem, and not
// one more for each route.
func nameClusters(d *decoder, doc *Document, n *yaml.Node) {
	if n != nil && resolved(n).Kind != yaml.MappingNode && !isNull(resolved(n)) {
		return
	}
	d.clusterNames = &names{}
	for i := range doc.Clusters {
		d.clusterNames.add(doc.Clusters[i].Name)
	}
}
