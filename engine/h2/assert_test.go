package h2

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

// zeros is n bytes in hexadecimal.
func zeros(n int) string { return strings.Repeat("00", n) }

// wantsLine wants a line in a story.
func wantsLine(t *testing.T, story, line string) {
	t.Helper()
	for _, l := range strings.Split(story, "\n") {
		if l == line {
			return
		}
	}
	t.Errorf("there is no %q in\n%s", line, story)
}

// wantsEnd wants a story that ends with a connection fault and the GOAWAY that tells of it.
func wantsEnd(t *testing.T, story, reason string, last, code int) {
	t.Helper()
	wantsLine(t, story, "refused "+reason)
	if goaway := fmt.Sprintf("< goaway last=%d %d %s", last, code, reason); !strings.Contains(story+"\n", goaway+"\n") {
		t.Errorf("there is no %q in\n%s", goaway, story)
	}
}

// withoutBody leaves out how much of a body was seen before a connection was given up.
func withoutBody(story string) string {
	var kept []string
	for _, l := range strings.Split(story, "\n") {
		if !strings.Contains(l, " body ") {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "\n")
}
