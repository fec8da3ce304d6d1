//go:build linux

package guards

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// release is an upstream of which every so many requests fail; 0: none.
type release struct {
	addr  string
	bad   int64
	asked atomic.Int64
}

func newRelease(t *testing.T, bad int64) *release {
	t.Helper()
	r := &release{bad: bad}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n := r.asked.Add(1); r.bad > 0 && n%r.bad == 0 {
			w.WriteHeader(500)
		}
	}))
	t.Cleanup(server.Close)
	r.addr = server.Listener.Addr().String()
	return r
}

// canaryDocument splits by a cookie: clients without one are divided by chance. Latency is tolerated widely: on a
// machine that does other things, a few new connections are enough to make it longer.
func canaryDocument(addr string, stable, canary *release, settings, more string) string {
	return fmt.Sprintf(`listen: %q
limits: {loops: 2}
clusters: {app: {endpoints: [%q], eject: off}, next: {endpoints: [%q], eject: off}}
filters:
  shop:
    split:
      variants: [{name: stable, cluster: app}, {name: canary, cluster: next, weight: 0%%}]
      cookie: group
      canary: {variant: canary, tolerance: {latency: 100%%}, %s}
      %s
routes:
  - {path: /*, cluster: app, filters: [shop], retry: off}
  - {path: /generation, respond: {status: 200, body: %q}}
`, addr, stable.addr, canary.addr, settings, more, settings+more)
}

// canaryStatus is what the admin API says.
type canaryStatus struct {
	State, Why  string
	Step        int
	Weight      string
	Transitions []struct{ Cause string }
}

func (c *canaryStatus) causes() string {
	var list []string
	for _, tr := range c.Transitions {
		list = append(list, tr.Cause)
	}
	return strings.Join(list, " ")
}

// canaryOf asks how the canary is; false: no request has come yet.
func canaryOf(t *testing.T, p *gateway.Process) (canaryStatus, bool) {
	t.Helper()
	_, text, err := p.AdminGet("/api/splits/shop")
	if err != nil {
		t.Fatal(err)
	}
	var s struct{ Canary *canaryStatus }
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if s.Canary == nil {
		return canaryStatus{}, false
	}
	return *s.Canary, true
}

// canaryBecomes waits until the canary is in a state, on a step or a later one.
func canaryBecomes(t *testing.T, p *gateway.Process, state string, step int) (c canaryStatus) {
	t.Helper()
	gateway.Eventually(t, patience, fmt.Sprintf("the canary is %s, on step %d", state, step), func() error {
		c, _ = canaryOf(t, p)
		if c.State != state || c.Step < step {
			return fmt.Errorf("%s, step %d: %s: %s", c.State, c.Step, c.causes(), c.Why)
		}
		return nil
	})
	return c
}

// anything is what a client takes that does not mind errors.
func anything(_, _ int, _ *gateway.Answer) error { return nil }

// Nobody is there, and a version that fails one request in ten is gone again after some seconds.
func TestCanaryThatFailsIsRolledBack(t *testing.T) {
	t.Parallel()
	stable, canary := newRelease(t, 0), newRelease(t, 10)
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, canaryDocument(addr, stable, canary, "steps: [5%, 25%, 100%], step_time: 1h", ""), gateway.Options{})
	load := gateway.Load{Addr: addr, Clients: 4, Check: anything}.Start(0)
	c := canaryBecomes(t, p, "rolled_back", 1)
	if c.causes() != "began more_errors" || c.Weight != "0%" || !strings.Contains(c.Why, "requests failed on canary, 0% of ") {
		t.Errorf("%+v", c)
	}
	was, done := canary.asked.Load(), load.Done()
	await(t, "more requests are answered", func() bool { return load.Done() >= done+500 })
	if n := canary.asked.Load(); n > was+4 { // those that were under way
		t.Errorf("%d more requests came to the canary that was rolled back", n-was)
	}
	if tally := load.Stop(); tally.Failures() != 0 {
		t.Errorf("%v", tally)
	}
	if share, err := p.Metric("yumen_split_weight", `split="shop"`, `variant="canary"`); err != nil || share != 0 {
		t.Errorf("%v: %v", share, err)
	}
	if !strings.Contains(p.Log(), "a canary was rolled back") {
		t.Error("the log does not say so")
	}
}

// One that is the same goes up to all, and a document that changes on the way changes nothing of that.
func TestCanaryThatIsNoWorseGoesUp(t *testing.T) {
	t.Parallel()
	stable, canary := newRelease(t, 0), newRelease(t, 0)
	addr := gateway.FreeAddr(t)
	const quick, slow = "steps: [5%, 25%, 50%, 100%], step_requests: 50, step_time: 1s", "steps: [5%, 25%, 50%, 100%], step_requests: 50, step_time: 1h"
	p := gateway.Start(t, canaryDocument(addr, stable, canary, quick, ""), gateway.Options{})
	client := plainClient(t)
	change := func(settings, more string) {
		t.Helper()
		p.WriteConfig(canaryDocument(addr, stable, canary, settings, more))
		gateway.Eventually(t, patience, "the new document is in force", func() error {
			if body := plain(t, ask(t, client, addr, "GET /generation", "", nil)); body != settings+more {
				return errors.New("still " + body)
			}
			return nil
		})
	}
	load := gateway.Load{Addr: addr, Clients: 4}.Start(0)
	canaryBecomes(t, p, "running", 2)
	change(slow, "header: x-variant")
	c := canaryBecomes(t, p, "running", 2)
	if c.Step == 4 || strings.Count(c.causes(), "began") != 1 {
		t.Errorf("after the change: %+v", c)
	}
	at := c.Step
	change(quick, "header: x-other")
	if c, _ := canaryOf(t, p); c.Step < at {
		t.Errorf("it was on step %d, and is on %d", at, c.Step)
	}
	c = canaryBecomes(t, p, "done", 4)
	if c.causes() != "began step_passed step_passed last_passed" || c.Weight != "100%" {
		t.Errorf("%+v", c)
	}
	was, done := stable.asked.Load(), load.Done()
	await(t, "more requests are answered", func() bool { return load.Done() >= done+500 })
	if n := stable.asked.Load(); n > was+4 {
		t.Errorf("%d more requests came to the version before", n-was)
	}
	if tally := load.Stop(); tally.Failures() != 0 {
		t.Errorf("%v", tally)
	}
}

// An operator sets weights: the judge is silent, whatever the canary does, until the document's weights are back.
func TestCanaryThatAnOperatorStops(t *testing.T) {
	t.Parallel()
	stable, canary := newRelease(t, 0), newRelease(t, 2)
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, canaryDocument(addr, stable, canary, "steps: [1%], step_time: 1h", ""), gateway.Options{})
	client := plainClient(t)
	plain(t, ask(t, client, addr, "GET /", "", nil))
	canaryBecomes(t, p, "running", 1)
	order(t, p, "PUT", "/api/splits/shop", `{"weights": {"canary": "30%"}}`)
	canaryBecomes(t, p, "stopped", 1)
	gateway.Load{Addr: addr, Clients: 4, Check: anything}.Run(2000)
	if c := canaryBecomes(t, p, "stopped", 1); c.causes() != "began ordered" {
		t.Errorf("%+v", c)
	}
	if share, err := p.Metric("yumen_split_weight", `split="shop"`, `variant="canary"`); err != nil || share != 0.3 {
		t.Errorf("%v: %v", share, err)
	}
	order(t, p, "DELETE", "/api/splits/shop", "")
	if c := canaryBecomes(t, p, "running", 1); c.causes() != "began ordered began" || c.Weight != "1%" {
		t.Errorf("%+v", c)
	}
}

// In shadow mode it is told what would have been done, and not done.
func TestCanaryInShadow(t *testing.T) {
	t.Parallel()
	stable, canary := newRelease(t, 0), newRelease(t, 4)
	addr := gateway.FreeAddr(t)
	document := strings.Replace(canaryDocument(addr, stable, canary, "steps: [50%], step_time: 1h, mode: shadow", ""), "weight: 0%", "weight: 50%", 1)
	p := gateway.Start(t, document, gateway.Options{})
	load := gateway.Load{Addr: addr, Clients: 4, Check: anything}.Start(0)
	canaryBecomes(t, p, "rolled_back", 1)
	load.Stop()
	if share, err := p.Metric("yumen_split_weight", `split="shop"`, `variant="canary"`); err != nil || share != 0.5 {
		t.Errorf("%v: %v", share, err)
	}
}
