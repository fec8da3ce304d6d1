package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestTheBodyOfAFixedAnswerIsBounded(t *testing.T) {
	f := func(n int, want string) {
		t.Helper()
		text := fmt.Sprintf("listen: \":8080\"\nroutes: [{path: /, respond: {body: %q}}]\n", strings.Repeat("x", n))
		doc, problems := Parse("gateway.yaml", []byte(text), nil)
		if want == "" {
			if doc == nil {
				t.Errorf("%d bytes: %v", n, problems)
			}
			return
		}
		if doc != nil || len(problems) != 1 || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%d bytes: %v, want %s", n, problems, want)
		}
	}
	f(1<<20, "")
	f(1<<20+1, "the body is longer than 1MiB")
}
