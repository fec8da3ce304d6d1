package config

import (
	"sync"
	"time"
)

// ClusterTimeouts bound the time an upstream can take.
type ClusterTimeouts struct {
	Connect      time.Duration
	FirstByte    time.Duration
	BetweenBytes time.Duration
}

// RouteTimeouts bound the time a request can take. For a route with a cluster, FirstByte and BetweenBytes are the
// cluster's unless the route said otherwise; they are not looked up again.
type RouteTimeouts struct {
	Request      time.Duration // all attempts together; 0 for no bound
	FirstByte    time.Duration
	BetweenBytes time.Duration
}

// Timeouts are the defaults of both.
type Timeouts struct {
	Connect      time.Duration
	FirstByte    time.Duration
	BetweenBytes time.Duration
	Request      time.Duration // 0 for no bound
}

// The longest a timeout may be; what is meant to last longer is off.
const timeoutMax = 24 * time.Hour

func timeout() kind[time.Duration] { return duration(time.Millisecond, timeoutMax) }

const (
	aboutConnect      = `To open a connection to an endpoint.`
	aboutFirstByte    = `From the end of the request to the first byte of the answer.`
	aboutBetweenBytes = `Without any progress while a request is sent or an answer is taken.`
	aboutRequest      = `The whole passage of a request, attempts and waiting together.`
)

var timeoutsObject = sync.OnceValue(func() *object[Timeouts] {
	type T = Timeouts
	return &object[T]{
		name: "default_timeouts", article: "a",
		about: "Timeouts of clusters and routes that do not say otherwise.",
		keys: []key[T]{
			def("connect", timeout(), func(v *T) *time.Duration { return &v.Connect }, 5*time.Second,
				aboutConnect+` Five seconds let the kernel repeat its first packet twice (after 1 s and 3 s); an endpoint that is silent for longer is down.`),
			def("first_byte", timeout(), func(v *T) *time.Duration { return &v.FirstByte }, 60*time.Second,
				aboutFirstByte+` As nginx and HAProxy have it: slow reports finish, lost requests end.`),
			def("between_bytes", timeout(), func(v *T) *time.Duration { return &v.BetweenBytes }, 60*time.Second,
				aboutBetweenBytes+` As nginx and HAProxy have it.`),
			def("request", orOff(timeout()), func(v *T) *time.Duration { return &v.Request }, 0,
				aboutRequest+` Off: a long download is no fault, and what is stuck is found by the other three.`),
		},
	}
})

var clusterTimeoutsObject = sync.OnceValue(func() *object[ClusterTimeouts] {
	type T = ClusterTimeouts
	return &object[T]{
		name: "cluster_timeouts", article: "a",
		about: "How long an endpoint may take. What is not said is taken from defaults.",
		keys: []key[T]{
			inherited("connect", timeout(), func(v *T) *time.Duration { return &v.Connect }, aboutConnect),
			inherited("first_byte", timeout(), func(v *T) *time.Duration { return &v.FirstByte }, aboutFirstByte),
			inherited("between_bytes", timeout(), func(v *T) *time.Duration { return &v.BetweenBytes }, aboutBetweenBytes),
		},
	}
})

var routeTimeoutsObject = sync.OnceValue(func() *object[RouteTimeouts] {
	type T = RouteTimeouts
	return &object[T]{
		name: "route_timeouts", article: "a",
		about: "How long a request on this route may take.",
		keys: []key[T]{
			inherited("request", orOff(timeout()), func(v *T) *time.Duration { return &v.Request },
				aboutRequest+` By default what defaults say.`),
			inherited("first_byte", timeout(), func(v *T) *time.Duration { return &v.FirstByte },
				aboutFirstByte+` By default that of the cluster.`),
			inherited("between_bytes", timeout(), func(v *T) *time.Duration { return &v.BetweenBytes },
				aboutBetweenBytes+` By default that of the cluster.`),
		},
	}
})

// inheritFrom takes from the cluster what the route left open, which is kept as -1 while a route is read: zero is a
// value of its own.
func (t *RouteTimeouts) inheritFrom(c ClusterTimeouts) {
	if t.FirstByte == unsaid {
		t.FirstByte = c.FirstByte
	}
	if t.BetweenBytes == unsaid {
		t.BetweenBytes = c.BetweenBytes
	}
}

const unsaid time.Duration = -1
