// Package rpc makes gRPC connections that share calls among the instances of a service by their load, and tells callers the
// load of a server. It brings a resolver for kit/registry, a balancer, and a small service and trailers by which
// servers report. It uses gRPC's own types and needs no generated code.
//
//	c, err := rpc.New(rpc.Config{Registry: reg})
//	...
//	conn, err := c.Dial("yumen:///orders", grpc.WithTransportCredentials(creds))
//	...
//	http.Handle("/debug/lb", c.DebugHandler())
//
// And in the server:
//
//	load, err := rpc.NewReporter(rpc.ReporterConfig{})
//	...
//	s := grpc.NewServer(load.ServerOptions()...)
//	rpc.RegisterStats(s, load)
//
// # How calls are shared
//
// Each endpoint has a weight: its base weight from the registry, times 1 - max(cpu, memory), times exp(-latency / 100 ms),
// halved for each probe that failed in a row, lowered by failures of calls. A weight keeps at least a twentieth of its base
// and a tenth of the best one's share, moves slowly, and grows over ten seconds where an endpoint is new. Each call goes to
// one of two endpoints drawn by weight: the one with fewer of our calls in flight, where those of an endpoint that takes
// several times as long as is typical count for several. The choice follows what happens from one call to the next, weights
// follow within seconds. DebugHandler shows every factor.
//
// # What happens when things fail
//
// A server that is killed gets no more calls as soon as its connection breaks. One that is frozen answers nothing: what
// waits there counts against it at once, and after three probes it gets nothing until it answers again; calls that are
// there already end by their deadlines. One that says NOT_SERVING by the health protocol gets no new calls. When less than
// half of the base weight is healthy, probes, reports and latencies are not believed, and all servers that are connected
// and serve are used by their base weights. When the registry cannot be reached, callers keep what they know; when a service
// has no instances, calls fail with UNAVAILABLE and say so. Servers without Stats or trailers are shared by latency and
// calls in flight.
//
// What is known of an endpoint is kept by its address: it outlives changes of the list, new connections, and ten minutes
// out of the list.
//
// # Concurrency
//
// All methods are safe for concurrent use. Choosing an endpoint takes no lock and allocates nothing. Each connection has one
// goroutine that computes weights four times a second, and one for each ready endpoint, which probes it;
// grpc.ClientConn.Close ends and awaits them. A Client and a Reporter have none.
package rpc
