package metrics

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The alerts and the dashboard ask for families and labels that there are.
func TestWhatIsDeployedNamesWhatExists(t *testing.T) {
	labels := map[string]string{} // of each name that can be asked for
	for _, f := range families {
		list := " " + strings.Join(f.labels, " ") + " instance job "
		if f.kind != histogramKind {
			labels[f.name] = list
			continue
		}
		labels[f.name+"_bucket"], labels[f.name+"_sum"], labels[f.name+"_count"] = list+"le ", list, list
	}
	selector := regexp.MustCompile(`\b(yumen_[a-z_]+)(?:\{(.*?)\})?`)
	matcher := regexp.MustCompile(`(\w+)(?:=|!)`)
	for _, file := range []string{"prometheus/rules.yml", "grafana/yumen.json"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", "deploy", filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		found := selector.FindAllStringSubmatch(strings.ReplaceAll(string(raw), `\"`, `"`), -1)
		if len(found) < 10 {
			t.Errorf("%s asks for %d families only", file, len(found))
		}
		for _, s := range found {
			has, ok := labels[s[1]]
			if !ok {
				t.Errorf("%s asks for %s, which there is not", file, s[1])
			}
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				if ok && !strings.Contains(has, " "+m[1]+" ") {
					t.Errorf("%s asks for label %s of %s, which has%s", file, m[1], s[1], has)
				}
			}
		}
	}
}
