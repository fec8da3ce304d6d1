//go:build linux

package drills

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// The file is rewritten 50 times while clients send. Two documents alternate: in both the route leads to a blue
// upstream, but by way of another cluster, and the cluster it does not use holds a green one. Whoever mixes the routes of
// one document with the clusters of the other answers green.
func TestReloadUnderLoadFailsNoRequest(t *testing.T) {
	const reloads = 50
	blue := []string{startLocal(t, "blue", nil), startLocal(t, "blue", nil)}
	green := []string{startLocal(t, "green", nil), startLocal(t, "green", nil)}
	addr := gateway.FreeAddr(t)
	document := func(n int) string {
		used, spare := "one", "two"
		extra := ""
		if n%2 == 1 {
			used, spare = "two", "one"
			extra = fmt.Sprintf("  - {path: /only-in-%d/*, cluster: %s}\n", n, spare)
		}
		return fmt.Sprintf(`listen: %q
clusters:
  %s: {endpoints: [%q]}
  %s: {endpoints: [%q]}
routes:
  - {path: /*, cluster: %s}
  - {path: /spare/*, cluster: %s}
  - {path: /generation, respond: {status: 200, body: "generation %d"}}
%s`, addr, used, blue[n%2], spare, green[n%2], used, spare, n, extra)
	}
	p := gateway.Start(t, document(0), gateway.Options{})

	wantBlue := func(_, _ int, a *gateway.Answer) error {
		if from := a.Header.Get("X-Origin"); a.Status != http.StatusOK || from != "blue" {
			return fmt.Errorf("status %d from %q", a.Status, from)
		}
		return nil
	}
	kept := gateway.Load{Addr: addr, Clients: 4, Check: wantBlue}.Start(0)
	fresh := gateway.Load{Addr: addr, Clients: 4, Check: wantBlue, Fresh: true}.Start(0)

	var before int
	for n := 1; n <= reloads; n++ {
		p.WriteConfig(document(n))
		awaitGeneration(t, addr, n)
		if n == 4 { // both documents have been in use twice
			before = descriptors(t, p)
		}
	}
	gateway.Eventually(t, patience, "the descriptors of past generations are closed", func() error {
		if after := descriptors(t, p); after > before+16 { // connections of clients and pools come and go
			return fmt.Errorf("%d open, %d after the fourth reload", after, before)
		}
		return nil
	})

	keptTally, freshTally := kept.Stop(), fresh.Stop()
	t.Logf("kept connections: %v", keptTally)
	t.Logf("fresh connections: %v", freshTally)
	if keptTally.Failures() > 0 || freshTally.Failures() > 0 {
		t.Error("requests failed during reloads")
	}
	if keptTally.Announce > 0 {
		t.Errorf("%d kept connections were closed by a reload", keptTally.Announce)
	}
}

func descriptors(t *testing.T, p *gateway.Process) int {
	t.Helper()
	n, err := p.Descriptors()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func awaitGeneration(t *testing.T, addr string, n int) {
	t.Helper()
	gateway.Eventually(t, patience, fmt.Sprintf("generation %d is served", n), func() error {
		a, err := get(addr, "/generation")
		if err != nil {
			return err
		}
		if want := fmt.Sprintf("generation %d", n); a.Body != want {
			return errors.New("still " + a.Body)
		}
		return nil
	})
}

// get asks once, on a connection of its own.
func get(addr, path string) (*gateway.Answer, error) {
	c, err := gateway.Dial(addr, patience)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Do("GET "+path+" HTTP/1.1\r\nHost: exam.test\r\n\r\n", patience)
}

// A broken document is saved, then a signal insists on it: the old one serves on, and log, metrics and admin API tell.
// The next good document is taken as if nothing had been.
func TestBrokenConfigChangesNothing(t *testing.T) {
	addr, up := gateway.FreeAddr(t), startLocal(t, "up", nil)
	good := func(n int) string {
		return fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q]}}
routes:
  - {path: /*, cluster: app}
  - {path: /generation, respond: {status: 200, body: "generation %d"}}
`, addr, up, n)
	}
	p := gateway.Start(t, good(1), gateway.Options{})
	load := gateway.Load{Addr: addr, Clients: 4}.Start(0)
	refused := func() float64 {
		n, err := p.Metric("yumen_config_reloads_total", `result="refused"`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := refused()

	p.WriteConfig(strings.Replace(good(2), "cluster: app", "clutser: app", 1))
	p.Signal(syscall.SIGHUP)
	gateway.Eventually(t, patience, "the log names the unknown key", func() error {
		if !strings.Contains(p.Log(), "clutser") {
			return errors.New("not yet")
		}
		return nil
	})
	gateway.Eventually(t, patience, "the metrics count a refused document", func() error {
		if now := refused(); now <= before {
			return fmt.Errorf("%v refused, %v before", now, before)
		}
		return nil
	})
	awaitGeneration(t, addr, 1)
	if status, body, err := p.AdminGet("/readyz"); err != nil || status != http.StatusOK {
		t.Errorf("/readyz after a refused document: %d %s %v", status, body, err)
	}

	p.WriteConfig(good(3))
	awaitGeneration(t, addr, 3)
	if tally := load.Stop(); tally.Failures() > 0 {
		t.Errorf("a broken document was felt: %v", tally)
	}
}
