package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway/upstream"
)

// Endpoints come and go every moment while requests run: none fails, and no connection to one that is gone stays.
func TestEndpointsComeAndGoUnderLoad(t *testing.T) {
	t.Parallel()
	for _, pipeline := range []int{0, 8} {
		t.Run(fmt.Sprintf("pipeline %d", pipeline), func(t *testing.T) {
			t.Parallel()
			var open [4]atomic.Int64
			var all []upstream.Target
			for i := range open {
				addr := serve(t, func(c *net.TCPConn, br *bufio.Reader) {
					open[i].Add(1)
					defer open[i].Add(-1)
					for {
						req, err := http.ReadRequest(br)
						if err != nil {
							return
						}
						body, err := io.ReadAll(req.Body)
						if err != nil {
							return
						}
						fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s%s", len(req.URL.Path)+len(body), req.URL.Path, body)
					}
				})
				all = append(all, upstream.Target{Addr: netip.MustParseAddrPort(addr)})
			}
			s := usual(all[0].Addr.String())
			s.pool.Pipeline, s.pool.ConnsMax = pipeline, 4
			s.routes[0].retry.Attempts = 1 // a change must not need one
			r := start(t, s)

			stop := make(chan struct{})
			var discovery sync.WaitGroup
			discovery.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					case <-time.After(2 * time.Millisecond):
					}
					list := []upstream.Target{all[n%4], all[(n+1+n/4%2)%4]}
					if err := r.group.SetTargets(list); err != nil {
						t.Error(err)
					}
				}
			})
			var clients sync.WaitGroup
			for i := range 16 {
				clients.Go(func() {
					client := http.Client{Transport: &http.Transport{}, Timeout: patience}
					defer client.CloseIdleConnections()
					for n := range 100 {
						path, method, body := fmt.Sprintf("/%d-%d", i, n), "GET", ""
						if n%5 == 0 {
							method, body = "POST", "x"
						}
						req, _ := http.NewRequest(method, "http://"+r.addr+path, strings.NewReader(body))
						resp, err := client.Do(req)
						if err != nil {
							t.Errorf("%s %s: %v", method, path, err)
							return
						}
						got, _ := io.ReadAll(resp.Body)
						resp.Body.Close()
						if string(got) != path+body {
							t.Errorf("%s %s: %s %q", method, path, resp.Status, got)
						}
					}
				})
			}
			clients.Wait()
			close(stop)
			discovery.Wait()
			r.nothingHeld(t)
			check(t, r.group.SetTargets(all[:1]))
			for deadline := time.Now().Add(patience); ; runtime.Gosched() {
				left := open[1].Load() + open[2].Load() + open[3].Load()
				if left == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d connections to endpoints that are gone", left)
				}
			}
		})
	}
}
