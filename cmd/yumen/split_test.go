package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSplitOfARunningGateway(t *testing.T) {
	file := filepath.Join(t.TempDir(), "yumen.yaml")
	document := `listen: 127.0.0.1:0
admin: 127.0.0.1:0
clusters: {blue: ["127.0.0.1:1"], green: ["127.0.0.1:1"]}
filters: {shop: {split: {variants: [{name: blue, cluster: blue}, {name: green, cluster: green, weight: 5%}]}}}
routes: [{path: /*, cluster: blue, filters: [shop]}]
`
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, "run", "-c", file)
	f := func(line string, exit int, texts ...string) {
		t.Helper()
		said := yumen(t.Context(), "", append(strings.Fields(line), "--admin", r.admin)...)
		for _, text := range texts {
			if said.exit != exit || !strings.Contains(said.out+said.err, text) {
				t.Errorf("%s: exit %d, no %q:\n%s%s", line, said.exit, text, said.out, said.err)
			}
		}
	}
	f("split", 0, "shop   blue     blue     95%     95%", "shop   green    green    5%      5%")
	f("split shop green=10%", 0, "10%", "90%", "set by an operator", "1 to undo")
	f("split shop --all green", 0, "100%", "2 to undo")
	f("split shop --back", 0, "10%", "1 to undo")
	f("split shop --document --json", 0, `"weight": "95%"`)
	f("split shop --back", 1, "nothing to go back to")
	f("split none --all green", 1, "there is no split")
	f("split shop red=5%", 1, `has no variant "red"`)
	f("split shop green", 2, "write it as canary=10%")
	f("split shop green=5% --back", 2, "say one thing")
	f("split --back", 2, "yumen split lists them")
	r.stop()
	r.end(t)
}
