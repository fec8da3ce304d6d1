//go:build linux

package drills

import (
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// startOver starts a gateway in front of endpoints that are checked five times a second.
func startOver(t *testing.T, endpoints string) (addr string, p *gateway.Process) {
	t.Helper()
	addr = gateway.FreeAddr(t)
	p = gateway.Start(t, fmt.Sprintf(`listen: %q
clusters:
  app:
    endpoints: %s
    balance: round_robin
    health: {path: /healthz, interval: 200ms, timeout: 150ms}
    eject: {base: 500ms, max: 2s}
routes:
  - path: /*
    cluster: app
    retry: {attempts: 3, per_try: 500ms}
`, addr, endpoints), gateway.Options{})
	return addr, p
}

// One of three upstreams is killed with its connections under load, and comes back later: no GET fails, and it gets
// requests again.
func TestKilledUpstreamIsNotFelt(t *testing.T) {
	origins, endpoints := startOrigins(t, 3)
	addr, p := startOver(t, endpoints)
	load := gateway.Load{Addr: addr, Clients: 8}.Start(0)
	awaitMore(t, load, 500)

	origins[1].end(syscall.SIGKILL)
	awaitHealthy(t, p, origins[1].addr, 0)
	awaitMore(t, load, 2000)
	origins[1].start()

	awaitHealthy(t, p, origins[1].addr, 1)
	awaitOrigin(t, addr, origins[1].addr, true)
	assertNoneFailed(t, load)
}

// One of two upstreams stops dead (SIGSTOP): the kernel still takes its connections, but nothing answers. Requests that
// met it are tried elsewhere after per_try, the health check takes it out, SIGCONT brings it back.
func TestHungUpstreamIsLeftAndRejoined(t *testing.T) {
	origins, endpoints := startOrigins(t, 2)
	addr, p := startOver(t, endpoints)
	load := gateway.Load{Addr: addr, Clients: 8}.Start(0)
	awaitMore(t, load, 500)

	origins[0].signal(syscall.SIGSTOP)
	awaitMore(t, load, 1000)
	awaitHealthy(t, p, origins[0].addr, 0)
	awaitOrigin(t, addr, origins[0].addr, false)

	origins[0].signal(syscall.SIGCONT)
	awaitOrigin(t, addr, origins[0].addr, true)
	assertNoneFailed(t, load)
}

// Three upstreams are restarted one after the other, as a deployment does it: SIGTERM, wait, start, next when it gets
// requests again. No GET fails.
func TestRollingRestartIsNotFelt(t *testing.T) {
	origins, endpoints := startOrigins(t, 3)
	addr, _ := startOver(t, endpoints)
	kept := gateway.Load{Addr: addr, Clients: 6}.Start(0)
	fresh := gateway.Load{Addr: addr, Clients: 2, Fresh: true}.Start(0)
	for _, o := range origins {
		awaitMore(t, kept, 500)
		o.end(syscall.SIGTERM)
		awaitMore(t, kept, 500)
		o.start()
		awaitOrigin(t, addr, o.addr, true)
	}
	assertNoneFailed(t, kept)
	assertNoneFailed(t, fresh)
}

// Every endpoint is gone: the answer is 503 (or 502 while that is being found out) with a machine-readable reason, and
// the gateway stays ready for the moment one comes back.
func TestAllEndpointsDownSaysWhyAndRecovers(t *testing.T) {
	origins, endpoints := startOrigins(t, 2)
	addr, _ := startOver(t, endpoints)
	if a, err := get(addr, "/"); err != nil || a.Status != http.StatusOK {
		t.Fatalf("before: %+v, %v", a, err)
	}

	for _, o := range origins {
		o.end(syscall.SIGKILL)
	}

	gateway.Eventually(t, patience, "the answer is 503 with a reason", func() error {
		a, err := get(addr, "/")
		switch {
		case err != nil:
			return err
		case a.Status < 500 || a.Header.Get("X-Yumen-Reason") == "":
			t.Fatalf("status %d, x-yumen-reason %q", a.Status, a.Header.Get("X-Yumen-Reason"))
		case a.Status != http.StatusServiceUnavailable:
			return fmt.Errorf("status %d (%s)", a.Status, a.Header.Get("X-Yumen-Reason"))
		}
		return nil
	})
	origins[0].start()
	awaitOrigin(t, addr, origins[0].addr, true)
}

// awaitHealthy waits until the metrics call an endpoint healthy (1) or not (0).
func awaitHealthy(t *testing.T, p *gateway.Process, endpoint string, want float64) {
	t.Helper()
	gateway.Eventually(t, patience, fmt.Sprintf("the health of %s is %v", endpoint, want), func() error {
		got, err := p.Metric("yumen_endpoint_healthy", fmt.Sprintf("endpoint=%q", endpoint))
		if err == nil && got != want {
			err = fmt.Errorf("it is %v", got)
		}
		return err
	})
}

// awaitOrigin waits until an upstream gets requests, or until a long row of requests all went elsewhere.
func awaitOrigin(t *testing.T, addr, origin string, wanted bool) {
	t.Helper()
	const row = 60
	gateway.Eventually(t, patience, fmt.Sprintf("requests reach %s: %v", origin, wanted), func() error {
		for range row {
			a, err := get(addr, "/")
			if err != nil {
				return err
			}
			if a.Header.Get("X-Origin") == origin {
				if wanted {
					return nil
				}
				return errors.New("it still gets requests")
			}
		}
		if wanted {
			return errors.New("it gets none")
		}
		return nil
	})
}

func assertNoneFailed(t *testing.T, load *gateway.Running) {
	t.Helper()
	tally := load.Stop()
	t.Log(tally)
	if tally.Failures() > 0 {
		t.Error("requests failed that could have been answered")
	}
}
