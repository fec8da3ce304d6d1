package config

import (
	"encoding/json"
	"testing"
)

func TestProblemsReadBackFromJSON(t *testing.T) {
	for _, want := range []Problem{
		{Severity: SeverityWarning, File: "a.yaml", Line: 3, Column: 4, Path: "routes[0]", Cause: "odd", Fix: "even"},
		{Severity: SeverityError, File: "a.yaml", Cause: "broken"},
	} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := Problem{Severity: 7}
		if err := json.Unmarshal(text, &got); err != nil || got != want {
			t.Errorf("%s reads back as %+v, %v", text, got, err)
		}
	}
	var s Severity
	if err := json.Unmarshal([]byte(`"fatal"`), &s); err == nil {
		t.Error("fatal is a severity")
	}
}
