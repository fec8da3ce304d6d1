package limit_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/limit"
)

func ok(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }

func byUser(r *http.Request) string { return r.Header.Get("X-User") }

// get returns what a server answers to a user.
func get(t *testing.T, s *httptest.Server, user string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequest("GET", s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-User", user)
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(text)
}

func TestAnswersOfALimitedServer(t *testing.T) {
	h := &hand{}
	inner := must(t, limit.Config{Name: "per-user", Count: 2, Per: time.Minute, Clock: h.now})
	outer := must(t, limit.Config{Name: "all", Count: 100, Clock: h.now})
	s := httptest.NewServer(outer.Middleware(nil)(inner.Middleware(byUser)(http.HandlerFunc(ok))))
	defer s.Close()
	for _, c := range []struct {
		user   string
		status int
		limits string
		retry  string
		text   string
	}{
		{"ann", 200, `"all";r=99;t=1, "per-user";r=1;t=30`, "", "hello"},
		{"ann", 200, `"all";r=98;t=1, "per-user";r=0;t=60`, "", "hello"},
		{"ann", 429, `"all";r=97;t=1, "per-user";r=0;t=60`, "30", "Requests come too often: 2 in 1m0s are served.\nreason: rate_limited\n"},
		{"bob", 200, `"all";r=96;t=1, "per-user";r=1;t=30`, "", "hello"},
	} {
		status, head, text := get(t, s, c.user)
		if status != c.status || text != c.text || head.Get("Retry-After") != c.retry || strings.Join(head["Ratelimit"], ", ") != c.limits {
			t.Errorf("%s: %d %q %v\nwant %d %q %s", c.user, status, text, head, c.status, c.text, c.limits)
		}
		if p := strings.Join(head["Ratelimit-Policy"], ", "); p != `"all";q=100;w=1, "per-user";q=2;w=60` {
			t.Errorf("the policy is %s", p)
		}
	}
}

func TestShadowTellsClientsNothing(t *testing.T) {
	l := must(t, limit.Config{Count: 1, Per: time.Hour, Mode: limit.Shadow})
	s := httptest.NewServer(l.Middleware(nil)(http.HandlerFunc(ok)))
	defer s.Close()
	for range 3 {
		if status, head, _ := get(t, s, ""); status != 200 || head["Ratelimit"] != nil {
			t.Errorf("%d %v", status, head)
		}
	}
	if st := l.Stats(); st.Shadowed != 2 {
		t.Errorf("%+v", st)
	}
}

func TestSoManyRequestsAtATime(t *testing.T) {
	l := must(t, limit.Config{Algorithm: limit.Concurrency, Count: 1})
	inside, leave := make(chan bool), make(chan bool)
	s := httptest.NewServer(l.Middleware(nil)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-User") == "slow" {
			inside <- true
			<-leave
		}
	})))
	defer s.Close()
	done := make(chan int)
	go func() {
		status, _, _ := get(t, s, "slow")
		done <- status
	}()
	<-inside
	status, head, text := get(t, s, "")
	if status != 429 || head.Get("Ratelimit") != `"default";r=0` || head.Get("Ratelimit-Policy") != `"default";q=1;qu="concurrent-requests"` ||
		head.Get("Retry-After") != "" || !strings.HasSuffix(text, "reason: concurrency_limited\n") {
		t.Errorf("%d %v %s", status, head, text)
	}
	leave <- true
	if status := <-done; status != 200 {
		t.Error(status)
	}
	if status, _, _ := get(t, s, ""); status != 200 {
		t.Errorf("the place was not given back: %d", status)
	}
}

// A client holds a place until it has read or closed the answer, or got an error.
func TestAClientHoldsAPlaceUntilTheAnswerEnds(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(ok))
	defer s.Close()
	l := must(t, limit.Config{Algorithm: limit.Concurrency, Count: 1})
	c := &http.Client{Transport: l.RoundTripper(s.Client().Transport, nil)}
	for _, end := range []func(*http.Response){
		func(r *http.Response) { r.Body.Close() },
		func(r *http.Response) { io.ReadAll(r.Body) },
		func(r *http.Response) { io.ReadAll(r.Body); r.Body.Close(); r.Body.Close() },
	} {
		first, err := c.Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get(s.URL); !errors.Is(err, limit.ErrRefused) {
			t.Errorf("a second at a time: %v", err)
		}
		if _, err := c.Post(s.URL, "text/plain", strings.NewReader("x")); !errors.Is(err, limit.ErrRefused) {
			t.Errorf("a second at a time: %v", err)
		}
		end(first)
	}
	s.CloseClientConnections()
	gone := httptest.NewServer(http.HandlerFunc(ok))
	gone.Close()
	l = must(t, limit.Config{Algorithm: limit.Concurrency, Count: 1})
	c.Transport = l.RoundTripper(nil, nil)
	for range 3 {
		if _, err := c.Get(gone.URL); err == nil || errors.Is(err, limit.ErrRefused) {
			t.Errorf("an error keeps the place: %v", err)
		}
	}
}
