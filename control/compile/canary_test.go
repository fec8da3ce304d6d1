package compile

import (
	"os"
	"strings"
	"testing"
)

// The documents of the guide can be pasted, and the second is the first written out.
func TestCanaryGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide/canary.md")
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, b := range strings.Split(string(text), "```yaml\n")[1:] {
		document, _, _ := strings.Cut(b, "```")
		plan, report := compileText("canary.md", document)
		if plan == nil || len(report.Problems) > 0 {
			t.Fatalf("%s", report)
		}
		said = append(said, plan.Splits[0].String())
	}
	if len(said) != 2 || said[0] != said[1] || !strings.Contains(said[0], "canary goes 1%, 5%, 25%, 50%, 100%, 5m0s and 500 requests each") {
		t.Errorf("%q", said)
	}
}

// mode: off is no canary at all; a tolerance of 0% is none.
func TestCanaryOfADocument(t *testing.T) {
	f := func(settings, want string) {
		t.Helper()
		plan, report := compileText("canary.yaml", `listen: ":80"
clusters: {a: ["127.0.0.1:1"], b: ["127.0.0.1:2"]}
routes: [{path: /*, cluster: a, filters: [split: {variants: [{name: old, cluster: a}, {name: new, cluster: b, weight: 0%}], canary: {variant: new`+settings+`}}]}]
`)
		if plan == nil {
			t.Fatalf("%s", report)
		}
		if _, got, _ := strings.Cut(plan.Splits[0].String(), "; "); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", settings, got, want)
		}
	}
	f(", mode: off", "")
	f(", steps: 5%, step_time: 1m, step_requests: 7, tolerance: {errors: 0%, latency: 20%}, mode: shadow",
		"new goes 5%, 1m0s and 7 requests each, while it is no worse than old by 0% of errors and 20% of latency (shadow)")
}
