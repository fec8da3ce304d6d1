//go:build linux

package guards

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// breakerConfig has small numbers, so that a test is over soon; adaptive is off, since it learns for half a minute first.
func breakerConfig(addr, endpoint, settings string) string {
	all := settings
	for _, usual := range []string{"adaptive: off", "window: 1s", "open_for: 300ms", "ramp_step: 100ms", "probes: 3"} {
		if name, _, _ := strings.Cut(usual, " "); !strings.Contains(settings, name) {
			all += ", " + usual
		}
	}
	return fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q], eject: off}}
filters:
  b: {breaker: {%s}}
routes:
  - {name: app, path: /, cluster: app, filters: [b], retry: off, timeouts: {first_byte: 150ms}}
  - {name: other, path: /other, cluster: app, filters: [b], retry: off}
  - {path: /generation, respond: {status: 200, body: %q}}
`, addr, endpoint, all, settings)
}

// answer is what a client gets: the status, and the reason if the gateway made it.
func answer(t *testing.T, c *http.Client, addr, path string) string {
	t.Helper()
	resp := ask(t, c, addr, "GET "+path, "", nil)
	got := fmt.Sprint(resp.StatusCode)
	if reason := resp.Header.Get("X-Yumen-Reason"); reason != "" {
		got += " " + reason
	}
	if resp.Header.Get("Retry-After") != "" {
		got += " later"
	}
	plain(t, resp)
	return got
}

const (
	broken = "503 breaker_open later"
	fine   = "200"
)

// breakerState asks the admin API; by is how the test knows the filter.
func breakerState(t *testing.T, p *gateway.Process, key string) (state string, causes []string) {
	t.Helper()
	_, text, err := p.AdminGet("/api/guards")
	if err != nil {
		t.Fatal(err)
	}
	var guards []struct {
		Kind   string
		Detail []struct {
			Key, State  string
			Transitions []struct{ Cause string }
		}
	}
	if err := json.Unmarshal([]byte(text), &guards); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, g := range guards {
		for _, b := range g.Detail {
			if g.Kind == "breaker" && b.Key == key {
				state = b.State
				for _, tr := range b.Transitions {
					causes = append(causes, tr.Cause)
				}
			}
		}
	}
	return state, causes
}

// Each fault for itself: what opens a breaker, what never does, and that it closes when all is well again.
func TestBreakerSituations(t *testing.T) {
	const run = "consecutive: 5, error_ratio: off"
	for _, c := range []struct {
		name, mood, settings string
		while                string // what clients get before it opens
		opens                bool
	}{
		{"errors", "500", run, "500", true},
		{"resets", "reset", run, "502 upstream_closed", true},
		{"answers that are no HTTP", "garbage", run, "502 bad_response", true},
		{"no answer", "hang", run, "504 first_byte_timeout", true},
		{"slow answers", "slow", "slow_than: 30ms, volume: 5, error_ratio: off, consecutive: off", "200", true},
		{"a share of errors", "500", "volume: 5, consecutive: off", "500", true},
		{"answers that tell of the client's mistakes", "404", run, "404", false},
		{"slow answers that nobody asked about", "slow", run, "200", false},
		{"errors that are not listed", "500", "on: [connect, 503], " + run, "500", false},
		{"held closed", "500", "state: closed, " + run, "500", false},
		{"in shadow", "500", "mode: shadow, " + run, "500", false},
		{"off", "500", "mode: off, " + run, "500", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := newPatient(t)
			addr := gateway.FreeAddr(t)
			p := gateway.Start(t, breakerConfig(addr, u.addr, c.settings), gateway.Options{})
			client := plainClient(t)
			f := func(want string) {
				t.Helper()
				if got := answer(t, client, addr, "/"); got != want {
					t.Fatalf("%s, want %s", got, want)
				}
			}
			f(fine)
			u.mood.Store(c.mood)
			if !c.opens {
				for range 30 {
					f(c.while)
				}
				if c.name == "in shadow" {
					gateway.Eventually(t, patience, "the refusals of the shadow are counted", func() error {
						answer(t, client, addr, "/")
						if n, err := p.Metric("yumen_guard_decisions_total", `guard="b"`, `mode="shadow"`, `outcome="refused"`); err != nil || n < 1 {
							return fmt.Errorf("%v: %v", n, err)
						}
						return nil
					})
				}
				return
			}
			gateway.Eventually(t, patience, "it opens", func() error {
				got := answer(t, client, addr, "/")
				if got == broken {
					return nil
				}
				if got != c.while {
					t.Fatalf("%s, want %s", got, c.while)
				}
				return errors.New(got)
			})
			u.mood.Store("well")
			gateway.Eventually(t, patience, "it closes", func() error {
				if got := answer(t, client, addr, "/"); got != fine && got != broken {
					t.Fatal(got)
				}
				if state, causes := breakerState(t, p, "route=app"); state != "closed" {
					return fmt.Errorf("%s: %v", state, causes)
				}
				return nil
			})
			_, causes := breakerState(t, p, "route=app")
			if got := strings.Join(causes, " "); !strings.HasSuffix(got, "time_over probes_passed probes_passed probes_passed recovered") {
				t.Error(got)
			}
		})
	}
}

// A run of failures opens with the request that completes it, whatever loop each was on; what comes after does not reach the upstream.
func TestBreakerOpensWithTheLastOfARun(t *testing.T) {
	u := newPatient(t)
	u.mood.Store("500")
	addr := gateway.FreeAddr(t)
	gateway.Start(t, "limits: {loops: 4}\n"+breakerConfig(addr, u.addr, "consecutive: 10, error_ratio: off, open_for: 1h, open_max: 1h"), gateway.Options{})
	for i := range 20 {
		c := plainClient(t) // a connection of its own, on some loop
		want := "500"
		if i >= 10 {
			want = broken
		}
		if got := answer(t, c, addr, "/"); got != want {
			t.Errorf("request %d: %s, want %s", i+1, got, want)
		}
	}
	if n := u.asked.Load(); n != 10 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if got := answer(t, plainClient(t), addr, "/other"); got != "500" {
		t.Errorf("another route: %s", got)
	}
}

// Half-open lets the probes through that the document says, and no more, however many clients come at once.
func TestBreakerLetsNoMoreProbesThrough(t *testing.T) {
	u := newPatient(t)
	u.mood.Store("500")
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, "limits: {loops: 2}\n"+breakerConfig(addr, u.addr, "consecutive: 5, error_ratio: off, open_max: 300ms, open_for: 300ms"), gateway.Options{})
	tally := gateway.Load{Addr: addr, Clients: 8}.Run(8000)
	_, causes := breakerState(t, p, "route=app")
	returns := int64(0)
	for _, cause := range causes {
		if cause == "time_over" {
			returns++
		}
	}
	// Requests of the run that were under way when it opened are beside the five.
	if n := u.asked.Load(); n > 5+8+3*returns {
		t.Errorf("%d requests for %d returns: %v", n, returns, causes)
	}
	if tally.OK != 0 {
		t.Errorf("%v", tally)
	}
}

// The document changes under load: an open breaker stays open, with other conditions too; an order opens and releases.
func TestBreakerOutlivesConfigurations(t *testing.T) {
	u := newPatient(t)
	addr := gateway.FreeAddr(t)
	const long = "error_ratio: off, open_for: 1h, open_max: 1h, "
	p := gateway.Start(t, breakerConfig(addr, u.addr, long+"consecutive: 5"), gateway.Options{})
	c := plainClient(t)
	change := func(settings string) {
		t.Helper()
		p.WriteConfig(breakerConfig(addr, u.addr, settings))
		gateway.Eventually(t, patience, "the new document is in force", func() error {
			if body := plain(t, ask(t, c, addr, "GET /generation", "", nil)); body != settings {
				return errors.New("still " + body)
			}
			return nil
		})
	}
	f := func(n int, want string) {
		t.Helper()
		for range n {
			if got := answer(t, c, addr, "/"); got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		}
	}
	u.mood.Store("500")
	f(5, "500")
	u.mood.Store("well")
	before := u.asked.Load()
	done := make(chan gateway.Tally)
	go func() { done <- gateway.Load{Addr: addr, Clients: 4}.Run(4000) }()
	for i := range 5 {
		change(fmt.Sprintf("%sconsecutive: %d", long, 6+i))
		f(3, broken)
	}
	if tally := <-done; tally.OK != 0 || u.asked.Load() != before {
		t.Errorf("an open breaker let requests through: %v, the upstream was asked %d times", tally, u.asked.Load()-before)
	}
	change(long + "state: closed, consecutive: 5")
	f(3, fine)
	u.mood.Store("500")
	f(30, "500")
	change(long + "state: open, consecutive: 5")
	f(3, broken)
	change(long + "consecutive: 5")
	f(5, "500")
	f(3, broken)
}

// Clients that give up are nobody's failure.
func TestBreakerDoesNotCountClientsThatGoAway(t *testing.T) {
	u := newPatient(t)
	u.mood.Store("hang")
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, strings.Replace(breakerConfig(addr, u.addr, "consecutive: 3, volume: 3"), "first_byte: 150ms", "first_byte: 1h", 1), gateway.Options{})
	for range 20 {
		before := u.asked.Load()
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		await(t, "the upstream has the request", func() bool { return u.asked.Load() != before })
		conn.(*net.TCPConn).SetLinger(0) // a reset: an orderly end could be of the sending side alone
		conn.Close()
	}
	gateway.Eventually(t, patience, "the upstream is told", func() error {
		if n := u.left.Load(); n != 20 {
			return fmt.Errorf("%d of 20", n)
		}
		return nil
	})
	u.mood.Store("well")
	if got := answer(t, plainClient(t), addr, "/"); got != fine {
		t.Error(got)
	}
	if state, causes := breakerState(t, p, "route=app"); state != "closed" || len(causes) != 0 {
		t.Errorf("%s: %v", state, causes)
	}
}

// Who is refused learns why.
func TestBreakerSaysWhy(t *testing.T) {
	u := newPatient(t)
	u.mood.Store("500")
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, breakerConfig(addr, u.addr, "volume: 5, consecutive: off, open_for: 1h, open_max: 1h"), gateway.Options{})
	c := plainClient(t)
	gateway.Eventually(t, patience, "it opens", func() error {
		if got := answer(t, c, addr, "/"); got != broken {
			return errors.New(got)
		}
		return nil
	})
	resp := ask(t, c, addr, "GET /", "", nil)
	plain(t, resp)
	_, text, err := p.AdminGet("/api/decisions?request_id=" + resp.Header.Get("X-Request-Id"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"breaker_open"`, `"route=app"`, `"error_ratio"`, `"volume"`, `"p95"`, `"open_for"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the record does not say %s:\n%s", want, text)
		}
	}
	if n, err := p.Metric("yumen_guard_number", `guard="b"`, `number="open"`); err != nil || n != 1 {
		t.Errorf("%v are open: %v", n, err)
	}
}
