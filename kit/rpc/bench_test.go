package rpc

import (
	"strconv"
	"testing"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/roundrobin"
	"google.golang.org/grpc/balancer/weightedroundrobin"
	"google.golang.org/grpc/connectivity"
	estats "google.golang.org/grpc/experimental/stats"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"
)

// bench is a gRPC connection as a balancer sees it, whose SubConns are ready as soon as they are asked to connect.
type bench struct {
	balancer.ClientConn
	picker balancer.Picker
	states chan func()
}

func (b *bench) UpdateState(s balancer.State)            { b.picker = s.Picker }
func (b *bench) ResolveNow(resolver.ResolveNowOptions)   {}
func (b *bench) MetricsRecorder() estats.MetricsRecorder { return noMetrics{} }
func (b *bench) Target() string                          { return "bench" }
func (b *bench) NewSubConn(_ []resolver.Address, o balancer.NewSubConnOptions) (balancer.SubConn, error) {
	return &readyConn{bench: b, listener: o.StateListener}, nil
}

// noMetrics is where weighted_round_robin records.
type noMetrics struct {
	estats.UnimplementedMetricsRecorder
}

type readyConn struct {
	balancer.SubConn
	bench    *bench
	listener func(balancer.SubConnState)
}

func (c *readyConn) Connect() {
	c.bench.states <- func() {
		c.listener(balancer.SubConnState{ConnectivityState: connectivity.Connecting})
		c.listener(balancer.SubConnState{ConnectivityState: connectivity.Ready})
	}
}
func (c *readyConn) Shutdown() {}
func (c *readyConn) RegisterHealthListener(f func(balancer.SubConnState)) {
	c.bench.states <- func() { f(balancer.SubConnState{ConnectivityState: connectivity.Ready}) }
}
func (c *readyConn) GetOrBuildProducer(balancer.ProducerBuilder) (balancer.Producer, func()) {
	return nil, func() {}
}

// BenchmarkPick is a call's way through each balancer's picker, its end included, with n endpoints that are ready.
func BenchmarkPick(b *testing.B) {
	c := newClient(b, Config{ProbeInterval: -1})
	for _, n := range []int{10, 100} {
		for _, name := range []string{roundrobin.Name, weightedroundrobin.Name, Policy} {
			b.Run(name+"/"+strconv.Itoa(n), func(b *testing.B) {
				cc := &bench{states: make(chan func(), 10_000)}
				made := balancer.Get(name)
				lb := made.Build(cc, balancer.BuildOptions{})
				defer lb.Close()
				var cfg serviceconfig.LoadBalancingConfig
				if parser, ok := made.(balancer.ConfigParser); ok {
					var err error
					if cfg, err = parser.ParseConfig([]byte("{}")); err != nil {
						b.Fatal(err)
					}
				}
				s := c.state(nil, nil, resolver.BuildOptions{DisableServiceConfig: true})
				for i := range n {
					s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: "10.0.0." + strconv.Itoa(i) + ":1"}}})
				}
				if err := lb.UpdateClientConnState(balancer.ClientConnState{ResolverState: s, BalancerConfig: cfg}); err != nil {
					b.Fatal(err)
				}
				for len(cc.states) > 0 {
					(<-cc.states)()
				}
				info, done := balancer.PickInfo{Ctx: b.Context()}, balancer.DoneInfo{BytesSent: true, BytesReceived: true}
				if _, err := cc.picker.Pick(info); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						r, err := cc.picker.Pick(info)
						if err != nil {
							b.Error(err)
							return
						}
						if r.Done != nil {
							r.Done(done)
						}
					}
				})
			})
		}
	}
}
