//go:build linux

package guards

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
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

// purge takes out responses, and returns how many those were.
func (k *kept) purge(query string) (n int) {
	k.t.Helper()
	resp, err := http.Post("http://"+k.p.Admin()+"/api/caches/pages/purge?"+query, "", nil)
	if err != nil {
		k.t.Fatal(err)
	}
	defer resp.Body.Close()
	var said struct {
		Purged int `json:"purged"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil || resp.StatusCode != 200 {
		k.t.Errorf("purging %s: %s, %v", query, resp.Status, err)
	}
	return said.Purged
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
	o.does(func(_ int64, w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "broken", http.StatusServiceUnavailable)
	})
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
}

// RFC 5861 3: who finds a stale response has it at once, and the gateway asks anew by itself, once at a time.
func TestStaleWhileRevalidate(t *testing.T) {
	o := startOrigin(t, "")
	const stale = "max-age=10, stale-while-revalidate=600"
	old := func() { o.say("Cache-Control: " + stale + `; Age: 20; ETag: "a"`) }
	type asked struct {
		request string
		leave   chan func(w http.ResponseWriter)
	}
	arrived := make(chan asked, 10)
	hold := func() {
		o.does(func(_ int64, w http.ResponseWriter, r *http.Request) {
			a := asked{fmt.Sprint(r.Method, " ", r.URL.Path, " ", r.Header.Get("If-None-Match"), " ", r.Header.Get("Range"), r.Header.Get("X-Own")), make(chan func(w http.ResponseWriter))}
			arrived <- a
			(<-a.leave)(w)
		})
	}
	renewed := func(k *kept, want string) {
		t.Helper()
		gateway.Eventually(t, patience, "the kept response is another", func() error {
			resp := ask(t, k.client, k.addr, "GET "+want, "", nil)
			if status := resp.Header.Get("Cache-Status"); !strings.Contains(status, "ttl=5") {
				return errors.New(status)
			}
			return nil
		})
	}
	fresh := func(body string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Cache-Control", "max-age=600")
			fmt.Fprint(w, body)
		}
	}
	k := startCache(t, "on", o)
	old()
	k.asks("GET /a", "", "200 answer 1 | "+stored)
	hold()
	k.asks("GET /a", "X-Own: 1; Range: bytes=0-2", "206 ans | hit; ttl=TTL")
	a := <-arrived
	if a.request != `GET /a "a" 1` {
		t.Errorf("the gateway asks %s", a.request)
	}
	for range 3 {
		k.asks("GET /a", "", "200 answer 1 | hit; ttl=TTL")
	}
	k.asks("HEAD /a", "", "200 | hit; ttl=TTL")
	if n := len(arrived); n > 0 {
		t.Errorf("%d more ask at the same time", n)
	}
	a.leave <- fresh("newer")
	renewed(k, "/a")
	k.asks("GET /a", "", "200 newer | hit; ttl=TTL")

	// A 304 makes what is kept fresh again.
	old()
	o.asked.Store(0)
	k.asks("GET /b", "", "200 answer 1 | "+stored)
	hold()
	k.asks("HEAD /b", "", "200 | hit; ttl=TTL")
	(<-arrived).leave <- func(w http.ResponseWriter) {
		w.Header().Set("Cache-Control", "max-age=600")
		w.WriteHeader(304)
	}
	renewed(k, "/b")
	k.asks("GET /b", "", "200 answer 1 | hit; ttl=TTL")

	// A failure leaves it, and the upstream in peace for a second; what is not to be kept any more takes it out.
	for _, fails := range []func(w http.ResponseWriter){
		func(w http.ResponseWriter) { http.Error(w, "broken", http.StatusServiceUnavailable) },
		func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		func(w http.ResponseWriter) {
			w.Header().Set("Cache-Control", "max-age=600")
			w.Header().Set("Content-Length", "99")
			fmt.Fprint(w, "half")
		},
	} {
		old()
		k.purge("all=true")
		o.asked.Store(0)
		k.asks("GET /c", "", "200 answer 1 | "+stored)
		hold()
		k.asks("GET /c", "", "200 answer 1 | hit; ttl=TTL")
		(<-arrived).leave <- fails
		gateway.Eventually(t, patience, "it is asked for again", func() error {
			k.asks("GET /c", "", "200 answer 1 | hit; ttl=TTL")
			select {
			case a := <-arrived:
				a.leave <- func(w http.ResponseWriter) {
					w.Header().Set("Cache-Control", "private")
					fmt.Fprint(w, "for one")
				}
				return nil
			default:
				return errors.New("not yet")
			}
		})
		old()
		gateway.Eventually(t, patience, "it is out", func() error {
			resp := ask(t, k.client, k.addr, "GET /c", "Cache-Control: only-if-cached", nil)
			if resp.StatusCode != 504 {
				return errors.New(resp.Status)
			}
			return nil
		})
	}
}

// Filters behind the cache change what the upstream is asked, so a client's own request asks anew, and it waits.
func TestStaleWhileRevalidateBehindOtherFilters(t *testing.T) {
	o := startOrigin(t, "Cache-Control: max-age=10, stale-while-revalidate=600; Age: 20")
	addr := gateway.FreeAddr(t)
	p := gateway.Start(t, strings.Replace(cacheDocument(addr, "on", o), "[pages]", "[pages, rewrite: {prefix: /in}]", 1), gateway.Options{})
	k := &kept{t, addr, p, plainClient(t)}
	k.asks("GET /w", "", "200 answer 1 | "+stored)
	entered, leave := make(chan string), make(chan bool)
	o.does(func(n int64, w http.ResponseWriter, r *http.Request) {
		entered <- r.URL.Path
		<-leave
		w.Header().Set("Cache-Control", "max-age=600")
		fmt.Fprintf(w, "answer %d", n)
	})
	done := make(chan bool)
	go func() {
		defer close(done)
		k.asks("GET /w", "", "200 answer 2 | fwd=stale; fwd-status=200; stored")
	}()
	if path := <-entered; path != "/in/w" {
		t.Errorf("the upstream is asked for %s", path)
	}
	for range 3 {
		k.asks("GET /w", "", "200 answer 1 | hit; ttl=TTL")
	}
	close(leave)
	<-done
	k.asks("GET /w", "", "200 answer 2 | hit; ttl=TTL")
}

// A condition of a client that finds nothing kept is left out, so that what comes can be kept, and is held against it here.
func TestConditionsThatMiss(t *testing.T) {
	o := startOrigin(t, `Cache-Control: max-age=600; ETag: "a"; Last-Modified: Mon, 02 Jan 2006 15:04:05 GMT; Content-Language: en`)
	k := startCache(t, "on", o)
	k.asks("GET /a", `If-None-Match: "a"`, "304 | fwd=uri-miss; fwd-status=200; stored")
	k.asks("GET /a", "", "200 answer 1 | hit; ttl=TTL")
	k.asks("GET /b", `If-None-Match: "b"`, "200 answer 2 | "+stored)
	k.asks("GET /c", "If-Modified-Since: Mon, 02 Jan 2006 15:04:05 GMT", "304 | fwd=uri-miss; fwd-status=200; stored")
	k.asks("GET /c", "", "200 answer 3 | hit; ttl=TTL")
	k.asks("GET /d", `If-None-Match: "a"; Authorization: Basic eA==`, "304 | fwd=uri-miss; detail=status") // not likely to be kept
	resp := ask(t, k.client, k.addr, "GET /e", `If-None-Match: "a"`, nil)
	if resp.StatusCode != 304 || resp.Header.Get("ETag") != `"a"` || resp.Header.Get("Content-Type") != "" || resp.Header.Get("Content-Language") != "" {
		t.Errorf("%d with %v", resp.StatusCode, resp.Header)
	}
	// What is about one request's condition or range is for nobody else.
	o.does(func(n int64, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		switch {
		case r.Header.Get("If-Match") != "":
			w.WriteHeader(412)
		case r.Header.Get("Range") != "":
			w.WriteHeader(416)
		}
		fmt.Fprint(w, "answer")
	})
	k.asks("GET /m", `If-Match: "x"`, "412 answer | fwd=bypass; detail=condition")
	k.asks("GET /m", "Range: bytes=99-", "416 answer | fwd=uri-miss; detail=status")
	k.asks("GET /m", "", "200 answer | "+stored)
	// What turns out not to be kept is answered as asked, and the next condition goes to the upstream.
	o.say(`Cache-Control: private; ETag: "a"`)
	k.asks("GET /p", `If-None-Match: "a"`, "304 | fwd=uri-miss; fwd-status=200; detail=private")
	k.asks("GET /p", `If-None-Match: "a"`, "304 | fwd=uri-miss; detail=status")
	k.asks("GET /p", `If-None-Match: "b"`, fmt.Sprintf("200 answer %d | fwd=uri-miss; detail=private", o.asked.Load()+1))
	// A stale response that is asked about: the client's condition is held against what takes its place.
	o.say(`Cache-Control: max-age=10; Age: 20; ETag: "a"`)
	k.asks("GET /s", "", fmt.Sprintf("200 answer %d | %s", o.asked.Load()+1, stored))
	o.say(`Cache-Control: max-age=600; ETag: "b"`)
	k.asks("GET /s", `If-None-Match: "b"`, "304 | fwd=stale; fwd-status=200; stored")
	k.asks("GET /s", `If-None-Match: "b"`, "304 | hit; ttl=TTL")
}

// A stale answer in the place of a failure is told by the guard, with its numbers.
func TestStaleAnswersAreExplained(t *testing.T) {
	o := startOrigin(t, "Cache-Control: max-age=10, stale-if-error=600; Age: 20")
	k := startCache(t, "on", o)
	k.asks("GET /e", "", "200 answer 1 | "+stored)
	f := func(reason, numbers string, answer func(int64, http.ResponseWriter, *http.Request)) {
		t.Helper()
		o.does(answer)
		resp := ask(t, k.client, k.addr, "GET /e", "", nil)
		if resp.StatusCode != 200 || resp.Header.Get("X-Degraded") != "stale" {
			t.Errorf("%d, X-Degraded: %s", resp.StatusCode, resp.Header.Get("X-Degraded"))
		}
		_, text, err := k.p.AdminGet("/api/decisions?request_id=" + resp.Header.Get("X-Request-Id"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"degraded"`, `"guard": "pages"`, `"` + reason + `"`, `"age"`, `"ttl"`, `"stale_for"`, numbers, k.addr + "/e"} {
			if !strings.Contains(string(text), want) {
				t.Errorf("the record does not say %s:\n%s", want, text)
			}
		}
	}
	f("upstream_status", `"value": 503`, func(_ int64, w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "broken", http.StatusServiceUnavailable)
	})
	f("upstream_closed", `"value": 502`, func(int64, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if n, err := k.p.Metric("yumen_guard_decisions_total", `guard="pages"`, `outcome="degraded"`); n != 2 || err != nil {
		t.Errorf("%v are counted as degraded: %v", n, err)
	}
	if n, err := k.p.Metric("yumen_guard_number", `guard="pages"`, `number="stale"`); n != 2 || err != nil {
		t.Errorf("%v are counted as stale: %v", n, err)
	}
}

// Who waits for another's answer gets a stale one when that takes too long.
func TestStaleAnswersForThoseWhoWait(t *testing.T) {
	o := startOrigin(t, "Cache-Control: max-age=10, stale-if-error=600; Age: 20")
	k := startCache(t, "{collapse: {timeout: 100ms}}", o)
	k.asks("GET /e", "", "200 answer 1 | "+stored)
	entered, leave := make(chan bool), make(chan bool)
	o.does(func(n int64, w http.ResponseWriter, _ *http.Request) {
		entered <- true
		<-leave
		w.Header().Set("Cache-Control", "max-age=600")
		fmt.Fprint(w, "newer")
	})
	done := make(chan bool)
	go func() {
		defer close(done)
		k.asks("GET /e", "", "200 newer | fwd=stale; fwd-status=200; stored")
	}()
	<-entered
	k.asks("GET /e", "", "200 answer 1 | hit; fwd=stale; ttl=TTL; detail=collapse_timeout")
	close(leave)
	<-done
	k.asks("GET /e", "", "200 newer | hit; ttl=TTL")
}

// In shadow mode nobody notices the cache, and its numbers say what it would have done.
func TestCacheInShadow(t *testing.T) {
	o := startOrigin(t, `Cache-Control: max-age=600; ETag: "a"; Surrogate-Key: x`)
	k := startCache(t, "{mode: shadow}", o)
	for n := range 3 {
		k.asks("GET /a", "", fmt.Sprintf("200 answer %d | ", n+1))
	}
	k.asks("GET /a", `If-None-Match: "a"`, "304 | ")
	k.asks("GET /b", "Cache-Control: only-if-cached", "200 answer 5 | ")
	resp := ask(t, k.client, k.addr, "GET /c", "", nil)
	if resp.Header.Get("Surrogate-Key") != "x" || resp.Header.Get("Age") != "" || resp.Header.Get("X-Degraded") != "" {
		t.Errorf("the client gets %v", resp.Header)
	}
	o.say("Cache-Control: max-age=10, stale-while-revalidate=600, stale-if-error=600; Age: 20")
	k.asks("GET /s", "", "200 answer 7 | ")
	o.does(func(_ int64, w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "broken", http.StatusServiceUnavailable)
	})
	k.asks("GET /s", "", "503 broken | ")
	for number, want := range map[string]float64{"hits": 4, "misses": 5, "stale": 1, "stored": 4, "responses": 4} {
		if n, err := k.p.Metric("yumen_guard_number", `guard="pages"`, `number="`+number+`"`); n != want || err != nil {
			t.Errorf("%s is %v, want %v: %v", number, n, want, err)
		}
	}
	// What was kept is used when the mode changes, and is left alone while the filter is off.
	change := func(settings string, want string) {
		t.Helper()
		k.p.WriteConfig(cacheDocument(k.addr, settings, o))
		gateway.Eventually(t, patience, "the new document is in force", func() error {
			if got := ask(t, k.client, k.addr, "GET /a", "", nil).Header.Get("Cache-Status"); !like(got, want) {
				return errors.New(got)
			}
			return nil
		})
	}
	o.say("Cache-Control: max-age=600")
	change("on", "yumen; hit; ttl=TTL")
	k.asks("GET /a", "", "200 answer 1 | hit; ttl=TTL")
	change("{mode: off}", "")
	change("on", "yumen; hit; ttl=TTL")
	k.asks("GET /a", "", "200 answer 1 | hit; ttl=TTL")
}

func TestPurges(t *testing.T) {
	o := startOrigin(t, "Cache-Control: max-age=600; Surrogate-Key: all things; Vary: X-Own")
	k := startCache(t, "{query: {ignore: [utm_*], sort: on}}", o)
	base := "http://" + k.addr
	fill := func() {
		o.asked.Store(0)
		for i, target := range []string{"/a?x=1&y=2", "/a?x=1&y=2", "/b/c", "/b/d"} {
			k.asks("GET "+target, fmt.Sprint("X-Own: ", i), fmt.Sprintf("200 answer %d | %s", i+1, []string{stored, "fwd=vary-miss; stored"}[i%2*(1-i/2)]))
		}
	}
	f := func(want int, key, value string) {
		t.Helper()
		fill()
		if n := k.purge(url.Values{key: {value}}.Encode()); n != want {
			t.Errorf("%s=%s: %d were purged, want %d", key, value, n, want)
		}
		if rest := k.purge("all=true"); rest != 4-want {
			t.Errorf("%s=%s: %d are left, want %d", key, value, rest, 4-want)
		}
	}
	f(2, "url", base+"/a?y=2&utm_source=z&x=1")
	f(1, "url", strings.ToUpper("http")+"://"+k.addr+"/b/c#d")
	f(0, "url", base+"/b/")
	f(2, "prefix", base+"/b/")
	f(4, "prefix", base)
	f(4, "tag", "things")
	f(0, "tag", "thing")
	f(4, "all", "true")
}

// Clients of HTTP/2 get what is kept, stale answers and 304s too.
func TestCacheBeforeHTTP2(t *testing.T) {
	o := startOrigin(t, `Cache-Control: max-age=600, stale-while-revalidate=600; ETag: "a"`)
	addr := gateway.FreeAddr(t)
	listener := fmt.Sprintf("listeners: [{address: %q, protocols: [h2c]}]", addr)
	p := gateway.Start(t, strings.Replace(cacheDocument(addr, "on", o), fmt.Sprintf("listen: %q", addr), listener, 1), gateway.Options{})
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(tr.CloseIdleConnections)
	k := &kept{t, addr, p, &http.Client{Transport: tr, Timeout: patience}}
	if resp := ask(t, k.client, k.addr, "GET /", "", nil); resp.ProtoMajor != 2 {
		t.Fatalf("the gateway speaks %s", resp.Proto)
	}
	k.asks("GET /", "", "200 answer 1 | hit; ttl=TTL")
	k.asks("HEAD /", "", "200 | hit; ttl=TTL")
	k.asks("GET /", `If-None-Match: "a"`, "304 | hit; ttl=TTL")
	k.asks("GET /", "Range: bytes=0-2", "206 ans | hit; ttl=TTL")
	k.asks("GET /n", `If-None-Match: "a"`, "304 | fwd=uri-miss; fwd-status=200; stored")
	k.asks("GET /n", "", "200 answer 2 | hit; ttl=TTL")
	o.say(`Cache-Control: max-age=10, stale-while-revalidate=600; Age: 20`)
	k.asks("GET /s", "", "200 answer 3 | "+stored)
	k.asks("GET /s", "", "200 answer 3 | hit; ttl=TTL")
	large := strings.Repeat("x", 300_000)
	o.does(func(_ int64, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		fmt.Fprint(w, large)
	})
	k.asks("GET /large", "", "200 "+large+" | "+stored)
	k.asks("GET /large", "", "200 "+large+" | hit; ttl=TTL")
}

// The settings change twenty times under load, and the cache is switched off and on: no request fails, and nothing is lost that was
// kept.
func TestCacheChangesUnderLoad(t *testing.T) {
	o := startOrigin(t, "Cache-Control: max-age=600")
	k := startCache(t, "on", o)
	k.asks("GET /first", "", "200 answer 1 | "+stored)
	load := gateway.Load{Addr: k.addr, Clients: 8, Request: func(client, n int) string {
		return fmt.Sprintf("GET /%d HTTP/1.1\r\nHost: exam.test\r\n\r\n", (client*7+n)%50)
	}}.Start(0)
	variants := []string{"{max_size: 8MiB}", "{mode: shadow}", "{collapse: off}", "{mode: off}", "{max_ttl: 1h, query: {sort: on}}", "{collapse: {waiting: 1}}"}
	for n := range 20 {
		k.p.WriteConfig(cacheDocument(k.addr, variants[n%len(variants)], o) + fmt.Sprintf("  # %d\n", n) + fmt.Sprintf("defaults: {timeouts: {request: %ds}}\n", 30+n))
		gateway.Eventually(t, patience, "the change is in force", func() error {
			_, text, err := k.p.AdminGet("/api/config")
			if err == nil && !strings.Contains(string(text), fmt.Sprintf("request: %ds", 30+n)) {
				err = errors.New("not yet")
			}
			return err
		})
		from := load.Done()
		await(t, "the load goes on", func() bool { return load.Done() >= from+100 })
	}
	if tally := load.Stop(); tally.Failures() > 0 {
		t.Error(tally)
	}
	k.p.WriteConfig(cacheDocument(k.addr, "on", o))
	await(t, "the cache is on", func() bool { return ask(t, k.client, k.addr, "GET /first", "", nil).Header.Get("Cache-Status") != "" })
	k.asks("GET /first", "", "200 answer 1 | hit; ttl=TTL")
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
	o.does(func(_ int64, w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "broken", http.StatusInternalServerError)
	})
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
		await(t, "the leader has asked", func() bool { return o.asked.Load() != 0 })
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
