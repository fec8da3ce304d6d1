package config

import (
	"sync"
	"time"
)

// Connections bounds the connections to each endpoint of a cluster. Numbers count for the whole process; each event loop
// has its part, rounded up.
type Connections struct {
	PerEndpoint  int
	Idle         int           // kept per endpoint
	IdleTimeout  time.Duration // of a kept one
	MaxAge       time.Duration // 0 for none
	MaxRequests  int           // 0 for none
	Queue        int           // requests waiting for one, per endpoint
	QueueTimeout time.Duration
}

var connectionsObject = sync.OnceValue(func() *object[Connections] {
	type T = Connections
	return &object[T]{
		name: "connections", article: "a",
		about: "Connections to the endpoints of a cluster. Numbers count for each endpoint and the whole process. Event loops share nothing, so each has its part, rounded up: of 10, each of 4 loops has 3.",
		keys: []key[T]{
			def("per_endpoint", integer(1, 1_000_000), func(v *T) *int { return &v.PerEndpoint }, 1024,
				`Open to one endpoint at a time; what goes beyond waits in the queue. As Envoy has it: more than most servers serve well. Below the number of event loops each loop still has one, so that an endpoint that can take fewer than there are cores needs limits: {loops: ...} too.`),
			def("idle", integer(0, 1_000_000), func(v *T) *int { return &v.Idle }, 1024,
				`Kept open to one endpoint for later requests. As many as may be open: an idle one costs less than a new one, and idle_timeout closes those nobody needs.`),
			def("idle_timeout", duration(time.Millisecond, 24*time.Hour), func(v *T) *time.Duration { return &v.IdleTimeout }, 50*time.Second,
				`How long one is kept. A little less than the minute after which most servers close it, so that a request seldom meets a closed one.`),
			def("max_age", orOff(duration(time.Second, 7*24*time.Hour)), func(v *T) *time.Duration { return &v.MaxAge }, time.Hour,
				`When one is closed after its request, whatever its state, so that load follows changes behind a name or a balancer. As nginx has it.`),
			def("max_requests", orOff(integer(1, 1_000_000_000)), func(v *T) *int { return &v.MaxRequests }, 0,
				`Requests on one before it is closed. Off: age is what matters.`),
			def("queue", integer(0, 1_000_000), func(v *T) *int { return &v.Queue }, 1024,
				`Requests that may wait for one endpoint when per_endpoint connections to it are in use; those for whom one is being opened do not count. One more tries another endpoint, or is answered with 503 at once.`),
			def("queue_timeout", duration(time.Millisecond, time.Hour), func(v *T) *time.Duration { return &v.QueueTimeout }, time.Second,
				`The longest a request waits there. Longer queues do not serve more requests, they serve later ones.`),
		},
	}
})
