//go:build linux

package h2spec

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

var peers = flag.Bool("peers", false, "judge Go's net/http, nginx, HAProxy and Caddy too, for comparison")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(gateway.Main(m))
}

// TestH2Spec fails for each case that the gateway fails and exceptions.txt does not excuse.
func TestH2Spec(t *testing.T) {
	exceptions := loadExceptions(t)
	for e := range exceptions {
		if !strings.HasPrefix(e.target, "yumen-") {
			t.Errorf("exceptions.txt: %s is no target that is held to anything", e.target)
		}
	}
	for _, target := range ours {
		t.Run(target.name, func(t *testing.T) {
			t.Parallel() // both mostly wait for silence
			verdicts := run(t, target.start(t, serveUpstream(t)), target.overTLS)
			t.Log(count(target.name, verdicts))
			if len(verdicts) < casesMin {
				t.Errorf("%d cases, want at least %d", len(verdicts), casesMin)
			}
			for _, wrong := range judge(target.name, verdicts, exceptions) {
				t.Errorf("%s %s", target.name, wrong)
			}
		})
	}
}

// TestPeers prints how others do.
func TestPeers(t *testing.T) {
	if !*peers {
		t.Skip("a comparison, and no test of ours: go test ./conformance/h2spec -run TestPeers -peers -v")
	}
	var rows struct {
		sync.Mutex
		lines []string
	}
	t.Run("all", func(t *testing.T) {
		for _, target := range others {
			t.Run(target.name, func(t *testing.T) {
				t.Parallel()
				verdicts := run(t, target.start(t, serveUpstream(t)), target.overTLS)
				var row strings.Builder
				row.WriteString(count(target.name, verdicts))
				for _, v := range verdicts {
					if v.failure != "" {
						fmt.Fprintf(&row, "\n    %s %s", v.id, v.failure)
					}
				}
				rows.Lock()
				defer rows.Unlock()
				rows.lines = append(rows.lines, row.String())
			})
		}
	})
	t.Logf("\n%s", strings.Join(rows.lines, "\n"))
}

// The runner itself is proved on a server that is known to pass everything: what it says of ours is then ours.
func TestRunnerOnAKnownServer(t *testing.T) {
	t.Parallel()
	const known = "haproxy-h2c"
	server := others[slices.IndexFunc(others, func(o target) bool { return o.name == known })]
	verdicts := run(t, server.start(t, serveUpstream(t)), server.overTLS)
	t.Log(count(known, verdicts))
	for _, wrong := range judge(known, verdicts, nil) {
		t.Error(wrong)
	}
	if len(verdicts) < casesMin {
		t.Errorf("%d cases, want at least %d", len(verdicts), casesMin)
	}
}

// casesMin is what the groups hold with their strict cases; fewer means that a part of the suite did not run.
const casesMin = 146

func count(name string, verdicts []verdict) string {
	var passed, failed, skipped int
	for _, v := range verdicts {
		switch {
		case v.skipped:
			skipped++
		case v.failure != "":
			failed++
		default:
			passed++
		}
	}
	return fmt.Sprintf("%-12s %3d passed, %2d failed, %d skipped", name, passed, failed, skipped)
}
