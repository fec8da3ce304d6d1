package rpc

import (
	"context"
	"slices"
	"sync"

	"github.com/yumen-io/yumen/policy/loadaware"
	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	_ "google.golang.org/grpc/health" // the client's side of the health protocol
)

// Policy is the name of the balancer in gRPC's service config. The resolvers of a Client name it by themselves. Under another
// resolver it works by the name with the defaults of Config, and such connections are not in Explain.
const Policy = "yumen_load_aware"

var registerPolicy sync.Once

// Client makes connections that find their servers and share calls among them by load. One is enough for a process; it holds
// nothing open by itself. Its methods are safe for concurrent use.
type Client struct {
	cfg           Config
	settings      loadaware.Settings
	serviceConfig string

	mu struct {
		sync.Mutex
		balancers []*loadBalancer
	}
	stats counters
}

// New returns a Client, or an error that joins one for each field of cfg that is wrong.
//
// The first call registers the balancer with gRPC, whose list of balancers is a plain map: make the first Client before
// other goroutines make gRPC connections, as at the beginning of main.
func New(cfg Config) (*Client, error) {
	cfg, s, err := cfg.filled()
	if err != nil {
		return nil, err
	}
	registerPolicy.Do(func() { balancer.Register(builder{}) })
	return &Client{cfg: cfg, settings: s, serviceConfig: cfg.serviceConfig()}, nil
}

// Dial makes a connection to a target, which is yumen:///service for the instances of a service in the Registry, or
// static:///host:port,host:port for those named. Like grpc.NewClient it does not wait for any of them. DialOptions comes
// before opts. Other targets work as they do in gRPC, with a balancer of gRPC's.
func (c *Client) Dial(target string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, append(c.DialOptions(), opts...)...)
}

// DialOptions are what makes a connection made by grpc.NewClient one of this Client: the resolvers of both schemes, which
// bring the balancer and the health protocol with them, and an interceptor that tells the balancer a stream from a call.
func (c *Client) DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithResolvers(&registryBuilder{client: c}, &staticBuilder{client: c}),
		grpc.WithChainStreamInterceptor(markStream),
	}
}

// streamKey marks the context of a stream, whose length says nothing of the server's speed.
type streamKey struct{}

func markStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer,
	opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(context.WithValue(ctx, streamKey{}, true), desc, cc, method, opts...)
}

func (c *Client) add(b *loadBalancer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.balancers = append(c.mu.balancers, b)
}

func (c *Client) remove(b *loadBalancer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.balancers = slices.DeleteFunc(c.mu.balancers, func(o *loadBalancer) bool { return o == b })
}

func (c *Client) balancers() []*loadBalancer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.mu.balancers)
}
