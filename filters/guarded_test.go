package filters_test

import (
	"testing"
	"time"

	"github.com/yumen-io/yumen/filters"
	"github.com/yumen-io/yumen/filters/extauth"
	"github.com/yumen-io/yumen/filters/fault"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/retry"
)

// A verdict that is known, and a fault that is for others.
func guardedSpecs() []filters.Spec {
	return []filters.Spec{
		{ExtAuth: &extauth.Spec{Cluster: gateway.ClusterRef{Name: "app"}, ToUpstream: []string{"content-type"}, Cache: &extauth.Cache{For: time.Hour}}},
		{Fault: &fault.Spec{When: fault.When{Headers: []fault.Match{{Name: "x-fault"}}}, Abort: &fault.Abort{}, Requests: 1}},
	}
}

func TestKnownVerdictsAllocateNothing(t *testing.T) {
	r := start(t, guardedSpecs(), retry.Config{}, fixedOrigin(t, fixedAnswer("application/json", shelfJSON)))
	c := newFixedClient(t, r.addr)
	for range 100 {
		c.do(t)
	}
	if n := testing.AllocsPerRun(2000, func() { c.do(t) }); n >= 0.5 {
		t.Errorf("a request allocates %v times, want 0", n)
	}
}

// BenchmarkKnownVerdicts is a passage with and without; loop-ns/op is the time of the processor that the gateway took.
func BenchmarkKnownVerdicts(b *testing.B) {
	b.Run("bare", func(b *testing.B) { benchmark(b, nil, fixedAnswer("application/json", shelfJSON)) })
	b.Run("ext_auth", func(b *testing.B) { benchmark(b, guardedSpecs()[:1], fixedAnswer("application/json", shelfJSON)) })
	b.Run("fault", func(b *testing.B) { benchmark(b, guardedSpecs()[1:], fixedAnswer("application/json", shelfJSON)) })
}
