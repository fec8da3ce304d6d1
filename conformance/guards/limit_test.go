//go:build linux

package guards

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// Every limit is by the hour, so that nothing comes back while the test runs, however slow the machine. What an answer says is
// its status, the reason if it is a refusal, and the fields a client goes by, all but when.
func TestLimits(t *testing.T) {
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
trust: {forwarded_from: 127.0.0.0/8}
filters:
  shared: {limit: {rate: 2/h}}
routes:
  - {path: /token, respond: 200, filters: [limit: {rate: 1/h, burst: 2, headers: on}]}
  - {path: /plain, respond: 200, filters: [limit: 2/h]}
  - {path: /leaky, respond: 200, filters: [limit: {rate: 1/h, burst: 2, algorithm: leaky_bucket, max_delay: 1s}]}
  - {path: /fixed, respond: 200, filters: [limit: {rate: 2/h, algorithm: fixed_window, headers: on}]}
  - {path: /sliding, respond: 200, filters: [limit: {rate: 2/h, algorithm: sliding_window}]}
  - {path: /client, respond: 200, filters: [limit: {rate: 1/h, key: client_address}]}
  - {path: /header, respond: 200, filters: [limit: {rate: 1/h, key: [header: x-tenant]}]}
  - {path: /cookie, respond: 200, filters: [limit: {rate: 1/h, key: [cookie: id]}]}
  - {path: /param/:id, respond: 200, filters: [limit: {rate: 1/h, key: [path_param: id]}]}
  - {path: /both, respond: 200, filters: [limit: {rate: 1/h, key: [header: x-tenant, cookie: id, method]}]}
  - {path: /pass, respond: 200, filters: [limit: {rate: 1/h, key: [header: x-tenant], missing: pass}]}
  - {path: /refuse, respond: 200, filters: [limit: {rate: 1/h, key: [header: x-tenant], missing: refuse}]}
  - {path: /one, respond: 200, filters: [shared]}
  - {path: /two, respond: 200, filters: [shared]}
  - {path: /status, respond: 200, filters: [limit: {rate: 1/h, status: 503}]}
  - {path: /shadow, respond: 200, filters: [limit: {rate: 1/h, headers: on, mode: shadow}]}
  - {path: /off, respond: 200, filters: [limit: {rate: 1/h, mode: off}]}
  - path: /rules
    respond: 200
    filters: [limit: {headers: on, rules: [{name: tenant, rate: 1/h, key: [header: x-tenant]}, {name: all, rate: 2/h, concurrency: 9}]}]
`, addr), gateway.Options{})
	c := plainClient(t)

	f := func(target, fields string, want ...string) {
		t.Helper()
		for i, want := range want {
			resp := ask(t, c, addr, "GET "+target, fields, nil)
			got := fmt.Sprint(resp.StatusCode)
			if resp.StatusCode >= 400 {
				got += " " + resp.Header.Get("X-Yumen-Reason")
			}
			if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && after > 0 && after <= 7200 {
				got += " later"
			}
			for _, name := range []string{"RateLimit-Policy", "RateLimit"} {
				v, _, _ := strings.Cut(resp.Header.Get(name), ";t=")
				got += strings.TrimRight(" "+v, " ")
			}
			if got != want {
				t.Errorf("%s, %s, request %d: %s, want %s", target, fields, i+1, got, want)
			}
		}
	}
	const yes, no = "200", "429 rate_limited later"

	f("/token", "", `200 "default";q=2;w=7200 "default";r=1`, `200 "default";q=2;w=7200 "default";r=0`, no+` "default";q=2;w=7200 "default";r=0`)
	f("/plain", "", yes, yes, no)
	f("/leaky", "", yes, yes, no)
	f("/fixed", "", `200 "default";q=2;w=3600 "default";r=1`, `200 "default";q=2;w=3600 "default";r=0`, no+` "default";q=2;w=3600 "default";r=0`)
	f("/sliding", "", yes, yes, no)

	f("/client", "X-Forwarded-For: 192.0.2.1", yes, no)
	f("/client", "X-Forwarded-For: 192.0.2.2", yes, no)
	f("/client", "X-Forwarded-For: 2001:db8:0:1::1", yes, no)
	f("/client", "X-Forwarded-For: 2001:db8:0:1:ffff::2", no) // of the same /64: the same client
	f("/client", "X-Forwarded-For: 2001:db8:0:2::1", yes)
	f("/client", "X-Forwarded-For: ::ffff:192.0.2.1", no)

	f("/header", "X-Tenant: a", yes, no)
	f("/header", "X-Tenant: b", yes, no)
	f("/header", "X-Tenant: A", yes)
	f("/header", "", yes, no) // all without the field share a count,
	f("/header", "X-Other: a", no)
	f("/cookie", "Cookie: x=1; Cookie: id=7", yes, no)
	f("/cookie", "Cookie: id=8", yes)
	f("/param/1", "", yes, no)
	f("/param/2", "", yes)
	f("/both", "X-Tenant: a; Cookie: id=1", yes, no)
	f("/both", "X-Tenant: a; Cookie: id=2", yes)
	f("/both", "X-Tenant: a,id=1", yes) // which is not tenant a with cookie 1
	f("/pass", "", yes, yes, yes)
	f("/pass", "X-Tenant: a", yes, no)
	f("/refuse", "", "400 limit_key_missing")
	f("/refuse", "X-Tenant: a", yes, no)

	f("/one", "", yes)
	f("/two", "", yes, no) // one filter, one count
	f("/one", "", no)
	f("/status", "", yes, "503 rate_limited later")
	f("/shadow", "", yes, yes, yes)
	f("/off", "", yes, yes, yes)

	policy := ` "tenant";q=1;w=3600, "all_concurrency";q=9;qu="concurrent-requests", "all";q=2;w=3600 "tenant";r=0`
	f("/rules", "X-Tenant: a", yes+policy, no+policy)
	f("/rules", "X-Tenant: b", yes+policy)
	f("/rules", "X-Tenant: c", no+policy) // the rule for all

	t.Run("why", func(t *testing.T) {
		resp := ask(t, c, addr, "GET /header", "X-Tenant: a", nil)
		_, text, err := p.AdminGet("/api/decisions?request_id=" + resp.Header.Get("X-Request-Id"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"refused"`, `"rate_limited"`, `x-tenant=a`, `"limit"`, `"/h"`, `"retry_after_ms"`} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the record does not say %s:\n%s", want, text)
			}
		}
	})
	t.Run("shadow is counted", func(t *testing.T) {
		n, err := p.Metric("yumen_guard_decisions_total", `guard="/shadow/limit"`, `mode="shadow"`, `outcome="refused"`)
		if err != nil || n != 2 {
			t.Errorf("%v would have been refused, want 2: %v", n, err)
		}
	})
}

// Two requests, of which the second comes too early: it is answered, after a wait.
func TestLeakyBucketDelays(t *testing.T) {
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
routes: [{path: /, respond: 200, filters: [limit: {rate: 2/s, algorithm: leaky_bucket}]}]
`, addr), gateway.Options{})
	tally := gateway.Load{Addr: addr, Clients: 2}.Run(2)
	delayed, err := p.Metric("yumen_guard_decisions_total", `outcome="delayed"`)
	if tally.OK != 2 || err != nil || delayed != 1 {
		t.Errorf("%v, %v delayed: %v", tally, delayed, err)
	}
}

// limitLoad sends requests of a tenant each, over many connections to all loops, and wants 200 or 429.
func limitLoad(addr string, clients int, fresh bool, tenant func(client, n int) string) gateway.Load {
	return gateway.Load{Addr: addr, Clients: clients, Fresh: fresh,
		Request: func(client, n int) string {
			return "GET / HTTP/1.1\r\nHost: exam.test\r\nX-Tenant: " + tenant(client, n) + "\r\n\r\n"
		}}
}

// Loops share one count: whatever the connections, the burst passes and nothing more.
func TestLimitIsExactOverLoops(t *testing.T) {
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
limits: {loops: 4}
routes: [{path: /, respond: 200, filters: [limit: {rate: 1/h, burst: 500, key: [header: x-tenant]}]}]
`, addr), gateway.Options{})
	for _, fresh := range []bool{false, true} {
		tenant := fmt.Sprint("fresh is ", fresh)
		tally := limitLoad(addr, 16, fresh, func(int, int) string { return tenant }).Run(1500)
		if refused := tally.Failures(); tally.OK != 500 || refused != 1000 {
			t.Errorf("%s: %v", tenant, tally)
		}
	}
	t.Run("ten thousand keys", func(t *testing.T) {
		tenant := func(client, n int) string { return fmt.Sprintf("%d-%d", client, n) }
		if tally := limitLoad(addr, 4, false, tenant).Run(10_000); tally.OK != 10_000 {
			t.Errorf("%v", tally)
		}
		keys, err := p.Metric("yumen_guard_number", `number="keys"`)
		if err != nil || keys < 10_002 {
			t.Errorf("%v keys: %v", keys, err)
		}
	})
}

// The document changes: what is used stays used, also with another rate, burst and number of keys, and in another mode.
func TestReloadKeepsCounts(t *testing.T) {
	addr := gateway.FreeAddr(t)
	document := func(settings string) string {
		return fmt.Sprintf(`listen: %q
filters: {api: {limit: %s}}
routes:
  - {path: /, respond: 200, filters: [api]}
  - {path: /generation, respond: {status: 200, body: %q}}
`, addr, settings, settings)
	}
	p := gateway.Start(t, document("{rate: 1/h, burst: 5}"), gateway.Options{})
	c := plainClient(t)
	f := func(settings string, want int) {
		t.Helper()
		p.WriteConfig(document(settings))
		gateway.Eventually(t, patience, "the new document is in force", func() error {
			if body := plain(t, ask(t, c, addr, "GET /generation", "", nil)); body != settings {
				return errors.New("still " + body)
			}
			return nil
		})
		got := 0
		for range 10 {
			if ask(t, c, addr, "GET /", "", nil).StatusCode == 200 {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: %d pass, want %d", settings, got, want)
		}
	}
	f("{rate: 1/h, burst: 5, status: 503}", 5)
	f("{rate: 1/h, burst: 5}", 0)
	f("{rate: 1/h, burst: 7}", 2)
	f("{rate: 1/h, burst: 7, mode: shadow}", 10)
	f("{rate: 1/h, burst: 7, headers: on}", 0)
	f("{rate: 1/h, burst: 3}", 0)
	f("{rate: 1/h, burst: 8, concurrency: 100}", 5) // a bucket of three has had three used
	f("{rate: 8/h, algorithm: fixed_window}", 8)    // begins anew: a window counts otherwise
}

// Places are given back whatever ends a request, and by whichever configuration it began under.
func TestConcurrency(t *testing.T) {
	arrived, let := make(chan struct{}), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			return
		}
		select {
		case arrived <- struct{}{}:
		case <-r.Context().Done():
		}
		select {
		case <-let:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(upstream.Close)
	addr := gateway.FreeAddr(t)
	document := func(n int) string {
		return fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q], timeouts: {first_byte: 30s}}}
filters: {api: {limit: {concurrency: %d}}}
routes:
  - {path: /*, cluster: app, filters: [api]}
  - {path: /generation, respond: {status: 200, body: "%d"}}
`, addr, upstream.Listener.Addr(), n, n)
	}
	p := gateway.Start(t, document(2), gateway.Options{})
	c := plainClient(t)
	// slow returns a client whose request has come to the upstream, and the status of its answer. The place of a request before it may be
	// taken for a moment yet when that has its answer.
	slow := func() (leave func(), status chan int) {
		t.Helper()
		for {
			conn, err := gateway.Dial(addr, patience)
			if err != nil {
				t.Fatal(err)
			}
			// A reset, since a client that only has no more to say may wait for its answer still.
			if err := conn.Conn.(*net.TCPConn).SetLinger(0); err != nil {
				t.Fatal(err)
			}
			leave, status = func() { conn.Close() }, make(chan int, 1)
			t.Cleanup(leave)
			go func() {
				if a, err := conn.Do("GET /slow HTTP/1.1\r\nHost: exam.test\r\n\r\n", time.Minute); err == nil {
					status <- a.Status
				}
			}()
			select {
			case <-arrived:
				return leave, status
			case got := <-status:
				t.Logf("answered %d: once more", got)
			}
		}
	}
	want := func(what, status string) {
		t.Helper()
		gateway.Eventually(t, patience, what, func() error {
			resp := ask(t, c, addr, "GET /quick", "", nil)
			if got := strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Yumen-Reason"))); got != status {
				return errors.New(got)
			}
			return nil
		})
	}
	const full = "429 concurrency_limited"
	leave, _ := slow()
	want("there is room for another", "200")
	_, two := slow()
	want("two are under way", full)
	leave()
	want("a client has left", "200")
	_, one := slow()
	want("two are under way again", full)
	p.WriteConfig(document(3))
	want("a third may come", "200")
	_, three := slow()
	want("three are under way", full)
	for range 3 {
		let <- struct{}{}
	}
	for _, status := range []chan int{one, two, three} {
		if got := <-status; got != 200 {
			t.Errorf("answered %d", got)
		}
	}
	p.WriteConfig(document(1))
	gateway.Eventually(t, patience, "one at once", func() error {
		if body := plain(t, ask(t, c, addr, "GET /generation", "", nil)); body != "1" {
			return errors.New("still " + body)
		}
		return nil
	})
	want("all places were given back", "200")
	slow()
	want("one is under way", full)
}
