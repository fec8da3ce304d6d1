//go:build linux

package guards

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/yumen-io/yumen/conformance/gateway"
)

// origin is an upstream that answers as it is told, and numbers its answers.
type origin struct {
	addr   string
	asked  atomic.Int64
	answer atomic.Pointer[func(n int64, w http.ResponseWriter, r *http.Request)]
}

// startOrigin serves answers with these fields, "Name: value; Name: value", and a body "answer N", until it is told another.
func startOrigin(t *testing.T, fields string) *origin {
	o := &origin{}
	o.say(fields)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*o.answer.Load())(o.asked.Add(1), w, r)
	}))
	t.Cleanup(server.Close)
	o.addr = server.Listener.Addr().String()
	return o
}

func (o *origin) does(f func(n int64, w http.ResponseWriter, r *http.Request)) { o.answer.Store(&f) }

// say has the origin answer with fields. If they name an ETag and it is asked about, it says 304.
func (o *origin) say(fields string) {
	o.does(func(n int64, w http.ResponseWriter, r *http.Request) {
		for f := range strings.SplitSeq(fields, "; ") {
			if name, value, ok := strings.Cut(f, ": "); ok {
				w.Header().Add(name, value)
			}
		}
		if tag := w.Header().Get("ETag"); tag != "" && r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprintf(w, "answer %d", n)
	})
}

// kept is a gateway with a cache before an origin.
type kept struct {
	t      *testing.T
	addr   string
	p      *gateway.Process
	client *http.Client
}

func startCache(t *testing.T, settings string, o *origin) *kept {
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, cacheDocument(addr, settings, o), gateway.Options{})
	return &kept{t, addr, p, plainClient(t)}
}

func cacheDocument(addr, settings string, o *origin) string {
	return fmt.Sprintf(`listen: %q
limits: {loops: 2}
clusters: {app: {endpoints: [%q]}}
filters: {pages: {cache: %s}}
routes: [{path: /*, cluster: app, filters: [pages], retry: {attempts: 1}}]
`, addr, o.addr, settings)
}

// asks sends a request and holds status, body and Cache-Status against what is wanted: "200 answer 1 | hit; ttl=9".
func (k *kept) asks(request, fields, want string) {
	k.t.Helper()
	resp := ask(k.t, k.client, k.addr, request, fields, nil)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		k.t.Errorf("%s: %v", request, err)
	}
	text, _, _ := strings.Cut(string(body), "\n")
	status, _ := strings.CutPrefix(resp.Header.Get("Cache-Status"), "yumen; ")
	if got := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, text)) + " | " + status; !like(got, want) {
		k.t.Errorf("%s, %s: %s, want %s", request, fields, got, want)
	}
}

// like compares with a pattern in which TTL stands for a number: seconds pass as they like.
func like(got, want string) bool {
	if before, after, ok := strings.Cut(want, "TTL"); ok {
		rest, found := strings.CutPrefix(got, before)
		return found && strings.TrimLeft(rest, "-0123456789") == after
	}
	return got == want
}

const stored = "fwd=uri-miss; stored"

func TestKeptResponsesAreAnswers(t *testing.T) {
	o := startOrigin(t, `Cache-Control: max-age=600; ETag: "v"; X-Own: 1`)
	k := startCache(t, "on", o)
	k.asks("GET /a", "", "200 answer 1 | "+stored)
	k.asks("GET /a", "", "200 answer 1 | hit; ttl=TTL")
	k.asks("HEAD /a", "", "200 | hit; ttl=TTL")
	k.asks("GET /a?", "", "200 answer 2 | "+stored) // another URL
	k.asks("GET /a?x=1", "", "200 answer 3 | "+stored)
	k.asks("GET /a", `If-None-Match: "v"`, "304 | hit; ttl=TTL")
	k.asks("GET /a", "Range: bytes=0-2", "206 ans | hit; ttl=TTL")
	k.asks("GET /a", "Range: bytes=-1", "206 1 | hit; ttl=TTL")
	k.asks("GET /a", "Range: bytes=99-", "416 | hit; ttl=TTL")
	k.asks("GET /a", "Cache-Control: only-if-cached", "200 answer 1 | hit; ttl=TTL")
	k.asks("GET /b", "Cache-Control: only-if-cached", "504 Nothing is kept for this request, and it asks for nothing else. | detail=not_cached")
	k.asks("GET /a", "Cache-Control: no-cache", "200 answer 1 | fwd=request; fwd-status=304; ttl=TTL; stored")
	if n := o.asked.Load(); n != 4 {
		t.Errorf("the origin was asked %d times", n)
	}
	resp := ask(t, k.client, k.addr, "GET /a", "", nil)
	if resp.Header.Get("Age") == "" || resp.Header.Get("X-Own") != "1" || len(resp.Header.Values("Date")) != 1 || resp.Header.Get("X-Yumen-Reason") != "" {
		t.Errorf("a kept answer has %v", resp.Header)
	}
}

// RFC 9111 3, and what one client must not be able to do to all others.
func TestWhatIsNotKept(t *testing.T) {
	o := startOrigin(t, "")
	k := startCache(t, "on", o)
	for i, c := range []struct{ says, request, fields, want string }{
		{"X: 1", "GET", "", "fwd=uri-miss; detail=no_lifetime"},
		{"Cache-Control: max-age=9, no-store", "GET", "", "fwd=uri-miss; detail=no_store"},
		{"Cache-Control: max-age=9, private", "GET", "", "fwd=uri-miss; detail=private"},
		{"Cache-Control: max-age=9; Set-Cookie: a=b", "GET", "", "fwd=uri-miss; detail=set_cookie"},
		{"Cache-Control: max-age=9; Vary: *", "GET", "", "fwd=uri-miss; detail=vary"},
		{"Cache-Control: max-age=9", "GET", "Authorization: Basic eA==", "fwd=uri-miss; detail=authorization"},
		{"Cache-Control: max-age=9", "GET", "Cache-Control: no-store", "fwd=bypass; detail=request"},
		{"Cache-Control: max-age=9", "GET", "X-HTTP-Method-Override: DELETE", "fwd=bypass; detail=unkeyed_field"},
		{"Cache-Control: max-age=9", "GET", "X-Original-URL: /admin", "fwd=bypass; detail=unkeyed_field"},
		{"Cache-Control: max-age=9", "GET", "X-Forwarded-Prefix: /evil", "fwd=bypass; detail=unkeyed_field"},
		{"Cache-Control: max-age=9", "OPTIONS", "", "fwd=method"},
	} {
		o.say(c.says)
		o.asked.Store(0)
		for n := range 2 {
			k.asks(fmt.Sprintf("%s /%d", c.request, i), c.fields, fmt.Sprintf("200 answer %d | %s", n+1, c.want))
		}
	}
}

// Who is asked may echo what it was told: that must be nothing a client could write for others.
func TestNobodyChoosesWhatOthersGet(t *testing.T) {
	o := startOrigin(t, "")
	o.does(func(_ int64, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		fmt.Fprint(w, "host ", r.Header.Get("X-Forwarded-Host") == r.Host, " ", r.Header.Get("X-Forwarded-Proto"), r.Header.Get("Forwarded"))
	})
	k := startCache(t, "on", o)
	k.asks("GET /", "X-Forwarded-Host: evil.example; X-Forwarded-Proto: ftp; Forwarded: host=evil", "200 host true http | "+stored)
	k.asks("GET /", "", "200 host true http | hit; ttl=TTL")
}

// RFC 9111 4.1
func TestVary(t *testing.T) {
	o := startOrigin(t, "Cache-Control: max-age=600; Vary: Accept-Language")
	k := startCache(t, "{key: [{header: x-tenant}], query: {ignore: [utm_*], sort: on}}", o)
	k.asks("GET /", "Accept-Language: en, de", "200 answer 1 | "+stored)
	k.asks("GET /", "Accept-Language: fr", "200 answer 2 | fwd=vary-miss; stored")
	k.asks("GET /", "Accept-Language: DE,en", "200 answer 1 | hit; ttl=TTL")
	k.asks("GET /", "Accept-Language: fr; X-Tenant: a", "200 answer 3 | fwd=vary-miss; stored")
	k.asks("GET /", "Accept-Language: fr; X-Tenant: a", "200 answer 3 | hit; ttl=TTL")
	k.asks("GET /?utm_source=x", "Accept-Language: fr", "200 answer 2 | "+"hit; ttl=TTL")
	k.asks("GET /?b=1&a=2", "", "200 answer 4 | "+stored)
	k.asks("GET /?a=2&utm_x=1&b=1", "", "200 answer 4 | hit; ttl=TTL")
}

// RFC 5861, RFC 9111 4.2.4
func TestStaleAnswers(t *testing.T) {
	o := startOrigin(t, `Cache-Control: max-age=10, stale-if-error=600; Age: 20`)
	k := startCache(t, "on", o)
	k.asks("GET /e", "", "200 answer 1 | "+stored)
	o.does(func(_ int64, w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", 503) })
	k.asks("GET /e", "", "200 answer 1 | hit; fwd=stale; fwd-status=503; ttl=TTL")
	o.does(func(int64, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	k.asks("GET /e", "", "200 answer 1 | hit; fwd=stale; ttl=TTL; detail=upstream_closed")
	k.asks("GET /e", "Cache-Control: no-cache", "502 the upstream closed the connection before its answer was complete | fwd=stale")

	for _, c := range []string{"must-revalidate", "proxy-revalidate", "no-cache"} {
		o.say(`Cache-Control: max-age=10, stale-if-error=600, ` + c + `; Age: 20; ETag: "a"`)
		k.asks("GET /"+c, "", fmt.Sprintf("200 answer %d | %s", o.asked.Load()+1, stored))
		o.does(func(int64, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		k.asks("GET /"+c, "", "502 the upstream closed the connection before its answer was complete | fwd=stale")
	}

	// One asks anew, and meanwhile the others are answered.
	o.say("Cache-Control: max-age=10, stale-while-revalidate=600; Age: 20")
	first := o.asked.Load() + 1
	k.asks("GET /w", "", fmt.Sprintf("200 answer %d | %s", first, stored))
	entered, leave := make(chan bool), make(chan bool)
	o.does(func(n int64, w http.ResponseWriter, _ *http.Request) {
		entered <- true
		<-leave
		w.Header().Set("Cache-Control", "max-age=600")
		fmt.Fprintf(w, "answer %d", n)
	})
	done := make(chan bool)
	go func() {
		defer close(done)
		k.asks("GET /w", "", fmt.Sprintf("200 answer %d | fwd=stale; fwd-status=200; stored", first+1))
	}()
	<-entered
	for range 3 {
		k.asks("GET /w", "", fmt.Sprintf("200 answer %d | hit; ttl=TTL", first))
	}
	close(leave)
	<-done
	k.asks("GET /w", "", fmt.Sprintf("200 answer %d | hit; ttl=TTL", first+1))
}

// RFC 9111 4.4
func TestUnsafeRequestsTakeOut(t *testing.T) {
	o := startOrigin(t, "Cache-Control: max-age=600")
	k := startCache(t, "on", o)
	k.asks("GET /a", "", "200 answer 1 | "+stored)
	k.asks("GET /other", "", "200 answer 2 | "+stored)
	k.asks("POST /a", "", "200 answer 3 | fwd=method")
	k.asks("GET /a", "", "200 answer 4 | "+stored)
	o.say("Cache-Control: max-age=600; Location: /other")
	k.asks("PUT /b", "", "200 answer 5 | fwd=method")
	k.asks("GET /other", "", "200 answer 6 | "+stored)
	o.does(func(_ int64, w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", 500) })
	k.asks("DELETE /a", "", "500 broken | fwd=method")
	k.asks("GET /a", "", "200 answer 4 | hit; ttl=TTL")
}

// crowd sends one request by many clients, and returns what they got once the origin has let go.
func (k *kept) crowd(n int, path string, o *origin, leave chan bool, arrived int64) map[string]int {
	var all sync.WaitGroup
	var got sync.Map
	for range n {
		all.Add(1)
		go func() {
			defer all.Done()
			resp, err := k.client.Get("http://" + k.addr + path)
			if err != nil {
				k.t.Error(err)
				return
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			text, _, _ := strings.Cut(string(body), "\n")
			count, _ := got.LoadOrStore(fmt.Sprint(resp.StatusCode, " ", text), new(atomic.Int64))
			count.(*atomic.Int64).Add(1)
		}()
	}
	gateway.Eventually(k.t, patience, "all requests are in the gateway, and some with the origin", func() error {
		running, err := k.p.Metric("yumen_requests_running")
		if err == nil && (running < float64(n) || o.asked.Load() < arrived) {
			err = fmt.Errorf("%v run, %d arrived", running, o.asked.Load())
		}
		return err
	})
	close(leave)
	all.Wait()
	counts := map[string]int{}
	got.Range(func(k, v any) bool { counts[k.(string)] = int(v.(*atomic.Int64).Load()); return true })
	return counts
}

func TestIdenticalMissesAskOnce(t *testing.T) {
	o := startOrigin(t, "")
	k := startCache(t, "on", o)
	held := func(fields string) chan bool {
		leave := make(chan bool)
		o.asked.Store(0)
		o.does(func(n int64, w http.ResponseWriter, _ *http.Request) {
			<-leave
			name, value, _ := strings.Cut(fields, ": ")
			w.Header().Set(name, value)
			fmt.Fprintf(w, "answer %d", n)
		})
		return leave
	}
	const n = 40
	if got := k.crowd(n, "/kept", o, held("Cache-Control: max-age=600"), 1); got["200 answer 1"] != n || o.asked.Load() != 1 {
		t.Errorf("%v, and the origin was asked %d times", got, o.asked.Load())
	}
	// What is not kept is asked for by each, all at once: nobody waits for a second leader.
	if k.crowd(n, "/private", o, held("Cache-Control: private"), 1); o.asked.Load() != n {
		t.Errorf("of %d clients, %d asked", n, o.asked.Load())
	}
	// And the next time nobody waits at all.
	k.crowd(n, "/private", o, held("Cache-Control: private"), n)
}

// A leader that hangs, or whose client leaves, holds up nobody.
func TestLeadersThatAreLost(t *testing.T) {
	o := startOrigin(t, "")
	o.does(func(n int64, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Cache-Control", "max-age=600")
		fmt.Fprint(w, "answer")
	})
	lead := func(k *kept) (cut func()) {
		o.asked.Store(0)
		conn, err := net.Dial("tcp", k.addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "GET /slow HTTP/1.1\r\nHost: "+k.addr+"\r\n\r\n")
		gateway.Eventually(t, patience, "the leader has asked", func() error {
			if o.asked.Load() == 0 {
				return errors.New("not yet")
			}
			return nil
		})
		return func() { // by a reset: a client that only closes may mean that it has said everything
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}

	impatient := startCache(t, "{collapse: {timeout: 100ms}}", o)
	cut := lead(impatient)
	impatient.asks("GET /slow", "", "200 answer | "+stored) // behind one who hangs
	impatient.asks("GET /slow", "", "200 answer | hit; ttl=TTL")
	cut()

	patient := startCache(t, "{collapse: {timeout: 10m}}", o)
	cut = lead(patient)
	follower := make(chan bool)
	go func() {
		defer close(follower)
		patient.asks("GET /slow", "", "200 answer | "+stored) // behind one who left
	}()
	gateway.Eventually(t, patience, "the follower waits", func() error {
		running, err := patient.p.Metric("yumen_requests_running")
		if err == nil && running < 2 {
			err = fmt.Errorf("%v run", running)
		}
		return err
	})
	cut()
	<-follower
}

// A new document keeps what is kept.
func TestReloadKeepsResponses(t *testing.T) {
	o := startOrigin(t, "Cache-Control: max-age=600")
	k := startCache(t, "{max_size: 8MiB}", o)
	k.asks("GET /", "", "200 answer 1 | "+stored)
	k.p.WriteConfig(cacheDocument(k.addr, "{status_header: off}", o))
	gateway.Eventually(t, patience, "the new document is in force", func() error {
		resp := ask(t, k.client, k.addr, "GET /", "", nil)
		if resp.Header.Get("Cache-Status") != "" {
			return errors.New("still the old one")
		}
		return nil
	})
	k.asks("GET /", "", "200 answer 1 | ")
}
