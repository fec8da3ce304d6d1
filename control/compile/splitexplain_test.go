package compile

import (
	"strings"
	"testing"
)

// Who asks where a request would go is told the variant, and the cluster that the variant leads to.
func TestExplainFollowsASplit(t *testing.T) {
	plan, report := compileText("t.yaml", `listen: ":80"
clusters: {app: {endpoints: ['127.0.0.1:1']}, next: {endpoints: ['127.0.0.1:2']}}
routes:
  - path: /*
    cluster: app
    filters:
      - split:
          variants: [{name: stable, cluster: app}, {name: canary, cluster: next, weight: 0%}]
          rules: [{when: {header: {x-beta: "1"}}, variant: canary}]
`)
	if plan == nil {
		t.Fatal(report)
	}
	f := func(wantCluster, wantText string, headers ...Header) {
		t.Helper()
		e := plan.Explain(ExplainRequest{URL: "/a", Headers: headers})
		if e.Cluster != wantCluster || !strings.Contains(e.Filters[0].Text, wantText) {
			t.Errorf("cluster %s, %s", e.Cluster, e.Filters[0].Text)
		}
	}
	f("app", "this request goes to stable")
	f("next", "this request goes to canary by rule 1", Header{"X-Beta", "1"})
}
