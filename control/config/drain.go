package config

import (
	"sync"
	"time"
)

// Drain is how the gateway stops.
type Drain struct {
	Timeout time.Duration
	Idle    time.Duration
}

var drainObject = sync.OnceValue(func() *object[Drain] {
	type T = Drain
	return &object[T]{
		name: "drain", article: "a",
		about: "How the gateway stops: it accepts no more, finishes what runs and closes the rest.",
		keys: []key[T]{
			def("timeout", duration(0, 24*time.Hour), func(v *T) *time.Duration { return &v.Timeout }, 30*time.Second,
				`The longest requests under way are waited for. What Kubernetes waits before it kills.`),
			def("idle", duration(0, time.Hour), func(v *T) *time.Duration { return &v.Idle }, 5*time.Second,
				`How long idle connections stay open, so that a request already on its way to one is still answered.`),
		},
	}
})
