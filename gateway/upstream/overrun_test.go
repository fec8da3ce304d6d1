package upstream_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway/upstream"
	"github.com/yumen-io/yumen/policy/health"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// A loop that has more to tell than the monitor can take goes on at once. What was not heard is counted, and the verdict
// comes all the same.
func TestOutcomesAreDroppedRatherThanWaitedFor(t *testing.T) {
	b := newBench(t)
	reg, err := metrics.New(metrics.Config{Loops: 1})
	check(t, err)
	b.counters = []*metrics.Cluster{reg.View(nil, []string{"app"}).Cluster(0, 0)}
	b.apply(&upstream.Spec{Name: "app"}, "127.0.0.1:1", "127.0.0.1:2")
	dropped := func() bool {
		page := httptest.NewRecorder()
		reg.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
		return strings.Contains(page.Body.String(), `yumen_upstream_outcomes_dropped_total{cluster="app"} `)
	}
	var bad *upstream.Endpoint
	b.onLoop(func() { bad, _ = b.group.On(0).Pick(0, 0, nil) })
	for deadline := time.Now().Add(patience); !dropped(); {
		if time.Now().After(deadline) {
			t.Fatal("the monitor hears everything")
		}
		// More than waits for the monitor at most, in less time than it takes to judge so many.
		b.onLoop(func() {
			g := bad.Start()
			for range 10_000 {
				g.Judge(health.Reset)
			}
			g.Done(health.Aborted, 0)
		})
	}
	if bad.Addr() == "127.0.0.1:1" {
		b.await("ejected", "healthy")
	} else {
		b.await("healthy", "ejected")
	}
}
