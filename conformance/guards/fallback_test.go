//go:build linux

package guards

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

func TestWhatARouteDoesWhenItsUpstreamHasNoAnswer(t *testing.T) {
	dead := gateway.FreeAddr(t) // nobody listens
	broken := unwell(t, "torn")
	backup := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.HasSuffix(r.URL.Path, "/both") {
			w.WriteHeader(http.StatusBadGateway)
		}
		fmt.Fprintf(w, "backup %s%s", r.URL.Path, body)
	})
	ill := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("ETag", `"x"`)
		status := http.StatusInternalServerError
		switch {
		case strings.HasSuffix(r.URL.Path, "/fine"):
			status = http.StatusOK
		case strings.HasSuffix(r.URL.Path, "/missing"):
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.Repeat("stack trace ", 50_000))
	})
	slow := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	file := filepath.Join(t.TempDir(), "sorry.html")
	if err := os.WriteFile(file, []byte("<p>sorry</p>"), 0o644); err != nil {
		t.Fatal(err)
	}
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
clusters:
  dead: {endpoints: [%q]}
  broken: {endpoints: [%q]}
  ill: {endpoints: [%q]}
  slow: {endpoints: [%q]}
  backup: {endpoints: [%q]}
filters:
  cluster: {fallback: {cluster: backup}}
  chain: {fallback: {cluster: broken, respond: {status: 200, headers: {content-type: application/json}, body: "[]"}}}
  fixed: {fallback: {on: [connect, 5xx], respond: {status: 203, body: "fixed"}}}
  file: {fallback: {on: [connect, 5xx], file: %q, retry_after: 30s}}
  honest: {fallback: on}
  status: {fallback: {on: [500-502], cluster: backup}}
  status-chain: {fallback: {on: 5xx, cluster: backup, respond: {status: 203, body: "fixed"}}}
  status-broken: {fallback: {on: 5xx, cluster: dead, retry_after: 7s}}
  status-shadow: {fallback: {on: 5xx, cluster: backup, respond: {status: 200}, mode: shadow}}
  watch: {breaker: {consecutive: 3}}
  shadow: {fallback: {cluster: backup, mode: shadow}}
  shadow-status: {fallback: {on: 5xx, respond: {status: 200}, mode: shadow}}
routes:
  - {path: /dead/cluster/*, filters: [cluster], cluster: dead}
  - {path: /dead/chain/*, filters: [chain], cluster: dead}
  - {path: /dead/fixed/*, filters: [fixed], cluster: dead}
  - {path: /dead/file/*, filters: [file], cluster: dead}
  - {path: /dead/honest/*, filters: [honest], cluster: dead}
  - {path: /dead/shadow/*, filters: [shadow], cluster: dead}
  - {path: /broken/cluster/*, filters: [cluster], cluster: broken}
  - {path: /broken/fixed/*, filters: [fixed], cluster: broken}
  - {path: /ill/fixed/*, filters: [compress: {min_size: 0B}, fixed], cluster: ill}
  - {path: /ill/file/*, filters: [file], cluster: ill}
  - {path: /ill/shadow/*, filters: [shadow-status], cluster: ill}
  - {path: /ill/cluster/*, filters: [cluster], cluster: ill}
  - {path: /ill/status/*, filters: [status], cluster: ill}
  - {path: /ill/again/*, filters: [status], cluster: ill, retry: {non_idempotent: on}}
  - {path: /ill/status-chain/*, filters: [status-chain], cluster: ill}
  - {path: /ill/status-broken/*, filters: [status-broken], cluster: ill}
  - {path: /ill/status-shadow/*, filters: [status-shadow], cluster: ill}
  - {path: /ill/watched/*, filters: [fallback: {on: [5xx, breaker], cluster: backup}, watch], cluster: ill}
  - {path: /slow/cluster/*, filters: [cluster], cluster: slow, timeouts: {first_byte: 50ms}, retry: {attempts: 1}}
  - {path: /slow/late/*, filters: [chain], cluster: slow, timeouts: {request: 50ms}}
  - {path: /open/cluster/*, filters: [cluster, breaker: {state: open}], cluster: ill}
  - {path: /plain/*, cluster: dead}
`, addr, dead, broken, ill, slow, backup, file), gateway.Options{})
	c := plainClient(t)

	f := func(request, body, want string) {
		t.Helper()
		resp := ask(t, c, addr, request, "", strings.NewReader(body))
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("%s: %v", request, err)
		}
		got := fmt.Sprintf("%d [%s]", resp.StatusCode, resp.Header.Get("X-Degraded"))
		for _, name := range []string{"Retry-After", "Set-Cookie"} {
			for _, v := range resp.Header.Values(name) {
				got += " " + name + ": " + v
			}
		}
		if line, _, _ := strings.Cut(string(text), "\n"); line != "" {
			got += fmt.Sprintf(" %.40s", line)
		}
		if got != want {
			t.Errorf("%s:\n%s\n%s, want", request, got, want)
		}
	}
	f("GET /dead/cluster/a", "", "200 [fallback_cluster] backup /dead/cluster/a")
	f("POST /dead/cluster/a", " body", "200 [fallback_cluster] backup /dead/cluster/a body") // nothing was sent
	f("GET /dead/chain/a", "", "200 [static] []")                                            // the other cluster fails, too
	f("GET /dead/fixed/a", "", "203 [static] fixed")
	f("HEAD /dead/fixed/a", "", "203 [static]")
	f("GET /dead/file/a", "", "503 [static] Retry-After: 30 <p>sorry</p>")
	f("GET /dead/honest/a", "", "503 [unavailable] Retry-After: 5 the upstream refused the connection")
	f("GET /dead/shadow/a", "", "502 [] the upstream refused the connection")
	f("GET /plain/a", "", "502 [] the upstream refused the connection")
	f("GET /broken/cluster/a", "", "200 [fallback_cluster] backup /broken/cluster/a")
	f("POST /broken/cluster/a", "body", "503 [unavailable] Retry-After: 5 the upstream reset the connection before") // it may have been acted on
	f("GET /broken/fixed/a", "", "502 [] the upstream reset the connection before")                                  // not on its list
	f("GET /ill/fixed/a", "", "203 [static] fixed")
	f("HEAD /ill/fixed/a", "", "203 [static]")
	f("POST /ill/fixed/a", "body", "203 [static] fixed")
	f("GET /ill/file/a", "", "503 [static] Retry-After: 30 <p>sorry</p>")
	f("GET /ill/fixed/fine", "", "200 [] Set-Cookie: a=b stack trace stack trace stack trace stac")
	f("GET /ill/fixed/missing", "", "404 [] Set-Cookie: a=b stack trace stack trace stack trace stac")
	f("GET /ill/shadow/a", "", "500 [] Set-Cookie: a=b stack trace stack trace stack trace stac")
	f("GET /ill/cluster/a", "", "500 [] Set-Cookie: a=b stack trace stack trace stack trace stac")
	const trace = "stack trace stack trace stack trace stac"
	f("GET /ill/status/a", "", "200 [fallback_cluster] backup /ill/status/a")
	f("HEAD /ill/status/a", "", "200 [fallback_cluster]")
	f("PUT /ill/status/a", " body", "200 [fallback_cluster] backup /ill/status/a body")
	f("POST /ill/status/a", " body", "500 [] Set-Cookie: a=b "+trace)                                         // it was acted on
	f("PUT /ill/status/a", strings.Repeat("x", 100_000), "500 [] Set-Cookie: a=b "+trace)                     // its body is gone
	f("POST /ill/again/a", " body", "200 [fallback_cluster] backup /ill/again/a body")                        // the document says that it may be
	f("GET /ill/status/missing", "", "404 [] Set-Cookie: a=b "+trace)                                         // not on the list
	f("GET /ill/status/both", "", "502 [fallback_cluster] backup /ill/status/both")                           // there is nothing better
	f("GET /ill/status-chain/a", "", "200 [fallback_cluster] backup /ill/status-chain/a")                     // the first step
	f("GET /ill/status-chain/both", "", "203 [static] fixed")                                                 // the second
	f("POST /ill/status-chain/a", " body", "203 [static] fixed")                                              // likewise, since the first must not be
	f("GET /ill/status-broken/a", "", "503 [unavailable] Retry-After: 7 the upstream refused the connection") // it has begun
	f("GET /ill/status-shadow/a", "", "500 [] Set-Cookie: a=b "+trace)
	f("GET /slow/cluster/a", "", "200 [fallback_cluster] backup /slow/cluster/a")
	f("GET /slow/late/a", "", "200 [static] []") // no time is left to ask anybody
	f("GET /open/cluster/a", "", "200 [fallback_cluster] backup /open/cluster/a")

	t.Run("an encoded fixed answer", func(t *testing.T) {
		resp := ask(t, c, addr, "GET /ill/fixed/a", "Accept-Encoding: gzip", nil)
		if text := plain(t, resp); text != "fixed" || resp.Header.Get("Content-Encoding") != "gzip" || resp.StatusCode != 203 {
			t.Errorf("%d %q in %q", resp.StatusCode, text, resp.Header.Get("Content-Encoding"))
		}
	})
	t.Run("a breaker behind it counts the first answer", func(t *testing.T) {
		for range 6 {
			f("GET /ill/watched/a", "", "200 [fallback_cluster] backup /ill/watched/a")
		}
		gateway.Eventually(t, patience, "the breaker has opened", func() error {
			f("GET /ill/watched/a", "", "200 [fallback_cluster] backup /ill/watched/a")
			if n, err := p.Metric("yumen_guard_decisions_total", `guard="watch"`, `outcome="refused"`); err != nil || n == 0 {
				return fmt.Errorf("%v refused, %v", n, err)
			}
			return nil
		})
	})
	t.Run("the endpoint's record says what it answered", func(t *testing.T) {
		for outcome, least := range map[string]float64{"server_error": 10, "gateway_error": 0} {
			if n, err := p.Metric("yumen_upstream_attempts_total", `cluster="ill"`, fmt.Sprintf("outcome=%q", outcome)); err != nil || n < least {
				t.Errorf("%s: %v, %v", outcome, n, err)
			}
		}
	})
	t.Run("a changed file counts", func(t *testing.T) {
		if err := os.WriteFile(file, []byte("<p>very sorry</p>"), 0o644); err != nil {
			t.Fatal(err)
		}
		gateway.Eventually(t, patience, "the new file is the answer", func() error {
			resp := ask(t, c, addr, "GET /dead/file/a", "", nil)
			if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "<p>very sorry</p>" {
				return fmt.Errorf("%q, %v", text, err)
			}
			return nil
		})
	})
	t.Run("each is counted and can be asked for", func(t *testing.T) {
		for mode, least := range map[string]float64{"enforce": 15, "shadow": 2} {
			n, err := p.Metric("yumen_guard_decisions_total", `kind="fallback"`, fmt.Sprintf("mode=%q", mode), `outcome="degraded"`)
			if err != nil || n < least {
				t.Errorf("%s: %v, %v", mode, n, err)
			}
		}
		status, text, err := p.AdminGet("/api/decisions?kind=fallback")
		if err != nil || status != 200 || !json.Valid(text) || !strings.Contains(string(text), "connect_failed") || !strings.Contains(string(text), "upstream_status") {
			t.Errorf("%d, %v: %.400s", status, err, text)
		}
	})
}

// The whole chain, with a cache: what it has kept comes before anything else, and without it the fixed answer.
func TestWhatIsKeptComesBeforeTheFixedAnswer(t *testing.T) {
	var gone atomic.Bool
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if gone.Load() {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Cache-Control", "max-age=0, stale-if-error=600")
		w.Header().Set("ETag", `"v1"`)
		_, _ = io.WriteString(w, "fresh")
	})
	addr := gateway.FreeAddr(t)
	gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q]}}
routes:
  - {path: /*, filters: [fallback: {respond: {status: 200, body: fixed}}, cache: on], cluster: app}
`, addr, up), gateway.Options{})
	c := plainClient(t)
	f := func(path, want string) {
		t.Helper()
		resp := ask(t, c, addr, "GET "+path, "", nil)
		text, err := io.ReadAll(resp.Body)
		if got := fmt.Sprintf("%d [%s] %s", resp.StatusCode, resp.Header.Get("X-Degraded"), text); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", path, got, err, want)
		}
	}
	f("/seen", "200 [] fresh")
	gone.Store(true)
	f("/seen", "200 [stale] fresh")
	f("/unseen", "200 [static] fixed")
}

// What is kept comes before another cluster for a status, too.
func TestWhatIsKeptComesBeforeAnotherCluster(t *testing.T) {
	var ill atomic.Bool
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=0, stale-if-error=600")
		if ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, "fresh")
	})
	backup := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "backup") })
	addr := gateway.FreeAddr(t)
	gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q]}, backup: {endpoints: [%q]}}
routes:
  - {path: /*, filters: [fallback: {on: [5xx], cluster: backup}, cache: on], cluster: app}
`, addr, up, backup), gateway.Options{})
	c := plainClient(t)
	f := func(path, want string) {
		t.Helper()
		resp := ask(t, c, addr, "GET "+path, "", nil)
		text, err := io.ReadAll(resp.Body)
		if got := fmt.Sprintf("%d [%s] %s", resp.StatusCode, resp.Header.Get("X-Degraded"), text); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", path, got, err, want)
		}
	}
	f("/seen", "200 [] fresh")
	ill.Store(true)
	f("/seen", "200 [stale] fresh")
	f("/unseen", "200 [fallback_cluster] backup")
}
