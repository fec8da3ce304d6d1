package jwt

import (
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/yumen-io/yumen/internal/mono"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issuer is a server of keys that can be told how to behave.
type issuerServer struct {
	*httptest.Server
	mu       sync.Mutex
	handler  http.HandlerFunc
	requests atomic.Int32
}

func newIssuer(t *testing.T) *issuerServer {
	s := &issuerServer{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		s.mu.Lock()
		h := s.handler
		s.mu.Unlock()
		h(w, r)
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0) // clients that do not believe it are part of the test
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *issuerServer) does(h http.HandlerFunc) {
	s.mu.Lock()
	s.handler = h
	s.mu.Unlock()
}

func (s *issuerServer) gives(keys []byte, lines ...string) {
	s.does(func(w http.ResponseWriter, _ *http.Request) {
		for _, l := range lines {
			name, value, _ := strings.Cut(l, ": ")
			w.Header().Set(name, value)
		}
		w.Write(keys)
	})
}

// ca writes the server's certificate.
func (s *issuerServer) ca(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "ca.pem")
	must(0, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	return path
}

// clock is the time of a fetcher.
type clock struct{ at atomic.Int64 }

func (c *clock) now() mono.Time          { return mono.Time(c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// fetching is a fetcher that a test calls itself, one fetch after the other.
func fetching(t *testing.T, spec Fetch) (*Fetcher, *clock) {
	c := &clock{}
	c.at.Store(int64(time.Hour))
	f := newFetcher(spec.withDefaults(), &Keys{}, nil)
	f.clock, f.wall, f.jitter = c.now, func() time.Time { return time.Unix(now, 0) }, func() float64 { return 0 }
	return f, c
}

// kids are the names of the keys in force.
func (f *Fetcher) kids() string {
	set := f.keys.current(f.clock())
	if set == nil {
		return "none"
	}
	var list []string
	for _, k := range set.keys {
		list = append(list, strings.TrimPrefix(k.kid, "kid-"))
	}
	return strings.Join(list, " ")
}

func TestAnIssuerThatMisbehavesKeepsItsLastKeys(t *testing.T) {
	s := newIssuer(t)
	f, c := fetching(t, Fetch{URL: s.URL, CA: s.ca(t), Timeout: 2 * time.Second, Stale: time.Hour}) // two megabytes take a while on a busy machine
	step := func(name, kids, err string) {
		t.Helper()
		f.once(t.Context())
		if got := f.kids(); got != kids {
			t.Errorf("%s: keys %s, want %s", name, got, kids)
		}
		if got := f.State().Error; err == "" && got != "" || !strings.Contains(got, err) {
			t.Errorf("%s: error %q, want %q", name, got, err)
		}
	}
	both := jwks(pairs()[ES256], pairs()[RS256])
	s.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	step("at start", "none", "status 500")
	s.gives(both)
	step("well", "ES256 RS256", "")
	bad := map[string]http.HandlerFunc{
		"answers with status 503": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503); w.Write(both) },
		"answers with status 204": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"deadline exceeded":       func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"it is no key set":        func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>sorry</html>")) },
		`it has no list "keys"`:   func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"error":"x"}`)) },
		"it has no keys":          func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"keys":[]}`)) },
		"more than 1048576 bytes": func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 2<<20)) },
		"unexpected EOF": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			w.Write(both[:40])
		},
		"that nothing has changed": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) },
		"EOF":                      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"would come by plain HTTP": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://idp.test/", http.StatusFound)
		},
		"it redirects too often": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) },
		"no URL of a key set": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		},
		"server response headers ex": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<17)) },
	}
	for want, do := range bad {
		s.does(do)
		if want == "that nothing has changed" {
			continue // after a good answer it is one too: below
		}
		step(want, "ES256 RS256", want)
	}
	if n := f.State().Failures; n != len(bad)-1 {
		t.Errorf("%d failures are counted, want %d", n, len(bad)-1)
	}
	s.gives(jwks(pairs()[ES384]))
	step("rotated", "ES384", "")
	s.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	c.advance(time.Hour - 1)
	step("stale, within the grace", "ES384", "status 500")
	c.advance(1)
	step("stale for too long", "none", "status 500")
	s.gives(jwks(pairs()[ES384]))
	step("back", "ES384", "")

	g, _ := fetching(t, Fetch{URL: s.URL, CA: s.ca(t)})
	s.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) })
	g.once(t.Context())
	if got := g.State().Error; !strings.Contains(got, "nothing has changed") || g.kids() != "none" {
		t.Errorf("304 to the first question: %q", got)
	}
}

func TestAnIssuerThatNobodyVouchesForIsNotBelieved(t *testing.T) {
	s := newIssuer(t)
	s.gives(jwks(pairs()[ES256]))
	for _, spec := range []Fetch{{URL: s.URL}, {URL: strings.Replace(s.URL, "127.0.0.1", "localhost", 1), CA: s.ca(t)}} {
		f, _ := fetching(t, spec)
		f.once(t.Context())
		if f.kids() != "none" || !strings.Contains(f.State().Error, "certificate") {
			t.Errorf("%+v: keys %s, error %q", spec, f.kids(), f.State().Error)
		}
	}
}

func TestAnUnchangedSetIsNotReadTwice(t *testing.T) {
	s := newIssuer(t)
	f, c := fetching(t, Fetch{URL: s.URL, CA: s.ca(t), Stale: time.Hour})
	keys := jwks(pairs()[ES256])
	var asked []string
	s.does(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("If-None-Match"))
		w.Header().Set("Etag", `"v1"`)
		if r.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(304)
			return
		}
		w.Write(keys)
	})
	f.once(t.Context())
	set := f.keys.current(c.now())
	c.advance(time.Hour - 1)
	f.once(t.Context())
	c.advance(time.Hour - 1)
	if f.keys.current(c.now()) != set {
		t.Error("304 does not prolong the keys, or makes others of them")
	}
	if got := fmt.Sprintf("%q", asked); got != `["" "\"v1\""]` {
		t.Error(got)
	}
}

func TestWhenToFetchAgain(t *testing.T) {
	s := newIssuer(t)
	f, c := fetching(t, Fetch{URL: s.URL, CA: s.ca(t), Refresh: 10 * time.Minute})
	due := func() time.Duration { return f.state.due.Sub(c.now()) }
	keys := jwks(pairs()[ES256])
	for _, x := range []struct {
		control string
		want    time.Duration
	}{
		{"", 10 * time.Minute}, {"max-age=120", 2 * time.Minute}, {"public, Max-Age=\"120\", x=y", 2 * time.Minute}, {"max-age=86400", 10 * time.Minute},
		{"max-age=1", refreshMin}, {"max-age=0", refreshMin}, {"no-store", refreshMin}, {"max-age=600, no-cache", refreshMin},
		{"max-age=-1", 10 * time.Minute}, {"max-age=99999999999999999999", 10 * time.Minute}, {"max-age", 10 * time.Minute},
	} {
		s.gives(keys, "Cache-Control: "+x.control)
		f.once(t.Context())
		if got := due(); got != x.want {
			t.Errorf("%q: again in %v, want %v", x.control, got, x.want)
		}
	}
	s.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		f.once(t.Context())
		if got := due(); got != want*time.Second {
			t.Errorf("after a failure: again in %v, want %v s", got, want)
		}
	}
	f.jitter = func() float64 { return 1 }
	s.gives(keys)
	f.once(t.Context())
	if got := due(); got != 9*time.Minute {
		t.Errorf("spread: again in %v", got)
	}
}

func TestWhoMayAsk(t *testing.T) {
	c := counter{every: 10 * time.Second}
	at := mono.Time(time.Hour)
	may := func(want permission, kid string, after time.Duration) {
		t.Helper()
		at = at.Add(after)
		if got := c.mayAsk([]byte(kid), at); got != want {
			t.Errorf("%q may ask: %v, want %v", kid, got, want)
		}
	}
	// The bound on fetches that unknown names cause: one in ten seconds, whatever the names; asksAtOnce after a pause.
	once := func() {
		c.begin()
		c.end()
	}
	may(causing, "a", 0)
	may(causing, "another", 0) // the same fetch: it has not begun yet
	once()
	may(causing, "b", 0)
	once()
	for i := range 1000 {
		may(denied, fmt.Sprint(i), 0)
	}
	may(denied, "b", 10*time.Second-1)
	may(causing, "b", 1)
	once()
	may(denied, "c", 0)
	// While a fetch is under way, waiting for it costs the issuer nothing.
	c.begin()
	may(joining, "d", 0)
	c.end()
	// A name that a fetch did not bring is not asked for again.
	c.stranger([]byte("d"), at)
	may(denied, "d", 10*time.Second)
	may(causing, "e", 0)
	once()
	may(denied, "d", strangerTime-10*time.Second-1)
	may(causing, "d", 1)
	// strangersMax
	for i := range 10 * strangersMax {
		c.stranger(fmt.Append(nil, i), at)
		if len(c.mu.strangers) > strangersMax {
			t.Fatal("too many names are remembered")
		}
	}
	// waitersMax: one more is not let wait, and nobody is forgotten.
	woken := 0
	c.begin()
	for range waitersMax {
		c.join(func() { woken++ })
	}
	may(denied, "f", 0)
	c.join(func() { woken++ })
	if woken != 1 {
		t.Error("who finds no place is not woken")
	}
	c.end()
	if woken != waitersMax+1 {
		t.Errorf("%d are woken", woken)
	}
	c.shut()
	may(denied, "g", time.Hour)
	c.join(func() { woken++ })
	if woken != waitersMax+2 {
		t.Error("who comes when all is over is not woken")
	}
	c.open()
	may(causing, "g", time.Hour)
}

// The whole, with its goroutine: those who come before the first answer wait for it; an unknown name causes a fetch; the end
// wakes who waits for an issuer that hangs.
func TestRequestsWaitForKeys(t *testing.T) {
	s := newIssuer(t)
	f, c := fetching(t, Fetch{URL: s.URL, CA: s.ca(t), Timeout: time.Minute})
	release := make(chan struct{})
	s.does(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.Write(jwks(pairs()[ES256]))
	})
	f.Start()
	wait := func() chan struct{} {
		woken := make(chan struct{})
		if f.mayAsk([]byte("x"), c.now()) == denied {
			t.Fatal("nobody may ask")
		}
		f.wait(func() { close(woken) })
		return woken
	}
	first, second := wait(), wait()
	close(release)
	<-first
	<-second
	if got := f.kids(); got != "ES256" {
		t.Errorf("keys %s", got)
	}
	s.gives(jwks(pairs()[ES256], pairs()[RS256]))
	c.advance(time.Minute)
	<-wait()
	if got := f.kids(); got != "ES256 RS256" {
		t.Errorf("keys %s", got)
	}

	// Time alone brings it about as well.
	s.gives(jwks(pairs()[RS256]))
	f.Tick(c.now().Add(4*time.Minute), time.Time{})
	if got := f.kids(); got != "ES256 RS256" {
		t.Errorf("keys %s", got)
	}
	f.Tick(c.now().Add(5*time.Minute), time.Time{})
	for f.kids() != "RS256" {
		runtime.Gosched()
	}

	s.does(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c.advance(time.Minute)
	last := wait()
	f.Close()
	<-last
	if got := f.kids(); got != "RS256" {
		t.Errorf("keys %s", got)
	}
	s.gives(jwks(pairs()[ES384]))
	f.Start() // Start may follow Close
	c.advance(time.Minute)
	<-wait()
	f.Close()
	if got := f.kids(); got != "ES384" {
		t.Errorf("keys %s", got)
	}
}

func TestKeysFromAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	f, c := fetching(t, Fetch{File: path})
	step := func(name, text, kids, err string) {
		t.Helper()
		if text != "" {
			must(0, os.WriteFile(path, []byte(text), 0o600))
		}
		f.once(t.Context())
		if got := f.kids(); got != kids || !strings.Contains(f.State().Error, err) || err == "" && f.State().Error != "" {
			t.Errorf("%s: keys %q, error %q", name, got, f.State().Error)
		}
	}
	step("missing", "", "none", "no such file")
	step("a set", string(jwks(pairs()[ES256], pairs()[HS256])), "ES256 HS256", "")
	if got := f.state.due.Sub(c.now()); got != fileRefresh {
		t.Errorf("looked at again in %v", got)
	}
	step("half written", string(jwks(pairs()[ES256]))[:30], "ES256 HS256", "it is no key set")
	step("PEM", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER(pairs()[RS256])})), "", "")
	must(0, os.Remove(path))
	step("gone", "", "", "no such file")
}

func TestURLsOfKeys(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"https://idp.test/jwks", ""}, {"https://10.0.0.1:8443/a?b=c", ""}, {"http://127.0.0.1:8080/jwks", ""}, {"http://localhost/jwks", ""}, {"http://[::1]/jwks", ""},
		{"http://idp.test/jwks", "plain HTTP"}, {"http://127.0.0.1.evil.test/", "plain HTTP"}, {"http://localhost.evil.test/", "plain HTTP"}, {"http://10.0.0.1/", "plain HTTP"},
		{"", "no URL"}, {"idp.test/jwks", "no URL"}, {"https:///jwks", "no URL"}, {"https://user:password@idp.test/", "no URL"}, {"https://idp.test/#x", "no URL"}, {"ftp://idp.test/", "cannot be had by"},
		{"https://idp.test/\n", "no URL"},
	} {
		if got, _ := CheckURL(c.url); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%q: %q", c.url, got)
		}
	}
}
