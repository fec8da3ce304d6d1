//go:build linux

package drills

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// 2,000 connections drip a head that never ends. Others are served without one failure and about as fast as before; the
// head timeout ends every one of the 2,000.
func TestSlowLorisDoesNotTouchOthers(t *testing.T) {
	const loris, requests = 2000, 3000
	addr := gateway.FreeAddr(t)
	gateway.Start(t, fmt.Sprintf(`listeners: [{address: %q, timeouts: {head: 4s}}]
limits: {connections: 10000}
clusters: {app: {endpoints: [%q]}}
routes: [{path: /*, cluster: app}]
`, addr, startLocal(t, "up", nil)), gateway.Options{})
	others := gateway.Load{Addr: addr, Clients: 8}
	before := others.Run(requests)

	herd := make([]net.Conn, 0, loris)
	defer func() {
		for _, c := range herd {
			c.Close()
		}
	}()
	for len(herd) < loris {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			t.Fatalf("connection %d of the herd: %v", len(herd), err)
		}
		herd = append(herd, c)
	}
	var closed atomic.Int64
	var herding sync.WaitGroup
	for _, c := range herd {
		herding.Go(func() {
			drip(c)
			closed.Add(1)
		})
	}
	during := others.Run(requests)

	t.Logf("before: %v, p99 %v", before, before.P99())
	t.Logf("during: %v, p99 %v", during, during.P99())
	if before.Failures()+during.Failures() > 0 {
		t.Error("requests of others failed")
	}
	// Loose on purpose: 2,000 drips share two cores with everything else. A gateway that gives each a thread or a
	// scan is off by far more.
	if limit := 20*before.P99() + 500*time.Millisecond; during.P99() > limit {
		t.Errorf("p99 of others went from %v to %v", before.P99(), during.P99())
	}
	gateway.Eventually(t, patience, "the herd is gone", func() error {
		if n := closed.Load(); n < loris {
			return fmt.Errorf("%d of %d closed", n, loris)
		}
		return nil
	})
	herding.Wait()
}

// drip sends a byte of a head every quarter of a second until the gateway has had enough.
func drip(c net.Conn) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	head := "GET / HTTP/1.1\r\nHost: exam.test\r\nX-Slow: "
	if _, err := io.WriteString(c, head); err != nil {
		return
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = c.SetReadDeadline(time.Now().Add(2 * patience))
		_, _ = io.Copy(io.Discard, c)
	}()
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
			_, _ = io.WriteString(c, "z") // a failed write shows as the end of the read
		}
	}
}

// 100 clients ask for an endless answer and stop reading. What the gateway holds for each is bounded, the upstream is made
// to wait, and others are served.
func TestSlowReadersAreHeldInBoundedMemory(t *testing.T) {
	const readers = 100
	const eachMax, slack = 256 << 10, 24 << 20 // slack: what a garbage collector may keep of ordinary work
	up := startLocal(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/endless" {
			fmt.Fprintln(w, "ok")
			return
		}
		for chunk := strings.Repeat("x", 64<<10); ; {
			if _, err := io.WriteString(w, chunk); err != nil {
				return
			}
		}
	}))
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
clusters: {app: {endpoints: [%q]}}
routes: [{path: /*, cluster: app}]
`, addr, up), gateway.Options{})
	others := gateway.Load{Addr: addr, Clients: 8}
	others.Run(2000) // what ordinary work takes is there before we measure
	before, err := p.RSS()
	if err != nil {
		t.Fatal(err)
	}

	for range readers {
		c, err := gateway.Dial(addr, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET /endless HTTP/1.1\r\nHost: exam.test\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 32<<10)); err != nil {
			t.Fatal(err)
		}
	}
	tally := others.Run(4000)

	after, err := p.RSS()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v; resident %d kB before, %d kB with %d slow readers: %d kB each",
		tally, before>>10, after>>10, readers, (after-before)>>10/readers)
	if tally.Failures() > 0 {
		t.Error("requests of others failed")
	}
	if after-before > readers*eachMax+slack {
		t.Errorf("%d kB each, want at most %d", (after-before)>>10/readers, eachMax>>10)
	}
}
