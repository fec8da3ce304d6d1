package compile

import (
	"os"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/control/config"
	"github.com/yumen-io/yumen/filters/limit"
	judge "github.com/yumen-io/yumen/policy/limit"
)

// limitTexts compiles a document with these filters on a route, and returns what they do, or all that is wrong.
func limitTexts(body string) string {
	plan, report := compileText("t.yaml", "listen: ':80'\nroutes: [{path: /, respond: 200, filters: [{limit: "+body+"}]}]")
	if plan == nil {
		return report.String()
	}
	var texts []string
	for _, f := range plan.Routes[0].filters {
		texts = append(texts, f.Text)
	}
	return strings.Join(texts, "\n")
}

func TestLimitFromDocumentToFilter(t *testing.T) {
	for body, want := range map[string]string{
		"100/s":                                                           "at most 100/s, 100 at a time for each client_address",
		"{rate: 5/m}":                                                     "at most 5/m, 5 at a time for each client_address (by default; key: all counts all together)",
		"{rate: 5/m, key: all}":                                           "at most 5/m, 5 at a time for all together",
		"{rate: 5/m, key: client_address}":                                "at most 5/m, 5 at a time for each client_address",
		"{rate: 5/m, key: [claim: org.tenant]}":                           "at most 5/m, 5 at a time for each claim org.tenant",
		"{rate: 10/s, burst: 3, concurrency: 4}":                          "at most 10/s, 3 at a time for each client_address, and at most 4 at once for each client_address (by default; key: all counts all together)",
		"{rate: 9/h, algorithm: fixed_window}":                            "at most 9/h for each client_address (by default; key: all counts all together)",
		"{rate: 9/h, algorithm: sliding_window}":                          "at most 9/h, in a sliding window for each client_address (by default; key: all counts all together)",
		"{rate: 9/s, algorithm: leaky_bucket}":                            "at most 9/s, 1 at a time, others wait up to 1s for each client_address (by default; key: all counts all together)",
		"{rate: 9/s, mode: off}":                                          "off: at most 9/s, 9 at a time for each client_address (by default; key: all counts all together)",
		"{rules: [{name: a, rate: 1/s}, {name: b, concurrency: 2}]}":      "at most 1/s, 1 at a time for each client_address (by default; key: all counts all together); at most 2 at once for each client_address (by default; key: all counts all together)",
		"{rate: 9/s, algorithm: leaky_bucket, burst: 2, max_delay: 50ms}": "at most 9/s, 2 at a time, others wait up to 50ms for each client_address (by default; key: all counts all together)",
	} {
		if got := limitTexts(body); got != want {
			t.Errorf("%s:\n got %s\nwant %s", body, got, want)
		}
	}
	for body, want := range map[string]string{
		"{rate: 0/s}":                                           "limit.rate: 0 is not between 1 and 1000000000",
		"{rate: 1/h, burst: 1000000}":                           "limit.burst: a bucket of 1000000 takes more than 366 days to fill",
		"{rate: 5000000/s, algorithm: sliding_window}":          "limit.rate: a sliding window counts up to 4194303",
		"{rules: [{name: a, rate: 1/s}, {name: b, rate: 0/s}]}": "limit.rules[1].rate: 0 is not",
	} {
		if got := limitTexts(body); !strings.Contains(got, want) {
			t.Errorf("%s:\n got %s\nwant %s", body, got, want)
		}
	}
}

// What a document leaves out is what the filter would take by itself.
func TestLimitByDefault(t *testing.T) {
	doc, problems := config.Parse("t.yaml", []byte("listen: ':80'\nroutes: [{path: /, respond: 200, filters: [{limit: 100/s}]}]"), nil)
	if doc == nil {
		t.Fatal(problems)
	}
	spec := limitSpec(doc.Routes[0].Filters[0].Filter.Body.(*config.LimitFilter))
	if r := spec.Rules[0]; spec.Status != 429 || r.KeysMax != limit.KeysMaxDefault || r.Missing != limit.Share || *r.Rate != (judge.Config{Count: 100, Per: r.Rate.Per}) {
		t.Errorf("%+v", spec)
	}
}

// The documents of the guide can be pasted.
func TestLimitGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	for i, b := range blocks {
		document, _, _ := strings.Cut(b, "```")
		if plan, report := compileText("limits.md", document); plan == nil {
			t.Errorf("document %d:\n%s", i+1, report)
		}
	}
	if len(blocks) < 2 {
		t.Error("the guide has no documents")
	}
	for _, reason := range []string{limit.ReasonRate, limit.ReasonAtOnce, limit.ReasonKeyMissing, limit.ReasonKeysFull} {
		if !strings.Contains(string(text), "`"+reason+"`") {
			t.Errorf("the guide does not say what %s is", reason)
		}
	}
}
