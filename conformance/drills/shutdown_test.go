//go:build linux

package drills

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// SIGTERM comes while clients send, one request waits for its upstream and one connection is idle. Every request that is
// sent gets its answer, the last of a connection with `Connection: close`; the waiting one is waited for; exit is 0.
func TestSIGTERMUnderLoadAnswersEverything(t *testing.T) {
	gate, waiting := make(chan struct{}), make(chan struct{})
	up := startLocal(t, "", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/waits" {
			close(waiting)
			<-gate
		}
		fmt.Fprintln(w, "ok")
	}))
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, fmt.Sprintf(`listen: %q
drain: {timeout: 15s, idle: 2s}
clusters: {app: {endpoints: [%q]}}
routes: [{path: /*, cluster: app}]
`, addr, up), gateway.Options{})

	idle, err := gateway.Dial(addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if _, err := idle.Do("GET / HTTP/1.1\r\nHost: exam.test\r\n\r\n", patience); err != nil {
		t.Fatal(err)
	}
	type result struct {
		a   *gateway.Answer
		err error
	}
	waited := make(chan result, 1)
	go func() {
		a, err := get(addr, "/waits")
		waited <- result{a, err}
	}()
	<-waiting
	load := gateway.Load{Addr: addr, Clients: 8, EndWhenRefused: true}.Start(0)
	gateway.Eventually(t, patience, "the load runs", func() error {
		if load.Done() < 500 {
			return fmt.Errorf("%d requests", load.Done())
		}
		return nil
	})

	p.Signal(syscall.SIGTERM)

	tally := load.Wait() // each client ends when it is refused a new connection
	t.Logf("load: %v, %d answers said close", tally, tally.Announce)
	if tally.Failures() > 0 {
		t.Error("requests failed while the gateway was stopping")
	}
	if tally.Announce == 0 {
		t.Error("no answer said Connection: close")
	}
	a, err := idle.Do("GET / HTTP/1.1\r\nHost: exam.test\r\n\r\n", patience)
	if err != nil || a.Status != http.StatusOK || !a.Close {
		t.Errorf("a request on the idle connection got %+v, %v; want 200 and close", a, err)
	}
	close(gate)
	if w := <-waited; w.err != nil || w.a.Status != http.StatusOK || !w.a.Close {
		t.Errorf("the waiting request got %+v, %v; want 200 and close", w.a, w.err)
	}
	p.AwaitExit(patience)
}
