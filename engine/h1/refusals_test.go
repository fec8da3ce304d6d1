package h1

import (
	"os"
	"strings"
	"testing"
)

// Every refusal there is has a word of its own, and is in the list that metrics and documents are made from.
func TestRefusalsAreAllListed(t *testing.T) {
	source, err := os.ReadFile("refusals.go")
	if err != nil {
		t.Fatal(err)
	}
	if made := strings.Count(string(source), " = refusal("); made != len(Refusals()) {
		t.Errorf("%d refusals are made, %d are listed", made, len(Refusals()))
	}
	seen := map[string]bool{}
	for _, r := range Refusals() {
		if seen[r.Reason] {
			t.Errorf("%s stands for two refusals", r.Reason)
		}
		seen[r.Reason] = true
	}
}
