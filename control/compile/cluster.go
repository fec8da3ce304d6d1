package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/engine"
	"github.com/yumen-io/yumen/engine/h1"
	"github.com/yumen-io/yumen/engine/h2"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/policy/balance"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/policy/loadaware"
	"github.com/yumen-io/yumen/policy/retry"
)

// maglevMax is how many endpoints a Maglev table tells apart: it holds their numbers in 16 bits.
const maglevMax = 65535

func (c *compiler) compileClusters() {
	limits := h1.NewLimits(h1.Limits{})
	for i := range c.doc.Clusters {
		said := &c.doc.Clusters[i]
		c.clusters[said.Name] = i
		c.keys = append(c.keys, key(said.Balance.Key))
		c.plan.Clusters = append(c.plan.Clusters, c.clusterPlan(said, limits))
	}
}

func (c *compiler) clusterPlan(said *config.Cluster, limits *h1.Limits) *ClusterPlan {
	where := func(p config.Pos, key string) at {
		return at{or(p, said.Pos), "clusters." + said.Name + key}
	}
	algorithm, known := balance.ParseAlgorithm(string(said.Balance.Algorithm))
	if !known {
		panic("compile: no balancing algorithm " + said.Balance.Algorithm) // the parser and the policy list the same
	}
	if algorithm == balance.Maglev && len(said.Endpoints) > maglevMax {
		c.fail(where(said.Balance.Pos, ".balance"),
			fmt.Sprintf("maglev tells at most %d endpoints apart, the cluster has %d", maglevMax, len(said.Endpoints)), "")
	}
	p := &ClusterPlan{
		Name:      said.Name,
		Algorithm: string(said.Balance.Algorithm),
		DNS:       said.DNS,
		TLS:       said.TLS,
		said:      said,
		whole: upstream.Spec{
			Name: said.Name,
			Balance: balance.Config{
				Algorithm: algorithm, SlowStart: said.SlowStart,
				PanicThreshold: orNever(said.PanicThreshold.Fraction()), Load: loadSettings(&said.Balance),
			},
			KeepReports: said.Balance.KeepReports,
			Health:      health.Config{Passive: passive(said.Eject)},
			Pool: upstream.PoolConfig{
				ConnsMax:       said.Connections.PerEndpoint,
				IdleMax:        said.Connections.Idle,
				IdleTimeout:    said.Connections.IdleTimeout,
				AgeMax:         said.Connections.MaxAge,
				ServedMax:      said.Connections.MaxRequests,
				QueueMax:       said.Connections.Queue,
				Pipeline:       said.Pipeline,
				Streams:        said.Streams,
				ConnectTimeout: said.Timeouts.Connect,
				QueueTimeout:   said.Connections.QueueTimeout,
			},
			Dial:  engine.DialConfig{H1: limits, H2: h2.NewLimits(h2.Limits{})},
			Proxy: proxyVersions[said.ProxyProtocol],
			Retry: retry.BudgetConfig{
				Ratio:          orNever(said.RetryBudget.Share.Fraction()),
				FloorPerSecond: orNever(float64(said.RetryBudget.Floor.Count) / said.RetryBudget.Floor.Per.Seconds()),
			},
		},
	}
	switch said.Protocol {
	case config.ProtocolHTTP1:
		p.whole.Dial.Protocols, p.ALPN = engine.HTTP1, []string{"http/1.1"}
	case config.ProtocolH2, config.ProtocolH2C:
		p.whole.Dial.Protocols, p.ALPN = engine.HTTP2, []string{"h2"}
	case config.ProtocolAuto:
		p.whole.Dial.Protocols, p.ALPN = engine.HTTP1|engine.HTTP2, []string{"h2", "http/1.1"}
	case config.ProtocolTCP:
		p.whole.Dial.Protocols = engine.Raw
	default:
		panic("compile: no protocol " + said.Protocol) // the parser lists the same
	}
	if said.Health != nil {
		p.whole.Health.Active = health.Active{FailuresToUnhealthy: said.Health.Failures, SuccessesToHealthy: said.Health.Successes}
		p.whole.Probe = probe(said.Health)
	}
	p.Endpoints = make([]EndpointPlan, len(said.Endpoints))
	for i, e := range said.Endpoints {
		p.Endpoints[i] = EndpointPlan{Address: e.Address.String(), Host: e.Address.Host, Port: e.Address.Port,
			Weight: uint32(e.Weight), Priority: uint8(e.Priority)}
		if e.Etcd != nil {
			p.Endpoints[i] = EndpointPlan{Etcd: c.etcdPlan(e.Etcd, e.Priority, at{e.Etcd.Pos, fmt.Sprintf("clusters.%s.endpoints[%d].etcd", said.Name, i)}), Priority: uint8(e.Priority)}
			p.Endpoints[i].Address = p.Endpoints[i].Etcd.String()
			continue
		}
		if ip, ok := e.Address.IP(); ok {
			p.Endpoints[i].Addr = netip.AddrPortFrom(ip.Unmap(), e.Address.Port)
		}
	}
	c.checkAddresses(p, where)
	p.Fingerprint = fingerprint(p)
	return p
}

// proxyVersions are the versions of the PROXY header, as a number; 0 is none.
var proxyVersions = map[config.ProxyVersion]int{config.ProxyV1: 1, config.ProxyV2: 2}

// checkAddresses refuses an address that is written in two ways: the data plane knows endpoints by it.
func (c *compiler) checkAddresses(p *ClusterPlan, where func(config.Pos, string) at) {
	first := make(map[netip.AddrPort]int, len(p.Endpoints))
	for i := range p.Endpoints {
		e := &p.Endpoints[i]
		if !e.Addr.IsValid() {
			continue
		}
		if j, twice := first[e.Addr]; twice {
			c.fail(where(p.said.Endpoints[i].Pos, fmt.Sprintf(".endpoints[%d]", i)),
				fmt.Sprintf("endpoint %q is the same address as %q", e.Address, p.Endpoints[j].Address),
				"keep one of them; weight: 2 gives it a double share")
			continue
		}
		first[e.Addr] = i
	}
}

// loadSettings are those of load_aware, for which alone the document has them.
func loadSettings(said *config.Balance) loadaware.Settings {
	if said.Algorithm != config.LoadAware {
		return loadaware.Settings{}
	}
	return loadaware.Settings{LatencyScale: said.LatencyScale, Floor: said.Floor.Fraction(), RatioMax: float64(said.RatioMax)}
}

// orNever turns the zero of documents, which means none, into what policies call none: their zero is a default.
func orNever(v float64) float64 {
	if v == 0 {
		return -1
	}
	return v
}

func passive(e *config.Eject) health.Passive {
	if e == nil || e.MaxShare == 0 {
		return health.Passive{ConsecutiveFailures: -1}
	}
	return health.Passive{
		ConsecutiveFailures: e.Failures,
		EjectionBase:        e.Base,
		EjectionMax:         e.Max,
		MaxEjectedShare:     e.MaxShare.Fraction(),
	}
}

func probe(h *config.Health) *upstream.Probe {
	p := &upstream.Probe{
		TCP: h.Type == config.HealthTCP, GRPC: h.Type == config.HealthGRPC, Service: h.Service, Path: h.Path, Host: h.Host,
		Interval: h.Interval, Timeout: h.Timeout, Jitter: h.Jitter.Fraction(),
	}
	for i, r := range h.Expect { // as many as fit: the parser has the same bound
		p.Expect[i] = upstream.StatusRange{From: r.From, To: r.To}
	}
	return p
}

// key is what balancing goes by, in the gateway's words.
func key(k *config.HashKey) *gateway.Key {
	if k == nil {
		return nil
	}
	by, known := map[config.HashSource]gateway.KeyBy{
		config.HashClientAddress: gateway.ByClientAddress,
		config.HashHeader:        gateway.ByHeader,
		config.HashCookie:        gateway.ByCookie,
		config.HashPathParam:     gateway.ByPathParam,
	}[k.Source]
	if !known {
		panic("compile: no hash key " + k.Source) // the parser lists the same
	}
	return &gateway.Key{By: by, Name: k.Name}
}

// fingerprint sums up all that the data plane gets to know of a cluster.
func fingerprint(p *ClusterPlan) string {
	s := p.whole
	var b strings.Builder
	if s.Probe != nil {
		fmt.Fprintf(&b, "%#v\n", *s.Probe)
	}
	fmt.Fprintf(&b, "%#v\n", *s.Dial.H1)
	if t := p.TLS; t != nil {
		fmt.Fprintf(&b, "%q %q %q %q %v %v\n", t.CA, t.SNI, t.Cert, t.Key, t.Verify, t.MinVersion)
	}
	s.Probe, s.Dial.H1, s.Dial.H2 = nil, nil, nil // addresses in memory say nothing
	fmt.Fprintf(&b, "%#v\n%#v\n", s, p.DNS)
	for _, e := range p.Endpoints {
		fmt.Fprintf(&b, "%q %d %d\n", e.Address, e.Weight, e.Priority)
		if e.Etcd != nil {
			fmt.Fprintf(&b, "%q\n", e.Etcd.Name())
		}
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:16])
}
