//go:build linux

package h2spec

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// exception is a case that a target may fail.
type exception struct{ target, id string }

// loadExceptions reads exceptions.txt.
func loadExceptions(t *testing.T) map[exception]string {
	t.Helper()
	text, err := os.ReadFile("exceptions.txt")
	if err != nil {
		t.Fatal(err)
	}
	all, err := parseExceptions(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// parseExceptions reads lines of "target section/case : reason".
func parseExceptions(text string) (map[exception]string, error) {
	all := map[exception]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		// Names of cases have colons in them (":path"), with no space before and behind.
		subject, reason, ok := strings.Cut(line, " : ")
		target, id, named := strings.Cut(subject, " ")
		if !ok || !named || strings.TrimSpace(reason) == "" {
			return nil, fmt.Errorf("exceptions.txt: %q is not \"target section/case : reason\"", line)
		}
		all[exception{target, strings.TrimSpace(id)}] = strings.TrimSpace(reason)
	}
	return all, nil
}

// judge holds verdicts against the exceptions, and says what is wrong.
func judge(target string, verdicts []verdict, exceptions map[exception]string) (wrong []string) {
	met := map[string]bool{}
	for _, v := range verdicts {
		reason, excepted := exceptions[exception{target, v.id}]
		met[v.id] = true
		switch {
		case v.failure != "" && !excepted:
			wrong = append(wrong, v.id+" "+v.failure)
		case v.failure == "" && !v.skipped && excepted:
			wrong = append(wrong, fmt.Sprintf("%s passes: take it off exceptions.txt (%s)", v.id, reason))
		}
	}
	for e := range exceptions {
		if e.target == target && !met[e.id] {
			wrong = append(wrong, e.id+" stands in exceptions.txt and h2spec has no such case")
		}
	}
	return wrong
}

func TestExceptionsNeedAReason(t *testing.T) {
	for _, c := range []struct {
		text string
		want map[exception]string // nil: refused
	}{
		{"", map[exception]string{}},
		{"# why\n\n", map[exception]string{}},
		{"yumen-tls http2/8.1.2.3/Sends \":path\": empty : RFC 9113 allows it\n",
			map[exception]string{{"yumen-tls", `http2/8.1.2.3/Sends ":path": empty`}: "RFC 9113 allows it"}},
		{"yumen-tls http2/8.1/Case\n", nil},
		{"yumen-tls http2/8.1/Case : \n", nil},
		{"http2/8.1/Case:reason", nil},
	} {
		got, err := parseExceptions(c.text)
		if (err != nil) != (c.want == nil) || fmt.Sprint(got) != fmt.Sprint(c.want) && err == nil {
			t.Errorf("parseExceptions(%q) = %v, %v; want %v", c.text, got, err, c.want)
		}
	}
}

func TestVerdictsAreHeldAgainstExceptions(t *testing.T) {
	verdicts := []verdict{{id: "a"}, {id: "b", failure: "failed: no"}, {id: "c", skipped: true}}
	for _, c := range []struct {
		exceptions map[exception]string
		want       string
	}{
		{nil, "[b failed: no]"},
		{map[exception]string{{"us", "b"}: "why"}, "[]"},
		{map[exception]string{{"others", "b"}: "why"}, "[b failed: no]"},
		{map[exception]string{{"us", "a"}: "why", {"us", "b"}: "why"}, "[a passes: take it off exceptions.txt (why)]"},
		{map[exception]string{{"us", "b"}: "why", {"us", "c"}: "why"}, "[]"},
		{map[exception]string{{"us", "b"}: "why", {"us", "d"}: "why"}, "[d stands in exceptions.txt and h2spec has no such case]"},
	} {
		if got := fmt.Sprint(judge("us", verdicts, c.exceptions)); got != c.want {
			t.Errorf("judge with %v:\n got %s\nwant %s", c.exceptions, got, c.want)
		}
	}
}

// The report is h2spec's own layout, with text in it that is not proper XML.
func TestReportIsRead(t *testing.T) {
	got, err := parse([]byte(`<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="4.2. Maximum Table Size" package="hpack/4.2" id="4.2" tests="3" skipped="1" failures="0" errors="1">
    <testcase package="hpack/4.2" classname="Sends a small &#34;table&#34;" time="0.0012"></testcase>
    <testcase package="hpack/4.2" classname="Fails" time="1.0"><error>expected:
GOAWAY & close, got <nil></error></testcase>
    <testcase package="hpack/4.2" classname="Skipped" time="0"><skipped></skipped></testcase>
  </testsuite>
</testsuites>`))
	want := `[{hpack/4.2/Sends a small "table"  false} {hpack/4.2/Fails failed: expected: GOAWAY & close, got false} {hpack/4.2/Skipped  true}]`
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("got  %v, %v\nwant %s", got, err, want)
	}
	if _, err := parse([]byte("<testsuites></testsuites>")); err == nil {
		t.Error("a report without cases is taken for a pass")
	}
}
