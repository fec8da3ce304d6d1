package gateway_test

import (
	"os"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/telemetry/metrics"
)

// A word that an answer, the log or a metric can show is one that somebody will look up.
func TestEveryReasonIsExplained(t *testing.T) {
	const page = "../docs/guide/troubleshooting.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	words := gateway.Vocabulary(metrics.Config{})
	for _, word := range append(words.Reasons, words.Refusals...) {
		if !strings.Contains(string(text), "`"+word+"`") {
			t.Errorf("%s does not say what %q means", page, word)
		}
	}
}
