//go:build linux

package drills

import (
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// The gateway may open 160 descriptors, and 500 connections come. What was connected before is served on, the processor
// is not burnt on accepts that must fail, and when the flood has gone new connections are served at once. Both ways of
// running out are tried: the gateway's own limit comes first, or (limit overstated) the kernel's.
func TestDescriptorExhaustionIsSurvived(t *testing.T) {
	for name, limits := range map[string]string{
		"its own limit first": "{}",
		"the kernel's first":  "{connections: 100000}",
	} {
		t.Run(name, func(t *testing.T) { drillDescriptors(t, limits) })
	}
}

func drillDescriptors(t *testing.T, limits string) {
	const filesMax, flood = 160, 500
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
limits: %s
clusters: {app: {endpoints: [%q]}}
routes: [{path: /*, cluster: app}]
`, addr, limits, startLocal(t, "up", nil)), gateway.Options{FilesMax: filesMax})
	const request = "GET / HTTP/1.1\r\nHost: exam.test\r\n\r\n"
	old, err := gateway.Dial(addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if a, err := old.Do(request, patience); err != nil || a.Status != http.StatusOK {
		t.Fatalf("before the flood: %+v, %v", a, err)
	}

	var waters []net.Conn
	ebb := func() {
		for _, c := range waters {
			c.Close()
		}
		waters = nil
	}
	defer ebb()
	for range flood {
		// A refused or timed-out connection is a fair answer to a flood.
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			waters = append(waters, c)
		}
	}

	usedBefore, err := p.CPUTime()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond) // a measured second of a little work, not a wait for anything
	defer tick.Stop()
	for range 50 {
		<-tick.C
		if a, err := old.Do(request, patience); err != nil || a.Status != http.StatusOK {
			t.Fatalf("the connection from before the flood got %+v, %v", a, err)
		}
	}
	usedAfter, err := p.CPUTime()
	if err != nil {
		t.Fatal(err)
	}
	used, took := usedAfter-usedBefore, time.Since(began)
	t.Logf("%v of CPU time in %v with %d connections waiting", used, took, len(waters))
	if used > took/2 {
		t.Errorf("%v of CPU time in %v: the gateway spins", used, took)
	}

	ebb()
	gateway.Eventually(t, patience, "new connections are served after the flood", func() error {
		a, err := get(addr, "/")
		if err != nil {
			return err
		}
		if a.Status != http.StatusOK {
			return fmt.Errorf("status %d (%s)", a.Status, a.Header.Get("X-Yumen-Reason"))
		}
		return nil
	})
}
