package admission

import (
	"testing"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/retry"
)

// elsewhere is a filter that has another cluster for failures and for 503.
func elsewhere() gateway.Hooks {
	return gateway.Hooks{Name: "elsewhere", Unwanted: func(status int) bool { return status == 503 },
		Failed: func(x *gateway.Exchange, _ *gateway.Failure) gateway.Verdict {
			if x.TryCluster(gateway.ClusterRef{Name: "app"}) {
				return gateway.Answered
			}
			return gateway.GoOn
		}}
}

// What another cluster makes of a request, when the one behind the door has failed, is not held against that.
func TestAnotherClusterIsNotMeasured(t *testing.T) {
	for _, c := range []struct {
		first  string
		toHead bool
		held   int // places, while the other cluster has the request: an answer of bad status might still go its way
	}{
		{"reset", false, 0}, {"reset", true, 0}, {"503", false, 1}, {"503", true, 1},
	} {
		spec := fixed(1)
		spec.ToHead = c.toHead
		r := start(t, 1, 0, gateway.Enforce, spec)
		r.before, r.retry = []gateway.Hooks{elsewhere()}, retry.Config{Attempts: 1}
		r.swap(gateway.Enforce, spec)
		measured := func(want int) {
			t.Helper()
			if seen, _, ok := r.filter.Load().door.loops[0].Load().read(); !ok || seen.Count != want {
				t.Errorf("first %s, to its head %v: %d answers were measured, want %d", c.first, c.toHead, seen.Count, want)
			}
		}
		failing := r.send("1", "a", "X-First: "+c.first+"\r\n")
		eventually(t, "the other cluster has it", func() bool { return r.up.waiting.Load() == 1 })
		r.becomes(c.held, 0)
		r.let(1)
		failing.wants(t, "200")
		r.becomes(0, 0)
		measured(0)

		r.let(1)
		r.send("2", "a", "").wants(t, "200")
		r.becomes(0, 0)
		measured(1)
	}
}
