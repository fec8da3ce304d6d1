// Package grpc judges a running gateway by gRPC calls through it.
//
// The interop cases are grpc-go's own client against grpc-go's own test server, h2c to h2c and TLS to TLS: each case in a
// process of its own, because its way to fail is to end the process. They run directly and through HAProxy too, which is
// how it is known that a failure is the gateway's and not the suite's.
//
// The other tests are of what a gateway adds: its own errors as gRPC statuses, deadlines, health checks, retries, gRPC-Web,
// and restarts on either side that no call may feel. Each names the features it needs and skips itself while the gateway
// does not speak them (see gateway.Require).
package grpc
