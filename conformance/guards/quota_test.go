//go:build linux

package guards

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// redis is a real redis-server on loopback. A machine without one skips the test, unless YUMEN_REQUIRE insists.
type redis struct {
	t    *testing.T
	addr string
	args []string
	cmd  *exec.Cmd
}

func startRedis(t *testing.T, args ...string) *redis {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		insisted := strings.Split(os.Getenv(gateway.RequireEnv), ",")
		if slices.Contains(insisted, "redis") || slices.Contains(insisted, "all") {
			t.Fatalf("redis-server is not installed, and %s insists on it", gateway.RequireEnv)
		}
		t.Skip("redis-server is not installed")
	}
	r := &redis{t: t, addr: gateway.FreeAddr(t), args: args}
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *redis) start() {
	r.t.Helper()
	_, port, _ := net.SplitHostPort(r.addr)
	args := []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", r.t.TempDir()}
	if slices.Contains(r.args, "--tls-cert-file") {
		args = append(args, "--port", "0", "--tls-port", port)
	}
	r.cmd = exec.Command("redis-server", append(args, r.args...)...)
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	gateway.Eventually(r.t, patience, "redis-server listens", func() error {
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// kill ends it at once, and what it knew is lost.
func (r *redis) kill() {
	r.cmd.Process.Signal(syscall.SIGCONT)
	r.cmd.Process.Kill()
	r.cmd.Wait()
}

func (r *redis) freeze() { r.cmd.Process.Signal(syscall.SIGSTOP) }
func (r *redis) thaw()   { r.cmd.Process.Signal(syscall.SIGCONT) }

// fleet is some gateways with the same document.
type fleet struct {
	t         *testing.T
	addrs     []string
	processes []*gateway.Process
	client    *http.Client
}

func startFleet(t *testing.T, n, loops int, routes string) *fleet {
	t.Helper()
	f := &fleet{t: t}
	for range n {
		addr := gateway.FreeAddr(t)
		f.addrs = append(f.addrs, addr)
		f.processes = append(f.processes, gateway.Start(t, fmt.Sprintf("listen: %q\nlimits: {loops: %d, buffer_bytes: 64MiB}\n%s", addr, loops, routes), gateway.Options{}))
	}
	f.client = plainClient(t) // last, so that its connections end first
	return f
}

// number waits until a number of every gateway's guards, all added up, is as wanted.
func (f *fleet) number(name string, ok func(v float64) bool) {
	f.t.Helper()
	gateway.Eventually(f.t, patience, "every gateway says so of "+name, func() error {
		for _, p := range f.processes {
			v, err := p.Metric("yumen_guard_number", fmt.Sprintf("number=%q", name))
			if err != nil {
				return err
			}
			if !ok(v) {
				return fmt.Errorf("%s is %v", name, v)
			}
		}
		return nil
	})
}

// each asks every gateway so often and says what came of it, by status and reason.
func (f *fleet) each(times int, target, fields string) map[string]int {
	f.t.Helper()
	said := map[string]int{}
	for range times {
		for _, addr := range f.addrs {
			resp := ask(f.t, f.client, addr, "GET "+target, fields, nil)
			what := fmt.Sprint(resp.StatusCode)
			if resp.StatusCode >= 400 {
				what += " " + resp.Header.Get("X-Yumen-Reason")
			}
			said[what]++
		}
	}
	return said
}

// Nothing comes back within the hour: so all gateways together let through what the rule says, and not one more.
func TestGatewaysShareALimit(t *testing.T) {
	r := startRedis(t)
	f := startFleet(t, 3, 2, strings.ReplaceAll(`
routes:
  - {path: /leased, respond: 200, filters: [limit: {rate: 1/h, burst: 500, shared: REDIS}]}
  - {path: /tenant, respond: 200, filters: [limit: {rate: 1/h, burst: 3, key: [header: x-tenant], headers: on, shared: REDIS}]}
  - {path: /exact, respond: 200, filters: [limit: {rate: 100/h, algorithm: sliding_window, shared: {redis: REDIS, mode: exact}}]}
  - path: /rules
    respond: 200
    filters: [limit: {rules: [{name: all, rate: 1/h, burst: 4, shared: REDIS}, {name: here, rate: 1/h, burst: 2}]}]
  - {path: /shadow, respond: 200, filters: [limit: {rate: 1/h, burst: 3, mode: shadow, shared: REDIS}]}
`, "REDIS", `"`+r.addr+`"`))

	for _, c := range []struct {
		path  string
		total int
	}{{"/leased", 500}, {"/exact", 100}} {
		var mu sync.Mutex
		var all sync.WaitGroup
		total := 0
		for _, addr := range f.addrs {
			all.Go(func() {
				tally := gateway.Load{Addr: addr, Clients: 4, Request: func(int, int) string {
					return "GET " + c.path + " HTTP/1.1\r\nHost: exam.test\r\n\r\n"
				}}.Run(400)
				mu.Lock()
				defer mu.Unlock()
				total += tally.OK
				if n := tally.Failed["status 429 (rate_limited)"]; n+tally.OK != 400 {
					t.Errorf("%s: %v", c.path, tally)
				}
			})
		}
		all.Wait()
		// What one gateway has in hand and does not need comes back to the others.
		gateway.Eventually(t, patience, "all of the quota is used", func() error {
			if total += f.each(1, c.path, "")["200"]; total < c.total {
				return fmt.Errorf("%d", total)
			}
			return nil
		})
		if total += f.each(20, c.path, "")["200"]; total != c.total {
			t.Errorf("%s: all gateways let %d through, want %d", c.path, total, c.total)
		}
	}

	if got := f.each(3, "/tenant", "X-Tenant: a"); got["200"] != 3 || got["429 rate_limited"] != 6 {
		t.Errorf("tenant a: %v", got)
	}
	passed := 0 // a token may lie in the hand of the gateway that was asked first
	gateway.Eventually(t, patience, "tenant b has a quota of its own", func() error {
		if passed += f.each(1, "/tenant", "X-Tenant: b")["200"]; passed < 3 {
			return fmt.Errorf("%d of 3", passed)
		}
		return nil
	})
	if passed != 3 {
		t.Errorf("tenant b: %d passed, want 3", passed)
	}
	if got := f.each(4, "/rules", ""); got["200"] > 4 || got["200"] < 2 {
		t.Errorf("two rules, one of them shared: %v", got)
	}
	if got := f.each(10, "/shadow", ""); got["200"] != 30 {
		t.Errorf("in shadow mode nothing is refused: %v", got)
	}
	f.number("store_nodes", func(v float64) bool { return v >= 3 })
	f.number("excess_bound", func(v float64) bool { return v == 0 })

	resp := ask(t, f.client, f.addrs[0], "GET /tenant", "X-Tenant: a", nil)
	_, text, err := f.processes[0].AdminGet("/api/decisions?request_id=" + resp.Header.Get("X-Request-Id"))
	if err != nil || resp.Header.Get("Retry-After") == "" || resp.Header.Get("RateLimit") == "" {
		t.Fatalf("%v, %v", resp.Header, err)
	}
	for _, want := range []string{`"refused"`, `"rate_limited"`, `x-tenant=a`, `"burst"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the record does not say %s:\n%s", want, text)
		}
	}
}

// Redis is stopped in three ways; each rule does what it says, at once, and goes back by itself.
func TestLimitsWithoutRedis(t *testing.T) {
	for _, c := range []struct {
		name       string
		stop, back func(r *redis)
	}{
		{"frozen", (*redis).freeze, (*redis).thaw},
		{"killed", (*redis).kill, (*redis).start},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startRedis(t)
			f := startFleet(t, 2, 2, strings.ReplaceAll(`
routes:
  - {path: /share, respond: 200, filters: [limit: {rate: 1/h, burst: 10, key: [header: x-tenant], shared: {redis: REDIS, nodes: 2}}]}
  - {path: /open, respond: 200, filters: [limit: {rate: 1/h, burst: 10, key: [header: x-tenant], shared: {redis: REDIS, when_unreachable: open}}]}
  - {path: /closed, respond: 200, filters: [limit: {rate: 1/h, burst: 10, key: [header: x-tenant], shared: {redis: REDIS, when_unreachable: closed}}]}
  - {path: /exact, respond: 200, filters: [limit: {rate: 10/h, algorithm: sliding_window, key: [header: x-tenant], shared: {redis: REDIS, mode: exact, when_unreachable: closed}}]}
`, "REDIS", `"`+r.addr+`"`))
			paths := []string{"/share", "/open", "/closed", "/exact"}
			for _, path := range paths {
				if got := f.each(1, path, "X-Tenant: before"); got["200"] != 2 {
					t.Errorf("%s with Redis: %v", path, got)
				}
			}
			c.stop(r)
			f.number("store_unreachable", func(v float64) bool { return v > 0 })
			for path, want := range map[string]string{
				"/share":  "map[200:10 429 rate_limited:30]", // half of the burst on each
				"/open":   "map[200:40]",
				"/closed": "map[503 limit_store_unreachable:40]",
				"/exact":  "map[503 limit_store_unreachable:40]",
			} {
				if got := fmt.Sprint(f.each(20, path, "X-Tenant: during")); got != want {
					t.Errorf("%s without Redis: %s, want %s", path, got, want)
				}
			}
			c.back(r)
			f.number("store_unreachable", func(v float64) bool { return v == 0 })
			for _, path := range paths {
				if got := f.each(1, path, "X-Tenant: after"); got["200"] != 2 {
					t.Errorf("%s with Redis again: %v", path, got)
				}
			}
		})
	}
}

// Redis is killed and started again under load: nothing fails, and what passes is within the bound of quota.Rule.Most.
func TestRedisRestartsUnderLoad(t *testing.T) {
	const rate, burst = 300, 60
	r := startRedis(t)
	f := startFleet(t, 2, 2, fmt.Sprintf("routes: [{path: /, respond: 200, filters: [limit: {rate: %d/s, burst: %d, shared: {redis: %q, nodes: 2}}]}]", rate, burst, r.addr))
	began := time.Now()
	var loads []*gateway.Running
	for _, addr := range f.addrs {
		loads = append(loads, gateway.Load{Addr: addr, Clients: 2, Check: func(_, _ int, a *gateway.Answer) error {
			switch a.Status {
			case http.StatusOK:
				return nil
			case http.StatusTooManyRequests:
				return errRefused
			}
			return fmt.Errorf("status %d (%s)", a.Status, a.Header.Get("X-Yumen-Reason"))
		}}.Start(0))
	}
	more := func() {
		t.Helper()
		before := []int{loads[0].Done(), loads[1].Done()}
		gateway.Eventually(t, patience, "requests go on", func() error {
			for i, l := range loads {
				if l.Done() < before[i]+500 {
					return errors.New("too few")
				}
			}
			return nil
		})
	}
	f.number("store_reports", func(v float64) bool { return v > 2 })
	more()
	for _, again := range []struct{ stop, back func(r *redis) }{{(*redis).kill, (*redis).start}, {(*redis).freeze, (*redis).thaw}} {
		again.stop(r)
		f.number("store_unreachable", func(v float64) bool { return v > 0 })
		more()
		again.back(r)
		f.number("store_unreachable", func(v float64) bool { return v == 0 })
		more()
	}
	passed := 0
	for _, l := range loads {
		tally := l.Stop()
		passed += tally.OK
		for reason, n := range tally.Failed {
			if reason != errRefused.Error() {
				t.Errorf("%d requests: %s", n, reason)
			}
		}
	}
	// Once the burst; once more for the Redis that forgot; and for each node and outage its share of one.
	if most := rate*time.Since(began).Seconds() + burst*(1+1+2); float64(passed) > most {
		t.Errorf("%d passed in %v, at most %.0f", passed, time.Since(began), most)
	}
	if passed < burst {
		t.Errorf("only %d passed", passed)
	}
}

var errRefused = errors.New("refused by the limit")
