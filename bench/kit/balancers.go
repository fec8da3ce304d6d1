package kit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	orcav3 "github.com/cncf/xds/go/xds/data/orca/v3"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/balancer/weightedroundrobin"
	"google.golang.org/grpc/connectivity"
	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"

	"github.com/yumen-io/yumen/kit/rpc"
)

// Balancers is kit/rpc beside grpc-go's own balancers.
func Balancers() []Row {
	picks := func(policy string, endpoints int, reports bool) func() (*Side, error) {
		return func() (*Side, error) { return picker(policy, endpoints, reports) }
	}
	return []Row{
		{
			Name: "10 endpoints (weighted_round_robin)",
			What: "Pick and Done of a call, by the picker that the balancer gives to gRPC. Servers have reported different loads before, so that " +
				"both weigh; these calls bring no report. Ours reads the clock twice to learn how long the call takes, and counts those in flight.",
			Ours: picks(rpc.Policy, 10, false), Peer: picks(weightedroundrobin.Name, 10, false),
		},
		{
			Name: "100 endpoints (weighted_round_robin)", What: "The same.",
			Ours: picks(rpc.Policy, 100, false), Peer: picks(weightedroundrobin.Name, 100, false),
		},
		{
			Name: "10 endpoints, a report with each call (weighted_round_robin)",
			What: "As it is where servers report in trailers (ORCA), which the other needs to weigh at all.",
			Ours: picks(rpc.Policy, 10, true), Peer: picks(weightedroundrobin.Name, 10, true),
		},
		{
			Name: "10 endpoints (round_robin)", What: "What it costs to know nothing of the servers.",
			Ours: picks(rpc.Policy, 10, false), Peer: picks(roundrobin.Name, 10, false),
		},
	}
}

// connection is a gRPC connection as a balancer sees it. Its SubConns are ready as soon as they are asked to connect.
type connection struct {
	balancer.ClientConn
	picker balancer.Picker
	todo   []func() // what gRPC would tell the balancer next; never from within a call of the balancer
}

func (c *connection) UpdateState(s balancer.State)            { c.picker = s.Picker }
func (c *connection) ResolveNow(resolver.ResolveNowOptions)   {}
func (c *connection) Target() string                          { return "bench" }
func (c *connection) MetricsRecorder() estats.MetricsRecorder { return deaf{} }
func (c *connection) NewSubConn(_ []resolver.Address, o balancer.NewSubConnOptions) (balancer.SubConn, error) {
	return &subConn{of: c, tell: o.StateListener}, nil
}

func (c *connection) work() {
	for len(c.todo) > 0 {
		next := c.todo[0]
		c.todo = c.todo[1:]
		next()
	}
}

// deaf is where weighted_round_robin records.
type deaf struct {
	estats.UnimplementedMetricsRecorder
}

type subConn struct {
	balancer.SubConn
	of   *connection
	tell func(balancer.SubConnState)
}

func (s *subConn) Connect() {
	s.of.todo = append(s.of.todo, func() {
		s.tell(balancer.SubConnState{ConnectivityState: connectivity.Connecting})
		s.tell(balancer.SubConnState{ConnectivityState: connectivity.Ready})
	})
}

func (s *subConn) RegisterHealthListener(tell func(balancer.SubConnState)) {
	s.of.todo = append(s.of.todo, func() { tell(balancer.SubConnState{ConnectivityState: connectivity.Ready}) })
}

func (s *subConn) GetOrBuildProducer(balancer.ProducerBuilder) (balancer.Producer, func()) {
	return nil, func() {}
}
func (s *subConn) Shutdown() {}

// settings of weighted_round_robin: weights count at once, and are never too old within a run.
const settings = `{"blackoutPeriod": "0s", "weightExpirationPeriod": "3600s", "weightUpdatePeriod": "0.1s"}`

// picker makes a balancer with endpoints that are ready and have reported, and calls its picker.
func picker(policy string, endpoints int, reports bool) (*Side, error) {
	if _, err := rpc.New(rpc.Config{}); err != nil { // registers its balancer
		return nil, err
	}
	builder := balancer.Get(policy)
	if builder == nil {
		return nil, fmt.Errorf("gRPC has no balancer %s", policy)
	}
	var cfg serviceconfig.LoadBalancingConfig
	if parser, ok := builder.(balancer.ConfigParser); ok {
		text := "{}"
		if policy == weightedroundrobin.Name {
			text = settings
		}
		var err error
		if cfg, err = parser.ParseConfig([]byte(text)); err != nil {
			return nil, err
		}
	}
	c := &connection{}
	lb := builder.Build(c, balancer.BuildOptions{})
	var state resolver.State
	for i := range endpoints {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: "10.0.0." + strconv.Itoa(i) + ":1"}}})
	}
	if err := lb.UpdateClientConnState(balancer.ClientConnState{ResolverState: state, BalancerConfig: cfg}); err != nil {
		lb.Close()
		return nil, err
	}
	c.work()
	of := c.picker
	info := balancer.PickInfo{Ctx: context.Background()}
	call := func(said *orcav3.OrcaLoadReport) error {
		r, err := of.Pick(info)
		if err != nil {
			return err
		}
		if r.Done != nil {
			d := balancer.DoneInfo{BytesSent: true, BytesReceived: true}
			if said != nil {
				d.ServerLoad = said
			}
			r.Done(d)
		}
		return nil
	}
	// From 30 to 60 %, so that no two weights are alike.
	said := make([]*orcav3.OrcaLoadReport, 100)
	for i := range said {
		said[i] = &orcav3.OrcaLoadReport{CpuUtilization: 0.3 + float64(i)*0.003, RpsFractional: 100}
	}
	for i := range 20 * endpoints {
		if err := call(said[i%len(said)]); err != nil {
			lb.Close()
			return nil, errors.Join(errors.New("the balancer is not ready"), err)
		}
	}
	<-time.After(300 * time.Millisecond) // until both have weighed anew
	return &Side{End: lb.Close, Do: func(g, n int) error {
		for i := range n {
			var with *orcav3.OrcaLoadReport
			if reports {
				with = said[i%len(said)]
			}
			if err := call(with); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}
