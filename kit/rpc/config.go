package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/yumen-io/yumen/kit/registry"
	"github.com/yumen-io/yumen/policy/loadaware"
)

// Config of a Client. The zero value is good for static targets; Registry is what yumen:///service needs besides.
type Config struct {
	// Registry is where the instances of services are found. It must outlive the connections. Nil: static targets only.
	Registry *registry.Registry
	// HealthService is the name that servers are asked for by the gRPC health protocol; "" is the server as a whole. A
	// server that does not know the protocol counts as healthy, one that does not know the name does not serve.
	HealthService string
	// NoHealth switches the health protocol off.
	NoHealth bool
	// MethodConfig is the methodConfig part of gRPC's service config: a JSON array with timeouts and retries. "": none.
	MethodConfig string

	// ProbeInterval is how often an endpoint is asked for its load, each time up to a quarter earlier or later. 0 means 5 s,
	// the least is 100 ms; below 0: never.
	ProbeInterval time.Duration
	// ProbeTimeout is how long a probe waits. 0 means 1 s; it must not exceed ProbeInterval.
	ProbeTimeout time.Duration
	// LatencyScale is the latency that lowers a weight to 1/e. 0 means 100 ms.
	LatencyScale time.Duration
	// Floor is the share of its base weight that an endpoint keeps whatever it reports, 0 to 1. 0 means 0.05.
	Floor float64
	// RatioMax is by how much one share of base may exceed another, at least 1. 0 means 10.
	RatioMax float64
	// SlowStart is how long a new endpoint takes to get its whole weight. 0 means 10 s; below 0: none.
	SlowStart time.Duration
	// PanicThreshold is the share of healthy base weight below which only base weights count. 0 means 0.5; below 0: never.
	PanicThreshold float64
	// ForgetAfter is how long what was learnt of an endpoint is kept when it is gone. 0 means 10 minutes, at least 1 s.
	ForgetAfter time.Duration
	// History is how many changes of weights are kept for each connection. 0 means 64; 1 to 10,000.
	History int
	// Logger is told of what changes, never of single calls. Nil means slog.Default().
	Logger *slog.Logger
}

func (c Config) filled() (Config, loadaware.Settings, error) {
	preset(&c.ProbeInterval, 5*time.Second)
	preset(&c.ProbeTimeout, min(time.Second, max(c.ProbeInterval, 100*time.Millisecond)))
	preset(&c.ForgetAfter, 10*time.Minute)
	preset(&c.History, 64)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("rpc: "+format, args...)) }
	if c.ProbeInterval > 0 && c.ProbeInterval < 100*time.Millisecond {
		wrong("ProbeInterval is %v, it must be at least 100ms", c.ProbeInterval)
	}
	if c.ProbeTimeout < 0 || c.ProbeInterval > 0 && c.ProbeTimeout > c.ProbeInterval {
		wrong("ProbeTimeout is %v, it must be between 0 and ProbeInterval, %v", c.ProbeTimeout, c.ProbeInterval)
	}
	if c.ForgetAfter < time.Second {
		wrong("ForgetAfter is %v, it must be at least 1s", c.ForgetAfter)
	}
	if c.History < 1 || c.History > 10_000 {
		wrong("History is %d, it must be between 1 and 10000", c.History)
	}
	if c.MethodConfig != "" {
		var list []json.RawMessage
		if err := json.Unmarshal([]byte(c.MethodConfig), &list); err != nil {
			wrong("MethodConfig is no JSON array: %w", err)
		}
	}
	s := loadaware.Settings{LatencyScale: c.LatencyScale, Floor: c.Floor, RatioMax: c.RatioMax, SlowStart: c.SlowStart,
		PanicThreshold: c.PanicThreshold}
	if c.ProbeInterval > 0 {
		s.LoadMemory = 3 * c.ProbeInterval
	}
	s = s.Filled()
	if err := s.Check(); err != nil {
		wrong("%w", err)
	}
	return c, s, errors.Join(errs...)
}

// serviceConfig is what the resolvers of c give to gRPC.
func (c *Config) serviceConfig() string {
	type object map[string]any
	sc := object{"loadBalancingConfig": []object{{Policy: object{}}}}
	if !c.NoHealth {
		sc["healthCheckConfig"] = object{"serviceName": c.HealthService}
	}
	if c.MethodConfig != "" {
		sc["methodConfig"] = json.RawMessage(c.MethodConfig)
	}
	text, err := json.Marshal(sc)
	if err != nil {
		return "{}" // cannot be: MethodConfig was read before
	}
	return string(text)
}

func preset[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
