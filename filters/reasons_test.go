package filters_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/filters"
)

// Every word that a filter answers with is explained in the guide.
func TestEveryReasonOfAFilterIsExplained(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("..", "docs", "guide", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no guide: %v", err)
	}
	var guide strings.Builder
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		guide.Write(text)
	}
	for _, word := range filters.Reasons() {
		if !strings.Contains(guide.String(), "`"+word+"`") {
			t.Errorf("no page of the guide says what %q means", word)
		}
	}
}
