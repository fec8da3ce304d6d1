package admission

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	"github.com/yumen-io/yumen/policy/admission"
)

func readAnswer(conn net.Conn) (string, error) {
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	if _, err := io.ReadAll(resp.Body); err != nil {
		return "", err
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, resp.Header.Get("X-Yumen-Reason"))), nil
}

var byTenant = gateway.KeyParts{{By: gateway.ByHeader, Name: "x-tenant"}}

// fixed is a door for so many.
func fixed(n int) Spec {
	return Spec{Key: byTenant, Limit: admission.LimitConfig{Fixed: n}, WaitMax: patience}
}

func (r *running) let(n int) {
	for range n {
		r.up.let <- struct{}{}
	}
}

func TestPlacesAreTakenAndGivenBack(t *testing.T) {
	r := start(t, 1, 0, gateway.Enforce, fixed(2))
	a, b := r.send("1", "a", ""), r.send("2", "a", "")
	r.becomes(2, 0)
	c := r.send("3", "a", "")
	r.becomes(2, 1)
	r.let(1)
	r.becomes(2, 0)
	r.let(2)
	for _, c := range []*call{a, b, c} {
		c.wants(t, "200")
	}
	r.becomes(0, 0)
}

func TestQueueIsFull(t *testing.T) {
	spec := fixed(1)
	spec.Queue = 4
	r := start(t, 1, 0, gateway.Enforce, spec)
	var calls []*call
	send := func(tenant string, inFlight, queued int) {
		calls = append(calls, r.send("", tenant, ""))
		r.becomes(inFlight, queued)
	}
	send("greedy", 1, 0)
	send("greedy", 1, 1)
	send("greedy", 1, 2)
	r.send("", "greedy", "").wants(t, "503 admission_queue_full")
	send("modest", 1, 3) // there is room for others yet
	r.let(4)
	for _, c := range calls {
		c.wants(t, "200")
	}
	r.becomes(0, 0)
}

func TestWaitingTooLong(t *testing.T) {
	spec := fixed(1)
	spec.WaitMax = 20 * time.Millisecond
	r := start(t, 1, 0, gateway.Enforce, spec)
	first := r.send("1", "a", "")
	r.becomes(1, 0)
	r.send("2", "a", "").wants(t, "503 admission_timeout")
	r.becomes(1, 0)
	r.let(1)
	first.wants(t, "200")
	r.becomes(0, 0)
}

func TestClientThatIsGoneLeavesTheQueueAtOnce(t *testing.T) {
	r := start(t, 1, 0, gateway.Enforce, fixed(1))
	first := r.send("1", "a", "")
	r.becomes(1, 0)
	gone := r.send("2", "a", "")
	r.becomes(1, 1)
	gone.abandon(t)
	r.becomes(1, 0)
	r.let(1)
	first.wants(t, "200")
	r.becomes(0, 0)
	if _, asked := r.up.served.Load("2"); asked {
		t.Error("the upstream got the request of a client that was gone")
	}
}

func TestClientThatIsGoneGivesItsPlaceToTheNext(t *testing.T) {
	r := start(t, 1, 0, gateway.Enforce, fixed(1))
	gone := r.send("1", "a", "")
	r.becomes(1, 0)
	next := r.send("2", "a", "")
	r.becomes(1, 1)
	gone.abandon(t)
	r.becomes(1, 0)
	r.let(2) // the upstream may not have noticed yet
	next.wants(t, "200")
	r.becomes(0, 0)
}

func TestRouteTimeoutOfOneThatWaits(t *testing.T) {
	r := start(t, 1, 100*time.Millisecond, gateway.Enforce, fixed(1))
	first := r.send("1", "a", "")
	r.becomes(1, 0)
	second := r.send("2", "a", "")
	first.wants(t, "504 request_timeout")
	second.wants(t, "504 request_timeout")
	r.becomes(0, 0)
}

func TestDeadlineThatCannotBeMet(t *testing.T) {
	r := start(t, 1, 30*time.Millisecond, gateway.Enforce, fixed(1))
	// The gate learns from upstream timeouts that answers take 30 ms and more.
	for i := range 8 {
		r.send(fmt.Sprint(i), "a", "").wants(t, "504 request_timeout")
	}
	r.becomes(0, 0)
	running := r.send("first", "a", "")
	r.becomes(1, 0)
	r.send("late", "a", "").wants(t, "503 admission_deadline")
	if _, asked := r.up.served.Load("late"); asked {
		t.Error("the upstream got it")
	}
	running.wants(t, "504 request_timeout")
	r.becomes(0, 0)
}

// One greedy tenant has ten waiting, and a modest one comes last: he is the second to be served.
func TestTenantsTakeTurns(t *testing.T) {
	r := start(t, 1, 0, gateway.Enforce, fixed(1))
	var calls []*call
	calls = append(calls, r.send("g0", "greedy", ""))
	r.becomes(1, 0)
	for i := range 10 {
		calls = append(calls, r.send(fmt.Sprint("g", i+1), "greedy", ""))
		r.becomes(1, i+1)
	}
	calls = append(calls, r.send("m", "modest", ""))
	r.becomes(1, 11)
	for left := range 11 {
		r.let(1)
		r.becomes(1, 10-left)
	}
	r.let(1)
	for _, c := range calls {
		c.wants(t, "200")
	}
	if at, _ := r.up.served.Load("m"); at == nil || at.(int64) > 3 {
		t.Errorf("the modest one was served as number %v", at)
	}
	r.becomes(0, 0)
}

func TestPriorityGoesFirst(t *testing.T) {
	spec := fixed(1)
	spec.Priority = gateway.KeyParts{{By: gateway.ByHeader, Name: "x-priority"}}
	spec.Words = map[string]admission.Class{"urgent": admission.Critical, "batch": admission.Low}
	spec.Default = admission.Normal
	r := start(t, 1, 0, gateway.Enforce, spec)
	var calls []*call
	for i, fields := range []string{"", "X-Priority: batch\r\n", "", "X-Priority: critical\r\n", "X-Priority: urgent\r\n"} {
		calls = append(calls, r.send(fmt.Sprint(i), "a", fields))
		r.becomes(1, i)
	}
	for left := range 5 {
		r.let(1)
		r.becomes(min(1, 4-left), max(3-left, 0))
	}
	for _, c := range calls {
		c.wants(t, "200")
	}
	for id, want := range map[string]int64{"0": 1, "4": 2, "2": 3, "3": 4, "1": 5} { // critical is none of the words
		if at, _ := r.up.served.Load(id); at != want {
			t.Errorf("request %s was served as number %v, want %d", id, at, want)
		}
	}
}

// In shadow mode nobody waits and nobody is refused, and the counters say who would have.
func TestShadow(t *testing.T) {
	spec := fixed(1)
	spec.Queue = 1
	r := start(t, 1, 0, gateway.Shadow, spec)
	var calls []*call
	for i := range 3 {
		calls = append(calls, r.send(fmt.Sprint(i), "a", ""))
		r.becomes(i+1, 0)
	}
	r.let(3)
	for _, c := range calls {
		c.wants(t, "200")
	}
	r.becomes(0, 0)
	g := r.filter.Load().guard
	if p, d, n := g.Count(gateway.Passed), g.Count(gateway.Delayed), g.Count(gateway.Refused); p != 1 || d != 1 || n != 1 {
		t.Errorf("%d would have passed, %d waited, %d been refused; want 1 each", p, d, n)
	}
}

func TestPlaceIsGivenBackWithTheHead(t *testing.T) {
	spec := fixed(1)
	spec.ToHead = true
	r := start(t, 1, 0, gateway.Enforce, spec)
	for range 3 {
		r.let(1)
		r.send("1", "a", "").wants(t, "200")
	}
	r.becomes(0, 0)
}

// The document changes while requests wait: they keep their places, and new ones are judged by the new settings.
func TestChangeKeepsWhoWaits(t *testing.T) {
	r := start(t, 1, 0, gateway.Enforce, fixed(1))
	calls := []*call{r.send("1", "a", "")}
	r.becomes(1, 0)
	calls = append(calls, r.send("2", "a", ""), r.send("3", "a", ""))
	r.becomes(1, 2)
	r.swap(gateway.Enforce, fixed(3))
	r.becomes(1, 2) // the door is the same
	calls = append(calls, r.send("4", "b", ""))
	now := mono.Now()
	r.becomes(1, 3)
	r.tick(now)
	r.let(1)
	r.becomes(3, 0)
	r.let(3)
	for _, c := range calls {
		c.wants(t, "200")
	}
	r.becomes(0, 0)
}

// Clients that come, wait, give up and change their minds on two loops while settings, modes and limits change: in the end no
// place is taken.
func TestNoPlaceIsLost(t *testing.T) {
	r := start(t, 2, 200*time.Millisecond, gateway.Enforce, Spec{Key: byTenant, WaitMax: 50 * time.Millisecond, Queue: 20})
	stop := make(chan struct{})
	var running sync.WaitGroup
	for seed := range uint64(12) {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 7))
			for {
				select {
				case <-stop:
					return
				default:
				}
				c := r.send("", fmt.Sprint(rng.IntN(3)), "")
				switch rng.IntN(4) {
				case 0:
					_ = c.conn.(*net.TCPConn).SetLinger(0)
					_ = c.conn.Close()
				case 1:
					r.let(2)
				}
				<-c.answer
			}
		})
	}
	now := mono.Now()
	for i := range 60 {
		spec := Spec{Key: byTenant, WaitMax: time.Duration(1+i%50) * time.Millisecond, Queue: 1 + i%20}
		if i%3 == 0 {
			spec.Limit.Fixed = 1 + i%5
		}
		r.swap([]gateway.Mode{gateway.Enforce, gateway.Enforce, gateway.Shadow}[i%3], spec)
		for range 20 {
			now = now.Add(gateway.TickPause)
			r.tick(now)
		}
		r.let(3)
	}
	close(stop)
	r.let(1000)
	running.Wait()
	r.becomes(0, 0)
	r.let(100)
	if s := r.state(); s.Limit < 1 {
		t.Errorf("%+v", s)
	}
}

func TestSpecsThatMeanNothing(t *testing.T) {
	for _, c := range []struct {
		spec  Spec
		field string
	}{
		{Spec{Weights: map[string]float64{"gold": 4}}, "weights"},
		{Spec{Key: byTenant, Weights: map[string]float64{"gold": -1}}, "weights.gold"},
		{Spec{Limit: admission.LimitConfig{Min: 5, Max: 2}}, "min"},
	} {
		if f, problems := Compile(c.spec, gateway.NewGuard("admission", "x", gateway.Enforce, nil), nil); f != nil || len(problems) != 1 || problems[0].Field != c.field {
			t.Errorf("%+v: %+v", c.spec, problems)
		}
	}
}

func TestText(t *testing.T) {
	f, _ := Compile(Spec{Key: byTenant, Weights: map[string]float64{"gold": 4}}, gateway.NewGuard("admission", "x", gateway.Enforce, nil), nil)
	want := "as many requests at a time as latency allows, 1 to 10000, up to 1000 others wait up to 1s, fair by tenant, gold x4"
	if f.String() != want {
		t.Errorf("got  %s\nwant %s", f, want)
	}
}
