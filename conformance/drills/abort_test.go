//go:build linux

package drills

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// Hundreds of clients leave in the middle of sending a body, or of reading an answer. That is nobody's fault upstream:
// others are served without one failure, and none gets a 503 for an endpoint taken out by strangers.
func TestClientAbortsDoNotHurtTheUpstreamsHealth(t *testing.T) {
	const aborts = 400
	up := startLocal(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if r.URL.Path == "/endless" {
			for line := strings.Repeat("x", 4096); ; {
				if _, err := io.WriteString(w, line); err != nil {
					return
				}
			}
		}
		fmt.Fprintln(w, "ok")
	}))
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q]}}
routes: [{path: /*, cluster: app}]
`, addr, up), gateway.Options{})
	load := gateway.Load{Addr: addr, Clients: 4}.Start(0)

	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			for n := range aborts / 8 {
				if err := abortOnce(addr, (client+n)%2 == 0); err != nil {
					t.Errorf("aborting: %v", err)
					return
				}
			}
		})
	}
	clients.Wait()
	awaitMore(t, load, 500)
	assertNoneFailed(t, load)
	if ejected, err := p.Metric("yumen_upstream_ejections_total"); err != nil || ejected > 0 {
		t.Errorf("%v ejections (%v): clients who leave were held against the endpoint", ejected, err)
	}
	assertCountsAddUp(t, p)
}

// assertCountsAddUp holds the gateway to its own books: once nothing runs, every request that was started has ended with
// some status, those whose client left included.
func assertCountsAddUp(t *testing.T, p *gateway.Process) {
	t.Helper()
	gateway.Eventually(t, patience, "the counts of requests add up", func() error {
		var counts [3]float64
		for i, family := range []string{"yumen_requests_running", "yumen_requests_started_total", "yumen_requests_total"} {
			n, err := p.Metric(family)
			if err != nil {
				return err
			}
			counts[i] = n
		}
		if running, started, ended := counts[0], counts[1], counts[2]; running != 0 || started != ended {
			return fmt.Errorf("%v started, %v running, %v ended", started, running, ended)
		}
		return nil
	})
}

// abortOnce leaves in the middle, of its own body or of the answer.
func abortOnce(addr string, sending bool) error {
	c, err := gateway.Dial(addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	if sending {
		_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: exam.test\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("b", 10_000))
		reset(c.Conn)
		return err
	}
	if _, err := io.WriteString(c, "GET /endless HTTP/1.1\r\nHost: exam.test\r\n\r\n"); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 8192))
	reset(c.Conn)
	return err
}
