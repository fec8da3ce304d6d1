package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/policy/retry"
)

// nothing lets a loop have a turn.
func nothing(*gateway.Worker) {}

// stubborn is an upstream that answers with its name, or does not answer until it is let go.
type stubborn struct {
	*httptest.Server
	asked, given atomic.Int64
	silent       atomic.Bool
	letGo        chan struct{}
}

func newStubborn(t *testing.T, name string) *stubborn {
	s := &stubborn{letGo: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if s.silent.Load() {
			select {
			case <-r.Context().Done():
				s.given.Add(1)
				panic(http.ErrAbortHandler)
			case <-s.letGo:
			}
		}
		if strings.HasSuffix(r.URL.Path, "/busy") {
			w.WriteHeader(503)
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", name, body)
	}))
	t.Cleanup(s.Close)
	return s
}

// hedging is a gateway with two endpoints, in turn, whose requests are sent to the second too if the first does not answer.
func hedging(t *testing.T) (*running, [2]*stubborn) {
	two := [2]*stubborn{newStubborn(t, "a"), newStubborn(t, "b")}
	s := usual(two[0].Listener.Addr().String(), two[1].Listener.Addr().String())
	s.routes[0].retry = retry.Config{Attempts: 3, Statuses: []int{503}, BackoffBase: -1}
	s.routes[0].hedge = &retry.Hedge{After: 5 * time.Millisecond}
	return start(t, s), two
}

func TestASecondTryAnswersForOneThatDoesNot(t *testing.T) {
	t.Parallel()
	r, two := hedging(t)
	two[0].silent.Store(true)
	for range 6 { // whoever is asked first
		r.wants(t, "GET", "/", "", "200  b")
	}
	if lines := r.metricLines(t, "yumen_upstream_retries_total"); !strings.Contains(lines, `"hedged"`) {
		t.Errorf("what is counted: %s", lines)
	}
	// With a body, or a method that may do its work twice, it is waited for.
	two[0].silent.Store(false)
	two[1].silent.Store(false)
	for range 4 {
		r.wants(t, "POST", "/", "body", "200  ")
	}
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
	if asked := two[0].asked.Load() + two[1].asked.Load(); asked > 6+6+4 || two[0].given.Load() == 0 {
		t.Errorf("%d requests reached upstreams for 10 of clients; %d were given up", asked, two[0].given.Load())
	}
}

// A try that fails while the other runs is forgotten; the answer is the other's, and a retry begins only when both have failed.
func TestOneOfTwoTriesFails(t *testing.T) {
	t.Parallel()
	r, two := hedging(t)
	two[0].silent.Store(true)
	done := make(chan bool)
	go func() {
		defer close(done)
		for range 4 { // b says that it is busy, a comes to itself
			r.wants(t, "GET", "/busy", "", "503  ")
		}
	}()
	for two[0].asked.Load() < 1 || two[1].asked.Load() < 1 {
		r.gateway.OnEach(nothing)
	}
	close(two[0].letGo)
	<-done
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}

func TestAClientLeavesWhileTwoTriesRun(t *testing.T) {
	t.Parallel()
	r, two := hedging(t)
	two[0].silent.Store(true)
	two[1].silent.Store(true)
	c := dial(t, r.addr)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	for two[0].asked.Load() < 1 || two[1].asked.Load() < 1 {
		r.gateway.OnEach(nothing)
	}
	check(t, c.SetLinger(0))
	c.Close()
	r.nothingHeld(t)
	for two[0].given.Load() < 1 || two[1].given.Load() < 1 {
		r.gateway.OnEach(nothing)
	}
}

func TestBothTriesAreLate(t *testing.T) {
	t.Parallel()
	two := [2]*stubborn{newStubborn(t, "a"), newStubborn(t, "b")}
	s := usual(two[0].Listener.Addr().String(), two[1].Listener.Addr().String())
	s.routes[0].hedge = &retry.Hedge{After: 5 * time.Millisecond}
	s.routes[0].request = 50 * time.Millisecond
	r := start(t, s)
	two[0].silent.Store(true)
	two[1].silent.Store(true)
	r.wants(t, "GET", "/", "", "504 request_timeout")
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}

// Second tries are retries to the budget: 3 a second, and one for five requests.
func TestSecondTriesAreWithinTheBudget(t *testing.T) {
	t.Parallel()
	r, two := hedging(t)
	two[0].silent.Store(true)
	two[1].silent.Store(true)
	const clients = 100
	done := make(chan bool)
	for range clients {
		go func() {
			r.wants(t, "GET", "/", "", "200  ")
			done <- true
		}()
	}
	for two[0].asked.Load()+two[1].asked.Load() < clients {
		r.gateway.OnEach(nothing)
	}
	close(two[0].letGo)
	close(two[1].letGo)
	for range clients {
		<-done
	}
	if asked := two[0].asked.Load() + two[1].asked.Load(); asked > clients+clients/5+31 {
		t.Errorf("%d requests for %d of clients", asked, clients)
	}
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
}

// The client's time is what is left of it when the upstream is told, and over when it is over.
func TestAClientsTimeIsPassedOnAndKept(t *testing.T) {
	t.Parallel()
	told := make(chan string, 1)
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told <- r.Header.Get("X-Request-Timeout")
		if r.URL.Path == "/slow" {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(u.Close)
	r := start(t, usual(u.Listener.Addr().String()))
	f := func(path, says, want string, lowest, highest time.Duration) {
		t.Helper()
		req, err := http.NewRequest("GET", "http://"+r.addr+path, nil)
		check(t, err)
		req.Header.Set("X-Request-Timeout", says)
		resp, err := http.DefaultClient.Do(req)
		check(t, err)
		resp.Body.Close()
		if got := resp.Status + " " + resp.Header.Get("X-Yumen-Reason"); got != want {
			t.Errorf("%s with %s: %s, want %s", path, says, got, want)
		}
		said := <-told
		if left, err := time.ParseDuration(said); (err != nil || left < lowest || left > highest) && said != says {
			t.Errorf("%s: the upstream was told %q", says, said)
		}
	}
	f("/", "20s", "200 OK ", 10*time.Second, 20*time.Second)
	f("/", "soon", "200 OK ", 0, 0)
	f("/slow", "30ms", "504 Gateway Timeout deadline_exceeded", 0, 30*time.Millisecond)
}

// It is the first try that another is begun beside: one that follows a failure has its own time.
func TestARetryIsNotTheFirstTry(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	over := make(chan bool)
	t.Cleanup(func() { close(over) })
	var list []string
	for range 3 {
		list = append(list, serve(t, func(_ *net.TCPConn, br *bufio.Reader) {
			if _, err := http.ReadRequest(br); err == nil && asked.Add(1) > 1 {
				<-over
			}
		}))
	}
	s := usual(list...)
	s.routes[0].retry = retry.Config{Attempts: 3, On: retry.OnReset, BackoffBase: -1}
	s.routes[0].hedge = &retry.Hedge{After: 30 * time.Millisecond}
	s.routes[0].request = 100 * time.Millisecond
	r := start(t, s)
	r.wants(t, "GET", "/", "", "504 request_timeout")
	http.DefaultClient.CloseIdleConnections()
	r.nothingHeld(t)
	if asked.Load() > 2 {
		t.Errorf("upstreams were asked %d times, want twice at most", asked.Load())
	}
}
