//go:build linux

package h2spec

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// answerSeconds is how long h2spec waits for an answer that does not come. Only failures and a few cases wait that long.
const answerSeconds = 2

// runMax ends a run that hangs: 150 cases that all wait take less.
const runMax = 4 * time.Minute

// verdict is what became of one case.
type verdict struct {
	id      string // section/case, "http2/6.5.3/SETTINGS frame with ..."
	failure string // what was expected and what came; "" for a case that passed
	skipped bool
}

// run lets h2spec judge what listens on the address.
func run(t *testing.T, addr string, overTLS bool) []verdict {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	args := []string{"--strict", "-h", host, "-p", port, "-o", fmt.Sprint(answerSeconds), "-j", report, "generic", "http2", "hpack"}
	if overTLS {
		args = append(args, "-t", "-k")
	}
	ctx, cancel := context.WithTimeout(t.Context(), runMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(t), args...)
	out, err := cmd.CombinedOutput()
	// A failed case is exit status 1, and so is a server that is not there: the report tells them apart.
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("running h2spec: %v", err)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("h2spec left no report: %v; it said:\n%s", err, tail(string(out)))
	}
	verdicts, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return verdicts
}

// tool is the path of h2spec at the version that build/tools/go.mod names, built if it is not in go's cache.
func tool(t *testing.T) string {
	t.Helper()
	root, err := gateway.ModuleRoot()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "tool", "-n", "-modfile=build/tools/go.mod", "h2spec")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("building h2spec: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// parse reads h2spec's JUnit report.
func parse(report []byte) ([]verdict, error) {
	var suites struct {
		Suite []struct {
			Case []struct {
				Section string    `xml:"package,attr"`
				Name    string    `xml:"classname,attr"`
				Failure *string   `xml:"failure"`
				Error   *string   `xml:"error"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	decoder := xml.NewDecoder(strings.NewReader(string(report)))
	decoder.Strict = false // h2spec writes what it received into the report as it came
	if err := decoder.Decode(&suites); err != nil {
		return nil, fmt.Errorf("reading h2spec's report: %w", err)
	}
	var verdicts []verdict
	for _, suite := range suites.Suite {
		for _, c := range suite.Case {
			v := verdict{id: c.Section + "/" + c.Name, skipped: c.Skipped != nil}
			for _, said := range []*string{c.Failure, c.Error} {
				if said != nil {
					v.failure = "failed: " + strings.Join(strings.Fields(*said), " ")
				}
			}
			verdicts = append(verdicts, v)
		}
	}
	if len(verdicts) == 0 {
		return nil, errors.New("reading h2spec's report: no case is in it")
	}
	return verdicts, nil
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
