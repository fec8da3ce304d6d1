package compile

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/breaker"
	policy "github.com/yumen-io/yumen/policy/breaker"
)

// What a document says is what the filter is told, and off is off, not the default.
func TestBreakerSettings(t *testing.T) {
	usual := policy.Config{Window: 10 * time.Second, Volume: 20, ErrorRatio: 0.5, Consecutive: 20, OpenFor: 5 * time.Second, OpenMax: 15 * time.Second,
		Probes: 5, Ramp: []float64{0.01, 0.05, 0.25}, RampStep: time.Second,
		Adaptive: policy.Adaptive{On: true, Score: 0.55, Evidence: 0.45, Volume: 20, Learn: 30, RefusedMax: 0.9, CoolDown: 10 * time.Second, Relearn: 5 * time.Minute}}
	on := breaker.On{Connect: true, Reset: true, Timeout: true, GRPC: 1 << 14, Statuses: []int{500, 502, 503, 504}}
	for _, c := range []struct {
		settings string
		want     breaker.Spec
	}{
		{"on", breaker.Spec{On: on, Breaker: usual}},
		{"{scope: cluster, state: open, on: [599, connect], slow_than: 1s, slow_ratio: 30%, adaptive: off, error_ratio: off, consecutive: off}",
			breaker.Spec{Scope: breaker.ByCluster, Hold: breaker.HeldOpen, On: breaker.On{Connect: true, Statuses: []int{599}}, SlowThan: time.Second,
				Breaker: func() policy.Config {
					c := usual
					c.ErrorRatio, c.Consecutive, c.SlowRatio, c.Adaptive = -1, -1, 0.3, policy.Adaptive{}
					return c
				}()}},
	} {
		doc, problems := config.Parse("breaker.yaml", []byte("listen: \":8080\"\nclusters: {a: [\"127.0.0.1:1\"]}\nfilters: {b: {breaker: "+c.settings+
			"}}\nroutes: [{path: /*, cluster: a, filters: [b]}]\n"), nil)
		if doc == nil {
			t.Errorf("%s: %v", c.settings, problems)
			continue
		}
		if got := breakerSpec(doc.Filters[0].Body.(*config.BreakerFilter)); !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s:\n%+v\nwant\n%+v", c.settings, *got, c.want)
		}
	}
}

// The documents of the guide can be pasted, and every word that it can be looked up by is there.
func TestBreakerGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide/breakers.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	for i, b := range blocks {
		document, _, _ := strings.Cut(b, "```")
		if plan, report := compileText("breakers.md", document); plan == nil {
			t.Errorf("document %d:\n%s", i+1, report)
		}
	}
	if len(blocks) < 3 {
		t.Error("the guide has no documents")
	}
	words := breaker.Reasons()
	for c := policy.ErrorRatio; c <= policy.Ordered; c++ {
		words = append(words, c.String())
	}
	for _, word := range words {
		if !strings.Contains(string(text), "`"+word+"`") {
			t.Errorf("the guide does not say what %s is", word)
		}
	}
}
