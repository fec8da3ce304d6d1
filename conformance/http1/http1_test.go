//go:build linux

package http1

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// workers is the number of cases in flight. Cases mostly wait (for silence, for a close), so two cores carry many.
const workers = 24

var (
	update      = flag.Bool("update", false, "write RESULT.md from what this run finds, peers included")
	peerFlag    = flag.String("peer", "", "judge nginx or haproxy, started here, instead of yumen")
	gatewayFlag = flag.String("gateway", "", "judge the gateway that listens on this address already; it must proxy to -upstream and answer 403 to /denied and below")
	upstream    = flag.String("upstream", "127.0.0.1:9001", "with -gateway: where the recording upstream listens")
	only        = flag.String("case", "", "run the cases whose id begins with this")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *peerFlag != "" || *gatewayFlag != "" {
		os.Exit(m.Run())
	}
	os.Exit(gateway.Main(m))
}

// TestCorpus plays every case against a real gateway and fails for each that breaks the RFC's rule or ours, unless
// testdata/skip.txt names it with a reason.
func TestCorpus(t *testing.T) {
	cases := loadCases(t)
	skipped := loadSkips(t)
	name, start := subject()
	r := judgeAll(t, name, start, cases)
	t.Logf("\n%s", r.table())
	t.Logf("\n%s", r.list())
	if name != "yumen" {
		return // a peer is measured, not held to our rules
	}
	for _, j := range r.judged {
		reason, skip := skipped[j.c.ID]
		switch failed := j.failed(); {
		case failed && skip:
			t.Logf("%s fails as expected: %s", j.c.ID, reason)
		case failed:
			t.Errorf("%s (%s, RFC %s): %s", j.c.ID, j.c.Why, j.c.RFC, j.reasons())
		case skip:
			t.Errorf("%s passes: take it off testdata/skip.txt", j.c.ID)
		}
	}
	if *update && *only == "" {
		writeResult(t, r, judgeAll(t, "nginx", startNginx, cases), judgeAll(t, "haproxy", startHAProxy, cases))
	}
}

// subject is the gateway to judge.
func subject() (name string, start func(*testing.T, []lane)) {
	switch {
	case *gatewayFlag != "":
		return *gatewayFlag, nil
	case *peerFlag == "nginx":
		return "nginx", startNginx
	case *peerFlag == "haproxy":
		return "haproxy", startHAProxy
	}
	return "yumen", startYumen
}

// judgeAll plays the cases; start is nil for a gateway that runs already.
func judgeAll(t *testing.T, name string, start func(*testing.T, []lane), cases []*testCase) *report {
	r := &report{name: name}
	t.Run(name, func(t *testing.T) {
		var pool []*worker
		if start == nil {
			c, err := net.Dial("tcp", *gatewayFlag)
			if err != nil {
				t.Fatalf("the gateway to judge is not there: %v", err)
			}
			c.Close()
			pool = []*worker{{gateway: *gatewayFlag, upstream: newRecorder(t, *upstream)}}
		} else {
			var lanes []lane
			for range workers {
				u := newRecorder(t, "127.0.0.1:0")
				l := lane{listen: gateway.FreeAddr(t), upstream: u.addr()}
				lanes = append(lanes, l)
				pool = append(pool, &worker{gateway: l.listen, upstream: u})
			}
			start(t, lanes)
		}
		r.play(pool, cases)
	})
	return r
}

// play shares the cases out to the workers.
func (r *report) play(pool []*worker, cases []*testCase) {
	began := time.Now()
	todo := make(chan *testCase)
	var mu sync.Mutex
	var ended sync.WaitGroup
	for _, w := range pool {
		ended.Go(func() {
			for c := range todo {
				v := w.run(c)
				mu.Lock()
				r.judged = append(r.judged, judgement{c, v})
				mu.Unlock()
			}
		})
	}
	for _, c := range cases {
		if strings.HasPrefix(c.ID, *only) {
			todo <- c
		}
	}
	close(todo)
	ended.Wait()
	r.took = time.Since(began)
	slices.SortFunc(r.judged, func(a, b judgement) int { return strings.Compare(a.c.ID, b.c.ID) })
}

// loadSkips reads lines of `id reason`.
func loadSkips(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("testdata/skip.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	skips := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, reason, _ := strings.Cut(line, " ")
		if strings.TrimSpace(reason) == "" {
			t.Fatalf("testdata/skip.txt: %s is skipped without a reason", id)
		}
		skips[id] = strings.TrimSpace(reason)
	}
	return skips
}

func writeResult(t *testing.T, reports ...*report) {
	t.Helper()
	var b strings.Builder
	b.WriteString("# HTTP/1 corpus: what this gateway, nginx and HAProxy make of it\n\n" +
		"Written by `go test ./conformance/http1 -run TestCorpus -update`; do not edit. A case counts as *must* or *should*\n" +
		"when the RFC's rule is broken, by the weight of that rule, and as *house* when only our stricter wish is.\n" +
		"The peers run with the plain configurations of `peer_test.go`.\n")
	for _, r := range reports {
		if len(r.judged) > 0 {
			fmt.Fprintf(&b, "\n## %s\n\n%s\n%s", r.name, r.table(), r.list())
		}
	}
	if err := os.WriteFile("RESULT.md", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
