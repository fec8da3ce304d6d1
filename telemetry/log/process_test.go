package log

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestProcessLogAsJSON(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	l, err := NewProcess(ProcessConfig{Format: "json", Level: level, Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	l.Debug("unseen")
	l.With("revision", 7).Error("loading\nthe config", "error", errors.New("line 3: \"x\"\n"))
	level.Set(slog.LevelDebug)
	l.Debug("seen")
	level.Set(slog.LevelError)
	l.Warn("unseen")

	var got []map[string]any
	for line := range strings.Lines(out.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if m["time"] == nil {
			t.Errorf("line %q has no time", line)
		}
		got = append(got, m)
	}
	if len(got) != 2 {
		t.Fatalf("%d lines, want 2:\n%s", len(got), out.String())
	}
	if e := got[0]; e["level"] != "error" || e["msg"] != "loading\nthe config" || e["revision"] != 7.0 || e["error"] != "line 3: \"x\"\n" {
		t.Errorf("line is %v", e)
	}
	if e := got[1]; e["level"] != "debug" || e["msg"] != "seen" {
		t.Errorf("line is %v", e)
	}
}

func TestProcessLogForPeopleKeepsToItsLine(t *testing.T) {
	var out bytes.Buffer
	l, err := NewProcess(ProcessConfig{Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	l.Warn("bad host \"a\"\n2026-01-01 FAKE\x1b[31m\u2028", "host", "x\ny")
	_, rest, _ := strings.Cut(out.String(), "  ") // after the time
	want := "WARN  bad host \"a\"\uFFFD2026-01-01 FAKE\uFFFD[31m\uFFFD  {\"host\": \"x\\ny\"}\n"
	if rest != want {
		t.Errorf("line is %q, want %q", rest, want)
	}
}

func TestProcessLogThatCannotBe(t *testing.T) {
	if _, err := NewProcess(ProcessConfig{Format: "xml"}); err == nil || !strings.Contains(err.Error(), "console, json") {
		t.Errorf("format xml: %v", err)
	}
	if _, err := NewProcess(ProcessConfig{Path: t.TempDir()}); err == nil {
		t.Error("a directory was opened as a log")
	}
}
