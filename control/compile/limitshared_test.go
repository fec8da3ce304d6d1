package compile

import (
	"os"
	"strings"
	"testing"
)

// The documents of the guide can be pasted.
func TestSharedLimitGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide/cluster-limits.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	for i, b := range blocks {
		document, _, _ := strings.Cut(b, "```")
		if plan, report := compileText("cluster-limits.md", document); plan == nil {
			t.Errorf("document %d:\n%s", i+1, report)
		}
	}
	if len(blocks) < 2 {
		t.Error("the guide has no documents")
	}
}

// What only the store can say of a shared limit, where it stands and how to mend it.
func TestSharedLimitProblems(t *testing.T) {
	for _, c := range []struct{ limit, want string }{
		{`{rate: 10001/s, algorithm: sliding_window, shared: {redis: "127.0.0.1:6379", mode: exact}}`, "at most 10000 for a key"},
		{`{rate: 10000/s, algorithm: sliding_window, shared: {redis: "127.0.0.1:6379", mode: exact}}`, ""},
		{`{rate: 7/h, burst: 1000000, shared: "127.0.0.1:6379"}`, "more than a store counts exactly"},
		{`{rate: 7/s, shared: {redis: {address: "127.0.0.1:6379", password_env: YUMEN_TEST_UNSET}}}`, "YUMEN_TEST_UNSET is not set"},
		{`{rules: [{name: a, concurrency: 1}, {name: b, rate: 7/s, shared: {redis: {address: "127.0.0.1:6379", password_env: YUMEN_TEST_UNSET}}}]}`, "rules[1].shared.redis.password_env"},
	} {
		plan, report := compileText("t.yaml", "listen: ':80'\nroutes: [{path: /, respond: 200, filters: [{limit: "+c.limit+"}]}]")
		if said := report.String(); plan == nil != (c.want != "") || !strings.Contains(said, c.want) {
			t.Errorf("%s: %s, want %q", c.limit, said, c.want)
		}
	}
}
