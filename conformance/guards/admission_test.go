//go:build linux

package guards

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// smallUpstream works on so many requests at a time, for so long each; others wait in it. A request for /held stays until
// release is closed.
func smallUpstream(t *testing.T, atOnce int, service time.Duration) (addr string, held *atomic.Int64, release chan struct{}) {
	places, release, held := make(chan struct{}, atOnce), make(chan struct{}), new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			held.Add(1)
			select {
			case <-release:
			case <-r.Context().Done():
			}
			return
		}
		places <- struct{}{}
		<-time.After(service)
		<-places
	}))
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return s.Listener.Addr().String(), held, release
}

// tenantLoad sends requests of one tenant.
func tenantLoad(addr, path, tenant string, clients int) gateway.Load {
	return gateway.Load{Addr: addr, Clients: clients, Request: func(int, int) string {
		return "GET " + path + " HTTP/1.1\r\nHost: exam.test\r\nX-Tenant: " + tenant + "\r\n\r\n"
	}}
}

func doorNumber(p *gateway.Process, guard, number string) (float64, error) {
	return p.Metric("yumen_guard_number", fmt.Sprintf("guard=%q", guard), fmt.Sprintf("number=%q", number))
}

// An upstream does eight at a time. One tenant sends forty-eight at a time, the other one. Two routes lead there, with the filter and
// without.
func TestGreedyTenant(t *testing.T) {
	up, _, _ := smallUpstream(t, 8, 10*time.Millisecond)
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
limits: {loops: 2}
clusters: {app: %q}
filters: {door: {admission: {key: [{header: x-tenant}]}}}
routes:
  - {path: /fair, cluster: app, filters: [door]}
  - {path: /unfair, cluster: app}
`, addr, up), gateway.Options{})
	// It is judged by the median: a busy machine makes any p99 of thirty what it likes.
	modest := func(path string) (p50, p99 time.Duration) {
		tally := tenantLoad(addr, path, "modest", 1).Run(30)
		if tally.Failures() > 0 {
			t.Fatalf("%s: the modest tenant: %v", path, tally)
		}
		slices.Sort(tally.Latency)
		return tally.Latency[len(tally.Latency)/2], tally.P99()
	}
	alone, alone99 := modest("/fair")

	greedy := tenantLoad(addr, "/unfair", "greedy", 48).Start(0)
	await(t, "the greedy tenant is at work", func() bool { return greedy.Done() >= 200 })
	without, without99 := modest("/unfair")
	greedy.Stop()

	greedy = tenantLoad(addr, "/fair", "greedy", 48).Start(0)
	gateway.Eventually(t, patience, "the limit is found", func() error {
		limit, err := doorNumber(p, "door", "limit")
		base, err2 := doorNumber(p, "door", "base_seconds")
		if err != nil || err2 != nil || base == 0 || limit > 16 || limit < 4 {
			return fmt.Errorf("limit %v, base %v: %w", limit, base, errors.Join(err, err2, errors.New("not yet")))
		}
		return nil
	})
	with, with99 := modest("/fair")
	tally := greedy.Stop()
	t.Logf("the modest tenant, median and p99: %v %v alone, %v %v beside a greedy one without admission, %v %v with",
		alone, alone99, without, without99, with, with99)
	if with > without/2 {
		t.Errorf("the modest tenant's median: %v without admission, and %v with", without, with)
	}
	if tally.Failures() > 0 {
		t.Errorf("48 at a time find room in the queue: %v", tally)
	}
	doorIsEmpty(t, p, "door")
}

func doorIsEmpty(t *testing.T, p *gateway.Process, guard string) {
	t.Helper()
	gateway.Eventually(t, patience, "no place is taken", func() error {
		for _, number := range []string{"inflight", "queued"} {
			if n, err := doorNumber(p, guard, number); err != nil || n != 0 {
				return fmt.Errorf("%v %s, %w", n, number, errors.Join(err, errors.New("want 0")))
			}
		}
		return nil
	})
}

// One place, which is held. What becomes of the next request depends on the filter.
func TestAdmissionSituations(t *testing.T) {
	for _, c := range []struct {
		situation, settings, request, want string
	}{
		{"nobody may wait", "{limit: 1, queue: 0}", "", "503 admission_queue_full"},
		{"it waits in vain", "{limit: 1, max_wait: 30ms}", "", "503 admission_timeout"},
		{"of another tenant, in vain", "{limit: 1, max_wait: 30ms, key: [{header: x-tenant}]}", "X-Tenant: b", "503 admission_timeout"},
		{"shadow", "{limit: 1, queue: 0, mode: shadow}", "", "200"},
		{"off", "{limit: 1, queue: 0, mode: off}", "", "200"},
		{"there is room", "{limit: 2, queue: 0}", "", "200"},
		{"the route's time is too short", "{limit: 1, max_wait: 10s}", "hurry", "503 admission_deadline"},
	} {
		t.Run(c.situation, func(t *testing.T) {
			t.Parallel()
			up, held, release := smallUpstream(t, 10, 20*time.Millisecond)
			addr := gateway.FreeAddr(t)
			p := gateway.Start(t, fmt.Sprintf(`listen: %q
limits: {loops: 1}
clusters: {app: %q}
filters: {door: {admission: %s}}
routes:
  - {path: /*, cluster: app, filters: [door]}
  - {path: /hurry, cluster: app, filters: [door], timeouts: {request: 10ms}}
`, addr, up, c.settings), gateway.Options{})
			client := plainClient(t)
			for range 3 { // the door learns how long requests take
				if resp := ask(t, client, addr, "GET /", "", nil); resp.StatusCode != 200 {
					t.Fatalf("%d %s", resp.StatusCode, resp.Header.Get("X-Yumen-Reason"))
				}
			}
			first := make(chan int, 1)
			go func() {
				resp, err := client.Get("http://" + addr + "/held")
				if err != nil {
					first <- 0
					return
				}
				resp.Body.Close()
				first <- resp.StatusCode
			}()
			await(t, "the place is taken", func() bool { return held.Load() != 0 })
			path, fields := "/", c.request
			if c.request == "hurry" {
				path, fields = "/hurry", ""
			}
			resp := ask(t, client, addr, "GET "+path, fields, nil)
			got := fmt.Sprint(resp.StatusCode)
			if reason := resp.Header.Get("X-Yumen-Reason"); reason != "" {
				got += " " + reason
				if resp.Header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				_, text, err := p.AdminGet("/api/decisions?request_id=" + resp.Header.Get("X-Request-Id"))
				if err != nil {
					t.Fatal(err)
				}
				for _, want := range []string{`"refused"`, reason, `"limit"`, `"inflight"`, `"queued"`, `"estimated_wait"`} {
					if !strings.Contains(string(text), want) {
						t.Errorf("the record does not say %s:\n%s", want, text)
					}
				}
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			close(release)
			if status := <-first; status != 200 {
				t.Errorf("the first one got %d", status)
			}
			if !strings.Contains(c.settings, "off") {
				doorIsEmpty(t, p, "door")
			}
			if strings.Contains(c.settings, "shadow") {
				if n, err := p.Metric("yumen_guard_decisions_total", `mode="shadow"`, `outcome="refused"`); err != nil || n != 1 {
					t.Errorf("%v would have been refused, want 1: %v", n, err)
				}
			}
		})
	}
}

// The settings change twenty times under load. No request fails, and in the end no place is taken.
func TestAdmissionChangesUnderLoad(t *testing.T) {
	up, _, _ := smallUpstream(t, 8, 2*time.Millisecond)
	addr := gateway.FreeAddr(t)
	document := func(n int) string {
		return fmt.Sprintf(`listen: %q
limits: {loops: 2}
clusters: {app: %q}
filters: {door: {admission: {key: [{header: x-tenant}], limit: %s, max_wait: %ds}}}
routes:
  - {path: /*, cluster: app, filters: [door]}
  - {path: /generation, respond: {status: 200, body: "generation %d"}}
`, addr, up, []string{"2", "auto", "7"}[n%3], 10+n, n)
	}
	p := gateway.Start(t, document(0), gateway.Options{})
	client := plainClient(t)
	a, b := tenantLoad(addr, "/", "a", 16).Start(0), tenantLoad(addr, "/", "b", 4).Start(0)
	for n := 1; n <= 20; n++ {
		p.WriteConfig(document(n))
		gateway.Eventually(t, patience, "the new document is in force", func() error {
			if got, want := plain(t, ask(t, client, addr, "GET /generation", "", nil)), fmt.Sprintf("generation %d", n); got != want {
				return errors.New("still " + got)
			}
			return nil
		})
	}
	for _, tally := range []gateway.Tally{a.Stop(), b.Stop()} {
		if tally.Failures() > 0 {
			t.Errorf("%v", tally)
		}
	}
	doorIsEmpty(t, p, "door")
}

// Turns of a tenth of a millisecond count as pressure here, and only those of seconds as much: so some of the low are given up, none
// of the others, and a route without the filter is served.
func TestShedGivesUpTheLowestFirst(t *testing.T) {
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
limits: {loops: 1}
routes:
  - {path: /shed, respond: 200, filters: [shed: {turn_from: 100us, turn_to: 10s, recovery: 10m, priority: {by: {header: x-priority}}}]}
  - {path: /healthz, respond: 200}
`, addr), gateway.Options{})
	load := func(path, priority string, clients int) gateway.Load {
		return gateway.Load{Addr: addr, Clients: clients, Request: func(int, int) string {
			return "GET " + path + " HTTP/1.1\r\nHost: exam.test\r\nX-Priority: " + priority + "\r\n\r\n"
		}}
	}
	low, critical, exempt := load("/shed", "low", 64).Start(0), load("/shed", "critical", 4).Start(0), load("/healthz", "low", 4).Start(0)
	gateway.Eventually(t, patience, "some are given up", func() error {
		n, err := p.Metric("yumen_guard_decisions_total", `kind="shed"`, `outcome="refused"`)
		if err != nil || n < 3 {
			return fmt.Errorf("%v so far: %w", n, errors.Join(err, errors.New("want 3")))
		}
		return nil
	})
	if tally := low.Stop(); tally.Failed["status 503 (overloaded)"] != tally.Failures() {
		t.Errorf("low: %v", tally)
	}
	for _, tally := range []gateway.Tally{critical.Stop(), exempt.Stop()} {
		if tally.Failures() > 0 {
			t.Errorf("critical, or without the filter: %v", tally)
		}
	}
}
