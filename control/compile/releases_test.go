package compile

import (
	"os"
	"strings"
	"testing"
)

// The documents of the guide can be pasted.
func TestReleasesGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide/releases.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	for i, b := range blocks {
		document, _, _ := strings.Cut(b, "```")
		plan, report := compileText("releases.md", document)
		if plan == nil || len(report.Problems) > 0 {
			t.Errorf("document %d:\n%s", i+1, report)
		}
	}
	if len(blocks) == 0 {
		t.Error("the guide has no documents")
	}
}
