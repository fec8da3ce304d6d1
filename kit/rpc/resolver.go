package rpc

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/yumen-io/yumen/kit/registry"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"
)

// Schemes of targets.
const (
	// Scheme is that of services in a Registry, as in yumen:///orders.
	Scheme = "yumen"
	// StaticScheme is that of addresses in the target itself, as in static:///10.0.0.1:8080,10.0.0.2:8080.
	StaticScheme = "static"
)

// staticMax bounds the addresses of a static target, so that a mistaken one fails at once and not in the balancer.
const staticMax = 1000

// Keys of what the resolvers tell the balancer: the Client in the state, the instance in each endpoint. They are not in
// addresses, where a change would make a new connection.
type (
	clientKey   struct{}
	instanceKey struct{}
)

// equalInstance makes an instance comparable to gRPC's attributes.
type equalInstance struct{ *registry.Instance }

func (i equalInstance) Equal(o any) bool {
	other, ok := o.(equalInstance)
	return ok && i.Instance == other.Instance
}

func (c *Client) state(endpoints []resolver.Endpoint, cc resolver.ClientConn, opts resolver.BuildOptions) resolver.State {
	s := resolver.State{Endpoints: endpoints, Attributes: attributes.New(clientKey{}, c)}
	if !opts.DisableServiceConfig {
		s.ServiceConfig = cc.ParseServiceConfig(c.serviceConfig)
	}
	return s
}

type registryBuilder struct{ client *Client }

func (*registryBuilder) Scheme() string { return Scheme }

func (b *registryBuilder) Build(target resolver.Target, cc resolver.ClientConn, opts resolver.BuildOptions) (resolver.Resolver, error) {
	service := target.Endpoint()
	if b.client.cfg.Registry == nil {
		return nil, fmt.Errorf("rpc: %s: Config.Registry is not set", &target.URL)
	}
	w, err := b.client.cfg.Registry.Watch(service)
	if err != nil {
		return nil, fmt.Errorf("rpc: %s: %w", &target.URL, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &registryResolver{watcher: w, cancel: cancel}
	r.task.Go(func() {
		for set := range w.Sets(ctx) {
			// gRPC's own retries ask nothing of us: the watch goes on, and an error here means that there is nobody.
			_ = cc.UpdateState(b.client.state(endpointsOf(set), cc, opts))
		}
	})
	return r, nil
}

// registryResolver has one goroutine, which Close ends and awaits.
type registryResolver struct {
	watcher *registry.Watcher
	cancel  context.CancelFunc
	task    sync.WaitGroup
}

// ResolveNow does nothing: the registry pushes.
func (*registryResolver) ResolveNow(resolver.ResolveNowOptions) {}

func (r *registryResolver) Close() {
	r.cancel()
	r.watcher.Close()
	r.task.Wait()
}

// endpointsOf are the instances of a set that speak gRPC, or do not say what they speak.
func endpointsOf(set *registry.Set) []resolver.Endpoint {
	endpoints := make([]resolver.Endpoint, 0, len(set.Instances))
	for n := range set.Instances {
		i := &set.Instances[n]
		if len(i.Protocols) > 0 && !slices.Contains(i.Protocols, "grpc") {
			continue
		}
		endpoints = append(endpoints, resolver.Endpoint{
			Addresses:  []resolver.Address{{Addr: i.Address}},
			Attributes: attributes.New(instanceKey{}, equalInstance{i}),
		})
	}
	return endpoints
}

type staticBuilder struct{ client *Client }

func (*staticBuilder) Scheme() string { return StaticScheme }

func (b *staticBuilder) Build(target resolver.Target, cc resolver.ClientConn, opts resolver.BuildOptions) (resolver.Resolver, error) {
	list := strings.Split(target.Endpoint(), ",")
	if len(list) > staticMax {
		return nil, fmt.Errorf("rpc: a static target of %d addresses, at most %d are allowed", len(list), staticMax)
	}
	var endpoints []resolver.Endpoint
	for _, address := range list {
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			return nil, fmt.Errorf("rpc: %s: address %q is not host:port", &target.URL, address)
		}
		endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	if err := cc.UpdateState(b.client.state(endpoints, cc, opts)); err != nil {
		return nil, fmt.Errorf("rpc: %s: %w", &target.URL, err)
	}
	return staticResolver{}, nil
}

type staticResolver struct{}

func (staticResolver) ResolveNow(resolver.ResolveNowOptions) {}
func (staticResolver) Close()                                {}
