// Package extauth is the guard that asks a service whether a request may pass, before it does: over HTTP, as nginx's auth_request and
// Traefik's forwardAuth ask, or by Envoy's gRPC protocol.
//
//	request -> [cache] -> question over the cluster's pools -> verdict -> pass | refusal in the service's words | when_unreachable
//
// The question is an errand of the gateway on the loop of the request, which is suspended meanwhile: no goroutine, no connection of
// its own. The cluster it goes to has the health checks, ejections and queues of all clusters, so that a service that fails again and
// again is known to be gone at once, and nobody waits for it. With a cache, identical questions of one loop that are under way are
// one question.
//
// Fields by which the service tells the upstream who asks are taken off every request first, in each spelling that a server could
// take for them, whatever comes of the question.
//
// A guard in shadow mode asks and waits for nothing: the request goes on, and the answer is judged when it comes. One that comes when
// the request is over can only be counted.
package extauth
